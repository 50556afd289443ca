//! Every object of the slice, as the kernel's own tools list it, deleted, altered and doubled by
//! hand, one at a time: `pools --check` names it, and `restore` mends it.
//!
//! The objects are not written down here but read from the gateway, so that none is forgotten.

mod check_steps;
mod damages;
mod filter;
mod routing;
mod set;

use crate::lab::{Lab, Shape, uplinks};
use crate::with_both_iptables;
use damages::{Mender, try_all};

with_both_iptables! {
    each_filter_rule_jump_and_chain_is_repaired,
}

/// Everything that a config can switch on: a weight, a gateway, a pin, helpers, clamping, the hash
/// and multipath.
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

fn served(shape: Shape) -> Lab {
    let lab = shape.rp_filter(1).client_addresses(3).serving(CONFIG);
    lab
}

/// One line of each kind.
fn two_lines() -> Shape {
    Lab::with().point_to_point(1)
}

fn each_filter_rule_jump_and_chain_is_repaired(shape: Shape) {
    let lab = served(shape.point_to_point(1));
    let deeds = filter::all(&lab);
    try_all(&lab, &deeds, Mender::Restore, 100);
}

#[test]
fn each_routing_rule_is_repaired() {
    let lab = served(two_lines());
    try_all(&lab, &routing::rules(&lab), Mender::Restore, 100);
}

#[test]
fn each_route_is_repaired() {
    let lab = served(two_lines());
    try_all(&lab, &routing::routes(&lab), Mender::Restore, 50);
}

#[test]
fn each_nexthop_is_repaired() {
    let lab = served(two_lines());
    try_all(&lab, &routing::nexthops(&lab), Mender::Restore, 12);
}

#[test]
fn the_set_each_of_its_entries_and_each_sysctl_is_repaired() {
    let lab = served(two_lines());
    let deeds = [set::entries(&lab), set::sysctls(&lab)].concat();
    try_all(&lab, &deeds, Mender::Restore, 15);
}

/// Of three lines, so that there is one to send the pool to.
#[test]
fn assign_repairs_the_same_while_an_uplink_is_failed_over() {
    let lab = Lab::with().point_to_point(2).rp_filter(1).client_addresses(3).raise();
    let third = "\n[uplink.3]\ndev = \"eth1\"\nvia = \"10.65.4.1\"\n";
    lab.serve(&(uplinks("", &["ppp0", "ppp1"]) + third));
    lab.wanpool(["failover", "2", "--to", "3"]).ok();
    // That it was done on purpose is remembered by the one, to whom by the other, which the kernel
    // deletes with its nexthop.
    let memories = ["table 302 metric 1", "table 202 metric 15", "nexthop 8703"];
    let mut deeds = [routing::nexthops(&lab), routing::routes(&lab)].concat();
    deeds.retain(|deed| !memories.iter().any(|memory| deed.object.ends_with(memory)));
    // What is not otherwise while all are in service need not be tried in all its ways.
    deeds.dedup_by_key(|deed| (deed.object.clone(), deed.kind));
    try_all(&lab, &deeds, Mender::Assign, 40);
}
