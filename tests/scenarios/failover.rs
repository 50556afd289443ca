//! `failover`: an uplink is taken out of service, its pool moves to others, and only its flows end.

use std::net::Ipv4Addr;

use crate::lab::{Flow, Kind, Lab, Shape, three};

with_both_iptables! {
    failover_moves_the_pool_and_ends_only_the_flows_of_its_uplink,
    failover_to_moves_the_pool_to_that_uplink,
    failover_done_twice_changes_nothing_and_prints_nothing,
    restore_brings_the_pool_back_and_breaks_no_flow,
}

fn is_of(lab: &Lab, number: u8, kind: Kind) -> impl Fn(&Flow) -> bool {
    let members = lab.members(number);
    move |flow| flow.kind == kind && members.contains(&flow.client)
}

/// The flows by uplink 1, and all others.
fn split(lab: &Lab) -> [Vec<(u64, u32)>; 2] {
    let (of_one, others) = lab.tracked().into_iter().partition(|(_, mark)| mark & 0xff == 0x81);
    [of_one, others]
}

fn failover_moves_the_pool_and_ends_only_the_flows_of_its_uplink(shape: Shape) {
    let lab = shape.serving(&three(""));
    let talk = lab.talk(&lab.everyone());
    // Some with foreign bits, one with the mark of a pool, one without, and foreign bits alone.
    lab.track(&[0x81, 0x5a81, 0x6b_0082, 0x83, 0x01, 0x80, 0, 0x8100, 0x8181_0000]);
    let [of_one, others] = split(&lab);
    assert!(of_one.len() >= 22, "{of_one:?}");
    assert!(others.len() >= 47, "{others:?}");
    let [one, rest @ ..] = [1, 2, 3].map(|number| lab.uplink_address(number));

    lab.swallow(1, true);
    let ended = lab.wanpool(["-j", "failover", "ppp0"]).json()["flows_ended"].clone();
    let tracked = lab.tracked();
    for (id, mark) in others {
        assert_eq!(tracked.get(&id), Some(&mark), "a flow of another uplink or of none");
    }
    let left: Vec<_> = tracked.iter().filter(|(_, mark)| *mark & 0xff == 0x81).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(ended, of_one.len(), "flows_ended");
    lab.assert_all_leave_by(&lab.members(1), &[2, 3]);

    let (tcp, udp) = (is_of(&lab, 1, Kind::Tcp), is_of(&lab, 1, Kind::Udp));
    talk.goes_on("by another uplink", |flow| udp(flow));
    talk.goes_on("by the other uplinks", |flow| !tcp(flow) && !udp(flow));
    for end in talk.end_of("after failover", tcp) {
        assert!(end.contains("reset"), "{end}");
    }
    for flow in talk.stop() {
        match (lab.pool_of(flow.client), flow.kind) {
            (Some(1), Kind::Udp) => flow.assert_moved(one, &rest),
            (Some(1), Kind::Tcp) => assert_eq!(flow.seen(), [one], "{flow}"),
            (number, _) => flow.assert_whole(lab.uplink_address(number.expect("a pool"))),
        }
    }
    assert_eq!(lab.wanpool(["-j", "pools"]).json()[0]["state"], "failed-over");
}

