//! `pools --check` finds nothing on a gateway in order, whatever its configuration and whatever
//! harmless foreign rules there are.

use crate::lab::{Lab, LanHosts, Shape, four, three, uplinks};

with_both_iptables! {
    check_is_clean_with_any_rp_filter_and_any_state_of_the_uplinks,
    tailscale_wireguard_and_docker_are_no_findings,
}

fn check_is_clean_with_any_rp_filter_and_any_state_of_the_uplinks(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&four("helpers = [\"ftp\"]"));
        lab.check().clean();
        lab.wanpool(["multipath", "on"]).ok();
        lab.check().clean();
        lab.wanpool(["failover", "ppp0"]).ok();
        lab.check().clean();
        lab.wanpool(["failover", "ppp1", "--to", "eth1"]).ok();
        lab.check().clean();
        lab.hang_up(3);
        lab.check().clean();
        lab.wanpool(["assign"]).ok();
        lab.check().clean();
        lab.hang_up(4);
        lab.hang_up(1);
        lab.hang_up(2);
        lab.check().clean();
        (1..=4).for_each(|number| lab.redial(number));
        // Uplinks that came back without a hook are not in service yet: that is drift.
        assert!(lab.check().findings.is_empty());
        lab.check().drifted();
        lab.wanpool(["assign"]).ok();
        lab.check().clean();
        lab.wanpool(["multipath", "off"]).ok();
        lab.check().clean();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    }
}

#[test]
fn check_is_clean_with_many_configurations() {
    let nat = "\"ppp1\"\nnat = false\nclamp-mss = false\nweight = 7";
    let configs = [
        three("unassigned = \"unreachable\""),
        three("").replace("\"ppp1\"", nat),
        three("").replace("lan = [\"br0\"]", ""),
        three("") + "\n[multipath]\nenable = true\nhash = \"source\"\n",
        three("exclude = [\"192.168.7.12\"]") + "\n[pin]\n\"192.168.7.32/29\" = 2\n",
        three("")
            + "\n[kernel]\nmark-mask = 0xff0000\ntable-base = 1000\nuplink-table-base = 2000
               rule-pref = 5000\nprotocol = 77\nnexthop-base = 100\n",
        uplinks("", &["ppp0"]),
    ];
    let lab = Lab::with().rp_filter(1).raise();
    for config in configs {
        lab.serve(&config);
        lab.wanpool(["restore"]).silent();
        lab.check().clean();
        lab.wanpool(["flush"]).ok();
    }
}

/// What these programs set up before wanpool starts.
const BESIDE: &str = "
ip link add tailscale0 type veth peer name tail1
ip link set tailscale0 up
ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable
ip rule add pref 5270 lookup 52
ip route add 100.100.0.0/16 dev tailscale0 table 52
ip rule add not fwmark 51820 lookup 51820
ip rule add lookup main suppress_prefixlength 0
iptables-restore --noflush <<END
*raw
-A PREROUTING ! -i tailscale0 -d 10.77.0.2/32 -j DROP
COMMIT
*mangle
:LIBVIRT_PRT - [0:0]
-A POSTROUTING -j LIBVIRT_PRT
-A LIBVIRT_PRT -o virbr0 -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill
COMMIT
*nat
:ts-postrouting - [0:0]
:DOCKER - [0:0]
-A POSTROUTING -j ts-postrouting
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:ts-forward - [0:0]
-A FORWARD -j ts-forward
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -o tailscale0 -j ACCEPT
-A FORWARD -i br0 -j ACCEPT
COMMIT
END
";

fn tailscale_wireguard_and_docker_are_no_findings(shape: Shape) {
    let lab = shape.rp_filter(2).raise();
    lab.gateway.sh(BESIDE);
    lab.serve(&four(""));
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.wanpool(["multipath", "on"]).ok();
    lab.check().clean();
}

/// Rules in front of ours that match no packet of a client.
const HARMLESS_RULES: [&str; 7] = [
    "pref 500 lookup main suppress_prefixlength 0",
    "pref 500 fwmark 0x100/0xff00 lookup 77",
    "pref 500 iif dmz0 lookup 77",
    "pref 500 iif lo lookup 77",
    // The gateway's own packets.
    "pref 500 from 10.65.4.2 lookup 77",
    "pref 500 from 192.168.99.0/24 lookup 77",
    // A socket bound to a device; forwarded packets have none.
    "pref 500 oif ppp1 lookup 77",
];

#[test]
fn harmless_routing_rules_are_no_findings() {
    let lab = Lab::new();
    let _inside = LanHosts::raise(&lab);
    lab.serve(&four(""));
    lab.gateway.sh("ip route add default dev ppp1 table 77");
    for rule in HARMLESS_RULES {
        lab.gateway.sh(&format!("ip rule add {rule}"));
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2]);
        lab.check().clean();
        lab.gateway.sh("ip rule del pref 500");
    }
}

#[test]
fn harmless_filter_rules_are_no_findings() {
    let lab = Lab::four_uplinks();
    for (table, rule) in
        [("mangle", "PREROUTING -i lo"), ("mangle", "OUTPUT -o lo"), ("nat", "POSTROUTING -o br0")]
    {
        lab.gateway.sh(&format!("iptables -t {table} -I {rule} -j ACCEPT"));
        lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
        lab.check().clean();
        lab.gateway.sh(&format!("iptables -t {table} -D {rule} -j ACCEPT"));
    }
}
