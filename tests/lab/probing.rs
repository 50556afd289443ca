//! What probes meet: hosts that answer them, lines that lose some packets or all, and counters at
//! the provider of who came by which line.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::echo_server::when_free;
use super::{Lab, Netns, Run, wait_until};

/// Quick enough for tests; a line without loss answers in microseconds.
pub const QUICK: &str = "[probe]\ntargets = [\"100.66.0.1\"]\ntimeout = \"200ms\"\n";

impl Lab {
    /// What the timer runs.
    #[track_caller]
    pub fn probe(&self) -> Run {
        let run = self.wanpool(["failover", "--probe"]);
        run.ok();
        run
    }

    /// Probes until the state of the uplink is this; returns how many runs it took.
    #[track_caller]
    pub fn runs_until(&self, number: u8, state: &str) -> u32 {
        for runs in 1..=10 {
            self.probe();
            if self.state_of(number) == state {
                return runs;
            }
        }
        panic!("uplink {number} is not {state} after ten runs:\n{}", self.runtime_state());
    }

    #[track_caller]
    pub fn assert_all_up(&self, uplinks: u8) {
        for number in 1..=uplinks {
            assert_eq!(self.state_of(number), "up", "uplink {number}");
        }
    }

    /// The word of `pools`.
    #[track_caller]
    pub fn state_of(&self, number: u8) -> String {
        let row = &self.wanpool(["-j", "pools", &number.to_string()]).json()[0];
        row["state"].as_str().expect("a state").to_owned()
    }

    /// The file of what is remembered; empty if there is none.
    pub fn runtime_state(&self) -> String {
        std::fs::read_to_string(self.runtime_state_file()).unwrap_or_default()
    }

    pub fn runtime_state_file(&self) -> std::path::PathBuf {
        self.scratch().join("run/uplinks")
    }

    /// Every state in it has lasted so many seconds longer, as if they had passed.
    pub fn age_runtime_state(&self, seconds: u32) {
        let older = |line: &str| {
            let (start, rest) = line.split_once(" since ").expect("since when");
            let (since, rest) = rest.split_once(' ').expect("more words");
            let since: f64 = since.parse().expect("seconds from boot");
            format!("{start} since {:.2} {rest}\n", since - f64::from(seconds))
        };
        let memory: String = self.runtime_state().lines().map(older).collect();
        std::fs::write(self.runtime_state_file(), memory).expect("to write what is remembered");
    }

    /// The word behind `key` in what is remembered of an uplink.
    #[track_caller]
    pub fn recorded(&self, number: u8, key: &str) -> String {
        let memory = self.runtime_state();
        let start = format!("{number} ");
        let line = memory.lines().find(|line| line.starts_with(&start));
        let mut words = line.unwrap_or_else(|| panic!("no {number} in {memory}")).split(' ');
        words.find(|word| *word == key);
        words.next().unwrap_or_else(|| panic!("no {key} of {number} in {memory}")).to_owned()
    }

    /// One more host behind the provider, that answers to pings.
    pub fn far_host(&self, address: Ipv4Addr) {
        self.far.sh(&format!("ip addr add {address}/32 dev eth0"));
    }

    /// The line loses so many percent of the packets, each way.
    pub fn lose(&self, number: u8, percent: u8) {
        let chance = f64::from(percent) / 100.0;
        self.provider.sh(&format!(
            "statistic='-m statistic --mode random --probability {chance} -j DROP'
             iptables -t mangle -A PREROUTING -i isp{number} $statistic
             iptables -t mangle -A POSTROUTING -o isp{number} $statistic"
        ));
    }

    /// Waits until the provider has counted a packet that came by this line for this host.
    #[track_caller]
    pub fn await_counted(&self, number: u8, host: Ipv4Addr) {
        let before = self.counted(number, host);
        wait_until("a probe is under way", || self.counted(number, host) > before);
    }

    /// From now on the provider counts what comes by each line for this host.
    pub fn count_for(&self, host: Ipv4Addr) {
        for number in 1..=4 {
            self.provider.sh(&format!("iptables -t raw -A PREROUTING -i isp{number} -d {host}"));
        }
    }

    /// How many packets have come by this line for this host.
    pub fn counted(&self, number: u8, host: Ipv4Addr) -> u64 {
        let rules = self.provider.sh("iptables-save -c -t raw");
        let end = format!("-A PREROUTING -d {host}/32 -i isp{number}");
        let rule = rules.lines().find(|line| line.ends_with(&end)).expect("a rule that counts");
        let count = rule.trim_start_matches('[').split(':').next();
        count.and_then(|count| count.parse().ok()).expect("a count")
    }
}

/// Answers DNS questions, whatever they are about, with a code; and HTTP requests with a status.
/// Ends when it is dropped.
pub struct Servers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    says: Mutex<Says>,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Says {
    dns_code: u8,
    http_status: &'static str,
}

impl Servers {
    pub fn start(ns: &Netns, at: Ipv4Addr) -> Servers {
        let (dns, http) = (SocketAddrV4::new(at, 53), SocketAddrV4::new(at, 80));
        let (udp, tcp) = ns.enter(|| {
            (when_free(dns, || UdpSocket::bind(dns)), when_free(http, || TcpListener::bind(http)))
        });
        let says = Mutex::new(Says { dns_code: 0, http_status: "204 No Content" });
        let shared = Arc::new(Shared { says, stop: AtomicBool::new(false) });
        let (one, other) = (shared.clone(), shared.clone());
        let threads = vec![
            thread::spawn(move || answer_dns(&udp, &one)),
            thread::spawn(move || answer_http(&tcp, &other)),
        ];
        Servers { shared, threads }
    }

    /// From now on.
    pub fn say(&self, dns_code: u8, http_status: &'static str) {
        *self.shared.says.lock().expect("no panic while it was held") =
            Says { dns_code, http_status };
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn says(&self) -> Says {
        *self.says.lock().expect("no panic while it was held")
    }
}

const NAP: Duration = Duration::from_millis(5);

fn answer_dns(socket: &UdpSocket, shared: &Shared) {
    socket.set_read_timeout(Some(NAP)).expect("a time-out");
    let mut bytes = [0; 512];
    while !shared.is_over() {
        if let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            bytes[2] |= 0x80;
            bytes[3] = shared.says().dns_code;
            let _ = socket.send_to(&bytes[..length], peer);
        }
    }
}

fn answer_http(listener: &TcpListener, shared: &Shared) {
    listener.set_nonblocking(true).expect("not to block");
    while !shared.is_over() {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(NAP);
            continue;
        };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 1024]);
        let status = shared.says().http_status;
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
    }
}
