//! The uplinks: they are dialled, lost and redialled, and lose packets.
//!
//! A point-to-point uplink is a veth pair with one and the same link-layer address at both ends and
//! ARP off, so that, as on ppp, a route needs no more than `dev ppp0`.

use std::net::Ipv4Addr;

use super::{Lab, Shape, wait_until};

/// The provider's gateway on the ethernet uplink.
pub const ETHERNET_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 1);
const ETHERNET_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 2);
/// The gateway of all uplinks, if the shape asks for that.
const SHARED_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);

/// Packets on one uplink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    pub from_gateway: u64,
    pub to_gateway: u64,
}

impl Shape {
    pub(super) fn uplinks(&self) -> u8 {
        self.point_to_point + u8::from(self.ethernet)
    }
}

/// The gateway's address on uplink N when it is first dialled.
pub(super) fn address(shape: &Shape, number: u8) -> Ipv4Addr {
    if number <= shape.point_to_point { Ipv4Addr::new(10, 64, number, 2) } else { ETHERNET_ADDRESS }
}

impl Lab {
    /// The gateway's address on uplink N: what the far server must see.
    pub fn uplink_address(&self, number: u8) -> Ipv4Addr {
        self.addresses.lock().expect("no panic while it was held")[usize::from(number) - 1]
    }

    /// The provider's address on uplink N.
    pub fn uplink_gateway(&self, number: u8) -> Ipv4Addr {
        match (self.shape.one_gateway, number <= self.shape.point_to_point) {
            (true, _) => SHARED_GATEWAY,
            (false, true) => Ipv4Addr::new(10, 64, number, 1),
            (false, false) => ETHERNET_GATEWAY,
        }
    }

    /// Uplink N's device on the gateway.
    pub fn uplink_dev(&self, number: u8) -> String {
        if number <= self.shape.point_to_point {
            format!("ppp{}", number - 1)
        } else {
            "eth1".to_owned()
        }
    }

    /// The uplink is lost: its device is gone.
    pub fn hang_up(&self, number: u8) {
        self.gateway.sh(&format!("ip link del {}", self.uplink_dev(number)));
    }

    /// The uplink is dialled: a new device, with a new index.
    pub fn redial(&self, number: u8) {
        let (dev, isp) = (self.uplink_dev(number), format!("isp{number}"));
        let (address, gateway) = (self.uplink_address(number), self.uplink_gateway(number));
        let provider = self.provider.path();
        let provider = provider.display();
        let mac = format!("02:00:00:00:64:{number:02x}");
        self.gateway
            .sh(&format!("ip -br link show {dev} 2>/dev/null && ip link del {dev} || true"));
        if number <= self.shape.point_to_point {
            self.gateway.sh(&format!(
                "ip link add {dev} address {mac} type veth peer name {isp} address {mac} netns {provider}
                 ip link set {dev} arp off
                 ip addr add {address} peer {gateway} dev {dev}
                 ip link set {dev} up"
            ));
            self.provider.sh(&format!(
                "ip link set {isp} arp off
                 ip addr add {gateway} peer {address} dev {isp}
                 ip link set {isp} up"
            ));
        } else {
            self.lay_line(&dev, &isp);
            self.gateway.sh(&format!("ip addr add {address}/24 dev {dev}"));
            self.provider.sh(&format!(
                "ip addr add {gateway}/32 dev {isp}
                 ip link set {isp} up
                 ip route add {address} dev {isp}"
            ));
        }
        // No uplink carries the addresses of another one.
        self.provider.sysctl(&format!("net/ipv4/conf/{isp}/rp_filter"), "1");
    }

    /// One more ethernet line to the provider, whose end is `isp`. The gateway's end is up.
    pub fn lay_line(&self, dev: &str, isp: &str) {
        let provider = self.provider.path();
        let provider = provider.display();
        self.gateway.sh(&format!(
            "ip link add {dev} type veth peer name {isp} netns {provider}
             ip link set {dev} up"
        ));
    }

    /// The uplink is dialled, and the provider gives another address.
    pub fn redial_as(&self, number: u8, address: Ipv4Addr) {
        let mut addresses = self.addresses.lock().expect("no panic while it was held");
        addresses[usize::from(number) - 1] = address;
        drop(addresses);
        self.redial(number);
    }

    /// Whether the provider's end drops everything while the device stays up.
    pub fn swallow(&self, number: u8, on: bool) {
        let act = if on { "-I" } else { "-D" };
        self.provider.sh(&format!(
            "iptables -t mangle {act} PREROUTING -i isp{number} -j DROP
             iptables -t mangle {act} POSTROUTING -o isp{number} -j DROP"
        ));
    }

    /// The carrier is lost, or is back; the device stays up.
    pub fn carrier(&self, number: u8, on: bool) {
        let isp = format!("isp{number}");
        let state = if on { "up" } else { "down" };
        self.provider.sh(&format!("ip link set {isp} {state}"));
        if on && number > self.shape.point_to_point {
            let address = self.uplink_address(number);
            self.provider.sh(&format!("ip route add {address} dev {isp}"));
        }
        let dev = self.uplink_dev(number);
        wait_until("the gateway sees it", || {
            let link = self.gateway.sh(&format!("ip -br link show dev {dev}"));
            link.contains("NO-CARRIER") != on
        });
    }

    /// The provider's gateway on the ethernet uplink has another address from now on.
    pub fn move_gateway(&self, number: u8, to: Ipv4Addr) {
        let isp = format!("isp{number}");
        self.provider.sh(&format!("ip addr flush dev {isp}\nip addr add {to}/32 dev {isp}"));
        let address = self.uplink_address(number);
        self.provider.sh(&format!("ip route replace {address} dev {isp}"));
    }

    /// The packets that the provider has counted on uplink N since it was dialled.
    pub fn carried(&self, number: u8) -> Carried {
        let link = self.provider.json(&format!("ip -s -j link show dev isp{number}"));
        let packets = |way: &str| link[0]["stats64"][way]["packets"].as_u64().expect("a counter");
        Carried { from_gateway: packets("rx"), to_gateway: packets("tx") }
    }
}
