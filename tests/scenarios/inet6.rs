//! Clients with an IPv6 line in a pool file: they leave by the uplink of their pool over IPv6 as well.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use crate::lab::{EchoServer, Inet6, Iptables, Lab, client6, four, three, uplink6};

/// Every client of IPv4 has a line for its IPv6 address in the same pool.
#[track_caller]
fn place_over_ipv6(lab: &Lab, pools: u8) {
    for pool in 1..=pools {
        let clients: Vec<String> =
            lab.members(pool).into_iter().map(|client| client6(client).to_string()).collect();
        lab.run(&format!("assign --pool {pool} {}", clients.join(" "))).ok();
    }
}

/// Three uplinks over both families, with the clients placed over both.
#[track_caller]
fn serve_three(lab: &Lab) -> Inet6<'_> {
    let inet6 = lab.with_inet6();
    lab.serve(&three("ipv6 = true"));
    place_over_ipv6(lab, 3);
    inet6
}

/// The IPv4 addresses in a pool file; the other lines are of IPv6.
fn inet_members(lab: &Lab, pool: u8) -> Vec<std::net::Ipv4Addr> {
    lab.pool(pool).iter().filter_map(|line| line.parse().ok()).collect()
}

fn inet6_members(lab: &Lab, pool: u8) -> Vec<Ipv6Addr> {
    lab.pool(pool).iter().filter_map(|line| line.parse().ok()).collect()
}

/// Whether the clients of a pool leave by this uplink over both families.
#[track_caller]
fn assert_pool_leaves_by(lab: &Lab, inet6: &Inet6, pool: u8, uplink: u8) {
    for client in inet_members(lab, pool) {
        lab.assert_leaves_by(client, &[uplink]);
    }
    for client in inet6_members(lab, pool) {
        inet6.assert_leaves_by(client, uplink);
    }
}

#[track_caller]
fn assert_correct(lab: &Lab) {
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["restore"]).silent();
    let check = lab.wanpool(["pools", "--check", "-j"]).ok().json();
    assert_eq!(check["steps"].as_array().map(Vec::len), Some(0), "{check}");
}

