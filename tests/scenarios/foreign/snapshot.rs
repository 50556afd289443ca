//! Every object on the gateway that is not ours, as the kernel's own tools show it.

use crate::lab::{CHAINS, Lab, State};

pub fn foreign(lab: &Lab) -> State {
    let text = lab.gateway.sh("echo == rules; ip -4 rule show
         echo == routes; ip -o -4 route show table all | sort
         echo == nexthops; ip nexthop show
         echo == sets; ipset save | sed 's/ initval [^ ]*//; s/ packets [0-9]* bytes [0-9]*//' | sort
         echo == queues; tc qdisc show dev br0; tc qdisc show dev lo
         echo == nft; nft -s list tables | grep -v ' ip6* \\(raw\\|mangle\\|nat\\|filter\\|security\\)$' |
             while read -r line; do nft -s list $line; done");
    // Routes that the kernel makes for addresses come and go with them.
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
        let is_chain = |word: &str| CHAINS.iter().any(|(_, _, name)| *name == word);
        let ours = line.split(' ').any(|word| is_chain(word.trim_start_matches(':')));
        let says = line.starts_with("-A ") || line.starts_with(':') && !line.contains(" ACCEPT [");
        if says && !ours {
            let line = line.split(" [").next().unwrap_or(line);
            kept.push(format!("{save} {table} {line}"));
        }
    }
    kept
}
