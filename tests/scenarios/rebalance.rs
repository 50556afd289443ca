//! Clients with open connections are moved: no connection breaks, and new ones use the new uplink.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::{Value, json};

use crate::lab::{EchoServer, FAR, Flow, Lab, Shape, three, two};

with_both_iptables! {
    rebalance_breaks_no_connection,
    assign_to_a_pool_breaks_no_connection,
}

/// The clients that were moved out of a pool, as `-j assign` reports it.
fn moved_from(report: &Value, pool: u8) -> Vec<Ipv4Addr> {
    let rows = report["moved"].as_array().expect("an array").iter();
    let client =
        |row: &Value| row["client"].as_str().expect("a client").parse().expect("an address");
    rows.filter(|row| row["from"] == pool).map(client).collect()
}

/// Each flow has stayed on the uplink on which it began, which was its client's at that time.
#[track_caller]
fn assert_all_whole(lab: &Lab, flows: &[Flow], before: &[Vec<Ipv4Addr>]) {
    for flow in flows {
        let pool = before.iter().position(|members| members.contains(&flow.client));
        flow.assert_whole(lab.uplink_address(pool.expect("it had a pool") as u8 + 1));
    }
    assert_eq!(flows.len(), 60, "a TCP connection and a UDP flow of each client");
}

fn rebalance_breaks_no_connection(shape: Shape) {
    for rp_filter in [0, 1] {
        let lab = shape.clone().rp_filter(rp_filter).serving(&two());
        let before = vec![lab.members(1), lab.members(2)];
        let talk = lab.talk(&lab.everyone());
        let tracked = lab.tracked();

        lab.config(&three(""));
        let report = lab.wanpool(["-j", "assign", "--rebalance"]).json();
        let moved = [1, 2].map(|pool| moved_from(&report, pool));
        assert_eq!(moved.each_ref().map(Vec::len), [5, 5], "{report}");
        assert_eq!(lab.members(3).len(), 10);
        assert!(moved.concat().iter().all(|client| lab.pool_of(*client) == Some(3)), "{report}");
        assert_eq!((&report["assigned"], &report["released"]), (&json!([]), &json!([])));
        assert_eq!(report["flows_ended"], 0);
        let still = lab.tracked();
        assert!(tracked.iter().all(|(id, mark)| still.get(id) == Some(mark)), "a flow was ended");
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        lab.wanpool(["assign", "--rebalance"]).silent();
        talk.goes_on("when clients have been moved", |_| true);
        assert_all_whole(&lab, &talk.stop(), &before);
    }
}

fn assign_to_a_pool_breaks_no_connection(shape: Shape) {
    for rp_filter in [0, 2] {
        let lab = shape.clone().rp_filter(rp_filter).serving(&three(""));
        let before = vec![lab.members(1), lab.members(2), lab.members(3)];
        let talk = lab.talk(&lab.everyone());

        let names: Vec<String> = lab.everyone().iter().map(Ipv4Addr::to_string).collect();
        let report = lab.run(&format!("-j assign {} --pool ppp2", names.join(" "))).json();
        assert_eq!([1, 2].map(|pool| moved_from(&report, pool)), before[..2]);
        assert!(moved_from(&report, 3).is_empty(), "clients of the pool are not moved");
        assert_eq!(lab.members(3).len(), 30);
        lab.assert_each_leaves_by_its_own_uplink(&[3]);
        // And back, from a list.
        let list: Vec<String> = before[0].iter().map(|client| format!("{client}\n")).collect();
        lab.wanpool_reading(["assign", "--from", "-", "--pool", "1"], &list.concat()).ok();
        assert_eq!(lab.members(1), before[0]);
        lab.assert_each_leaves_by_its_own_uplink(&[1, 3]);
        talk.goes_on("when clients have been moved", |_| true);
        assert_all_whole(&lab, &talk.stop(), &before);
    }
}

#[test]
fn rebalance_moves_clients_without_a_live_flow_first() {
    let lab = Lab::serving(&two());
    let [one, two] = [1, 2].map(|pool| lab.members(pool));
    // The first five of pool 1 and the first three of pool 2 are idle.
    let busy = [&one[5..], &two[3..]].concat();
    let talk = lab.talk(&busy);
    // A closed connection does not count.
    let mut over = lab.client(one[0]).tcp().unwrap();
    assert_eq!(over.ask(), Ok(lab.uplink_address(1)));
    drop(over);
    lab.await_closed(one[0]);

    lab.config(&three(""));
    let report = lab.wanpool(["-j", "assign", "--rebalance"]).json();
    let [mut from_one, from_two] = [1, 2].map(|pool| moved_from(&report, pool));
    from_one.sort();
    assert_eq!(from_one, one[..5], "exactly the idle clients");
    assert_eq!(from_two.len(), 5);
    assert!(two[..3].iter().all(|idle| from_two.contains(idle)), "{from_two:?}");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    talk.goes_on("when clients have been moved", |_| true);
    let began = |flow: &Flow| if one.contains(&flow.client) { 1 } else { 2 };
    talk.stop().iter().for_each(|flow| flow.assert_whole(lab.uplink_address(began(flow))));
}

#[test]
fn an_incoming_flow_counts_as_a_live_flow_of_its_client() {
    let lab = Lab::serving(&two());
    let (one, other) = (lab.members(1), lab.members(2));
    let (idle, server) = (one[0], one[14]);
    let _talk = lab.talk(&[&one[1..14], &other].concat());
    let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(server, 8080));
    lab.forward_port(1, server);
    let mut visitor = lab.visitor(1, 8080).tcp().unwrap();
    assert_eq!(visitor.ask(), Ok(*FAR.ip()));
    assert!(lab.connmarks(idle).is_empty(), "the idle one has no flow");

    // With one more that cannot go, one of the two must.
    lab.config(&format!("{}\n[pin]\n\"{}\" = 1\n", two(), other[0]));
    lab.wanpool(["assign"]).ok();
    let report = lab.wanpool(["-j", "assign", "--rebalance"]).json();
    assert_eq!(moved_from(&report, 1), [idle], "the server has a visitor");
    assert_eq!(visitor.ask(), Ok(*FAR.ip()));
}

#[test]
fn rebalance_prints_what_it_moved_and_a_dry_run_moves_no_client() {
    let lab = Lab::serving(&two());
    let was = [1, 2].map(|pool| lab.members(pool));
    lab.config(&three(""));
    lab.wanpool(["assign"]).ok();
    let before = lab.state();
    assert!(!lab.wanpool(["-n", "assign", "--rebalance"]).ok().stdout.is_empty());
    lab.state().assert_is(&before, "after a dry run");
    let report = lab.wanpool(["assign", "--rebalance"]);
    let from = |client: &Ipv4Addr| if was[0].contains(client) { 1 } else { 2 };
    let mut lines: Vec<String> = (lab.members(3).iter())
        .map(|client| format!("{client} pool 3 ppp2 from {}", from(client)))
        .collect();
    lines.sort();
    let mut printed = report.ok().lines();
    printed.sort_unstable();
    assert_eq!(printed, lines);
}
