//! An uplink is lost and comes back. No process runs when a device goes: the kernel does the
//! failover by itself.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{
    EchoServer, Flow, Kind, Lab, Shape, assert_spread, count_seen, three, uplinks, wait_until,
};

with_both_iptables! {
    a_lost_device_needs_no_process_and_other_pools_lose_no_packet,
    a_restored_uplink_gets_its_pool_back_and_no_packet_is_lost,
}

fn of_pool(lab: &Lab, number: u8) -> impl Fn(&Flow) -> bool {
    let members = lab.members(number);
    move |flow| members.contains(&flow.client)
}

/// Over one new connection of each kind.
fn seen_anew(lab: &Lab, client: Ipv4Addr) -> [Ipv4Addr; 2] {
    let tcp = lab.client(client).tcp().and_then(|mut conn| conn.ask());
    let udp = lab.client(client).udp().and_then(|mut conn| conn.ask());
    [tcp, udp].map(|seen| seen.unwrap_or_else(|why| panic!("a new connection: {why}")))
}

fn a_lost_device_needs_no_process_and_other_pools_lose_no_packet(shape: Shape) {
    let lab = shape.serving(&three(""));
    let talk = lab.talk(&lab.everyone());
    let fast = lab.talk_fast(lab.member(1, 0));
    let [one, others @ ..] = [1, 2, 3].map(|number| lab.uplink_address(number));

    lab.hang_up(1);
    for client in lab.members(1) {
        for seen in seen_anew(&lab, client) {
            assert!(others.contains(&seen), "{client} is seen as {seen}");
        }
    }
    let of_one = of_pool(&lab, 1);
    talk.goes_on("over the other uplinks", |flow| !of_one(flow));
    talk.goes_on("over another uplink", |flow| of_one(flow) && flow.kind == Kind::Udp);
    fast.goes_on("over another uplink", |_| true);
    talk.end_of("with the uplink", |flow| of_one(flow) && flow.kind == Kind::Tcp);

    for flow in talk.stop() {
        match (lab.pool_of(flow.client), flow.kind) {
            (Some(1), Kind::Udp) => flow.assert_moved(one, &others),
            (Some(1), Kind::Tcp) => assert_eq!(flow.seen(), [one], "{flow}"),
            (number, _) => flow.assert_whole(lab.uplink_address(number.expect("a pool"))),
        }
    }
    for flow in fast.stop() {
        flow.assert_moved(one, &others);
    }
}

fn a_restored_uplink_gets_its_pool_back_and_no_packet_is_lost(shape: Shape) {
    for (rp_filter, address) in [(0, "10.64.1.2"), (1, "10.64.1.77"), (2, "10.64.1.78")] {
        let lab = shape.clone().rp_filter(rp_filter).serving(&three(""));
        lab.hang_up(1);
        let talk = lab.talk(&lab.everyone());
        let meanwhile: Vec<Ipv4Addr> = talk.flows().iter().map(|flow| flow.seen()[0]).collect();
        let others = [2, 3].map(|number| lab.uplink_address(number));
        assert!(meanwhile.iter().all(|seen| others.contains(seen)), "{meanwhile:?}");

        lab.redial_as(1, address.parse().unwrap());
        talk.goes_on("when the device is back", |_| true);
        assert_eq!(lab.wanpool(["restore", "ppp0"]).ok().stdout, "uplink 1 ppp0 up\n");
        lab.assert_each_leaves_by_its_own_uplink(&[1]);
        talk.goes_on("after restore", |_| true);
        lab.wanpool(["restore", "ppp0"]).silent();
        lab.wanpool(["restore", "1"]).silent();
        lab.wanpool(["assign"]).silent();
        for (flow, seen) in talk.stop().iter().zip(meanwhile) {
            flow.assert_whole(seen);
        }
    }
}

#[test]
fn new_connections_of_a_lost_uplink_are_spread_by_weight() {
    let lab = Lab::new();
    let config = three("").replace("\"ppp1\"", "\"ppp1\"\nweight = 2");
    lab.serve(&format!("{config}\n[multipath]\nhash = \"l4\"\n"));
    lab.hang_up(1);
    let speakers: Vec<_> = lab.members(1).into_iter().map(|client| lab.client(client)).collect();
    assert_spread(&lab, &count_seen(&speakers), &[(2, 2), (3, 1)]);
    lab.assert_each_leaves_by_its_own_uplink(&[2, 3]);
}

#[test]
fn with_hash_source_each_client_uses_one_other_uplink() {
    let lab = Lab::with()
        .client_addresses(90)
        .serving(&format!("{}\n[multipath]\nhash = \"source\"\n", three("")));
    lab.hang_up(1);
    // The hash must not look at the far address either.
    lab.far.sh("ip addr add 100.66.0.2/24 dev eth0");
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(100, 66, 0, 2), 7000);
    let _answerer = EchoServer::start(&lab.far, elsewhere);
    let mut used = BTreeSet::new();
    for client in lab.members(1) {
        let [first, second] = seen_anew(&lab, client);
        assert_eq!(first, second, "{client}");
        for _ in 0..3 {
            assert_eq!(seen_anew(&lab, client), [first; 2], "{client}");
            assert_eq!(lab.client(client).to(elsewhere).seen(), Ok(first), "{client}");
        }
        used.insert(first);
    }
    // That 30 clients all hash to the same of two uplinks is less likely than one in 10^8.
    assert_eq!(lab.members(1).len(), 30);
    assert_eq!(used, [2, 3].map(|number| lab.uplink_address(number)).into());
}

#[test]
fn a_flow_without_nat_continues_by_another_uplink() {
    let lab = Lab::new();
    let config = uplinks("unassigned = \"unreachable\"", &["ppp0", "ppp1"]);
    lab.serve(&config.replace("\"ppp0\"", "\"ppp0\"\nnat = false"));
    let client = lab.member(1, 0);
    // The provider has routes to the client itself by both uplinks.
    lab.provider.sh(&format!(
        "ip route add {client} dev isp1 metric 1\nip route add {client} dev isp2 metric 2"
    ));
    let mut flow = lab.client(client).udp().unwrap();
    assert_eq!(flow.ask(), Ok(client));
    assert_eq!(lab.connmarks(client), [0x81]);
    lab.hang_up(1);
    let carried = lab.carried(2);
    assert_eq!(flow.ask(), Ok(client));
    assert!(lab.carried(2).from_gateway > carried.from_gateway);
}

#[test]
fn an_open_flow_leaves_a_line_without_carrier_and_needs_no_process() {
    let lab = Lab::four_uplinks();
    let mut flow = lab.client(lab.member(4, 0)).udp().unwrap();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(4)));
    lab.carrier(4, false);
    wait_until("the flow goes on by another line", || {
        flow.ask().is_ok_and(|seen| seen != lab.uplink_address(4))
    });
}
