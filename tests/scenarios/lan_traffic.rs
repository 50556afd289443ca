//! Traffic that must not use an uplink: to the LAN, to the gateway, to a VPN, and packets that came
//! in by an uplink.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{
    DMZ, EchoServer, FAR, GATEWAY, Lab, LanHosts, OFFICE, PORT, PRINTER, Shape, Speaker, four,
    wait_until,
};

with_both_iptables! {
    traffic_to_the_lan_the_gateway_and_static_routes_uses_no_uplink,
    packets_that_arrive_on_an_uplink_never_leave_by_one,
    a_vpn_that_takes_every_address_wins_over_the_uplinks,
}

/// An address that no host has.
const UNUSED: Ipv4Addr = Ipv4Addr::new(100, 70, 0, 9);

/// One client of each pool, and one in none.
fn witnesses(lab: &Lab) -> Vec<Ipv4Addr> {
    let unassigned = lab.member(1, 5);
    lab.release(unassigned);
    (1..=4).map(|pool| lab.member(pool, 0)).chain([unassigned]).collect()
}

fn traffic_to_the_lan_the_gateway_and_static_routes_uses_no_uplink(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).raise();
        let _inside = LanHosts::raise(&lab);
        lab.serve(&four(""));
        let clients = witnesses(&lab);
        let own =
            [GATEWAY, Ipv4Addr::new(172, 21, 8, 1), lab.uplink_address(2), lab.uplink_address(4)];
        let own = own.map(|address| SocketAddrV4::new(address, 7001));
        let _servers = own.map(|at| EchoServer::start(&lab.gateway, at));
        let hosts = [PRINTER, DMZ, OFFICE].map(|address| SocketAddrV4::new(address, PORT));
        let before: Vec<_> = (1..=3).map(|number| lab.carried(number)).collect();
        for &client in &clients {
            for to in own.iter().chain(&hosts) {
                let seen = lab.client(client).to(*to).seen();
                assert_eq!(seen, Ok(client), "{client} to {to} with rp_filter {rp_filter}");
            }
        }
        let after: Vec<_> = (1..=3).map(|number| lab.carried(number)).collect();
        assert_eq!(after, before, "packets on the uplinks");
        for pool in 1..=4 {
            lab.assert_leaves_by(lab.member(pool, 0), &[pool]);
        }
    }
}

#[test]
fn hosts_of_the_lan_and_of_other_networks_reach_the_clients() {
    for rp_filter in 0..=2 {
        let lab = Lab::with().rp_filter(rp_filter).raise();
        let inside = LanHosts::raise(&lab);
        lab.serve(&four(""));
        for client in witnesses(&lab) {
            let at = SocketAddrV4::new(client, 7001);
            let _server = EchoServer::start(&lab.clients, at);
            let from = |ns, address| Speaker::new(ns, address, at).seen();
            assert_eq!(from(&inside.printer, PRINTER), Ok(PRINTER), "on the same bridge");
            assert_eq!(from(&inside.dmz, DMZ), Ok(DMZ), "with rp_filter {rp_filter}");
            assert_eq!(from(&inside.office, OFFICE), Ok(OFFICE), "with rp_filter {rp_filter}");
        }
    }
}

fn a_vpn_that_takes_every_address_wins_over_the_uplinks(shape: Shape) {
    let lab = shape.raise();
    let inside = LanHosts::raise(&lab);
    lab.serve(&four(""));
    inside.office.sh(&format!("ip addr add {}/32 dev lo", FAR.ip()));
    let _server = EchoServer::start(&inside.office, FAR);
    lab.gateway.sh("ip route add 0.0.0.0/1 dev vpn0");
    for client in witnesses(&lab) {
        assert_eq!(
            lab.client(client).seen(),
            Ok(client),
            "the address that the end of the VPN saw"
        );
    }
}

/// Rules without a target count the packets that the provider sends, and those that come back.
fn count_strangers(lab: &Lab) {
    let rule = format!("-t raw -A PREROUTING -d {UNUSED}");
    lab.gateway.sh(&format!("iptables {rule}"));
    lab.provider.sh(&format!("iptables {rule} -i isp+"));
}

fn counted(ns: &crate::lab::Netns) -> u64 {
    let saved = ns.sh("iptables-save -c -t raw");
    let line =
        saved.lines().find(|line| line.contains(&UNUSED.to_string())).expect("the counting rule");
    let count = line.trim_start_matches('[').split(':').next().expect("a count");
    count.parse().expect("a number")
}

/// The provider sends packets for that address by uplink N.
fn send_strangers(lab: &Lab, number: u8) {
    let via = if number == 4 { "via 10.65.4.2 onlink " } else { "" };
    lab.provider.sh(&format!("ip route replace {UNUSED} {via}dev isp{number}"));
    let before = counted(&lab.gateway);
    lab.far.enter(|| {
        let socket = std::net::UdpSocket::bind((*FAR.ip(), 0)).unwrap();
        for _ in 0..5 {
            socket.send_to(b"for an unused address", (UNUSED, 9)).unwrap();
        }
    });
    wait_until("the gateway gets packets for an unused address", || {
        counted(&lab.gateway) >= before + 5
    });
}

fn packets_that_arrive_on_an_uplink_never_leave_by_one(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).raise();
        count_strangers(&lab);
        lab.serve(&four(""));
        for number in 1..=4 {
            send_strangers(&lab, number);
            // When this is answered, earlier packets have passed the gateway.
            lab.assert_leaves_by(lab.member(number, 0), &[number]);
        }
        assert_eq!(counted(&lab.provider), 0, "packets that came back with rp_filter {rp_filter}");
    }
}
