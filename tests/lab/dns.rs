//! Name resolution: a server in the far network that knows one name, and a question as a client asks it.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{ChildGuard, FAR, Lab, Netns, wait_until};

/// The name and the address that the far server knows.
const NAME: &str = "www.example.org";
pub const NAMED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 80);

impl Lab {
    /// A name server at the address of the far server.
    pub fn far_name_server(&self) -> ChildGuard {
        let mut command = dnsmasq();
        command.arg(format!("--listen-address={}", FAR.ip())).arg("--bind-interfaces");
        command.arg("--no-resolv").arg(format!("--address=/{NAME}/{NAMED}"));
        let server = ChildGuard::start(&self.far, &command);
        await_listening(&self.far);
        server
    }

    /// A dnsmasq on the gateway with these options, for clients.
    pub fn gateway_dnsmasq(&self, options: &[String]) -> ChildGuard {
        let mut command = dnsmasq();
        command.args(["--interface=br0", "--bind-interfaces", "--no-resolv", "--cache-size=0"]);
        let server = ChildGuard::start(&self.gateway, command.args(options));
        await_listening(&self.gateway);
        server
    }

    /// What the name is for a client that asks the gateway, and asks once more after 5 seconds, as the C
    /// library does. A name server that is told of a lost line may hear the first question before that.
    pub fn resolve(&self, client: Ipv4Addr) -> Option<Ipv4Addr> {
        (0..2).find_map(|_| self.resolve_once(client))
    }

    fn resolve_once(&self, client: Ipv4Addr) -> Option<Ipv4Addr> {
        self.clients.enter(|| {
            let socket = UdpSocket::bind((client, 0)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            socket.connect(SocketAddrV4::new(super::GATEWAY, 53)).expect("to connect");
            socket.send(&question()).ok()?;
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).ok()?;
            // The address is the end of an answer with one record.
            let address: [u8; 4] = answer[..length].last_chunk().copied()?;
            (answer[7] == 1).then_some(address.into())
        })
    }
}

pub fn await_listening(ns: &Netns) {
    wait_until("the name server listens", || ns.sh("cat /proc/net/udp").contains(":0035 "));
}

fn dnsmasq() -> Command {
    let program = "/usr/sbin/dnsmasq";
    assert!(Path::new(program).exists(), "the lab needs {program} (apt install dnsmasq-base)");
    let mut command = Command::new(program);
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="]);
    command.arg("--no-hosts");
    command
}

/// RFC 1035: a header with one question that asks for recursion, the name, the type A, the class IN.
fn question() -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
