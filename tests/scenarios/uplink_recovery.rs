//! Uplinks that are lost and come back without a hook: `assign` puts them in service again, but
//! leaves those that were failed over as they are.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::lab::{FAR, Lab, Shape, Speaker, four, three, wait_until};

with_both_iptables! {
    assign_restores_an_uplink_redialled_without_a_hook,
    assign_restores_an_uplink_after_carrier_loss,
    assign_leaves_a_failed_over_uplink_out_of_service,
    the_gateway_itself_uses_a_redialled_uplink_before_any_run,
    a_failover_by_hand_holds_while_its_device_exists,
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
    let whole = lab.state();
    others.assert_on_own_uplinks(&lab);
    (1..=4).for_each(|number| lab.redial(number));
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.state().assert_is(&whole, "all were redialled at once");
}

fn assign_restores_an_uplink_after_carrier_loss(shape: Shape) {
    let lab = shape.serving(&four(""));
    let before = lab.state();
    for number in [1, 4] {
        let (id, table) = (format!("id {} ", 8700 + u32::from(number)), 300 + u32::from(number));
        let lose_carrier = || {
            lab.carrier(number, false);
            let nexthops = || lab.gateway.sh("ip nexthop show");
            wait_until("the kernel drops the nexthop", || !nexthops().contains(&id));
        };
        lose_carrier();
        assert!(!lab.table(table).is_empty(), "the uplink's own table is kept");
        lab.assert_leaves_by_another(lab.member(number, 0), number);
        // Without carrier a run leaves it out of service.
        lab.wanpool(["assign"]).ok();
        assert_eq!(lab.state_of(number), "down");
        lab.carrier(number, true);
        lab.wanpool(["assign"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[number]);
        lab.state().assert_is(&before, "the carrier is back");

        // Lost for a moment between two runs.
        lose_carrier();
        lab.carrier(number, true);
        let line = format!("uplink {number} {} up\n", lab.uplink_dev(number));
        assert_eq!(lab.wanpool(["assign"]).ok().stdout, line);
        lab.state().assert_is(&before, "the carrier was lost for a moment");
    }
}

fn assign_leaves_a_failed_over_uplink_out_of_service(shape: Shape) {
    let lab = shape.raise();
    lab.config(&four(""));
    let (first, later) = (lab.everyone()[..20].to_vec(), lab.everyone()[20..].to_vec());
    lab.discover(&first);
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    for number in [1, 4] {
        let dev = lab.uplink_dev(number);
        let whole = lab.kernel_state();
        lab.wanpool(["failover", &dev]).ok();
        let out = lab.state();
        lab.wanpool(["assign"]).silent();
        lab.wanpool(["assign", "192.168.7.10"]).silent();
        lab.state().assert_is(&out, "after assign");
        // Another uplink is redialled meanwhile.
        lab.redial(2);
        lab.wanpool(["assign"]).ok();
        lab.state().assert_is(&out, "another uplink is restored");
        for client in lab.members(number) {
            lab.assert_leaves_by_another(client, number);
        }
        lab.wanpool(["restore", &dev]).ok();
        lab.kernel_state().assert_is(&whole, "restored");
        lab.assert_each_leaves_by_its_own_uplink(&[number]);
    }
    // New clients are assigned to its pool all the same, and use other uplinks until it is back.
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.discover(&later);
    lab.wanpool(["assign"]).ok();
    assert!(lab.pool(1).len() >= 7, "{:?}", lab.pool(1));
    lab.assert_leaves_by_another(*lab.members(1).last().unwrap(), 1);
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

#[test]
fn redialling_a_failed_over_uplink_puts_it_in_service() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.redial(1);
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "redialled");
}

#[test]
fn an_uplink_without_address_is_down() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    // As pppd leaves it between two sessions, and after it could not connect.
    lab.gateway.sh("ip addr flush dev ppp0");
    lab.wanpool(["assign"]).ok();
    let row = lab.wanpool(["-j", "pools"]).json()[0].clone();
    assert_eq!((&row["state"], &row["carried_by"]), (&json!("down"), &json!("ppp1,ppp2")));
    lab.assert_leaves_by_another(lab.member(1, 0), 1);
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
        lab.state().assert_is(&out, "failed over without carrier");
        lab.wanpool(["restore", &dev]).ok();
        lab.state().assert_is(&whole, "restored");
    }
}

/// Scripts in ip-up.d may run before wanpool's, and a redial without hooks is seen by the next run only.
fn the_gateway_itself_uses_a_redialled_uplink_before_any_run(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&three(""));
        for number in 1..=3 {
            lab.hang_up(number);
        }
        lab.redial(1);
        // pppd adds it.
        lab.gateway.sh("ip route add default dev ppp0");
        let own = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR);
        for mut conn in [own.tcp().unwrap(), own.udp().unwrap()] {
            for _ in 0..3 {
                let seen = conn.ask();
                assert_eq!(seen, Ok(lab.uplink_address(1)), "with rp_filter {rp_filter}");
            }
        }
        lab.wanpool(["restore", "ppp0"]).ok();
        lab.assert_leaves_by(lab.member(1, 0), &[1]);
    }
}

/// For work on a line.
fn a_failover_by_hand_holds_while_its_device_exists(shape: Shape) {
    let lab = shape.serving(&four(""));
    let served = lab.state();
    lab.wanpool(["failover", "eth1"]).ok();
    let failed_over = lab.state();
    for (work, undo) in [
        ("ip link set eth1 down", "ip link set eth1 up"),
        ("ip addr flush dev eth1", "ip addr add 10.65.4.2/24 dev eth1"),
    ] {
        lab.gateway.sh(work);
        for command in ["assign", "failover 4", "--hook failover eth1", "multipath off"] {
            lab.run(command).ok();
            assert_eq!(lab.state_of(4), "failed-over", "{work}, {command}");
        }
        lab.wanpool(["pools", "--check"]).ok();
        lab.gateway.sh(undo);
        lab.wanpool(["--hook", "restore", "eth1"]).ok();
        lab.wanpool(["assign"]).silent();
        lab.state().assert_is(&failed_over, work);
        lab.assert_all_leave_by(&lab.members(4), &[1, 2, 3]);
    }
    lab.wanpool(["restore", "eth1"]).ok();
    lab.state().assert_is(&served, "restored");

    lab.gateway.sh("ip link set eth1 down");
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.wanpool(["failover", "eth1"]).stdout, "uplink 4 eth1 failed-over\n");
    lab.gateway.sh("ip link set eth1 up");
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&failed_over, "failed over while it was down");
    lab.redial(4);
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&served, "a new device starts afresh");
}
