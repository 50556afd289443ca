//! Port forwards, active FTP, the MSS clamp, and uplinks without NAT.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::lab::{EchoServer, FAR, Ftp, Lab, Shape, four, three};

with_both_iptables! {
    a_port_forward_answers_by_the_uplink_it_came_in_by,
    a_flow_not_yet_answered_stays_on_its_uplink_when_its_client_is_moved,
    active_ftp_works_with_the_helper_and_not_without,
    the_mss_is_clamped_to_the_path_of_the_uplink,
}

fn a_port_forward_answers_by_the_uplink_it_came_in_by(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&four(""));
        let (of_pool_1, unassigned) = (lab.member(1, 0), lab.member(3, 0));
        lab.release(unassigned);
        for client in [of_pool_1, unassigned] {
            let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(client, 8080));
            for number in [2, 4] {
                lab.forward_port(number, client);
                let before = [1, 3].map(|other| lab.carried(other));
                let seen = lab.visitor(number, 8080).seen();
                assert_eq!(seen, Ok(*FAR.ip()), "uplink {number}, rp_filter {rp_filter}");
                let after = [1, 3].map(|other| lab.carried(other));
                assert_eq!(after, before, "answers by another uplink");
            }
        }
        // Connections of this client still leave by its own uplink.
        lab.assert_leaves_by(of_pool_1, &[1]);
    }
}

fn a_flow_not_yet_answered_stays_on_its_uplink_when_its_client_is_moved(shape: Shape) {
    let lab = shape.serving(&three(""));
    let client = lab.member(1, 0);
    lab.swallow(1, true);
    let mut flow = lab.client(client).patience(Duration::from_millis(200)).udp().unwrap();
    assert!(flow.ask().is_err(), "an answer by a dead uplink");
    assert_eq!(lab.connmarks(client), [0x81]);
    lab.wanpool(["assign", &client.to_string(), "--pool", "2"]).ok();
    lab.swallow(1, false);
    assert_eq!(flow.ask(), Ok(lab.uplink_address(1)));
    lab.assert_leaves_by(client, &[2]);
}

fn active_ftp_works_with_the_helper_and_not_without(shape: Shape) {
    let lab = shape.raise();
    let ftp = Ftp::start(&lab);
    lab.serve(&three(""));
    let fetch_all = || (1..=3).map(|pool| ftp.fetch(&lab, lab.member(pool, 0)));
    assert!(fetch_all().all(|fetched| fetched.is_err()), "active FTP without the helper");
    lab.config(&three("helpers = [\"ftp\", \"irc\"]"));
    lab.wanpool(["restore"]).ok();
    for fetched in fetch_all() {
        assert_eq!(fetched.as_deref(), Ok("hello\n"));
    }
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    assert!(fetch_all().all(|fetched| fetched.is_err()), "the helper is no longer wanted");
}

fn the_mss_is_clamped_to_the_path_of_the_uplink(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh("ip link set ppp0 mtu 1400\nip link set ppp1 mtu 1400");
    lab.serve(&three("").replace("\"ppp1\"", "\"ppp1\"\nclamp-mss = false"));
    // 1400 less 40 for the headers and 12 for TCP's timestamps; 1500 likewise.
    for (pool, mss) in [(1, "mss:1348 "), (2, "mss:1448 "), (3, "mss:1448 ")] {
        let mut conn = lab.client(lab.member(pool, 0)).tcp().unwrap();
        assert_eq!(conn.ask(), Ok(lab.uplink_address(pool)));
        let seen = lab.far.sh(&format!("ss -tinH dst {}", lab.uplink_address(pool)));
        assert!(seen.contains(mss), "the far server may send {mss} to pool {pool}, not {seen}");
    }
    // Connections that come in are clamped in both directions, too.
    let inside = lab.member(3, 1);
    let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(inside, 8080));
    lab.forward_port(1, inside);
    let mut conn = lab.visitor(1, 8080).tcp().unwrap();
    assert_eq!(conn.ask(), Ok(*FAR.ip()));
    let seen = lab.clients.sh(&format!("ss -tinH state established src {inside}:8080"));
    assert!(seen.contains("mss:1348 "), "the client may send 1348, not {seen}");
    let seen = lab.far.sh("ss -tinH dst 10.64.1.2:8080");
    assert!(seen.contains("mss:1348 "), "the far host may send 1348, not {seen}");
}

#[test]
fn without_nat_the_far_server_sees_the_client_address() {
    let lab = Lab::serving(&three("").replace("\"ppp1\"", "\"ppp1\"\nnat = false"));
    let client = lab.member(2, 0);
    lab.provider.sh(&format!("ip route add {client} dev isp2"));
    assert_eq!(lab.client(client).seen(), Ok(client));
    lab.assert_leaves_by(lab.member(1, 0), &[1]);
}

#[test]
fn the_router_cannot_be_reached_from_outside_while_multipath_is_off() {
    let lab = Lab::three_uplinks();
    let at = SocketAddrV4::new(lab.uplink_address(1), 22);
    let _server = EchoServer::start(&lab.gateway, at);
    let outside = lab.visitor(1, 22).patience(Duration::from_millis(500));
    assert!(outside.tcp().is_err(), "a connection from outside");
    assert!(outside.udp().unwrap().ask().is_err(), "an answer to the outside");
}
