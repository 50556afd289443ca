//! The slice is damaged by hand: `pools --check` finds it, and `restore`, `assign`, or the steps that
//! the check prints, repair it. The difference between any two states has properties in `plan`.

use serde_json::Value;

use crate::lab::{CHAINS, Check, Lab, Run, Shape, State, four, two};

with_both_iptables! {
    each_deleted_object_is_repaired,
    altered_and_doubled_objects_are_repaired,
    a_flushed_slice_is_repaired,
}

/// Everything that a configuration can enable: a weight, a gateway, a pin, helpers, clamping, the
/// hash and multipath.
const CONFIG: &str = "
lan = [\"br0\"]
helpers = [\"ftp\"]
[uplink.1]
dev = \"ppp0\"
weight = 2
clamp-mss = true
[uplink.2]
dev = \"eth1\"
via = \"10.65.4.1\"
[pin]
\"192.168.7.10\" = 2
[multipath]
enable = true
hash = \"source\"
";

/// One uplink of each kind.
fn two_uplinks(shape: Shape) -> Lab {
    shape.point_to_point(1).rp_filter(1).client_addresses(3).serving(CONFIG)
}

/// What repairs it.
#[derive(Clone, Copy, Debug)]
enum Repair {
    Restore,
    Assign,
    /// The steps that the check prints, in a root shell.
    Steps,
}

impl Repair {
    fn run(self, lab: &Lab, check: &Check) -> Run {
        match self {
            Repair::Restore => lab.wanpool(["restore"]),
            Repair::Assign => lab.wanpool(["assign"]),
            Repair::Steps => lab.run_steps(check),
        }
    }
}

/// The sysctls that wanpool sets with this configuration.
const SYSCTLS: [&str; 5] = [
    "net/ipv4/ip_forward",
    "net/ipv4/ip_dynaddr",
    "net/ipv4/conf/all/src_valid_mark",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/fib_multipath_hash_fields",
];

/// What the slice consists of; the order of rules with one preference does not matter.
fn state(lab: &Lab) -> State {
    let sysctls = SYSCTLS.map(|key| format!("/proc/sys/{key}")).join(" ");
    State(lab.state().0 + &lab.gateway.sh(&format!("grep . {sysctls}"))).sorted()
}

/// Does the damage; a step with these words repairs it.
#[track_caller]
fn assert_repaired(lab: &Lab, damage: &str, step: &str, repair: Repair, right: &State) {
    lab.gateway.sh(damage);
    let check = lab.check();
    assert!(check.drifted().contains(step), "{damage}: no step has {step:?}: {check}");
    assert!(check.findings.is_empty(), "{damage}: {check}");
    let run = repair.run(lab, &check);
    assert_eq!(run.status, 0, "{damage}: {run}");
    state(lab).assert_is(right, format!("{repair:?} after {damage}: {check}"));
    lab.check().clean();
}

/// A command that deletes an object, and part of the step that adds it again. The objects are read
/// from the gateway, so that none is forgotten.
fn deletions(lab: &Lab) -> Vec<(String, String)> {
    [rules(lab), routes(lab), nexthops(lab), filter_rules(lab), entries(lab)].concat()
}

fn rules(lab: &Lab) -> Vec<(String, String)> {
    let delete = |(pref, text): &(u32, String)| {
        (format!("ip rule del pref {pref} {text}"), format!("ip rule add pref {pref} "))
    };
    lab.rules().iter().map(delete).collect()
}

fn routes(lab: &Lab) -> Vec<(String, String)> {
    let listed = lab.gateway.json("ip -j -4 route show table all proto 87");
    let delete = |route: &Value| {
        let table = route["table"].to_string();
        let table = format!("table {}", table.trim_matches('"'));
        let kind = route["type"].as_str().unwrap_or_default();
        let metric = route["metric"].as_u64().unwrap_or(0);
        (format!("ip route del {kind} default {table} metric {metric} proto 87"), table)
    };
    listed.as_array().expect("a list").iter().map(delete).collect()
}

fn nexthops(lab: &Lab) -> Vec<(String, String)> {
    let listed = lab.gateway.sh("ip nexthop show proto 87");
    let id = |line: &str| line.split(' ').nth(1).expect("an id").to_owned();
    let delete = |id: String| (format!("ip nexthop del id {id}"), format!("id {id} "));
    listed.lines().map(id).map(delete).collect()
}

/// The rules of our chains, and the jumps to these.
fn filter_rules(lab: &Lab) -> Vec<(String, String)> {
    let saved = lab.filter();
    let mut deletions = Vec::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            deletions.push((format!("iptables -w -t {table} -D {rule}"), format!("-A {rule}")));
        }
    }
    deletions
}

