//! `failover`: a line that is up but dead is taken out, its pool moves, its flows end; no others.

use std::net::Ipv4Addr;

use crate::lab::{Flow, Kind, Lab, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    failover_moves_the_pool_and_ends_only_the_flows_of_its_uplink,
    failover_to_moves_the_pool_to_that_uplink,
    failover_done_twice_changes_nothing_and_prints_nothing,
    restore_brings_the_pool_back_and_breaks_no_flow,
}

const OUT: &str = "uplink 1 ppp0 failed-over\n";

fn is_of(lab: &Lab, number: u8, kind: Kind) -> impl Fn(&Flow) -> bool {
    let members = lab.members(number);
    move |flow| flow.kind == kind && members.contains(&flow.client)
}

/// Flows that nobody speaks over, with these connmarks.
fn track(lab: &Lab, marks: &[u32]) {
    for (at, mark) in marks.iter().enumerate() {
        lab.gateway.sh(&format!(
            "conntrack -I -s 192.168.7.200 -d 198.51.100.7 -p udp --sport {} --dport 53 -t 600 -m {mark} 2>/dev/null",
            4000 + at
        ));
    }
}

/// The flows by uplink 1, and all others.
fn split(lab: &Lab) -> [Vec<(u64, u32)>; 2] {
    let (of_one, others) = lab.tracked().into_iter().partition(|(_, mark)| mark & 0xff == 0x81);
    [of_one, others]
}

/// Over a new connection of each kind each of these is seen from one of these addresses.
#[track_caller]
fn assert_seen(lab: &Lab, clients: &[Ipv4Addr], from: &[Ipv4Addr]) {
    for &client in clients {
        let seen = lab.client(client).seen();
        assert!(seen.as_ref().is_ok_and(|seen| from.contains(seen)), "{client}: {seen:?}");
    }
}

fn failover_moves_the_pool_and_ends_only_the_flows_of_its_uplink(shape: Shape) {
    let lab = shape.serving(&three(""));
    let talk = lab.talk(&lab.everyone());
    // With bits of others; a pool's mark; none at all; foreign bits alone.
    track(&lab, &[0x81, 0x5a81, 0x6b_0082, 0x83, 0x01, 0x80, 0, 0x8100, 0x8181_0000]);
    let [of_one, others] = split(&lab);
    assert!(of_one.len() >= 22, "{of_one:?}");
    assert!(others.len() >= 47, "{others:?}");
    let [one, rest @ ..] = [1, 2, 3].map(|number| lab.uplink_address(number));

    lab.swallow(1, true);
    let ended = lab.wanpool(["-j", "failover", "ppp0"]).json()["flows_ended"].clone();
    let tracked = lab.tracked();
    for (id, mark) in others {
        assert_eq!(tracked.get(&id), Some(&mark), "a flow of another uplink, or of none");
    }
    let left: Vec<_> = tracked.iter().filter(|(_, mark)| *mark & 0xff == 0x81).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(ended, of_one.len(), "flows_ended");
    assert_seen(&lab, &lab.members(1), &rest);

    let (tcp, udp) = (is_of(&lab, 1, Kind::Tcp), is_of(&lab, 1, Kind::Udp));
    talk.goes_on("by another uplink", |flow| udp(flow));
    talk.goes_on("by the other uplinks", |flow| !tcp(flow) && !udp(flow));
    for end in talk.end_of("rather than hang", tcp) {
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
    let [one, two, three] = [1, 2, 3].map(|number| lab.uplink_address(number));
    let clients = lab.members(1);
    let talk = lab.talk(&clients);

    lab.swallow(1, true);
    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).ok();
    assert_seen(&lab, &clients, &[three]);
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
    assert_seen(&lab, &clients, &[two]);
    lab.hang_up(2);
    assert_seen(&lab, &clients, &[three]);
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
    // The line lives: what is still under way on it arrives while its flows end.
    assert_eq!(lab.wanpool(["failover", "ppp0"]).ok().stdout, OUT);
    let tcp = is_of(&lab, 1, Kind::Tcp);
    talk.end_of("rather than hang", &tcp);
    talk.goes_on("by another uplink", |flow| !tcp(flow));
    let (before, [_, flows]) = (lab.state(), split(&lab));
    for again in ["ppp0", "1"] {
        lab.wanpool(["failover", again]).silent();
    }
    let said = lab.wanpool(["-j", "failover", "ppp0"]).json();
    assert_eq!((&said["steps"], &said["flows_ended"]), (&serde_json::json!([]), &0.into()));
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
    talk.goes_on("when the line is restored", |_| true);
    lab.state().assert_is(&before, "as before");
    for (flow, seen) in talk.stop().iter().zip(meanwhile) {
        flow.assert_whole(seen);
    }
}