/// What is of IPv6 and has wanpool's number or name.
fn slice_of_inet6(lab: &Lab) -> String {
    lab.gateway.sh("ip -6 rule | grep 'proto 87' || :
                    ip -6 route show table all proto 87
                    ip nexthop | grep 'id 88' || :
                    ip6tables-save | grep WANPOOL || :
                    ipset list -n | grep wanpool6 || :")
}

fn over_both_families(iptables: Iptables) {
    let lab = Lab::with().iptables(iptables).raise();
    let inet6 = lab.with_inet6();
    lab.serve(&four("ipv6 = true"));
    place_over_ipv6(&lab, 4);
    for pool in 1..=4 {
        assert_pool_leaves_by(&lab, &inet6, pool, pool);
    }
    assert_correct(&lab);
    let path = lab.wanpool(["pools", &inet6_members(&lab, 2)[0].to_string(), "-j"]).ok().json();
    assert_eq!((&path[0]["device"], &path[0]["differs"]), (&"ppp1".into(), &().into()), "{path}");

    let path = lab.wanpool(["pools", "fd07::99", "-j"]).ok().json();
    assert_eq!((&path[0]["table"], &path[0]["differs"]), (&200.into(), &().into()), "{path}");

    // A client that moves keeps its flow.
    let moving = inet6_members(&lab, 1)[0];
    let flow = inet6.flow(moving);
    assert_eq!(flow.ask(), Some(uplink6(1)));
    lab.wanpool(["assign", &moving.to_string(), "--pool", "4"]).ok();
    inet6.assert_leaves_by(moving, 4);
    assert_eq!(flow.ask(), Some(uplink6(1)), "the flow that was there before");
    lab.wanpool(["assign", &moving.to_string(), "--pool", "1"]).ok();

    // The device is lost, and nobody runs wanpool. Other flows do not move.
    let [lost, other] = [1, 2].map(|pool| inet6_members(&lab, pool)[0]);
    let (lost_flow, other_flow) = (inet6.flow(lost), inet6.flow(other));
    assert_eq!((lost_flow.ask(), other_flow.ask()), (Some(uplink6(1)), Some(uplink6(2))));
    lab.hang_up(1);
    let carrier = inet6.seen(lost).expect("another uplink carries it");
    assert_ne!(carrier, uplink6(1));
    assert_eq!(other_flow.ask(), Some(uplink6(2)));
    lab.wanpool(["assign"]).ok();
    let on_survivor = inet6.flow(lost);
    let survivor = on_survivor.ask().expect("a survivor");

    // It is dialled again. Over IPv4 at first: IPv6 is refused rather than sent elsewhere.
    lab.redial(1);
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.assert_leaves_by(inet_members(&lab, 1)[0], &[1]);
    assert_eq!(inet6.seen(lost), None, "IPv6 leaves by another uplink than IPv4");
    inet6.dial(1);
    lab.wanpool(["assign"]).ok();
    assert_pool_leaves_by(&lab, &inet6, 1, 1);
    assert_eq!(on_survivor.ask(), Some(survivor), "a flow breaks when its uplink returns");
    assert_correct(&lab);
}

#[test]
fn a_client_leaves_by_its_uplink_over_both_families() {
    over_both_families(Iptables::Nft);
}

#[test]
fn a_client_leaves_by_its_uplink_over_both_families_with_iptables_legacy() {
    over_both_families(Iptables::Legacy);
}

#[test]
fn a_failover_is_for_both_families_or_for_one() {
    let lab = Lab::with().raise();
    let inet6 = serve_three(&lab);
    let [inet, six] = [inet_members(&lab, 1)[0].to_string(), inet6_members(&lab, 1)[0].to_string()];
    let (inet, six) = (inet.parse().unwrap(), six.parse().unwrap());

    let flow = inet6.flow(six);
    assert_eq!(flow.ask(), Some(uplink6(1)));
    lab.wanpool(["failover", "1", "--to", "3"]).ok();
    assert_pool_leaves_by(&lab, &inet6, 1, 3);
    assert_eq!(flow.ask(), Some(uplink6(3)), "the flow is not ended");
    lab.wanpool(["restore", "1"]).ok();
    assert_pool_leaves_by(&lab, &inet6, 1, 1);

    let told = lab.wanpool(["-6", "failover", "1", "--to", "2"]).ok().stdout.clone();
    assert_eq!(told, "uplink 1 ppp0 failed-over over IPv6 to ppp1\n");
    lab.assert_leaves_by(inet, &[1]);
    inet6.assert_leaves_by(six, 2);
    let pools = lab.wanpool(["pools", "-j"]).ok().json();
    assert_eq!(pools[0]["state"], "up");
    assert_eq!(
        (&pools[0]["state6"], &pools[0]["carried_by6"]),
        (&"failed-over".into(), &"ppp1".into())
    );
    assert_correct_but_failed_over(&lab);
    lab.wanpool(["-4", "failover", "1", "--to", "2"]).ok();
    lab.assert_leaves_by(inet, &[2]);
    lab.wanpool(["-6", "restore", "1"]).ok();
    inet6.assert_leaves_by(six, 1);
    lab.assert_leaves_by(inet, &[2]);
    lab.wanpool(["restore", "1"]).ok();

    // The last uplink of IPv6 stays, if the command is about IPv6 alone.
    for number in [2, 3] {
        inet6.lose_address(number);
    }
    lab.wanpool(["assign"]).ok();
    lab.wanpool(["-6", "failover", "1"]).refused(1).naming(&["no other uplink is in service"]);
    inet6.assert_leaves_by(six, 1);
}

#[track_caller]
fn assert_correct_but_failed_over(lab: &Lab) {
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["pools", "--check"]).ok();
}

#[test]
fn an_address_that_is_lost_takes_an_uplink_out_over_ipv6_alone() {
    let lab = Lab::with().raise();
    let inet6 = serve_three(&lab);
    let (inet, six) = (inet_members(&lab, 1)[0], inet6_members(&lab, 1)[0]);
    inet6.lose_address(1);
    let told = lab.wanpool(["assign"]).ok().stdout.clone();
    assert_eq!(told, "uplink 1 ppp0 down over IPv6: the device has no address\n");
    assert_eq!(inet6.seen(six), None);
    lab.assert_leaves_by(inet, &[1]);
    assert_correct(&lab);

    lab.config(&three("ipv6 = true\nipv6-missing = \"carry\""));
    lab.wanpool(["restore"]).ok();
    let seen = inet6.seen(six);
    assert!([2, 3].map(|number| Some(uplink6(number))).contains(&seen), "{seen:?}");
    lab.assert_leaves_by(inet, &[1]);
    assert_correct(&lab);
}

#[test]
fn nothing_of_ipv6_is_made_or_left_unless_the_configuration_wants_it() {
    let lab = Lab::with().raise();
    let inet6 = lab.with_inet6();
    lab.serve(&three(""));
    assert_eq!(slice_of_inet6(&lab), "");
    assert_eq!(lab.gateway.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "0");
    assert!(!lab.wanpool(["pools"]).ok().stdout.contains("state6"));
    let run = lab.wanpool(["assign", "fd07::10", "--pool", "1"]);
    run.refused(1).naming(&["fd07::10: an IPv6 address; set ipv6 = true in"]);
    lab.wanpool(["-6", "failover", "1"]).refused(2).naming(&["-6: IPv6 is off"]);
    lab.check().found(&["br0 has the IPv6 address fd07::1", "set ipv6 = true"]);

    let with_inet6 = three("ipv6 = true");
    lab.config(&with_inet6);
    lab.gateway.sh("ip nexthop add id 8801 dev ppp0 proto 99");
    lab.wanpool(["restore"]).refused(1).naming(&["nexthop 8801 belongs to protocol 99"]);
    lab.gateway.sh("ip nexthop del id 8801");
    lab.wanpool(["restore"]).ok();
    place_over_ipv6(&lab, 3);
    inet6.assert_leaves_by(inet6_members(&lab, 3)[0], 3);
    lab.config(&three(""));
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 3);
    lab.wanpool(["restore"]).ok();
    assert_eq!(slice_of_inet6(&lab), "");
    lab.assert_leaves_by(inet_members(&lab, 1)[0], &[1]);
    lab.wanpool(["assign"]).silent();

    lab.config(&with_inet6);
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["flush"]).ok();
    assert_eq!(slice_of_inet6(&lab), "");
}

