//! `multipath`: the default route of everything else, including the router's own traffic, over all
//! uplinks in service. All uplinks here have the same gateway address.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::lab::{
    EchoServer, FAR, GATEWAY, Lab, Shape, Speaker, assert_spread, count_seen, four, three,
};

with_both_iptables! {
    flows_are_spread_by_weight,
    multipath_survives_the_loss_of_any_uplink,
    with_multipath_on_the_router_answers_by_the_uplink_asked,
}

/// Uplinks 1, 2 and 4 (ethernet) of weight 2, 1 and 1, each by the same gateway address.
const CONFIG: &str = "
lan = [\"br0\"]

[uplink.1]
dev = \"ppp0\"
weight = 2
via = \"10.64.0.1\"

[uplink.2]
dev = \"ppp1\"
via = \"10.64.0.1\"

[uplink.4]
dev = \"eth1\"
via = \"10.64.0.1\"

[multipath]
hash = \"l4\"
";
const WEIGHTS: [(u8, u32); 3] = [(1, 2), (2, 1), (4, 1)];
/// Where the router itself listens.
const PORT: u16 = 2222;

/// The router itself, to speak from to the far server.
fn router(lab: &Lab) -> Speaker<'_> {
    Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR)
}

/// Clients that are in no pool.
fn unassigned(lab: &Lab) -> Vec<Speaker<'_>> {
    lab.everyone().into_iter().map(|client| lab.client(client)).collect()
}

fn flows_are_spread_by_weight(shape: Shape) {
    let lab = shape.one_gateway().raise();
    lab.config(CONFIG);
    lab.wanpool(["restore"]).ok();
    assert_spread(&lab, &count_seen(&unassigned(&lab)), &WEIGHTS);
    let off = router(&lab).tcp();
    assert!(off.is_err(), "the router reaches the outside while multipath is off");
    assert_eq!(lab.wanpool(["multipath", "on"]).ok().stdout, "multipath on\n");
    assert_spread(&lab, &count_seen(&[router(&lab)]), &WEIGHTS);
    assert_spread(&lab, &count_seen(&unassigned(&lab)), &WEIGHTS);
}

fn multipath_survives_the_loss_of_any_uplink(shape: Shape) {
    let lab = shape.one_gateway().serving(CONFIG);
    lab.wanpool(["multipath", "on"]).ok();
    let client = lab.member(1, 9);
    lab.release(client);
    let on = lab.state();
    for (gone, _) in WEIGHTS {
        let left: Vec<u8> =
            WEIGHTS.iter().map(|&(number, _)| number).filter(|&number| number != gone).collect();
        // Flows that began before, from an address that is on no uplink.
        let inner = Speaker::new(&lab.gateway, GATEWAY, FAR);
        let mut open: Vec<_> = (0..12).map(|_| inner.udp().unwrap()).collect();
        let began: Vec<_> = open.iter_mut().map(|conn| conn.ask().expect("an answer")).collect();
        let own = lab.uplink_address(gone);
        lab.hang_up(gone);
        for speaker in [router(&lab), lab.client(client)] {
            let counts = count_seen(&[speaker]);
            let left: Vec<Ipv4Addr> =
                left.iter().map(|&number| lab.uplink_address(number)).collect();
            assert_eq!(counts.keys().filter(|seen| !left.contains(seen)).count(), 0, "{counts:?}");
            assert_eq!(counts.len(), 2, "{counts:?}");
        }
        for (conn, began) in open.iter_mut().zip(began).filter(|(_, began)| *began != own) {
            assert_eq!(conn.ask(), Ok(began), "a flow of the router by another uplink");
        }
        lab.redial(gone);
        lab.wanpool(["restore", &lab.uplink_dev(gone)]).ok();
        lab.state().assert_is(&on, format!("uplink {gone} is back"));
    }
    assert_spread(&lab, &count_seen(&[router(&lab)]), &WEIGHTS);
}

/// Asks the router over TCP and UDP by uplink N.
fn asks(lab: &Lab, number: u8, patience: Duration) -> [Result<Ipv4Addr, String>; 2] {
    let outside = lab.visitor(number, PORT).patience(patience);
    let tcp = outside.tcp().and_then(|mut conn| conn.ask());
    [tcp, outside.udp().and_then(|mut conn| conn.ask())]
}

