//! The gateway of an ethernet uplink comes from the configuration, from `--via`, or from the default
//! route in main. Default routes in main are never changed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::lab::{EchoServer, FAR, Lab, Shape, Speaker, four, three};

with_both_iptables! {
    restore_via_sets_a_changed_gateway,
    the_gateway_is_taken_from_the_default_route_of_dhcp,
    default_routes_in_main_change_nothing_for_clients_and_are_kept,
}

const NEW: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 9);
const DHCP: &str = "ip route add default via 10.65.4.1 dev eth1 proto dhcp metric 100";

/// The ethernet uplink as the fourth, with no gateway in the configuration.
fn without_via() -> String {
    four("").replace("via = \"10.65.4.1\"\n", "")
}

fn restore_via_sets_a_changed_gateway(shape: Shape) {
    let lab = shape.serving(&without_via());
    assert_eq!(
        lab.wanpool(["restore", "eth1", "--via", "10.65.4.1"]).ok().stdout,
        "uplink 4 eth1 up\n"
    );
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.wanpool(["restore", "eth1", "--via", "10.65.4.1"]).silent();
    lab.wanpool(["restore", "eth1"]).silent();
    let others = lab.talk(&[1, 2, 3].map(|pool| lab.member(pool, 0)));

    lab.move_gateway(4, NEW);
    lab.wanpool(["restore", "eth1", "--via", "10.65.4.9"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    let routes = lab.gateway.sh("ip route show table 304; ip nexthop show id 8704");
    assert_eq!(routes.matches("via 10.65.4.9 ").count(), 2, "{routes}");
    for command in ["assign", "restore", "restore eth1"] {
        lab.run(command).silent();
    }
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    others.assert_on_own_uplinks(&lab);
}

#[test]
fn a_gateway_given_by_via_is_kept_if_the_configuration_has_none() {
    let lab = Lab::new();
    lab.gateway.sh(DHCP);
    lab.serve(&without_via());
    let before = lab.state();
    lab.gateway.sh("ip route del default");
    lab.move_gateway(4, NEW);
    lab.wanpool(["restore", "eth1", "--via", "10.65.4.9"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    // It survives a link that is down for a moment, and a flush.
    for loss in ["ip link set eth1 down; ip link set eth1 up", "$WANPOOL flush"] {
        lab.script(loss).ok();
        lab.wanpool(["restore"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[4]);
    }
    // The main table counts more than what is remembered.
    lab.move_gateway(4, lab.uplink_gateway(4));
    lab.gateway.sh(DHCP);
    assert!(lab.check().drifted().contains("via 10.65.4.1 dev eth1"));
    lab.wanpool(["assign"]).ok();
    lab.state().assert_is(&before, "as the main table says");
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
}

#[test]
fn an_edit_of_via_is_drift_and_the_next_assign_follows_it() {
    let lab = Lab::four_uplinks();
    let before = lab.state();
    lab.move_gateway(4, NEW);
    lab.config(&four("").replace("10.65.4.1\"", "10.65.4.9\""));
    assert!(lab.check().drifted().contains("via 10.65.4.9 dev eth1"));
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    lab.check().clean();

    // A gateway given by --via counts until the next run.
    lab.move_gateway(4, lab.uplink_gateway(4));
    let run = lab.wanpool(["restore", "eth1", "--via", "10.65.4.1"]);
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stderr.contains("10.65.4.1 is used until the next run"), "{run}");
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    lab.config(&four(""));
    lab.wanpool(["assign"]).silent();
    lab.state().assert_is(&before, "as the configuration says");

    // A point-to-point device needs no gateway, and a mistyped one is forgotten.
    lab.wanpool(["restore", "ppp1", "--via", "10.0.0.9"]).ok();
    lab.wanpool(["restore"]).ok();
    lab.state().assert_is(&before, "as the configuration says");
}

fn the_gateway_is_taken_from_the_default_route_of_dhcp(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh(DHCP);
    lab.serve(&without_via());
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    // Once the gateway is known, the route is no longer needed.
    lab.gateway.sh("ip route del default");
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["failover", "eth1"]).ok();
    lab.wanpool(["restore", "eth1"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    // After a redial the gateway is unknown until DHCP has run.
    lab.redial(4);
    lab.wanpool(["assign"]).ok();
    let row = lab.wanpool(["-j", "pools"]).json()[3].clone();
    assert_eq!(row["state"], "down", "{row}");
    lab.gateway.sh(DHCP);
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
}

#[test]
fn without_a_known_gateway_the_uplink_is_down_and_the_report_says_why() {
    let lab = Lab::new();
    lab.config(&without_via());
    lab.discover(&lab.everyone());
    let report = lab.wanpool(["restore"]);
    let lines = report.ok().lines();
    let reason = lines.iter().find(|line| line.starts_with("uplink 4 eth1 down"));
    assert!(reason.is_some_and(|line| line.contains("--via")), "{report}");
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.assert_leaves_by(lab.member(4, 0), &[1, 2, 3]);

    let before = lab.state();
    lab.wanpool(["restore", "eth1"]).refused(1).naming(&["eth1", "--via"]);
    lab.wanpool(["restore", "--via", "10.65.4.1"]).failed();
    for via in ["10.65.4", "", "10.65.4.1 10.65.4.3"] {
        lab.wanpool(["restore", "eth1", "--via", via]).refused(2).naming(&[via, "--via"]);
    }
    lab.state().assert_is(&before, "refused");
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["restore", "eth1", "--via", "10.65.4.1"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

/// Default routes that pppd and DHCP clients add.
const DEFAULTS: &str = "
ip route add default dev ppp1
ip route add default via 10.65.4.1 dev eth1 proto dhcp metric 100
ip route add default via 192.168.7.199 dev br0 metric 200
";

fn default_routes_in_main_change_nothing_for_clients_and_are_kept(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).raise();
        let excluded = lab.everyone()[29];
        lab.serve(&three(&format!("unassigned = \"unreachable\"\nexclude = [\"{excluded}\"]")));
        let main = || lab.gateway.sh("ip route show table main");
        lab.gateway.sh(DEFAULTS);
        let (before, with_defaults) = (main(), lab.state());
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        assert!(
            lab.client(excluded).tcp().is_err_and(|why| why.contains("UNREACH")),
            "service for an excluded address"
        );

        lab.wanpool(["assign"]).silent();
        lab.wanpool(["restore"]).silent();
        lab.wanpool(["failover", "ppp0"]).ok();
        lab.wanpool(["multipath", "on"]).ok();
        lab.assert_leaves_by(lab.member(1, 0), &[2, 3]);
        assert_eq!(main(), before);
        lab.wanpool(["multipath", "off"]).ok();
        lab.wanpool(["restore", "ppp0"]).ok();
        lab.state().assert_is(&with_defaults, "with rp_filter");
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        lab.wanpool(["flush"]).ok();
        assert_eq!(main(), before);
        lab.wanpool(["restore"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    }
}

/// Two lines of one provider, with one gateway address in one network.
const TWIN_LINES: &str = "
lan = [\"br0\"]

[uplink.1]
dev = \"eth8\"
via = \"192.168.8.1\"

[uplink.2]
dev = \"eth9\"
via = \"192.168.8.1\"
";

/// The gateway asks by ARP again when its entry is old. Such a question has no mark, and a strict
/// rp_filter would drop it on the second line.
#[test]
fn two_lines_with_one_gateway_are_heard_by_it_with_any_rp_filter() {
    for rp_filter in 0..=2 {
        let lab = Lab::with().rp_filter(rp_filter).raise();
        for (number, address) in [(8, "192.168.8.101"), (9, "192.168.8.102")] {
            lab.lay_line(&format!("eth{number}"), &format!("isp{number}"));
            lab.gateway.sh(&format!("ip addr add {address}/24 dev eth{number}"));
            lab.provider.sh(&format!(
                "ip addr add 192.168.8.1/32 dev isp{number}
                 ip link set isp{number} up
                 ip route add {address} dev isp{number}"
            ));
        }
        lab.serve(TWIN_LINES);
        // A question of ours tells the provider the address of the sender. Only then it must ask.
        for pool in [1, 2, 1, 2] {
            let expected = Ipv4Addr::new(192, 168, 8, 100 + pool);
            for client in lab.members(pool) {
                assert_eq!(lab.client(client).seen(), Ok(expected), "rp_filter {rp_filter}");
            }
            lab.provider.sh("ip neigh flush all");
        }
        lab.check().found(&["eth8 and eth9 share the network 192.168.8.0/24"]);
        // A forward is answered by the line that it came in on, also while that line is out.
        let inside = lab.member(2, 0);
        let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(inside, 8080));
        lab.gateway.sh(&format!(
            "iptables -t nat -I PREROUTING -i eth+ -p tcp --dport 8080 -j DNAT --to {inside}:8080"
        ));
        lab.wanpool(["failover", "eth8"]).ok();
        assert_eq!(lab.client(lab.member(1, 0)).seen(), Ok([192, 168, 8, 102].into()));
        for number in [101, 102] {
            let to = SocketAddrV4::new([192, 168, 8, number].into(), 8080);
            let mut visitor = Speaker::new(&lab.far, *FAR.ip(), to).tcp().expect("a forward");
            assert_eq!(visitor.ask(), Ok(*FAR.ip()), "by {number}, rp_filter {rp_filter}");
        }
        lab.wanpool(["restore", "eth8"]).ok();
        // Each is probed by its own line, and heard.
        for _ in 0..3 {
            lab.wanpool(["failover", "--probe"]).silent();
        }
        for row in lab.wanpool(["-j", "pools"]).json().as_array().unwrap() {
            assert_eq!((&row["state"], &row["loss"]), (&"up".into(), &0.into()), "{row}");
        }
        let of_eth1 = lab.gateway.sh("cat /proc/sys/net/ipv4/conf/eth1/rp_filter");
        assert_eq!(of_eth1.trim(), rp_filter.to_string(), "a line of its own");
    }
}

/// Two cards in one segment: each answers ARP for its own address only, so that no packet for one line
/// comes in by the other.
#[test]
fn of_two_cards_in_one_segment_each_answers_for_itself() {
    let lab = Lab::new();
    lab.provider.sh("ip link add seg type bridge; ip addr add 192.168.8.1/24 dev seg
        ip link set seg up");
    for (number, address) in [(8, "192.168.8.101"), (9, "192.168.8.102")] {
        lab.lay_line(&format!("eth{number}"), &format!("isp{number}"));
        lab.gateway.sh(&format!("ip addr add {address}/24 dev eth{number}"));
        lab.provider.sh(&format!("ip link set isp{number} master seg; ip link set isp{number} up"));
    }
    lab.serve(TWIN_LINES);
    let asked = |dev: &str| {
        // The answer to the broadcast, not to what is known already.
        lab.provider.sh(&format!("ip link set {dev} down; ip neigh flush dev seg"));
        let to = SocketAddrV4::new([192, 168, 8, 102].into(), 9);
        let speaker = Speaker::new(&lab.provider, [192, 168, 8, 1].into(), to);
        let _ = speaker.patience(Duration::from_secs(1)).udp().and_then(|mut conn| conn.ask());
        let known =
            lab.provider.sh(&format!("ip neigh show dev seg 192.168.8.102; ip link set {dev} up"));
        known.contains("lladdr")
    };
    assert!(asked("isp8"), "eth9 answers for its address");
    assert!(!asked("isp9"), "eth8 answers for the address of eth9");
    for dev in ["eth8", "eth9"] {
        let sysctl = |name| lab.gateway.read_sysctl(&format!("net/ipv4/conf/{dev}/{name}"));
        assert_eq!((sysctl("arp_ignore"), sysctl("arp_announce")), ("1".into(), "2".into()));
    }
}
