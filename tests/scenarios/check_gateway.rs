//! `pools --check` beside other programs of a gateway: what they do is harmful, found, and repaired by
//! the remedy that is printed.

use std::net::SocketAddr;

use crate::lab::{EchoServer, Lab, four, three, two};

#[test]
fn a_destination_that_main_leads_by_one_uplink_is_found() {
    let lab = Lab::four_uplinks();
    for (route, words) in [
        ("100.66.0.1 via 10.65.4.1 dev eth1 proto dhcp", ["by eth1", "RoutesToDNS=no"]),
        ("100.66.0.1 dev ppp1", ["by ppp1", "ip route del 100.66.0.1 dev ppp1"]),
        ("100.66.0.0/16 via 10.65.4.1 dev eth1", ["by eth1", "ip route del 100.66.0.0/16"]),
    ] {
        lab.gateway.sh(&format!("ip route add {route}"));
        let by = if route.contains("eth1") { 4 } else { 2 };
        lab.assert_leaves_by(lab.member(1, 0), &[by]);
        lab.check().found(&["the main table leads 100.66.0.", "no failover", words[0], words[1]]);
        let check = lab.check();
        let remedy = check.findings[0].rsplit_once(": ").unwrap().1;
        lab.gateway.sh(remedy.split(';').next().unwrap());
        lab.check().clean();
    }
    // What lies behind another gateway has no other way.
    lab.gateway.sh("ip route add 10.9.0.0/16 via 10.65.4.77 dev eth1");
    lab.wanpool(["assign"]).ok();
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

#[test]
fn a_gateway_without_a_way_out_of_its_own_is_found() {
    let lab = Lab::four_uplinks();
    // Main's only default route leads to an uplink that is out.
    lab.gateway.sh("ip route add default dev ppp1");
    lab.check().clean();
    lab.wanpool(["failover", "ppp1"]).ok();
    lab.check().found(&["own traffic leaves by ppp1, which is failed-over", "multipath on"]);
    lab.wanpool(["multipath", "on"]).ok();
    lab.check().clean();
    lab.wanpool(["restore"]).ok();
    lab.gateway.sh("ip route del default");
    lab.check().clean();
    // The kernel passes over a route without carrier.
    lab.gateway.sh("ip route add default via 10.65.4.1 dev eth1 metric 1
        ip route add default dev ppp0 metric 2");
    lab.carrier(4, false);
    lab.wanpool(["assign"]).ok();
    lab.check().clean();
    lab.carrier(4, true);
    lab.wanpool(["assign"]).ok();
    lab.gateway.sh("ip route del default; ip route del default");
    // A resolver for clients.
    let at = |address: &str| format!("{address}:53").parse::<SocketAddr>().unwrap();
    for (address, is_found) in [("127.0.0.1", false), ("192.168.7.1", true), ("0.0.0.0", true)] {
        let resolver = EchoServer::start(&lab.gateway, at(address));
        if is_found {
            lab.check().found(&["a resolver listens at 192.168.7.1", "no way out", "multipath on"]);
        } else {
            lab.check().clean();
        }
        lab.wanpool(["multipath", "on"]).ok();
        lab.check().clean();
        lab.wanpool(["multipath", "off"]).ok();
        drop(resolver);
    }
}

#[test]
fn uplinks_that_share_a_network_are_found() {
    let lab = Lab::four_uplinks();
    lab.config(&(four("") + "\n[uplink.5]\ndev = \"eth9\"\nvia = \"10.65.4.1\"\n"));
    lab.gateway.sh("ip link add eth9 type veth peer name eth9p
         ip link set eth9p up; ip link set eth9 up; ip addr add 10.65.4.9/24 dev eth9");
    lab.wanpool(["restore"]).ok();
    lab.check().found(&["eth1 and eth9 share the network 10.65.4.0/24", "another network"]);
}

#[test]
fn a_second_name_of_a_device_is_found() {
    let lab = Lab::with().serving(&two());
    lab.gateway.sh("ip link property add dev ppp2 altname enp3s0f1");
    lab.config(&(two() + "\n[uplink.3]\ndev = \"enp3s0f1\"\n"));
    let restored = lab.wanpool(["restore"]);
    assert!(restored.stdout.contains("another name of a device"), "{restored}");
    lab.check().found(&["enp3s0f1 is another name of ppp2", "write ppp2 in dev of uplink 3"]);
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    lab.check().clean();
}

#[test]
fn saved_rules_that_need_the_set_are_found() {
    let lab = Lab::three_uplinks();
    let etc = lab.scratch().join("etc");
    std::fs::create_dir(&etc).unwrap();
    lab.gateway.sh(&format!("iptables-save >{}/rules.v4", etc.display()));
    let mount = format!("mkdir -p /etc/iptables; mount --bind {} /etc/iptables", etc.display());
    let check = lab.check_where(&mount);
    check.found(&["/etc/iptables/rules.v4 holds wanpool's rules", "install wanpool-set.service"]);
}