fn with_multipath_on_the_router_answers_by_the_uplink_asked(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).one_gateway().serving(CONFIG);
        // The gateway would answer a refused connection again when it may.
        lab.gateway.sysctl("net/ipv4/tcp_synack_retries", "0");
        let before = lab.state();
        let numbers = WEIGHTS.map(|(number, _)| number);
        let _servers = numbers.map(|number| {
            EchoServer::start(&lab.gateway, SocketAddrV4::new(lab.uplink_address(number), PORT))
        });
        // Once is enough: while multipath is off, rp_filter makes no difference.
        let check_off = |when: &str| {
            for number in numbers.iter().filter(|_| rp_filter == 0) {
                let brief = Duration::from_millis(200);
                assert!(
                    asks(&lab, *number, brief).iter().all(Result::is_err),
                    "uplink {number}, {when}"
                );
            }
        };
        check_off("before");
        lab.wanpool(["multipath", "on"]).ok();
        lab.wanpool(["multipath", "on"]).silent();
        for number in numbers {
            let others = || -> Vec<_> {
                let others = numbers.iter().filter(|&&other| other != number);
                others.map(|&other| lab.carried(other)).collect()
            };
            for _ in 0..5 {
                let carried = others();
                let seen = asks(&lab, number, Duration::from_secs(5));
                let right = [Ok(*FAR.ip()), Ok(*FAR.ip())];
                assert_eq!(seen, right, "uplink {number}, rp_filter {rp_filter}");
                assert_eq!(others(), carried, "answers by another uplink than {number}");
            }
        }
        lab.assert_each_leaves_by_its_own_uplink(&numbers);
        assert_eq!(lab.wanpool(["multipath", "off"]).ok().stdout, "multipath off\n");
        lab.wanpool(["multipath", "off"]).silent();
        lab.state().assert_is(&before, "after multipath off");
        check_off("after");
    }
}

#[test]
fn only_a_full_restore_resets_multipath() {
    let lab = Lab::four_uplinks();
    let off = lab.state();
    let shown = || lab.wanpool(["-j", "multipath", "show"]).json()[0]["multipath"].clone();
    assert_eq!(shown(), "off");
    lab.wanpool(["multipath", "on"]).ok();
    let on = lab.state();
    assert_eq!(shown(), "on");
    for command in ["multipath", "multipath show", "m show"] {
        let shown = lab.run(command);
        assert!(shown.ok().rows()[0].contains(&"on"), "{shown}");
    }
    lab.state().assert_is(&on, "show changes nothing");
    lab.wanpool(["multipath", "perhaps"]).refused(2);
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["failover", "ppp0"]).ok();
    assert!(router(&lab).seen().is_ok_and(|seen| seen != lab.uplink_address(1)));
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.state().assert_is(&on, "on through failover, restore of one, and assign");
    lab.wanpool(["restore"]).ok();
    lab.state().assert_is(&off, "as the configuration says");

    lab.config(&format!("{}\n[multipath]\nenable = true\n", four("")));
    lab.wanpool(["restore"]).ok();
    lab.state().assert_is(&on, "as the configuration says");
    lab.wanpool(["multipath", "off"]).ok();
    lab.wanpool(["assign"]).silent();
    lab.state().assert_is(&off, "off through assign");
    lab.wanpool(["flush"]).ok();
    assert!(lab.rules().is_empty(), "{:?}", lab.rules());
}

#[test]
fn the_routers_flows_stay_on_their_uplink_when_another_returns() {
    let lab = Lab::serving(&format!("{}\n[multipath]\nenable = true\nhash = \"l4\"\n", three("")));
    lab.hang_up(1);
    let mut open: Vec<_> =
        (0..30).flat_map(|_| [router(&lab).tcp().unwrap(), router(&lab).udp().unwrap()]).collect();
    let began: Vec<_> = open.iter_mut().map(|conn| conn.ask().expect("an answer")).collect();
    lab.redial(1);
    lab.wanpool(["restore", "ppp0"]).ok();
    for (conn, began) in open.iter_mut().zip(began) {
        assert_eq!(conn.ask(), Ok(began));
    }
}
