//! The state of the gateway's kernel, as text to compare and as values. Nothing here asks the program
//! under test.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use super::{GATEWAY, Lab};

/// The state of the gateway, to compare with another one.
#[derive(Clone, PartialEq, Eq)]
pub struct State(pub String);

impl State {
    /// The lines that differ.
    pub fn diff(&self, expected: &State) -> Option<String> {
        let lost = lines_not_in(&expected.0, &self.0, "-");
        let gained = lines_not_in(&self.0, &expected.0, "+");
        if self == expected { None } else { Some(lost + &gained) }
    }

    /// Fails with the lines that differ, and only those.
    #[track_caller]
    pub fn assert_is(&self, expected: &State, what: impl fmt::Display) {
        let diff = self.diff(expected).unwrap_or_default();
        assert!(self == expected, "{what}: not the expected state (-) but (+)\n{diff}");
    }

    /// The same whatever the order of the lines, as of rules with one preference.
    pub fn sorted(&self) -> State {
        let mut lines: Vec<&str> = self.0.lines().collect();
        lines.sort_unstable();
        State(lines.join("\n"))
    }
}

fn lines_not_in(text: &str, other: &str, sign: &str) -> String {
    let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
    lines.map(|line| format!("{sign} {line}\n")).collect()
}

/// The routing of IPv6, if there is IPv6.
const INET6_ROUTING: &str = "if [ $(cat /proc/sys/net/ipv6/conf/all/disable_ipv6) = 0 ]; then
    ip -6 rule show | LC_ALL=C sort
    ip -6 route show table all proto 87 | LC_ALL=C sort
fi";

impl Lab {
    /// The gateway's kernel and the pool files.
    pub fn state(&self) -> State {
        let files = self.files();
        let text = |(name, bytes): &(String, Vec<u8>)| {
            let lines = String::from_utf8_lossy(bytes);
            lines
                .split_inclusive('\n')
                .map(|line| format!("{name}: {line:?}\n"))
                .collect::<String>()
        };
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let kernel = self.kernel_state().0;
        State(format!("{kernel}== files {names:?}\n{}", files.iter().map(text).collect::<String>()))
    }

    /// Every rule, route, nexthop, packet filter rule and set of the gateway.
    ///
    /// An empty table of the packet filter counts as absent; counters and the random seed of a set
    /// are left out.
    pub fn kernel_state(&self) -> State {
        // One shell runs all of them.
        const DUMPS: [&str; 8] = [
            // The order of rules with the same preference says nothing.
            "ip -4 rule show | LC_ALL=C sort",
            "ip -4 route show table all",
            "ip nexthop show",
            "iptables-nft-save",
            "iptables-legacy-save",
            "ipset save",
            INET6_ROUTING,
            "[ $(cat /proc/sys/net/ipv6/conf/all/disable_ipv6) = 1 ] || ip6tables-save",
        ];
        let printed = self.gateway.sh(&DUMPS.join("\necho %%\n"));
        let printed: Vec<&str> = printed.split("%%\n").collect();
        let [rules, routes, nexthops, nft, legacy, sets, inet6, filter6] = printed[..] else {
            panic!("not one output of each command: {printed:?}")
        };
        let mut sets: Vec<String> = sets.lines().map(without_counters).collect();
        sets.sort();
        // Equal routes of several devices are in the order in which they were added, and a device may
        // not have noticed its carrier yet.
        let routes = routes.replace(" dead", "").replace(" linkdown", "");
        let mut routes: Vec<&str> = routes.lines().collect();
        routes.sort_unstable();
        let parts = [
            ("rules", rules.to_owned()),
            ("routes", routes.join("\n")),
            ("nexthops", nexthops.to_owned()),
            ("nft", nonempty_tables(nft)),
            ("legacy", nonempty_tables(legacy)),
            ("sets", sets.join("\n")),
            ("inet6", inet6.to_owned() + &nonempty_tables(filter6)),
        ]
        .map(|(name, text)| format!("== {name}\n{text}\n"));
        State(parts.concat())
    }

