//! `pools --check`: each problem is caused once, and found with its remedy. None of them is drift.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, Shape, four, three};

with_both_iptables! {
    a_conflicting_routing_rule_is_found,
    a_filter_rule_that_accepts_before_ours_is_found,
    rules_in_both_kinds_of_iptables_are_found,
}

/// Whether every client leaves by its own uplink.
fn all_served_within(lab: &Lab, patience: Duration) -> bool {
    lab.everyone().into_iter().all(|client| {
        let seen = lab.client(client).patience(patience).udp().and_then(|mut conn| conn.ask());
        seen == Ok(lab.uplink_address(lab.pool_of(client).expect("a pool")))
    })
}

#[track_caller]
fn assert_all_served(lab: &Lab) {
    assert!(all_served_within(lab, Duration::from_secs(5)), "not all clients are served");
}

#[track_caller]
fn assert_harm(lab: &Lab, what: &str) {
    assert!(!all_served_within(lab, Duration::from_millis(100)), "{what} does no harm");
}

/// Runs the remedy of a finding, which is a command.
#[track_caller]
fn follow(lab: &Lab, finding: &str) {
    lab.gateway.sh(finding.split_once(": ").expect("a remedy").1);
    lab.check().clean();
    assert_all_served(lab);
}

#[test]
fn disabled_forwarding_is_found() {
    let lab = Lab::three_uplinks();
    lab.gateway.sysctl("net/ipv4/ip_forward", "0");
    assert_harm(&lab, "forwarding that is off");
    let check = lab.check();
    check.naming(&["forwarding is off: sysctl -w net.ipv4.ip_forward=1"]);
    // It is a sysctl that wanpool sets, and so it is drift as well.
    assert_eq!(check.drifted(), "sysctl -qw net.ipv4.ip_forward=1\n");
    follow(&lab, &check.findings[0]);
}

#[test]
fn rp_filter_without_src_valid_mark_is_found() {
    for (key, value) in [("all", "1"), ("all", "2"), ("ppp0", "1"), ("br0", "1")] {
        let lab = Lab::new();
        // With the group of all uplinks the reverse check would succeed for most clients.
        lab.serve(&three("unassigned = \"unreachable\""));
        lab.gateway.sysctl(&format!("net/ipv4/conf/{key}/rp_filter"), value);
        if key != "br0" {
            assert_harm(&lab, key);
        }
        let check = lab.check();
        let what = format!("net.ipv4.conf.{key}.rp_filter={value}");
        check.naming(&[&what, "sysctl -w net.ipv4.conf.all.src_valid_mark=1"]);
        assert_eq!(check.drifted(), "sysctl -qw net.ipv4.conf.all.src_valid_mark=1\n");
        follow(&lab, &check.findings[0]);
    }
}

/// Conflicting rules, the part of each that the finding names, and their preferences.
const CONFLICTING_RULES: [(&str, &str, &[u32]); 7] = [
    ("ip rule add pref 500 lookup 77", "pref 500 lookup 77", &[500]),
    ("ip rule add pref 900 iif br0 lookup 77", "pref 900 iif br0 lookup 77", &[900]),
    // wg-quick, started later: the kernel gives it the next preferences in front.
    (
        "ip rule add not fwmark 0xca6c lookup 77; ip rule add lookup main suppress_prefixlength 0",
        "pref 999 not fwmark 0xca6c",
        &[999, 998],
    ),
    ("ip rule add pref 1150 fwmark 0x1/0xff lookup 77", "pref 1150 fwmark 0x1/0xff", &[1150]),
    ("ip rule add pref 999 fwmark 0/0x3f00 lookup 77", "pref 999", &[999]),
    ("ip rule add pref 700 iif br0 blackhole", "pref 700 iif br0 blackhole", &[700]),
    ("ip rule add pref 700 iif br0 unreachable", "pref 700 iif br0 unreachable", &[700]),
];
#[track_caller]
fn assert_found(lab: &Lab, rules: &[(&str, &str, &[u32])]) {
    lab.serve(&four(""));
    lab.gateway.sh("ip route add default dev ppp1 table 77");
    for (rule, words, prefs) in rules {
        lab.gateway.sh(rule);
        assert_harm(lab, rule);
        lab.check().found(&["a rule takes our packets first", words, "preference above 1301"]);
        prefs.iter().for_each(|pref| drop(lab.gateway.sh(&format!("ip rule del pref {pref}"))));
        lab.check().clean();
        assert_all_served(lab);
    }
}

