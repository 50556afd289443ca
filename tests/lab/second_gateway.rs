//! A second gateway: on the same LAN, with its own uplinks to the same provider.
//!
//! The LAN's switch is on the clients' side, so that either gateway can lose its power. Each has an
//! address of its own, and `GATEWAY`, which the clients send to, belongs to neither at first.

use std::net::Ipv4Addr;

use super::{GATEWAY, Lab, Netns};

pub struct GatewayPair<'lab> {
    pub lab: &'lab Lab,
    /// The second gateway's namespace; the first one's is the lab's.
    pub second: Netns,
}

/// The gateways' own addresses on the LAN.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
pub const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 3);

impl Lab {
    /// Uplinks 1 to 3 of the second gateway are dialled already.
    pub fn pair(&self) -> GatewayPair<'_> {
        let pair = GatewayPair { lab: self, second: self.new_netns() };
        pair.lay_lan();
        for number in 1..=3 {
            pair.dial(number);
        }
        pair
    }
}

impl GatewayPair<'_> {
    fn lay_lan(&self) {
        let clients = &self.lab.clients;
        let addresses: String = self
            .lab
            .everyone()
            .iter()
            .map(|client| format!("ip addr add {client}/24 dev eth0\n"))
            .collect();
        clients.sh(&format!(
            "ip link set eth0 down
             ip addr flush dev eth0
             ip link set eth0 name port1
             ip link add eth0 type bridge
             ip link add port2 type veth peer name lan0 netns {}
             for port in port1 port2; do ip link set $port master eth0 up; done
             ip link set eth0 up\n{addresses}
             ip route add default via {GATEWAY}",
            self.second.path().display()
        ));
        self.lab.gateway.sh(&format!("ip addr flush dev br0; ip addr add {FIRST}/24 dev br0"));
        self.second.sh(&format!(
            "ip link add br0 type bridge
             ip addr add {SECOND}/24 dev br0
             ip link set lan0 master br0 up
             ip link set br0 up"
        ));
    }

    /// The second gateway's address on uplink N: what the far server must see.
    pub fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 64, number, 3)
    }

    /// The second gateway has the first one's address on uplink N too, as keepalived would do.
    pub fn carry_over(&self, number: u8) {
        let (dev, peer) = (self.lab.uplink_dev(number), self.lab.uplink_gateway(number));
        let address = self.lab.uplink_address(number);
        self.second.sh(&format!("ip addr add {address}/32 dev {dev}"));
        self.lab.provider.sh(&format!(
            "ip addr flush dev isp{number}
             ip addr add {peer} peer {address} dev ispb{number}"
        ));
    }

    /// A cable between the two, for conntrackd.
    pub fn lay_cable(&self) {
        let second = self.second.path();
        self.lab.gateway.sh(&format!(
            "ip link add eth9 type veth peer name eth9 netns {}
             ip addr add 10.9.9.1/24 dev eth9
             ip link set eth9 up",
            second.display()
        ));
        self.second.sh("ip addr add 10.9.9.2/24 dev eth9; ip link set eth9 up");
    }

    fn dial(&self, number: u8) {
        let (dev, isp) = (self.lab.uplink_dev(number), format!("ispb{number}"));
        let (address, peer) = (GatewayPair::address(number), self.lab.uplink_gateway(number));
        let mac = format!("02:00:00:00:65:{number:02x}");
        self.second.sh(&format!(
            "ip link add {dev} address {mac} type veth peer name {isp} address {mac} netns {}
             ip link set {dev} arp off
             ip addr add {address} peer {peer} dev {dev}
             ip link set {dev} up",
            self.lab.provider.path().display()
        ));
        self.lab.provider.sh(&format!(
            "ip link set {isp} arp off
             ip addr add {peer} peer {address} dev {isp}
             ip link set {isp} up"
        ));
        self.lab.provider.sysctl(&format!("net/ipv4/conf/{isp}/rp_filter"), "1");
    }
}

/// Cuts the gateway's power: all its devices go down.
pub fn cut_power(gateway: &Netns) {
    gateway.sh("for dev in lan0 ppp0 ppp1 ppp2; do ip link set $dev down; done");
}