#[test]
fn a_prefix_of_the_line_leaves_by_it_untranslated() {
    let lab = Lab::with().raise();
    let inet6 = lab.with_inet6();
    lab.gateway.sh("ip addr add 2001:db8:1:100::1/64 dev br0 nodad");
    lab.clients.sh("ip addr add 2001:db8:1:100::10/64 dev eth0 nodad");
    lab.provider.sh("ip -6 route add 2001:db8:1:100::/56 via 2001:db8:1::2 dev isp1 onlink");
    let config = three("ipv6 = true");
    let of_ppp0 = "dev = \"ppp0\"\nprefix6 = [\"2001:db8:1:100::/56\"]";
    lab.serve(&config.replace("dev = \"ppp0\"", of_ppp0));
    let own: Ipv6Addr = "2001:db8:1:100::10".parse().unwrap();
    lab.wanpool(["assign", &own.to_string(), "--pool", "1"]).ok();
    assert_eq!(inet6.seen(own), Some(own));
    lab.wanpool(["assign", &own.to_string(), "--pool", "2"]).ok();
    inet6.assert_leaves_by(own, 2);
}

#[test]
fn a_port_forward_answers_by_the_uplink_that_it_came_in_by_and_nothing_passes_through() {
    let lab = Lab::with().raise();
    let _inet6 = serve_three(&lab);
    let server = inet6_members(&lab, 1)[0];
    let at = |address| SocketAddr::V6(SocketAddrV6::new(address, 8080, 0, 0));
    let _server = EchoServer::start(&lab.clients, at(server));
    lab.gateway.sh(&format!(
        "ip6tables -t nat -I PREROUTING -i ppp1 -p udp --dport 8080 -j DNAT --to [{server}]:8080"
    ));
    let ask = |to: SocketAddr| {
        lab.far.enter(|| {
            let socket = UdpSocket::bind("[::]:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time limit");
            socket.send_to(b"hello", to).ok()?;
            socket.recv(&mut [0; 200]).ok()
        })
    };
    assert!(ask(at(uplink6(2))).is_some(), "the forward by uplink 2 to a client of pool 1");

    // A packet from one uplink to the network behind another one.
    lab.far.sh("ip -6 route add 2001:db8:77::/64 via 2001:db8:ff::254");
    lab.provider.sh("ip -6 route add 2001:db8:77::/64 via 2001:db8:2::2 dev isp2 onlink");
    let before = lab.carried(1).from_gateway;
    assert!(ask("[2001:db8:77::1]:9".parse().unwrap()).is_none());
    let passed = lab.carried(1).from_gateway - before;
    assert!(passed < 3, "{passed} packets passed through the gateway");
}

#[test]
fn whatever_is_deleted_of_the_slice_of_ipv6_is_repaired() {
    let lab = Lab::with().without_ethernet().raise();
    let inet6 = serve_three(&lab);
    let correct = lab.kernel_state();
    for edit in [
        "ip -6 rule del pref 20201",
        "ip -6 rule del pref 20020 iif ppp1",
        "ip nexthop del id 8801",
        "ip nexthop del id 8800",
        "ip -6 route del default table 202 metric 10",
        "ip -6 route del unreachable default table 202 metric 4294967295",
        "ip -6 route del default table 303",
        "ip -6 route replace default dev ppp1 table 301 metric 1024 proto 87",
        "ip -6 route add default dev ppp1 table 201 metric 5 proto 87",
        "ip -6 nexthop replace id 8802 dev ppp0 proto 87",
        "ip6tables -t mangle -F WANPOOL",
        "ip6tables -t nat -D POSTROUTING -j WANPOOL",
        "ip6tables -t mangle -A PREROUTING -j WANPOOL",
        "ipset del wanpool6 fd07::a",
        "ipset -exist add wanpool6 fd07::a skbmark 0x3/0xff",
        "ipset flush wanpool6",
        "sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.fib_multipath_hash_policy=0",
    ] {
        lab.gateway.sh(edit);
        lab.check().drifted();
        lab.wanpool(["assign"]).ok();
        lab.check().clean();
        lab.kernel_state().assert_is(&correct, edit);
    }
    inet6.assert_leaves_by(inet6_members(&lab, 1)[0], 1);
}
