//! A gateway with everything around it in network namespaces: `let lab = Lab::new();`.
//!
//! ```text
//! clients ──eth0 lan0── gateway ──ppp0 isp1── provider ──far0 eth0── far server
//! 192.168.7.10 …        br0 .7.1  ppp1 isp2   (routes only)          100.66.0.1
//!                                 ppp2 isp3
//!                                 eth1 isp4
//! ```
//!
//! The gateway starts without default route, rules and packet filter: wanpool or a test adds them.
//! Uplink N's own address is 10.64.N.2 (10.65.4.2 on the ethernet uplink), the provider drops all
//! other addresses on that uplink, and the far server answers with the address that it sees. The
//! root namespace is never changed.

mod check;
mod child_guard;
mod debian;
mod dhcp;
mod dns;
mod doctest;
mod echo_server;
mod fault_scenario;
mod flow;
mod ftp;
mod hook;
mod inet6;
mod lan_hosts;
mod machine;
mod netns;
mod pool_files;
mod probing;
mod program;
mod second_gateway;
mod setup;
mod shape;
mod snapshot;
mod speaker;
mod spread;
mod terminal;
mod trace;
mod traffic_gen;
mod uplink;
mod wiring;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use check::Check;
pub use child_guard::ChildGuard;
pub use debian::Debian;
pub use dhcp::DHCP_CLIENTS;
pub use dns::{NAMED, await_listening};
pub use doctest::{Doctest, Piece, exchanges, matches};
pub use echo_server::EchoServer;
pub use fault_scenario::FaultScenario;
pub use flow::{Flow, Kind};
pub use ftp::Ftp;
pub use hook::Hooks;
pub use inet6::{Inet6, client6, uplink6};
pub use lan_hosts::{DMZ, LanHosts, OFFICE, PORT, PRINTER};
pub use machine::Machine;
pub use netns::{Env, Netns};
pub use pool_files::places;
pub use probing::QUICK;
pub use program::{Run, binary, copy, copy_to, run_alone, write_script};
pub use second_gateway::{GatewayPair, cut_power};
pub use setup::{four, three, two, uplinks};
pub use shape::{Iptables, Shape};
pub use snapshot::State;
pub use speaker::{Conn, Speaker};
pub use spread::{assert_spread, count_seen};
pub use trace::{Call, Inject, Trace};

/// Where the far server answers, over TCP and UDP.
pub const FAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(100, 66, 0, 1), 7000);
/// The gateway's address on the LAN.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);

/// The chains that wanpool makes: table, the chain that leads there, name.
pub const CHAINS: [(&str, &str, &str); 6] = [
    ("mangle", "PREROUTING", "WANPOOL"),
    ("mangle", "OUTPUT", "WANPOOL-OUT"),
    ("mangle", "POSTROUTING", "WANPOOL-POST"),
    ("mangle", "POSTROUTING", "WANPOOL-MSS"),
    ("nat", "POSTROUTING", "WANPOOL"),
    ("raw", "PREROUTING", "WANPOOL"),
];

pub struct Lab {
    pub gateway: Netns,
    pub clients: Netns,
    pub provider: Netns,
    pub far: Netns,
    shape: Shape,
    addresses: Mutex<Vec<Ipv4Addr>>,
    env: Env,
    _far_server: EchoServer,
    dir: TempDir,
}

impl Lab {
    /// Three point-to-point uplinks, one ethernet uplink, 30 clients, iptables-nft.
    pub fn new() -> Lab {
        Shape::default().raise()
    }

    /// The same, to be changed before `.raise()`.
    pub fn with() -> Shape {
        Shape::default()
    }

    /// Writes this lab's wanpool.toml.
    pub fn config(&self, text: &str) {
        fs::write(self.config_file(), text).expect("to write wanpool.toml");
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("wanpool.toml")
    }

