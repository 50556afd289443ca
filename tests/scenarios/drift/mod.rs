//! Every object of the slice deleted, altered or doubled by hand: `pools --check` finds it, and
//! `restore`, `assign`, or the steps that the check prints, repair it.
//!
//! The objects are read from the gateway, so that none is forgotten.

mod damages;
mod filter;
mod routing;
mod set;

use crate::lab::{Lab, Shape, four, two};
pub use damages::Repair;
use damages::{assert_repaired, for_each_chain, state};

with_both_iptables! {
    each_filter_rule_jump_and_chain_is_repaired,
    damage_to_all_chains_and_the_set_is_repaired,
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

const RESTORE_AND_STEPS: [Repair; 2] = [Repair::Restore, Repair::Steps];

/// One uplink of each kind.
fn two_uplinks(shape: Shape) -> Lab {
    shape.point_to_point(1).rp_filter(1).client_addresses(3).serving(CONFIG)
}

fn each_filter_rule_jump_and_chain_is_repaired(shape: Shape) {
    let lab = two_uplinks(shape);
    assert_repaired(&lab, &filter::all(&lab), &RESTORE_AND_STEPS, 70);
}

#[test]
fn each_routing_rule_is_repaired() {
    let lab = two_uplinks(Lab::with());
    assert_repaired(&lab, &routing::rules(&lab), &RESTORE_AND_STEPS, 60);
}

#[test]
fn each_route_is_repaired() {
    let lab = two_uplinks(Lab::with());
    assert_repaired(&lab, &routing::routes(&lab), &RESTORE_AND_STEPS, 30);
}

#[test]
fn each_nexthop_is_repaired() {
    let lab = two_uplinks(Lab::with());
    assert_repaired(&lab, &routing::nexthops(&lab), &RESTORE_AND_STEPS, 10);
}

#[test]
fn the_set_each_of_its_entries_and_each_sysctl_is_repaired() {
    let lab = two_uplinks(Lab::with());
    let damages = [set::entries(&lab), set::sysctls(&lab)].concat();
    assert_repaired(&lab, &damages, &RESTORE_AND_STEPS, 15);
}

/// With three uplinks, so that there is one to move the pool to.
#[test]
fn assign_repairs_the_same_while_an_uplink_is_failed_over() {
    let lab = Lab::with().point_to_point(2).rp_filter(1).client_addresses(3).raise();
    let third = "\n[uplink.3]\ndev = \"eth1\"\nvia = \"10.65.4.1\"\n";
    lab.serve(&(two() + third));
    lab.wanpool(["failover", "2", "--to", "3"]).ok();
    // The first route says that it was failed over by hand, the second one to which uplink; the
    // kernel deletes the latter with its nexthop.
    let records = ["table 302 metric 1", "table 202 metric 15", "nexthop 8703"];
    let mut damages = [routing::nexthops(&lab), routing::routes(&lab)].concat();
    damages.retain(|damage| !records.iter().any(|record| damage.object.ends_with(record)));
    // One damage of each kind to each object is enough here.
    damages.dedup_by_key(|damage| (damage.object.clone(), damage.kind));
    assert_repaired(&lab, &damages, &[Repair::Assign], 30);
}

fn four_uplinks(shape: Shape) -> Lab {
    shape.rp_filter(1).serving(&four("helpers = [\"ftp\"]"))
}

/// Does each damage twice: `restore` repairs it, and so do the printed steps.
#[track_caller]
fn assert_each_repaired(lab: &Lab, damages: &[&str]) {
    let right = state(lab);
    for damage in damages {
        for repair in RESTORE_AND_STEPS {
            lab.gateway.sh(damage);
            let check = lab.check();
            check.drifted();
            assert!(check.findings.is_empty(), "{check}");
            repair.run(lab, &check).ok();
            state(lab).assert_is(&right, damage);
            lab.check().clean();
            lab.wanpool(["restore"]).silent();
            lab.wanpool(["assign"]).silent();
        }
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
}

#[test]
fn objects_with_our_protocol_that_are_not_wanted_are_removed() {
    assert_each_repaired(
        &four_uplinks(Lab::with()),
        &[
            "ip nexthop add id 4711 group 8701/8702 proto 87",
            "ip route add default dev ppp1 table 205 proto 87",
            "ip route add 10.1.0.0/16 via 192.168.7.77 table 201 proto 87",
            "ip rule add pref 1207 fwmark 0x1/0xff lookup 201 proto 87",
            // A selector and an action that our rules never have.
            "ip rule add pref 1201 to 10.9.0.0/16 fwmark 0x1/0xff prohibit proto 87",
        ],
    );
}

fn damage_to_all_chains_and_the_set_is_repaired(shape: Shape) {
    let lab = four_uplinks(shape);
    let [program, config, state] = [crate::lab::binary(), lab.config_file(), lab.pool_dir()]
        .map(|path| path.display().to_string());
    let flush = format!("{program} --config {config} --state-dir {state} flush");
    assert_each_repaired(
        &lab,
        &[
            "ipset add wanpool 10.9.9.9 skbmark 0x1/0xff",
            "iptables -t mangle -F WANPOOL\nipset destroy wanpool",
            &for_each_chain("-A CHAIN -j RETURN"),
            &for_each_chain("-D FROM 1;-F CHAIN;-X CHAIN"),
            // The order of the rules.
            "first=$(iptables -t mangle -S WANPOOL 1)
             iptables -t mangle -D WANPOOL 1\niptables -t mangle $first",
            &flush,
        ],
    );
}

#[test]
fn a_pool_file_edited_by_hand_is_drift_until_restore() {
    let lab = four_uplinks(Lab::with());
    let client = lab.member(1, 0);
    let dir = lab.pool_dir();
    lab.gateway.sh(&format!("cd {}\nsed -i 1d pool1\necho {client} >>pool2", dir.display()));
    let check = lab.check();
    assert_eq!(check.drifted(), format!("ipset -exist add wanpool {client} skbmark 0x2/0xff\n"));
    lab.gateway.sh(&check.steps);
    lab.check().clean();
    lab.assert_leaves_by(client, &[2]);
}
