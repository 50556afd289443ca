//! The admin edits routes, nexthops or ids by hand, or a device loses its address: no run fails for
//! that, and no uplink that works stays idle.

use crate::lab::{Lab, QUICK, three};

/// A script of commands that leaves an object of wanpool in the way, and the command that must mend
/// it.
const EDITS: [(&str, &str); 6] = [
    (
        "ip nexthop add id 8740 dev br0 protocol 87
         ip route replace default nhid 8740 table 201 metric 10 protocol 87",
        "restore",
    ),
    ("ip route append default dev ppp0 table 301 mtu 1400 protocol 87", "restore"),
    ("ip route add default dev ppp0 scope global table 301 metric 30 protocol 87", "restore"),
    ("ip route append default nhid 8702 table 201 metric 10 protocol 87", "assign"),
    ("ip route append default nhid 8701 table 201 metric 10 mtu 1400 protocol 87", "assign"),
    ("ip route prepend default nhid 8702 table 201 metric 10 protocol 87", "assign"),
];

#[test]
fn a_route_or_a_nexthop_in_the_way_is_repaired_by_runs_and_by_printed_steps() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    for (edit, command) in EDITS {
        lab.gateway.sh(edit);
        lab.wanpool([command]).ok();
        lab.state().assert_is(&before, edit);
        lab.gateway.sh(edit);
        let check = lab.check();
        lab.run_steps(&check).ok();
        lab.state().assert_is(&before, format!("{edit}: {check}"));
        lab.check().clean();
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

/// Selectors that wanpool's own rules never have.
const RULES: [&str; 10] = [
    "ipproto tcp dport 80-90",
    "ipproto udp sport 53",
    "uidrange 1000-2000",
    "tos 0x10",
    "oif ppp0",
    "to 10.9.0.0/16",
    "from 10.9.0.0/16 iif br0",
    "fwmark 0x1/0x1ff",
    "not fwmark 0x7/0xff",
    "tun_id 7",
];

#[test]
fn a_rule_with_any_selector_is_removed_by_printed_steps_and_by_runs() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    for action in ["lookup main suppress_prefixlength 8", "lookup 201", "unreachable"] {
        for selectors in RULES {
            let add = format!("ip rule add pref 20250 {selectors} {action} protocol 87");
            lab.gateway.sh(&add);
            let check = lab.check();
            lab.run_steps(&check).ok();
            lab.state().assert_is(&before, format!("{add}: {check}"));
        }
    }
    for selectors in RULES {
        lab.gateway.sh(&format!("ip rule add pref 20250 {selectors} lookup 201 protocol 87"));
    }
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "after assign");
}

#[test]
fn a_flush_removes_a_route_of_another_scope() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("ip route add default dev ppp0 scope global table 301 metric 30 protocol 87");
    lab.wanpool(["flush"]).ok();
    assert_eq!(lab.gateway.sh("ip -4 route show table all protocol 87"), "");
}

#[test]
fn a_nexthop_that_is_the_only_member_of_a_group_is_repaired_by_printed_steps() {
    let lab = Lab::three_uplinks();
    lab.hang_up(1);
    lab.hang_up(3);
    lab.wanpool(["assign"]).ok();
    let before = lab.state();
    lab.gateway.sh("ip nexthop replace id 8702 blackhole protocol 87");
    let check = lab.check();
    lab.run_steps(&check).ok();
    lab.state().assert_is(&before, check.to_string());
}

#[test]
fn other_ids_of_nexthops_take_effect_in_the_next_run() {
    let lab = Lab::three_uplinks();
    let moved = three("[kernel]\nnexthop-base = 9000\n");
    let open = lab.talk(&lab.everyone());
    for (config, first) in [(&moved, "restore"), (&three(""), "assign"), (&moved, "steps")] {
        lab.config(config);
        if first == "steps" {
            let check = lab.check();
            lab.run_steps(&check).ok();
        } else {
            lab.wanpool([first]).ok();
        }
        lab.check().clean();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    }
    open.goes_on("with other ids", |_| true);
    for flow in open.stop() {
        flow.assert_whole(flow.seen()[0]);
    }
}

#[test]
fn a_failover_to_another_uplink_succeeds_after_the_first_one_has_lost_its_address() {
    let lab = Lab::three_uplinks();
    lab.wanpool(["failover", "1", "--to", "3"]).ok();
    lab.gateway.sh("ip addr flush dev ppp2");
    lab.wanpool(["failover", "1", "--to", "2"]).ok();
    for client in lab.members(1) {
        assert_eq!(lab.client(client).udp().unwrap().ask(), Ok(lab.uplink_address(2)));
    }
}

#[test]
fn an_uplink_that_has_lost_its_address_is_down_at_once_and_replaced_by_the_next_run() {
    let lab = Lab::four_uplinks();
    lab.gateway.sh("ip addr flush dev ppp0");
    assert_eq!(lab.state_of(1), "down");
    let run = lab.wanpool(["assign"]);
    run.ok();
    assert_eq!(run.stdout, "uplink 1 ppp0 down: the device has no address\n");
    for client in lab.members(1) {
        let seen = lab.client(client).udp().unwrap().ask().expect("an answer");
        assert_ne!(seen, lab.uplink_address(1));
    }
}

#[test]
fn a_dead_target_never_leaves_all_clients_without_service() {
    let lab = Lab::new();
    lab.serve(&three(&QUICK.replace("100.66.0.1", "tcp:100.66.0.1:9")));
    for _ in 0..3 {
        lab.probe();
    }
    let up: Vec<u8> = (1..=3).filter(|&number| lab.state_of(number) == "up").collect();
    let [last] = up[..] else { panic!("in service: {up:?}") };
    lab.hang_up(last);
    lab.probe();
    let others: Vec<u8> = (1..=3).filter(|&number| number != last).collect();
    assert!(others.iter().any(|&number| lab.state_of(number) == "up"));
    let addresses: Vec<_> = others.iter().map(|&number| lab.uplink_address(number)).collect();
    for client in lab.everyone() {
        let seen = lab.client(client).udp().unwrap().ask().expect("an answer");
        assert!(addresses.contains(&seen), "{client} left by {seen}");
    }
}
