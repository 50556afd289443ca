//! What a lab consists of, and the programs that it needs.

use std::net::Ipv4Addr;
use std::path::Path;

use nix::unistd::geteuid;

use super::Lab;

/// The two programs with the name `iptables`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Iptables {
    Nft,
    Legacy,
}

#[derive(Clone)]
pub struct Shape {
    pub(super) point_to_point: u8,
    pub(super) ethernet: bool,
    pub(super) iptables: Iptables,
    pub(super) rp_filter: u8,
    pub(super) one_gateway: bool,
    clients: u32,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            point_to_point: 3,
            ethernet: true,
            iptables: Iptables::Nft,
            rp_filter: 0,
            one_gateway: false,
            clients: 30,
        }
    }
}

impl Shape {
    /// The number of point-to-point uplinks: ppp0, ppp1 …
    pub fn point_to_point(self, point_to_point: u8) -> Shape {
        Shape { point_to_point, ..self }
    }

    pub fn without_ethernet(self) -> Shape {
        Shape { ethernet: false, ..self }
    }

    pub fn iptables(self, iptables: Iptables) -> Shape {
        Shape { iptables, ..self }
    }

    /// The gateway's reverse path filter: on `all`, on `default` and so on every device.
    pub fn rp_filter(self, rp_filter: u8) -> Shape {
        Shape { rp_filter, ..self }
    }

    /// Every uplink has the same gateway address, as with one provider.
    pub fn one_gateway(self) -> Shape {
        Shape { one_gateway: true, ..self }
    }

    /// The number of client addresses, from 192.168.7.10 on.
    pub fn client_addresses(self, clients: u32) -> Shape {
        Shape { clients, ..self }
    }

    pub fn raise(self) -> Lab {
        self.check_machine();
        Lab::raise(self)
    }

    pub(super) fn clients(&self) -> Vec<Ipv4Addr> {
        let first = u32::from(Ipv4Addr::new(192, 168, 7, 10));
        (first..first + self.clients).map(Ipv4Addr::from).collect()
    }

    /// The LAN's prefix length: wide enough for all clients.
    pub(super) fn prefix(&self) -> u8 {
        if self.clients <= 200 { 24 } else { 16 }
    }

    fn check_machine(&self) {
        assert!(geteuid().is_root(), "the lab needs root, for its network namespaces");
        let needed = [
            ("/usr/sbin/ip", "iproute2"),
            (&self.iptables.program("iptables", ""), "iptables"),
            ("/usr/sbin/ipset", "ipset"),
            ("/usr/sbin/conntrack", "conntrack"),
        ];
        for (program, package) in needed {
            assert!(Path::new(program).exists(), "the lab needs {program} (apt install {package})");
        }
    }
}

impl Iptables {
    /// The program of this kind for a common name, of which this is the start and the end.
    pub(super) fn program(self, start: &str, end: &str) -> String {
        let kind = match self {
            Iptables::Nft => "nft",
            Iptables::Legacy => "legacy",
        };
        format!("/usr/sbin/{start}-{kind}{end}")
    }
}