    /// The directory of the pool files.
    pub fn pool_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A directory for files of the test.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The lines of pool N's file.
    pub fn pool(&self, number: u8) -> Vec<String> {
        let text = fs::read_to_string(self.pool_dir().join(format!("pool{number}")));
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The clients that pool N's file names.
    pub fn members(&self, number: u8) -> Vec<Ipv4Addr> {
        let parse = |line: &String| line.parse().unwrap_or_else(|why| panic!("{line:?}: {why}"));
        self.pool(number).iter().map(parse).collect()
    }

    /// The pool whose file names this client; in two of them the test fails.
    pub fn pool_of(&self, client: Ipv4Addr) -> Option<u8> {
        let holds = |number: &u8| self.members(*number).contains(&client);
        let pools: Vec<u8> = (1..=50).filter(holds).collect();
        assert!(pools.len() <= 1, "{client} is in the pools {pools:?}");
        pools.first().copied()
    }

    /// Every file of the pool directory except the lock file, by name, with its bytes.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let Ok(entries) = fs::read_dir(self.pool_dir()) else {
            return Vec::new();
        };
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| entry.expect("an entry of the pool directory"))
            .map(|entry| (entry.file_name().into_string().expect("UTF-8"), entry.path()))
            .filter(|(name, _)| name != ".lock")
            .map(|(name, path)| (name, fs::read(path).unwrap_or_default()))
            .collect();
        files.sort();
        files
    }

    /// A further namespace without any connection.
    pub fn new_netns(&self) -> Netns {
        Netns::new(&self.env)
    }

    /// All addresses the clients' namespace has.
    pub fn everyone(&self) -> Vec<Ipv4Addr> {
        self.shape.clients()
    }

    fn uplinks(&self) -> u8 {
        self.shape.uplinks()
    }

    /// One client, to speak from to the far server.
    pub fn client(&self, address: Ipv4Addr) -> Speaker<'_> {
        Speaker::new(&self.clients, address, FAR)
    }

    /// A rule of the admin: what comes in by uplink N to port 8080 goes to this client.
    pub fn forward_port(&self, number: u8, client: Ipv4Addr) {
        let dev = self.uplink_dev(number);
        for protocol in ["tcp", "udp"] {
            self.gateway.sh(&format!(
                "iptables -t nat -I PREROUTING -i {dev} -p {protocol} --dport 8080 \
                     -j DNAT --to {client}:8080"
            ));
        }
    }

    /// The far server, to speak from to a port of the gateway's on uplink N.
    pub fn visitor(&self, number: u8, port: u16) -> Speaker<'_> {
        Speaker::new(&self.far, *FAR.ip(), SocketAddrV4::new(self.uplink_address(number), port))
    }

    /// Waits until the client's only TCP connection is over.
    #[track_caller]
    pub fn await_closed(&self, client: Ipv4Addr) {
        let list = format!("conntrack -L -p tcp -s {client} 2>/dev/null");
        wait_until("the connection is over", || self.gateway.sh(&list).contains("TIME_WAIT"));
    }

    /// Flows without packets, with these connmarks.
    pub fn track(&self, marks: &[u32]) {
        for (port, mark) in (4000..).zip(marks) {
            self.gateway.sh(&format!(
                "conntrack -I -s 192.168.7.200 -d 198.51.100.7 -p udp --sport {port} --dport 53 \
                     -t 600 -m {mark} 2>/dev/null"
            ));
        }
    }

    /// Makes the gateway discover these clients by ARP: each sends it a packet and is answered.
    pub fn discover(&self, clients: &[Ipv4Addr]) {
        let at = SocketAddrV4::new(GATEWAY, 5353);
        let _server = EchoServer::start(&self.gateway, at);
        for &client in clients {
            let asked = self.client(client).to(at).udp().and_then(|mut conn| conn.ask());
            assert_eq!(asked, Ok(client), "the answer to {client}");
        }
        wait_until("the gateway knows its clients by ARP", || {
            let neighbours = self.gateway.sh("ip -4 neigh show dev br0");
            let known = |client: &Ipv4Addr| {
                let start = format!("{client} ");
                let mut lines = neighbours.lines().filter(|line| line.starts_with(&start));
                lines.any(|line| line.contains("lladdr"))
            };
            clients.iter().all(known)
        });
    }
}

/// Waits for a condition; the test fails after a minute, which is enough on a busy machine.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
