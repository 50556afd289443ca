//! All that is on the gateway and is not ours, as the kernel's own tools tell it.

use crate::lab::{Lab, State};

/// The chains of the contract: the rest of the packet filter is somebody else's.
const OURS: [&str; 4] = ["WANPOOL", "WANPOOL-OUT", "WANPOOL-POST", "WANPOOL-MSS"];

pub fn foreign(lab: &Lab) -> State {
    let text = lab.gateway.sh("echo == rules; ip -4 rule show
         echo == routes; ip -o -4 route show table all | sort
         echo == nexthops; ip nexthop show
         echo == sets; ipset save | sed 's/ initval [^ ]*//; s/ packets [0-9]* bytes [0-9]*//' | sort
         echo == queues; tc qdisc show dev br0; tc qdisc show dev lo
         echo == nft; nft -s list tables | grep -v ' ip6* \\(raw\\|mangle\\|nat\\|filter\\|security\\)$' |
             while read -r line; do nft -s list $line; done");
    // What the kernel makes of an address comes and goes with it.
    let ours = |line: &&str| {
        [" proto 87", " proto kernel "].iter().any(|proto| line.contains(proto))
            || ["create wanpool ", "add wanpool "].iter().any(|start| line.starts_with(start))
    };
    let mut kept: Vec<String> =
        text.lines().filter(|line| !ours(line)).map(str::to_owned).collect();
    for save in ["iptables-nft-save", "iptables-legacy-save"] {
        kept.extend(foreign_rules(save, &lab.gateway.sh(save)));
    }
    State(kept.join("\n"))
}

/// The rules, the chains and the policies that are not ACCEPT, each with its table.
fn foreign_rules(save: &str, saved: &str) -> Vec<String> {
    let mut table = "";
    let mut kept = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let ours = line.split(' ').any(|word| OURS.contains(&word.trim_start_matches(':')));
        let says = line.starts_with("-A ") || line.starts_with(':') && !line.contains(" ACCEPT [");
        if says && !ours {
            let line = line.split(" [").next().unwrap_or(line);
            kept.push(format!("{save} {table} {line}"));
        }
    }
    kept
}