fn a_conflicting_routing_rule_is_found(shape: Shape) {
    let lab = shape.raise();
    assert_found(&lab, &CONFLICTING_RULES);
    // The remedy: behind ours.
    lab.gateway.sh("ip rule add pref 1302 lookup 77");
    lab.check().clean();
    assert_all_served(&lab);
}

#[test]
fn a_routing_rule_that_prohibits_client_packets_is_found() {
    let prohibit = "ip rule add pref 700 iif br0 prohibit";
    assert_found(&Lab::new(), &[(prohibit, "pref 700 iif br0", &[700])]);
}

#[test]
fn a_goto_rule_that_skips_ours_is_found() {
    assert_found(&Lab::new(), &[("ip rule add pref 700 goto 32766", "pref 700", &[700])]);
}

/// Rules to insert, and the commands that must run before.
const ACCEPTED: [(&str, &str); 6] = [
    ("", "mangle PREROUTING -i br0 -j ACCEPT"),
    ("iptables -t mangle -A vpn -i br0 -j ACCEPT", "mangle PREROUTING -i br0 -j vpn"),
    (
        "iptables -t mangle -A vpn -j deep\niptables -t mangle -A deep -p udp -j ACCEPT",
        "mangle PREROUTING -j vpn",
    ),
    ("iptables -t mangle -A vpn -j ACCEPT", "mangle PREROUTING -g vpn"),
    ("", "mangle POSTROUTING -o ppp+ -j ACCEPT"),
    ("", "nat POSTROUTING -o ppp+ -j ACCEPT"),
];
/// At the end of a built-in chain its policy accepts.
const RETURNED: [(&str, &str); 2] = [
    ("", "mangle PREROUTING -i br0 -j RETURN"),
    ("iptables -t mangle -A vpn -p udp -j RETURN", "mangle PREROUTING -g vpn"),
];

#[track_caller]
fn assert_accepting_is_found(lab: &Lab, cases: &[(&str, &str)]) {
    lab.serve(&three(""));
    for (made, rule) in cases {
        let (table, rest) = rule.split_once(' ').unwrap();
        let (chain, selector) = rest.split_once(' ').unwrap();
        lab.gateway.sh(&format!(
            "for chain in vpn deep; do iptables -t mangle -N $chain; done\n{made}
             iptables -t {table} -I {chain} {selector}"
        ));
        // A flow without connmark is served until its uplink changes.
        if !rule.contains("mangle POSTROUTING") {
            assert_harm(lab, rule);
        }
        lab.check().found(&["accepts packets before ours", rule, "move it behind"]);
        // The remedy: behind ours.
        lab.gateway.sh(&format!(
            "iptables -t {table} -D {chain} {selector}\niptables -t {table} -A {chain} {selector}"
        ));
        lab.check().clean();
        assert_all_served(lab);
        lab.gateway.sh(&format!(
            "iptables -t {table} -D {chain} {selector}
             for chain in vpn deep; do iptables -t mangle -F $chain; done
             for chain in vpn deep; do iptables -t mangle -X $chain; done"
        ));
    }
}

fn a_filter_rule_that_accepts_before_ours_is_found(shape: Shape) {
    assert_accepting_is_found(&shape.raise(), &ACCEPTED);
}

#[test]
fn a_filter_rule_that_returns_before_ours_is_found() {
    assert_accepting_is_found(&Lab::new(), &RETURNED);
}

fn rules_in_both_kinds_of_iptables_are_found(shape: Shape) {
    let lab = shape.serving(&three(""));
    let legacy = lab.gateway.sh("iptables --version").contains("legacy");
    let other = if legacy { "iptables-nft" } else { "iptables-legacy" };
    lab.gateway.sh(&format!("{other} -t mangle -N theirs\n{other} -t filter -P FORWARD ACCEPT"));
    lab.check().clean();
    lab.gateway.sh(&format!("{other} -t mangle -A theirs -i side0 -j RETURN"));
    lab.check().found(&[other, "holds rules too", &format!("{other}-save")]);
    lab.gateway.sh(&format!("{other} -t mangle -F theirs"));
    lab.check().clean();
}