#[test]
fn a_repeated_failover_ends_no_new_flow() {
    let lab = Lab::three_uplinks();
    lab.wanpool(["failover", "ppp0"]).ok();
    track(&lab, &[0x81]);
    let [of_one, _] = split(&lab);
    lab.wanpool(["failover", "ppp0"]).silent();
    assert_eq!(split(&lab)[0], of_one, "done already: no change");
}

#[test]
fn failover_works_without_any_flow() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("conntrack -F 2>/dev/null");
    let said = lab.wanpool(["-j", "failover", "ppp1"]).json();
    assert_eq!(said["flows_ended"], 0);
    let others = [1, 3].map(|number| lab.uplink_address(number));
    assert_seen(&lab, &lab.members(2), &others);
    lab.wanpool(["failover", "ppp1"]).silent();
}

#[test]
fn failover_works_when_the_device_is_gone() {
    let lab = Lab::three_uplinks();
    lab.hang_up(1);
    track(&lab, &[0x81, 0x82, 0x5a81]);
    lab.wanpool(["failover", "ppp0"]).ok();
    let marks: Vec<u32> = lab.tracked().into_values().collect();
    assert!(marks.contains(&0x82) && !marks.iter().any(|mark| mark & 0xff == 0x81), "{marks:x?}");
    let before = lab.state();
    lab.wanpool(["failover", "ppp0"]).silent();
    lab.state().assert_is(&before, "twice");

    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).ok();
    assert_seen(&lab, &lab.members(1), &[lab.uplink_address(3)]);
    lab.wanpool(["failover", "ppp0", "--to", "ppp2"]).silent();
}

#[test]
fn impossible_failovers_and_restores_are_refused() {
    let lab = Lab::three_uplinks();
    lab.hang_up(3);
    let before = lab.state();
    let impossible = [
        (["failover", "9"].as_slice(), "9"),
        (&["failover", "nosuch0"], "nosuch0"),
        (&["failover", "ppp0", "--to", "nosuch0"], "nosuch0"),
        (&["failover", "ppp0", "--to", "ppp0"], "ppp0"),
        (&["failover", "ppp0", "--to", "ppp2"], "ppp2"),
        (&["restore", "nosuch0"], "nosuch0"),
        (&["restore", "ppp2"], "ppp2"),
    ];
    for (args, word) in impossible {
        lab.run(&args.join(" ")).failed().naming(&[word]);
        lab.state().assert_is(&before, args.join(" "));
    }
    lab.script("$WANPOOL failover").failed();
}

#[test]
fn flows_end_by_one_message_after_the_route_has_moved() {
    let lab = Lab::three_uplinks();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    let trace = lab.scratch().join("trace");
    lab.script(&format!(
        "strace -f -o {} -e trace=sendto,sendmsg,execve $WANPOOL failover ppp0",
        trace.display()
    ))
    .ok();
    let trace = std::fs::read_to_string(trace).expect("what strace saw");
    let at = |name: &str| -> Vec<usize> {
        let lines = trace.lines().enumerate().filter(|(_, line)| line.contains(name));
        lines.map(|(at, _)| at).collect()
    };
    let (moves, ends) = (at("RTM_DELNEXTHOP"), at("IPCTNL_MSG_CT_DELETE"));
    assert_eq!((moves.len(), ends.len()), (1, 1), "{trace}");
    assert!(moves < ends, "{trace}");
    assert!(at("conntrack\"").is_empty(), "a process for the flows: {trace}");
}
