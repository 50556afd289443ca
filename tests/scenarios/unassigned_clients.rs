//! A client that is in no pool.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::lab::{DMZ, EchoServer, GATEWAY, LanHosts, PORT, PRINTER, Shape, four, three};

with_both_iptables! {
    a_client_in_no_pool_is_served_and_keeps_its_connections_when_assigned,
    with_unreachable_a_client_in_no_pool_is_not_served,
}

fn a_client_in_no_pool_is_served_and_keeps_its_connections_when_assigned(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).raise();
        lab.config(&three(""));
        lab.wanpool(["restore"]).ok();
        for client in lab.everyone().into_iter().take(9) {
            let (mut tcp, mut udp) =
                (lab.client(client).tcp().unwrap(), lab.client(client).udp().unwrap());
            let began = (tcp.ask().expect("service at once"), udp.ask().expect("service at once"));
            let uplink_of = |seen| (1..=3).find(|&number| lab.uplink_address(number) == seen);
            let first = uplink_of(began.0).expect("an uplink");
            uplink_of(began.1).expect("an uplink");

            let other = first % 3 + 1;
            lab.wanpool(["assign", &client.to_string(), "--pool", &other.to_string()]).ok();
            for _ in 0..3 {
                let open = (tcp.ask(), udp.ask());
                assert_eq!(open, (Ok(began.0), Ok(began.1)), "its open connections");
            }
            lab.assert_leaves_by(client, &[other]);
        }
    }
}

fn with_unreachable_a_client_in_no_pool_is_not_served(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).raise();
        let _inside = LanHosts::raise(&lab);
        lab.config(&four("unassigned = \"unreachable\""));
        lab.wanpool(["restore"]).ok();
        let client = lab.everyone()[5];
        let why = lab.client(client).tcp().err().expect("no service");
        assert!(why.contains("UNREACH"), "not unreachable: {why}");
        let brief = lab.client(client).patience(Duration::from_millis(300));
        assert!(brief.udp().unwrap().ask().is_err(), "service over UDP");

        let own = SocketAddrV4::new(GATEWAY, 7001);
        let _server = EchoServer::start(&lab.gateway, own);
        for to in [own, SocketAddrV4::new(PRINTER, PORT), SocketAddrV4::new(DMZ, PORT)] {
            assert_eq!(lab.client(client).to(to).seen(), Ok(client), "the LAN and the gateway");
        }
        for pool in 1..=4 {
            lab.wanpool(["assign", &client.to_string(), "--pool", &pool.to_string()]).ok();
            lab.assert_leaves_by(client, &[pool]);
        }
    }
}