#[test]
fn a_nearly_full_conntrack_table_is_found() {
    let lab = Lab::three_uplinks();
    let talk = lab.talk(&lab.everyone());
    drop(talk);
    let count: u64 = lab.gateway.sh("conntrack -C").trim().parse().unwrap();
    assert!(count >= 60, "{count} flows");
    // The limit belongs to the machine, so another file is mounted over it for this test only.
    let file = lab.scratch().join("max");
    let limit = |max: u64| {
        std::fs::write(&file, format!("{max}\n")).unwrap();
        let at = "/proc/sys/net/netfilter/nf_conntrack_max";
        lab.check_where(&format!("mount --bind {} {at}", file.display()))
    };
    limit(count * 10 / 8).clean();
    let full = count * 100 / 90;
    let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}", full * 2);
    limit(full).found(&["conntrack table is nearly full", &format!(" of {full}: {remedy}")]);
}

#[test]
fn more_clients_than_the_neighbour_table_can_hold_are_found() {
    let lab = Lab::new();
    lab.config(&three(""));
    let table = lab.gateway.sh("ip ntable show name arp_cache");
    let words: Vec<&str> = table.split_whitespace().collect();
    let at = words.iter().position(|&word| word == "thresh3").expect("gc_thresh3");
    let limit: u32 = words[at + 1].parse().unwrap();
    let first = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    let list = |clients: u32| -> String {
        (first..first + clients).map(|client| format!("{}\n", Ipv4Addr::from(client))).collect()
    };
    lab.wanpool_reading(["-q", "assign", "--from", "-"], &list(limit)).ok();
    lab.check().clean();
    lab.wanpool_reading(["-q", "assign", "--from", "-"], &list(limit + 1)).ok();
    let what = format!("{} clients, but room for {limit} neighbours", limit + 1);
    let check = lab.check();
    check.found(&[&what, "sysctl -w net.ipv4.neigh.default.gc_thresh3="]);
    let to = check.findings[0].split_once("gc_thresh3=").unwrap().1.split(' ').next().unwrap();
    assert!(to.parse::<u32>().unwrap() > limit, "{check}");
}

#[test]
fn a_flowtable_is_found_where_the_kernel_has_them() {
    let lab = Lab::three_uplinks();
    let make = "nft 'table inet offload {
        flowtable fast { hook ingress priority 0; devices = { br0, ppp0 }; }
    }'";
    if lab.script(make).status != 0 {
        println!("this kernel has no flowtables");
        lab.check().clean();
        return;
    }
    lab.check().found(&["flowtable fast", "past marks"]);
    lab.gateway.sh("nft delete table inet offload");
    lab.check().clean();
}

#[test]
fn findings_and_drift_are_separate_in_text_and_json() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("ip rule add pref 500 lookup 77\nip rule del pref 1201");
    lab.gateway.sh("iptables -t nat -I POSTROUTING -d 203.0.113.0/24 -o ppp0 -j ACCEPT");
    let check = lab.check();
    assert_eq!(check.drifted(), "ip rule add pref 1201 fwmark 0x1/0xff lookup 201 protocol 87\n");
    assert_eq!(check.findings.len(), 2, "{check}");
    let run = lab.apart("", "-j pools --check");
    assert_eq!(run.status, 3, "{run}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["steps"], json!([check.steps.trim_end()]));
    for (finding, text) in report["findings"].as_array().unwrap().iter().zip(&check.findings) {
        let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["finding", "remedy"]);
        let [what, remedy] = ["finding", "remedy"].map(|key| finding[key].as_str().unwrap());
        assert_eq!(&format!("{what}: {remedy}"), text);
    }
    let kept = lab.state();
    lab.apart("", "pools --check");
    lab.state().assert_is(&kept, "a check changes nothing");
}
