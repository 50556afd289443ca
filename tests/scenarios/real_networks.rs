//! What real gateways have beside a plain line: port forwards and hairpin, two uplinks on one card, cables
//! that are pulled, devices that are renamed, conntrack zones.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{EchoServer, FAR, Lab, Shape, three};

with_both_iptables! {
    forwards_and_hairpin_work_by_every_line_also_while_one_is_out,
    clients_are_served_inside_a_conntrack_zone,
}

/// The admin's rules for a server on the LAN: from outside, and from the LAN by an outside address.
fn publish(lab: &Lab, server: Ipv4Addr) {
    for number in 1..=3 {
        lab.forward_port(number, server);
        let outside = lab.uplink_address(number);
        lab.gateway.sh(&format!(
            "iptables -t nat -A PREROUTING -i br0 -d {outside} -p tcp --dport 8080 \
                 -j DNAT --to {server}:8080"
        ));
    }
    lab.gateway.sh(&format!(
        "iptables -t nat -I POSTROUTING -s 192.168.7.0/24 -d {server} -p tcp --dport 8080 -j MASQUERADE"
    ));
}

fn forwards_and_hairpin_work_by_every_line_also_while_one_is_out(shape: Shape) {
    let lab = shape.serving(&three(""));
    let server = lab.member(2, 5);
    let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(server, 8080));
    publish(&lab, server);
    // All clients are behind one port of the bridge. br_netfilter would translate the address inside
    // the bridge, which sends nothing back to the port that it came from.
    lab.gateway.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true");
    let assert_reached = |by: &[u8], when: &str| {
        for &number in by {
            assert_eq!(lab.visitor(number, 8080).seen(), Ok(*FAR.ip()), "by {number}, {when}");
            let outside = SocketAddrV4::new(lab.uplink_address(number), 8080);
            let mut inside = lab.client(lab.member(1, 0)).to(outside).tcp().expect("a hairpin");
            assert_eq!(inside.ask(), Ok([192, 168, 7, 1].into()), "hairpin by {number}, {when}");
        }
    };
    assert_reached(&[1, 2, 3], "all are up");
    // The uplink of the server itself, by hand, and another one, by its loss.
    lab.wanpool(["failover", "ppp1"]).ok();
    assert_reached(&[1, 2, 3], "ppp1 is failed over and still there");
    lab.hang_up(1);
    lab.wanpool(["assign"]).ok();
    assert_reached(&[2, 3], "ppp0 is lost");
    lab.redial(1);
    lab.wanpool(["restore"]).ok();
    assert_reached(&[1, 2, 3], "all are back");
    lab.check().clean();
}

fn clients_are_served_inside_a_conntrack_zone(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh("iptables -t raw -A PREROUTING -j CT --zone 7
        iptables -t raw -A OUTPUT -j CT --zone 7");
    lab.serve(&three("helpers = [\"ftp\"]"));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    // No answer is under way: it would be a flow of the uplink, too.
    let mut flow = lab.client(lab.member(1, 1)).udp().unwrap();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(1)));
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.assert_leaves_by_another(lab.member(1, 0), 1);
    assert!(!lab.tracked().values().any(|mark| mark & 0xff == 0x81), "its flows have ended");
    assert_ne!(flow.ask(), Ok(lab.uplink_address(1)), "it goes on by another uplink");
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.check().clean();
}

/// The README's way for one card with two gateways.
#[test]
fn two_macvlan_devices_on_one_card_are_two_uplinks() {
    let lab = Lab::new();
    let provider = lab.provider.path().display().to_string();
    lab.gateway.sh(&format!(
        "ip link add card type veth peer name segment netns {provider}
         ip link set card up
         for n in 1 2; do
             ip link add link card name wan$n type macvlan mode bridge
             ip addr add 192.168.$n.2/24 dev wan$n
             ip link set wan$n up
         done"
    ));
    lab.provider
        .sh("ip addr add 192.168.1.1/24 dev segment; ip addr add 192.168.2.1/24 dev segment
         ip link set segment up");
    lab.serve(
        "lan = [\"br0\"]
[uplink.1]
dev = \"wan1\"
via = \"192.168.1.1\"
[uplink.2]
dev = \"wan2\"
via = \"192.168.2.1\"
",
    );
    let assert_each = |pools: &[(u8, u8)]| {
        for &(pool, by) in pools {
            for client in lab.members(pool) {
                assert_eq!(lab.client(client).seen(), Ok([192, 168, by, 2].into()), "{pool}");
            }
        }
    };
    assert_each(&[(1, 1), (2, 2)]);
    lab.wanpool(["failover", "wan1"]).ok();
    assert_each(&[(1, 2), (2, 2)]);
    lab.wanpool(["restore"]).ok();
    assert_each(&[(1, 1), (2, 2)]);
    lab.check().clean();
}

#[test]
fn a_cable_that_is_pulled_for_a_moment_disturbs_no_other_line() {
    let lab = Lab::four_uplinks();
    let before = lab.state();
    let others = lab.talk(&[1, 2, 3].map(|pool| lab.member(pool, 0)));
    for round in 0..10 {
        lab.carrier(4, false);
        if round % 3 == 0 {
            lab.wanpool(["assign"]).ok();
            lab.assert_leaves_by_another(lab.member(4, 0), 4);
        }
        lab.carrier(4, true);
        if round % 2 == 0 {
            lab.wanpool(["assign"]).ok();
            lab.assert_leaves_by(lab.member(4, 0), &[4]);
        }
    }
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "after ten flaps");
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    others.assert_on_own_uplinks(&lab);
}

/// udev gave two cards each other's name. The name is what the configuration says.
#[test]
fn devices_that_swap_their_names_are_followed_by_the_next_assign() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("for dev in ppp0 ppp1; do ip link set $dev down; done
         ip link set ppp0 name other; ip link set ppp1 name ppp0; ip link set other name ppp1
         for dev in ppp0 ppp1; do ip link set $dev up; done");
    lab.wanpool(["assign"]).ok();
    for (pool, line) in [(1, 2), (2, 1), (3, 3)] {
        for client in lab.members(pool) {
            lab.assert_leaves_by(client, &[line]);
        }
    }
    lab.check().clean();
    lab.wanpool(["assign"]).silent();
}
