//! IPv6 in the lab: uplink N has 2001:db8:N::2, client 192.168.7.X has fd07::X, and a server far away
//! answers with the address that it sees.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use super::{EchoServer, Lab};

/// Where the far server answers.
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
const PORT: u16 = 7000;

/// IPv6 as long as this value lives.
pub struct Inet6<'a> {
    lab: &'a Lab,
    _far_server: EchoServer,
}

/// A client's UDP flow.
pub struct Flow6(UdpSocket);

impl Lab {
    /// Switches IPv6 on everywhere, without duplicate address detection.
    pub fn with_inet6(&self) -> Inet6<'_> {
        for ns in [&self.gateway, &self.clients, &self.provider, &self.far] {
            for name in ["accept_dad", "disable_ipv6"] {
                ns.sh(&format!(
                    "for it in /proc/sys/net/ipv6/conf/*/{name}; do echo 0 > $it; done"
                ));
            }
        }
        self.gateway.sh("ip addr add fd07::1/64 dev br0 nodad");
        let mut batch = String::from("ip -6 -batch - <<END\n");
        for client in self.everyone() {
            writeln!(batch, "addr add {}/64 dev eth0 nodad", client6(client)).expect("memory");
        }
        writeln!(batch, "route add default via fd07::1\nEND").expect("memory");
        self.clients.sh(&batch);
        self.provider.sh("ip addr add 2001:db8:ff::254/64 dev far0 nodad");
        self.provider.sysctl("net/ipv6/conf/all/forwarding", "1");
        self.far.sh(&format!(
            "ip addr add {FAR6}/64 dev eth0 nodad
             ip -6 route add default via 2001:db8:ff::254"
        ));
        let at = SocketAddr::V6(SocketAddrV6::new(FAR6, PORT, 0, 0));
        let inet6 = Inet6 { lab: self, _far_server: EchoServer::start(&self.far, at) };
        for number in 1..=self.uplinks() {
            inet6.dial(number);
        }
        inet6
    }
}

impl Inet6<'_> {
    /// Uplink N gets its IPv6 address, as after it was dialled.
    pub fn dial(&self, number: u8) {
        let dev = self.lab.uplink_dev(number);
        let gateway = provider6(number);
        self.lab.gateway.sh(&format!("ip addr add {}/64 dev {dev} nodad", uplink6(number)));
        self.lab.provider.sh(&format!("ip addr add {gateway}/64 dev isp{number} nodad"));
        if dev.starts_with("eth") {
            self.lab.gateway.sh(&format!("ip -6 route add default via {gateway} dev {dev}"));
        }
    }

    /// Uplink N has no IPv6 address any more.
    pub fn lose_address(&self, number: u8) {
        let dev = self.lab.uplink_dev(number);
        self.lab.gateway.sh(&format!("ip addr del {}/64 dev {dev}", uplink6(number)));
    }

    /// A flow of a client to the far server.
    pub fn flow(&self, client: Ipv6Addr) -> Flow6 {
        self.lab.clients.enter(|| {
            let socket = UdpSocket::bind((client, 0)).expect("a socket of the client");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time limit");
            Flow6(socket)
        })
    }

    /// The address that the far server sees of a new flow.
    pub fn seen(&self, client: Ipv6Addr) -> Option<Ipv6Addr> {
        self.flow(client).ask()
    }

    #[track_caller]
    pub fn assert_leaves_by(&self, client: Ipv6Addr, uplink: u8) {
        assert_eq!(self.seen(client), Some(uplink6(uplink)), "{client} by uplink {uplink}");
    }
}

impl Flow6 {
    /// Asks the far server which address it sees. `None` if the packet is refused or lost.
    pub fn ask(&self) -> Option<Ipv6Addr> {
        self.0.send_to(b"who am I?", (FAR6, PORT)).ok()?;
        let mut answer = [0; 200];
        let length = self.0.recv(&mut answer).ok()?;
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        text.split(' ').next()?.parse().ok()
    }
}

/// The IPv6 address of a client.
pub fn client6(client: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, client.octets()[3].into())
}

/// The gateway's address on uplink N.
pub fn uplink6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 2)
}

fn provider6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 1)
}
