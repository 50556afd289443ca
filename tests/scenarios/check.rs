//! `pools --check`: problems are caused, found and repaired by their remedies. None of them is drift.
//! Which rules are a problem, and which are not, has tables of values in `plan/findings`.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, Shape, three};

with_both_iptables! {
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
fn assert_harm(lab: &Lab, what: &str) {
    assert!(!all_served_within(lab, Duration::from_millis(100)), "{what} does no harm");
}

/// The problem is gone, and all clients are served.
#[track_caller]
fn assert_repaired(lab: &Lab) {
    lab.check().clean();
    assert!(all_served_within(lab, Duration::from_secs(5)), "not all clients are served");
}

/// A sysctl that does harm is found. It is a sysctl that wanpool sets, and so it is drift as well.
#[track_caller]
fn assert_sysctl_found(key: &str, value: &str, words: &[&str], remedy: &str) {
    let lab = Lab::new();
    // With the group of all uplinks the reverse check would succeed for most clients.
    lab.serve(&three("unassigned = \"unreachable\""));
    lab.gateway.sysctl(key, value);
    assert_harm(&lab, key);
    let check = lab.check();
    check.naming(words);
    assert_eq!(check.drifted(), format!("sysctl -qw {remedy}\n"));
    lab.gateway.sh(check.findings[0].split_once(": ").expect("a remedy").1);
    assert_repaired(&lab);
}

#[test]
fn disabled_forwarding_is_found() {
    let words = ["forwarding is off: sysctl -w net.ipv4.ip_forward=1"];
    assert_sysctl_found("net/ipv4/ip_forward", "0", &words, "net.ipv4.ip_forward=1");
}

#[test]
fn rp_filter_without_src_valid_mark_is_found() {
    let remedy = "net.ipv4.conf.all.src_valid_mark=1";
    for (dev, value) in [("all", "2"), ("ppp0", "1")] {
        let key = format!("net/ipv4/conf/{dev}/rp_filter");
        let what = format!("net.ipv4.conf.{dev}.rp_filter={value} drops answers: sysctl -w ");
        assert_sysctl_found(&key, value, &[&what, remedy], remedy);
    }
}

/// Conflicting rules of each kind that the kernel lists in another way, and what the finding names.
const CONFLICTING_RULES: [(&str, &str); 4] = [
    ("ip rule add pref 500 lookup 77", "pref 500 lookup 77"),
    // wg-quick, started later: the kernel gives it the next preference in front.
    ("ip rule add not fwmark 0xca6c lookup 77", "pref 20009 not fwmark 0xca6c"),
    ("ip rule add pref 700 iif br0 prohibit", "pref 700 iif br0 prohibit"),
    ("ip rule add pref 700 goto 32766", "pref 700 goto 32766"),
];

#[test]
fn a_conflicting_routing_rule_is_found() {
    let lab = Lab::four_uplinks();
    lab.gateway.sh("ip route add default dev ppp1 table 77");
    for (rule, words) in CONFLICTING_RULES {
        lab.gateway.sh(rule);
        assert_harm(&lab, rule);
        lab.check().found(&["matches wanpool's traffic", words, "preference above 20301"]);
        lab.gateway.sh(&rule.replace("add", "del"));
        assert_repaired(&lab);
    }
    // The remedy: behind ours. Then clients do not reach it, and that is told, too.
    lab.gateway.sh("ip rule add pref 20302 lookup 77");
    lab.check().found(&["stands behind wanpool's", "pref 20302 lookup 77", "below 20010"]);
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

fn a_filter_rule_that_accepts_before_ours_is_found(shape: Shape) {
    let lab = shape.serving(&three(""));
    lab.gateway.sh("iptables -t mangle -N vpn\niptables -t mangle -A vpn -p udp -j ACCEPT");
    for (table, chain, rule) in [
        ("mangle", "PREROUTING", "-i br0 -j ACCEPT"),
        ("mangle", "PREROUTING", "-j vpn"),
        ("nat", "POSTROUTING", "-o ppp+ -j ACCEPT"),
    ] {
        let iptables = format!("iptables -t {table}");
        lab.gateway.sh(&format!("{iptables} -I {chain} {rule}"));
        assert_harm(&lab, rule);
        let what = format!("wanpool's rules: {table} {chain} {rule}");
        lab.check().found(&["accepts packets", &what, "move it behind the jump to WANPOOL"]);
        // The remedy: behind ours.
        lab.gateway.sh(&format!("{iptables} -D {chain} {rule}\n{iptables} -A {chain} {rule}"));
        assert_repaired(&lab);
        lab.gateway.sh(&format!("{iptables} -D {chain} {rule}"));
    }
}

fn rules_in_both_kinds_of_iptables_are_found(shape: Shape) {
    let lab = shape.serving(&three(""));
    let legacy = lab.gateway.sh("iptables --version").contains("legacy");
    let other = if legacy { "iptables-nft" } else { "iptables-legacy" };
    lab.gateway.sh(&format!("{other} -t mangle -N theirs\n{other} -t filter -P FORWARD ACCEPT"));
    lab.check().clean();
    lab.gateway.sh(&format!("{other} -t mangle -A theirs -i side0 -j RETURN"));
    lab.check().found(&[other, "has rules too", &format!("{other}-save")]);
    lab.gateway.sh(&format!("{other} -t mangle -F theirs"));
    lab.check().clean();
}

#[test]
fn a_nearly_full_conntrack_table_is_found() {
    let lab = Lab::three_uplinks();
    drop(lab.talk(&lab.everyone()));
    let count: u64 = lab.gateway.sh("conntrack -C").trim().parse().unwrap();
    assert!(count >= 60, "{count} flows");
    // The limit belongs to the machine, so another file is mounted over it for this test only.
    let file = lab.scratch().join("max");
    let full = count * 100 / 90;
    std::fs::write(&file, format!("{full}\n")).unwrap();
    let at = "/proc/sys/net/netfilter/nf_conntrack_max";
    let check = lab.check_where(&format!("mount --bind {} {at}", file.display()));
    let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}", full * 2);
    check.found(&["conntrack table is nearly full", &format!(" of {full}: {remedy}")]);
}

#[test]
fn more_clients_than_the_neighbour_table_can_hold_are_found() {
    let lab = Lab::new();
    lab.config(&three(""));
    let table = lab.gateway.sh("ip ntable show name arp_cache");
    let (_, limit) = table.split_once("thresh3 ").expect("gc_thresh3");
    let limit: u32 = limit.split_whitespace().next().unwrap().parse().unwrap();
    let first = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    let list: String =
        (first..=first + limit).map(|client| format!("{}\n", Ipv4Addr::from(client))).collect();
    lab.wanpool_reading(["-q", "assign", "--from", "-"], &list).ok();
    let what = format!("{} clients, but the neighbour table has room for {limit}", limit + 1);
    lab.check().found(&[&what, "sysctl -w net.ipv4.neigh.default.gc_thresh3="]);
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
    lab.check().found(&["flowtable fast", "without marks and rules"]);
    lab.gateway.sh("nft delete table inet offload");
    lab.check().clean();
}

#[test]
fn findings_and_drift_are_separate_in_text_and_json() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("ip route add default dev ppp1 table 77
ip rule add pref 500 lookup 77
ip rule del pref 20201");
    lab.gateway.sh("iptables -t nat -I POSTROUTING -p udp -o ppp0 -j ACCEPT");
    let kept = lab.state();
    let check = lab.check();
    assert_eq!(check.drifted(), "ip rule add pref 20201 fwmark 0x1/0xff lookup 201 protocol 87\n");
    assert_eq!(check.findings.len(), 2, "{check}");
    let run = lab.apart("", "-j pools --check");
    assert_eq!(run.status, 3, "{run}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let findings: Vec<Value> = check
        .findings
        .iter()
        .map(|finding| {
            // The text of a rule has no colon and a space; the sentence before it has.
            let (what, remedy) = finding.rsplit_once(": ").expect("a remedy");
            json!({ "finding": what, "remedy": remedy })
        })
        .collect();
    assert_eq!(report, json!({ "steps": [check.steps.trim_end()], "findings": findings }));
    lab.state().assert_is(&kept, "a check changes nothing");
}