fn failover_to_moves_the_pool_to_that_uplink(shape: Shape) {
    let lab = shape.serving(&three(""));
    let before = lab.state();
    let (one, three) = (lab.uplink_address(1), lab.uplink_address(3));
    let talk = lab.talk(&lab.members(1));

    lab.swallow(1, true);
    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).ok();
    lab.assert_all_leave_by(&lab.members(1), &[3]);
    let udp = |flow: &Flow| flow.kind == Kind::Udp;
    talk.goes_on("by the uplink named", udp);
    talk.stop().iter().filter(|flow| udp(flow)).for_each(|flow| flow.assert_moved(one, &[three]));
    assert_eq!(lab.wanpool(["-j", "pools"]).json()[0]["carried_by"], "ppp2");

    let sent = lab.state();
    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).silent();
    lab.wanpool(["failover", "1", "--to", "3"]).silent();
    lab.wanpool(["assign"]).silent();
    lab.state().assert_is(&sent, "twice");

    lab.wanpool(["failover", "1", "--to", "2"]).ok();
    lab.assert_all_leave_by(&lab.members(1), &[2]);
    lab.hang_up(2);
    lab.assert_all_leave_by(&lab.members(1), &[3]);
    lab.redial(2);
    lab.wanpool(["restore", "2"]).ok();
    lab.swallow(1, false);
    lab.wanpool(["restore", "1"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.state().assert_is(&before, "as before");
}

fn failover_done_twice_changes_nothing_and_prints_nothing(shape: Shape) {
    let lab = shape.serving(&three(""));
    let talk = lab.talk(&lab.everyone());
    // The uplink is healthy: packets still arrive by it while its flows end.
    assert_eq!(lab.wanpool(["failover", "ppp0"]).ok().stdout, "uplink 1 ppp0 failed-over\n");
    let tcp = is_of(&lab, 1, Kind::Tcp);
    talk.end_of("after failover", &tcp);
    talk.goes_on("by another uplink", |flow| !tcp(flow));
    // A flow that begins on the uplink later stays, too.
    lab.track(&[0x81]);
    let (before, flows) = (lab.state(), split(&lab).concat());
    for again in ["ppp0", "1"] {
        lab.wanpool(["failover", again]).silent();
    }
    let report = lab.wanpool(["-j", "failover", "ppp0"]).json();
    assert_eq!((&report["steps"], &report["flows_ended"]), (&serde_json::json!([]), &0.into()));
    lab.state().assert_is(&before, "after it was done again");
    let tracked = lab.tracked();
    assert!(flows.iter().all(|(id, mark)| tracked.get(id) == Some(mark)), "a flow was ended");
    talk.goes_on("by another uplink", |flow| !tcp(flow));
}

fn restore_brings_the_pool_back_and_breaks_no_flow(shape: Shape) {
    let lab = shape.serving(&three(""));
    let before = lab.state();
    lab.wanpool(["failover", "ppp0"]).ok();
    let talk = lab.talk(&lab.everyone());
    let meanwhile: Vec<Ipv4Addr> = talk.flows().iter().map(|flow| flow.seen()[0]).collect();
    assert!(!meanwhile.contains(&lab.uplink_address(1)));
    assert_eq!(lab.wanpool(["restore", "ppp0"]).ok().stdout, "uplink 1 ppp0 up\n");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    talk.goes_on("after restore", |_| true);
    lab.state().assert_is(&before, "as before");
    for (flow, seen) in talk.stop().iter().zip(meanwhile) {
        flow.assert_whole(seen);
    }
}

#[test]
fn failover_works_when_the_device_is_gone() {
    let lab = Lab::three_uplinks();
    lab.hang_up(1);
    lab.track(&[0x81, 0x82, 0x5a81]);
    lab.wanpool(["failover", "ppp0"]).ok();
    let marks: Vec<u32> = lab.tracked().into_values().collect();
    assert!(marks.contains(&0x82) && !marks.iter().any(|mark| mark & 0xff == 0x81), "{marks:x?}");
    let before = lab.state();
    lab.wanpool(["failover", "ppp0"]).silent();
    lab.state().assert_is(&before, "twice");

    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).ok();
    lab.assert_all_leave_by(&lab.members(1), &[3]);
    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).silent();
}

#[test]
fn impossible_failovers_and_restores_are_refused() {
    let lab = Lab::three_uplinks();
    lab.hang_up(3);
    let before = lab.state();
    for (command, status, word) in [
        ("failover", 2, "UPLINK"),
        ("failover nosuch0", 2, "there is no uplink \"nosuch0\""),
        ("failover ppp0 --to nosuch0", 2, "there is no uplink \"nosuch0\""),
        ("failover ppp0 --to ppp0", 1, "cannot replace itself"),
        ("failover ppp0 --to ppp2", 1, "uplink 3 (ppp2) is not in service"),
        ("restore ppp2", 1, "ppp2"),
    ] {
        lab.run(command).refused(status).naming(&[word]);
        lab.state().assert_is(&before, command);
    }
}

#[test]
fn flows_end_by_one_message_after_the_route_has_moved() {
    let lab = Lab::three_uplinks();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    let (run, trace) = lab.strace("-e trace=sendto,sendmsg,execve", "failover ppp0");
    run.ok();
    let at = |name: &str| -> Vec<usize> {
        let lines = trace.lines().enumerate().filter(|(_, line)| line.contains(name));
        lines.map(|(at, _)| at).collect()
    };
    let (moves, ends) = (at("RTM_DELNEXTHOP"), at("IPCTNL_MSG_CT_DELETE"));
    assert_eq!((moves.len(), ends.len()), (1, 1), "{trace}");
    assert!(moves < ends, "{trace}");
    assert!(at("conntrack\"").is_empty(), "a process for the flows: {trace}");
}
