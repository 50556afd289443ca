//! Hosts behind the gateway that are not reached by an uplink: on the LAN, in another LAN, behind a
//! VPN.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{EchoServer, Lab, Netns};

/// A second host on the clients' bridge.
pub const PRINTER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 250);
/// A host in another LAN of the gateway.
pub const DMZ: Ipv4Addr = Ipv4Addr::new(172, 21, 8, 9);
/// A host behind a tunnel, by a static route in main.
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 1);
/// They all answer here.
pub const PORT: u16 = 7000;

pub struct LanHosts {
    pub printer: Netns,
    pub dmz: Netns,
    pub office: Netns,
    _answerers: [EchoServer; 3],
}

impl LanHosts {
    pub fn raise(lab: &Lab) -> LanHosts {
        let (printer, dmz, office) = (lab.new_netns(), lab.new_netns(), lab.new_netns());
        lay_printer(&lab.gateway, &printer);
        lay_dmz(&lab.gateway, &dmz);
        lay_office(&lab.gateway, &office);
        let answer = |ns: &Netns, address| EchoServer::start(ns, SocketAddrV4::new(address, PORT));
        let _answerers = [answer(&printer, PRINTER), answer(&dmz, DMZ), answer(&office, OFFICE)];
        LanHosts { printer, dmz, office, _answerers }
    }
}

fn lay_printer(gateway: &Netns, printer: &Netns) {
    let path = printer.path();
    gateway.sh(&format!(
        "ip link add lan1 type veth peer name eth0 netns {}
         ip link set lan1 master br0 up",
        path.display()
    ));
    printer.sh(&format!("ip addr add {PRINTER}/24 dev eth0\nip link set eth0 up"));
}

fn lay_dmz(gateway: &Netns, dmz: &Netns) {
    let path = dmz.path();
    gateway.sh(&format!(
        "ip link add dmz0 type veth peer name eth0 netns {}
         ip addr add 172.21.8.1/24 dev dmz0
         ip link set dmz0 up",
        path.display()
    ));
    dmz.sh(&format!(
        "ip addr add {DMZ}/24 dev eth0
         ip link set eth0 up
         ip route add default via 172.21.8.1"
    ));
}

fn lay_office(gateway: &Netns, office: &Netns) {
    let (path, mac) = (office.path(), "02:00:00:00:99:01");
    gateway.sh(&format!(
        "ip link add vpn0 address {mac} type veth peer name eth0 address {mac} netns {}
         ip link set vpn0 arp off
         ip addr add 10.99.0.1 peer 10.99.0.2 dev vpn0
         ip link set vpn0 up
         ip route add 172.20.0.0/16 dev vpn0",
        path.display()
    ));
    office.sh(&format!(
        "ip link set eth0 arp off
         ip addr add {OFFICE} peer 10.99.0.1 dev eth0
         ip link set eth0 up
         ip route add default dev eth0"
    ));
}
