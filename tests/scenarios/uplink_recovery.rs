//! What no hook told us, `assign` heals; what was done on purpose it leaves alone.

use serde_json::json;

use crate::lab::{Lab, Shape, four, three, wait_until};
use crate::with_both_iptables;

with_both_iptables! {
    assign_restores_an_uplink_redialled_without_a_hook,
    assign_restores_an_uplink_after_carrier_loss,
    assign_leaves_a_failed_over_uplink_out_of_service,
}

fn nexthops(lab: &Lab) -> String {
    lab.gateway.sh("ip nexthop show")
}

fn assign_restores_an_uplink_redialled_without_a_hook(shape: Shape) {
    let lab = shape.serving(&four(""));
    let others = lab.talk(&[2, 3, 4].map(|pool| lab.member(pool, 0)));
    for address in ["10.64.1.77", "10.64.1.2"] {
        lab.redial_as(1, address.parse().unwrap());
        assert!(lab.table(301).is_empty(), "{:?}", lab.table(301));
        assert_eq!(lab.wanpool(["assign"]).ok().stdout, "uplink 1 ppp0 up\n");
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        lab.wanpool(["assign"]).silent();
        lab.wanpool(["restore"]).silent();
    }
    // All at once, and the ethernet uplink with them.
    let whole = lab.state();
    for flow in others.stop() {
        let number = lab.pool_of(flow.client).expect("a pool");
        flow.assert_whole(lab.uplink_address(number));
    }
    (1..=4).for_each(|number| lab.redial(number));
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.state().assert_is(&whole, "all were dialled anew");
}

fn assign_restores_an_uplink_after_carrier_loss(shape: Shape) {
    let lab = shape.serving(&four(""));
    let before = lab.state();
    for number in [1, 4] {
        let (id, table) = (format!("id {} ", 8700 + u32::from(number)), 300 + u32::from(number));
        lab.carrier(number, false);
        wait_until("the kernel drops the nexthop", || !nexthops(&lab).contains(&id));
        assert!(!lab.table(table).is_empty(), "the uplink's own table is kept");
        let client = lab.member(number, 0);
        let seen = lab.client(client).seen();
        assert!(seen.as_ref().is_ok_and(|&seen| seen != lab.uplink_address(number)), "{seen:?}");
        // While it is out, a run does no harm: it has no carrier.
        lab.wanpool(["assign"]).ok();
        let state = lab.wanpool(["-j", "pools"]).json()[usize::from(number) - 1]["state"].clone();
        assert_eq!(state, "down");

        lab.carrier(number, true);
        lab.wanpool(["assign"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[number]);
        lab.state().assert_is(&before, "the carrier is back");

        // For a moment, between two runs.
        lab.carrier(number, false);
        wait_until("the kernel drops the nexthop", || !nexthops(&lab).contains(&id));
        lab.carrier(number, true);
        let line = format!("uplink {number} {} up\n", lab.uplink_dev(number));
        assert_eq!(lab.wanpool(["assign"]).ok().stdout, line);
        lab.state().assert_is(&before, "the carrier was gone for a moment");
    }
}

fn assign_leaves_a_failed_over_uplink_out_of_service(shape: Shape) {
    let lab = shape.raise();
    lab.config(&four(""));
    let (first, later) = (lab.everyone()[..20].to_vec(), lab.everyone()[20..].to_vec());
    lab.hear(&first);
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    for number in [1, 4] {
        let (own, dev) = (lab.uplink_address(number), lab.uplink_dev(number));
        let whole = lab.kernel_state();
        lab.wanpool(["failover", &dev]).ok();
        let out = lab.state();
        lab.wanpool(["assign"]).silent();
        lab.wanpool(["assign", "192.168.7.10"]).silent();
        lab.state().assert_is(&out, "after assign");
        // Another line comes and goes meanwhile.
        lab.redial(2);
        lab.wanpool(["assign"]).ok();
        lab.state().assert_is(&out, "another line is healed");
        for client in lab.members(number) {
            let seen = lab.client(client).seen();
            assert!(seen.as_ref().is_ok_and(|&seen| seen != own), "{client}: {seen:?}");
        }
        lab.wanpool(["restore", &dev]).ok();
        lab.kernel_state().assert_is(&whole, "restored");
        lab.assert_each_leaves_by_its_own_uplink(&[number]);
    }
    // New clients are placed in its pool all the same, and wait there for its return.
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.hear(&later);
    lab.wanpool(["assign"]).ok();
    assert!(lab.pool(1).len() >= 7, "{:?}", lab.pool(1));
    let client = *lab.members(1).last().unwrap();
    let seen = lab.client(client).seen();
    assert!(seen.as_ref().is_ok_and(|&seen| seen != lab.uplink_address(1)), "{seen:?}");
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

#[test]
fn assign_restores_a_deleted_nexthop() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    for what in ["id 8702", "id 8700"] {
        lab.gateway.sh(&format!("ip nexthop del {what}"));
        lab.wanpool(["assign"]).ok();
        lab.state().assert_is(&before, what);
    }
    lab.gateway.sh("ip link set ppp1 down; ip link set ppp1 up");
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "down and up");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

#[test]
fn redialling_a_failed_over_uplink_puts_it_in_service() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.redial(1);
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "dialled anew");
}

#[test]
fn an_uplink_without_address_is_down() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    // As pppd leaves it between two sessions, and as a dial that fails leaves it.
    lab.gateway.sh("ip addr flush dev ppp0");
    lab.wanpool(["assign"]).ok();
    let row = lab.wanpool(["-j", "pools"]).json()[0].clone();
    assert_eq!((&row["state"], &row["carried_by"]), (&json!("down"), &json!("ppp1,ppp2")));
    let seen = lab.client(lab.member(1, 0)).seen();
    assert!(seen.as_ref().is_ok_and(|&seen| seen != lab.uplink_address(1)), "{seen:?}");
    lab.wanpool(["restore", "ppp0"]).refused(1).naming(&["ppp0", "address"]);
    lab.gateway.sh("ip addr add 10.64.1.2 peer 10.64.1.1 dev ppp0");
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "it has its address again");
}

#[test]
fn failover_survives_carrier_loss_and_works_without_carrier() {
    let lab = Lab::four_uplinks();
    let whole = lab.state();
    for number in [1, 4] {
        let dev = lab.uplink_dev(number);
        lab.wanpool(["failover", &dev]).ok();
        let out = lab.state();
        lab.carrier(number, false);
        lab.wanpool(["assign"]).silent();
        lab.carrier(number, true);
        lab.wanpool(["assign"]).silent();
        lab.state().assert_is(&out, "failed over, then the carrier was lost for a moment");
        lab.wanpool(["restore", &dev]).ok();
        lab.state().assert_is(&whole, "restored");

        lab.carrier(number, false);
        lab.wanpool(["failover", &dev]).ok();
        lab.carrier(number, true);
        lab.wanpool(["assign"]).silent();
        lab.state().assert_is(&out, "failed over while the carrier was lost");
        lab.wanpool(["restore", &dev]).ok();
        lab.state().assert_is(&whole, "restored");
    }
}