fn entries(lab: &Lab) -> Vec<(String, String)> {
    let delete = |client| {
        (format!("ipset del wanpool {client}"), format!("ipset -exist add wanpool {client} "))
    };
    lab.marks().into_keys().map(delete).collect()
}

fn each_deleted_object_is_repaired(shape: Shape) {
    let lab = two_uplinks(shape);
    let right = state(&lab);
    let deletions = deletions(&lab);
    assert!(deletions.len() > 50, "only {} objects", deletions.len());
    let repairs = [Repair::Restore, Repair::Steps, Repair::Assign].into_iter().cycle();
    for ((damage, step), repair) in deletions.iter().zip(repairs) {
        assert_repaired(&lab, damage, step, repair, &right);
    }
    lab.wanpool(["restore"]).silent();
    lab.wanpool(["assign"]).silent();
}

/// One alteration of each kind, and part of a step that repairs it.
const ALTERATIONS: [(&str, &str); 33] = [
    (
        "ip rule del pref 20201; ip rule add pref 20206 fwmark 0x1/0xff lookup 201 proto 87",
        "pref 20201",
    ),
    (
        "ip rule del pref 20201; ip rule add pref 20201 fwmark 0x1/0x1ff lookup 201 proto 87",
        "pref 20201",
    ),
    (
        "ip rule del pref 20201; ip rule add pref 20201 fwmark 0x1/0xff lookup 202 proto 87",
        "pref 20201",
    ),
    (
        "ip rule del pref 20020 iif ppp0; ip rule add pref 20020 iif ppp0 unreachable proto 87",
        "pref 20020",
    ),
    ("ip rule add pref 20207 fwmark 0x1/0xff lookup 201 proto 87", "ip rule del pref 20207"),
    ("ip rule add pref 20201 to 10.9.0.0/16 fwmark 0x1/0xff prohibit proto 87", "ip rule del"),
    ("ip route replace prohibit default table 201 metric 10 proto 87", "table 201"),
    ("ip route replace default dev br0 table 201 metric 10 proto 87", "table 201"),
    ("ip route replace default nhid 8702 table 201 metric 10 proto 87", "table 201"),
    ("ip route replace default nhid 8701 table 201 metric 10 mtu 1280 proto 87", "table 201"),
    ("ip route replace default via 10.65.4.1 dev eth1 table 302 proto 87", "table 302"),
    ("ip route replace default dev ppp0 table 301 src 192.168.7.1 proto 87", "table 301"),
    ("ip route add default nhid 8701 table 201 metric 13 proto 87", "ip route del default"),
    (
        "ip route add default nhid 8701 table 201 metric 10 tos 0x10 proto 87",
        "ip route del default",
    ),
    ("ip route prepend blackhole default table 201 metric 10 proto 87", "table 201"),
    ("ip route add default dev ppp0 table 205 proto 87", "ip route del default"),
    ("ip route add 10.1.0.0/16 via 192.168.7.77 table 201 proto 87", "ip route del 10.1.0.0/16"),
    ("ip nexthop replace id 8701 dev br0 proto 87", "id 8701 dev ppp0"),
    ("ip nexthop replace id 8702 via 10.65.4.1 dev eth1 proto 87", "id 8702 via"),
    ("ip nexthop del id 8701; ip nexthop add id 8701 blackhole proto 87", "id 8701 dev ppp0"),
    ("ip nexthop replace id 8700 group 8701,7/8702,7 proto 87", "id 8700 group"),
    ("ip nexthop del id 8700; ip nexthop add id 8700 dev br0 proto 87", "id 8700 group"),
    ("ip nexthop add id 4711 group 8701/8702 proto 87", "ip nexthop del id 4711"),
    ("ipset -exist add wanpool 192.168.7.10 skbmark 0x7/0xff", "add wanpool 192.168.7.10 "),
    ("ipset -exist add wanpool 192.168.7.10", "add wanpool 192.168.7.10 "),
    ("ipset add wanpool 10.9.9.9 skbmark 0x1/0xff", "ipset -exist del wanpool 10.9.9.9"),
    ("ipset flush wanpool", "add wanpool"),
    ("iptables -w -t mangle -F WANPOOL; ipset destroy wanpool", "ipset create wanpool"),
    ("iptables -w -t mangle -R WANPOOL 2 -m comment --comment mine -j RETURN", ":WANPOOL - "),
    ("iptables -w -t nat -I WANPOOL -o ppp0 -j MASQUERADE", ":WANPOOL - "),
    // The order of the rules.
    (
        "first=$(iptables -t mangle -S WANPOOL 1); iptables -t mangle -D WANPOOL 1; \
         iptables -t mangle $first",
        ":WANPOOL - ",
    ),
    ("iptables -w -t mangle -I PREROUTING -j WANPOOL", "-D PREROUTING"),
    ("sysctl -qw net.ipv4.ip_dynaddr=0 net.ipv4.fib_multipath_hash_policy=0", "hash_policy=3"),
];

