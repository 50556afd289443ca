//! For probes: servers that answer them, uplinks that lose packets, counters at the provider, and
//! the runtime state.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use serde_json::Value;

use super::{ChildGuard, Lab, Run, wait_until};

/// Short enough for tests; an uplink without loss answers in microseconds.
pub const QUICK: &str = "[probe]\ntargets = [\"100.66.0.1\"]\ntimeout = \"200ms\"\n";

impl Lab {
    /// The command that the timer runs.
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

    /// The state that `pools` shows.
    #[track_caller]
    pub fn state_of(&self, number: u8) -> String {
        let row = &self.wanpool(["-j", "pools", &number.to_string()]).json()[0];
        row["state"].as_str().expect("a state").to_owned()
    }

    /// The file with the health of the uplinks; empty if there is none.
    pub fn runtime_state(&self) -> String {
        fs::read_to_string(self.runtime_state_file()).unwrap_or_default()
    }

    pub fn runtime_state_file(&self) -> std::path::PathBuf {
        self.scratch().join("run/uplinks")
    }

    /// As if so many seconds had passed.
    pub fn age_runtime_state(&self, seconds: u32) {
        let mut state = self.health_records();
        for record in state.as_object_mut().expect("a record for each uplink").values_mut() {
            let since = record["since"].as_f64().expect("seconds since boot");
            record["since"] = (since - f64::from(seconds)).into();
        }
        fs::write(self.runtime_state_file(), state.to_string())
            .expect("to write the runtime state");
    }

    /// The runtime state, parsed.
    #[track_caller]
    pub fn health_records(&self) -> Value {
        let text = self.runtime_state();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// The record of one uplink.
    #[track_caller]
    pub fn health(&self, number: u8) -> Value {
        let records = self.health_records();
        let record = records.get(number.to_string());
        record.unwrap_or_else(|| panic!("no {number} in {records}")).clone()
    }

    /// Another host behind the provider that answers pings.
    pub fn far_host(&self, address: Ipv4Addr) {
        self.far.sh(&format!("ip addr add {address}/32 dev eth0"));
    }

    /// The uplink loses so many percent of the packets, in each direction.
    pub fn lose(&self, number: u8, percent: u8) {
        let chance = f64::from(percent) / 100.0;
        self.provider.sh(&format!(
            "statistic='-m statistic --mode random --probability {chance} -j DROP'
             iptables -t mangle -A PREROUTING -i isp{number} $statistic
             iptables -t mangle -A POSTROUTING -o isp{number} $statistic"
        ));
    }

    /// Waits until the provider has counted a packet by this uplink for this host.
    #[track_caller]
    pub fn await_counted(&self, number: u8, host: Ipv4Addr) {
        let before = self.counted(number, host);
        wait_until("a probe is under way", || self.counted(number, host) > before);
    }

    /// The provider counts the packets by each uplink for this host.
    pub fn count_for(&self, host: Ipv4Addr) {
        for number in 1..=4 {
            self.provider.sh(&format!("iptables -t raw -A PREROUTING -i isp{number} -d {host}"));
        }
    }

    /// The packets by this uplink for this host.
    pub fn counted(&self, number: u8, host: Ipv4Addr) -> u64 {
        let rules = self.provider.sh("iptables-save -c -t raw");
        let end = format!("-A PREROUTING -d {host}/32 -i isp{number}");
        let rule = rules.lines().find(|line| line.ends_with(&end)).expect("a rule that counts");
        let count = rule.trim_start_matches('[').split(':').next();
        count.and_then(|count| count.parse().ok()).expect("a count")
    }
}

/// Answers every DNS question with the code, and every HTTP request with the status, that two files
/// in this directory say.
const SERVERS: &str = r#"
import socket, sys, threading
host, directory = sys.argv[1:]
def says(name):
    return open(f"{directory}/{name}").read()
def dns(server):
    while True:
        question, peer = server.recvfrom(512)
        code = int(says("dns-code"))
        server.sendto(question[:2] + bytes([question[2] | 0x80, code]) + question[4:], peer)
def http(server):
    while True:
        client, _ = server.accept()
        try:
            client.recv(1024)
            client.sendall(f"HTTP/1.1 {says('http-status')}\r\n\r\n".encode())
        except OSError:
            pass
        client.close()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((host, 53))
threading.Thread(target=dns, args=[udp], daemon=True).start()
http(socket.create_server((host, 80)))
"#;

/// Runs until it is dropped.
pub struct Servers<'lab> {
    lab: &'lab Lab,
    _process: ChildGuard,
}

impl Lab {
    pub fn start_servers(&self, at: Ipv4Addr) -> Servers<'_> {
        let mut command = Command::new("python3");
        command.args(["-c", SERVERS, &at.to_string()]).arg(self.scratch());
        let servers = Servers { lab: self, _process: ChildGuard::start(&self.far, &command) };
        servers.say(0, "204 No Content");
        wait_until("the servers listen (apt install python3)", || {
            self.far.enter(|| TcpStream::connect((at, 80)).is_ok())
        });
        servers
    }
}

impl Servers<'_> {
    /// The answers from now on.
    pub fn say(&self, dns_code: u8, http_status: &str) {
        fs::write(self.lab.scratch().join("dns-code"), dns_code.to_string()).expect("a file");
        fs::write(self.lab.scratch().join("http-status"), http_status).expect("a file");
    }
}