    /// The rules that are not the kernel's own, as `(preference, rest of the line)`.
    pub fn rules(&self) -> Vec<(u32, String)> {
        let rules = self.gateway.sh("ip -4 rule show");
        let parts = |line: &str| {
            let (pref, rest) = line.split_once(':').expect("a preference");
            (pref.parse().expect("a number"), rest.trim().to_owned())
        };
        let kernels_own = [0, 32766, 32767];
        rules.lines().map(parts).filter(|(pref, _)| !kernels_own.contains(pref)).collect()
    }

    /// The routes of a table, one line each.
    pub fn table(&self, number: u32) -> Vec<String> {
        let routes =
            self.gateway.sh(&format!("ip -4 route show table {number} 2>/dev/null || true"));
        routes.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// The mark and mask of each client in the set.
    pub fn marks(&self) -> BTreeMap<Ipv4Addr, String> {
        let set = self.gateway.sh("ipset save wanpool");
        let entry = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let at = words.iter().position(|&word| word == "skbmark").expect("a mark");
            (words[2].parse().expect("an address"), words[at + 1].to_owned())
        };
        set.lines().filter(|line| line.starts_with("add ")).map(entry).collect()
    }

    /// The packet filter as `iptables-save` prints it, without comments and counters.
    pub fn filter(&self) -> String {
        nonempty_tables(&self.gateway.sh("iptables-save"))
    }

    /// The connections the gateway tracks, a line each.
    pub fn flows(&self) -> Vec<String> {
        let flows = self.gateway.sh("conntrack -L 2>/dev/null");
        flows.lines().map(str::to_owned).collect()
    }

    /// Makes the gateway forget all connections.
    pub fn forget_flows(&self) {
        self.gateway.sh("conntrack -F 2>/dev/null");
    }

    /// The connmarks of the connections that the gateway tracks, by the kernel's id of each. Two kinds
    /// are left out, because the kernel deletes them at some time: closed connections, and those to
    /// the gateway itself, by which it has discovered the clients.
    pub fn tracked(&self) -> BTreeMap<u64, u32> {
        let flows = self.gateway.sh("conntrack -L -o id 2>/dev/null");
        let value = |line: &str, name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in {line}")).parse::<u64>().expect("a number")
        };
        let mark = |line: &str| u32::try_from(value(line, "mark=")).expect("32 bits");
        let to_gateway = format!(" dst={GATEWAY} ");
        let expires = [" CLOSE ", " TIME_WAIT ", &to_gateway];
        let live = flows.lines().filter(|line| !expires.iter().any(|word| line.contains(word)));
        live.map(|line| (value(line, "id="), mark(line))).collect()
    }

    /// The connmarks of the flows that one client has to the far server.
    pub fn connmarks(&self, client: Ipv4Addr) -> Vec<u32> {
        let from = format!("src={client} dst={} ", super::FAR.ip());
        let mark = |line: &String| {
            let (_, rest) = line.split_once(" mark=").expect("a mark");
            rest.split(' ').next().and_then(|mark| mark.parse().ok()).expect("a number")
        };
        self.flows().iter().filter(|line| line.contains(&from)).map(mark).collect()
    }
}

/// A line of `ipset save` without the set's seed and an entry's counters.
fn without_counters(line: &str) -> String {
    let mut words = line.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if ["initval", "packets", "bytes"].contains(&word) {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// The tables that have a rule, a user-defined chain, or a policy that is not ACCEPT.
fn nonempty_tables(saved: &str) -> String {
    let mut tables: Vec<Vec<String>> = Vec::new();
    for line in saved.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('*') {
            tables.push(Vec::new());
        }
        let line = line.split(" [").next().unwrap_or(line);
        tables.last_mut().expect("a table's name first").push(line.to_owned());
    }
    let has_content = |line: &String| {
        let is_empty = line.starts_with('*')
            || line == "COMMIT"
            || line.starts_with(':') && line.ends_with(" ACCEPT");
        !is_empty
    };
    tables.retain(|table| table.iter().any(has_content));
    tables.sort();
    tables.concat().join("\n")
}