fn altered_and_doubled_objects_are_repaired(shape: Shape) {
    let lab = two_uplinks(shape);
    let right = state(&lab);
    let every_chain = |commands: &str| -> String {
        let command = |(table, from, chain): &(&str, &str, &str)| {
            let commands = commands.replace("FROM", from).replace("CHAIN", chain);
            commands.replace("iptables", &format!("iptables -w -t {table}"))
        };
        CHAINS.iter().map(command).collect()
    };
    let deleted = every_chain("iptables -D FROM 1\niptables -F CHAIN\niptables -X CHAIN\n");
    let strange = every_chain("iptables -A CHAIN -j RETURN\n");
    let mut damages = ALTERATIONS.to_vec();
    damages.extend([(deleted.as_str(), ":WANPOOL-OUT - "), (&strange, ":WANPOOL-OUT - ")]);
    for (damage, step) in damages {
        for repair in [Repair::Restore, Repair::Steps] {
            assert_repaired(&lab, damage, step, repair, &right);
        }
    }
    // `ip rule add` takes ours for a copy of such a rule, so only the program repairs these.
    for altered in ["not fwmark 0x1/0xff", "from 192.168.7.0/24 fwmark 0x1/0xff"] {
        let damage =
            format!("ip rule del pref 20201; ip rule add pref 20201 {altered} lookup 201 proto 87");
        assert_repaired(&lab, &damage, "pref 20201 ", Repair::Restore, &right);
    }
    // `ip rule restore` adds an exact copy, which `ip rule add` refuses.
    let copy = "unshare -n sh -ec 'ip -4 rule flush; ip -4 rule del pref 0
                ip rule add pref 20201 fwmark 0x1/0xff lookup 201 proto 87
                ip -4 rule save' | ip rule restore";
    assert_repaired(&lab, copy, "ip rule del pref 20201 ", Repair::Steps, &right);
    // An altered jump may be a foreign one: ours is added again, and the altered one is kept.
    for repair in [Repair::Restore, Repair::Steps] {
        lab.gateway.sh("iptables -w -t nat -E WANPOOL RENAMED");
        let check = lab.check();
        assert!(check.drifted().contains(":WANPOOL - "), "{check}");
        repair.run(&lab, &check).ok();
        lab.gateway.sh("iptables -w -t nat -D POSTROUTING -j RENAMED
             iptables -w -t nat -F RENAMED\niptables -w -t nat -X RENAMED");
        state(&lab).assert_is(&right, format!("{repair:?} after a chain was renamed"));
    }
}

/// With three uplinks, so that there is one to move the pool to.
#[test]
fn assign_repairs_the_same_while_an_uplink_is_failed_over() {
    let lab = Lab::with().point_to_point(2).rp_filter(1).client_addresses(3).raise();
    let third = "\n[uplink.3]\ndev = \"eth1\"\nvia = \"10.65.4.1\"\n";
    lab.serve(&(two() + third));
    lab.wanpool(["failover", "2", "--to", "3"]).ok();
    let right = state(&lab);
    // The first route says that it was failed over by hand, the second one to which uplink; the
    // kernel deletes the latter with its nexthop.
    let records = ["table 302 metric 1 ", "table 202 metric 15 ", "id 8703"];
    let damages = [nexthops(&lab), routes(&lab)].concat();
    for (damage, step) in damages {
        if !records.iter().any(|record| damage.contains(record)) {
            assert_repaired(&lab, &damage, &step, Repair::Assign, &right);
        }
    }
}

#[test]
fn a_pool_file_edited_by_hand_is_drift_until_restore() {
    let lab = Lab::four_uplinks();
    let client = lab.member(1, 0);
    let dir = lab.pool_dir();
    lab.gateway.sh(&format!("cd {}\nsed -i 1d pool1\necho {client} >>pool2", dir.display()));
    let check = lab.check();
    assert_eq!(check.drifted(), format!("ipset -exist add wanpool {client} skbmark 0x2/0xff\n"));
    lab.gateway.sh(&check.steps);
    lab.check().clean();
    lab.assert_leaves_by(client, &[2]);
}

/// What `flush` removes is drift, and the steps of the check build it again.
fn a_flushed_slice_is_repaired(shape: Shape) {
    let lab = shape.serving(&four("helpers = [\"ftp\"]"));
    let right = state(&lab);
    for repair in [Repair::Restore, Repair::Assign, Repair::Steps] {
        lab.wanpool(["flush"]).ok();
        let check = lab.check();
        check.drifted();
        repair.run(&lab, &check).ok();
        state(&lab).assert_is(&right, format!("{repair:?} after flush"));
        lab.check().clean();
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
}
