//! `pools --check` finds nothing on a gateway in order, whatever its configuration and whatever
//! harmless foreign rules there are.

use crate::lab::{Lab, Shape, four, three, uplinks};

with_both_iptables! {
    check_is_clean_with_any_rp_filter_and_any_state_of_the_uplinks,
    tailscale_strongswan_wireguard_and_docker_are_no_findings,
}

fn check_is_clean_with_any_rp_filter_and_any_state_of_the_uplinks(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&four("helpers = [\"ftp\"]"));
        for command in ["restore", "multipath on", "failover ppp0", "failover ppp1 --to eth1"] {
            lab.run(command).ok();
            lab.check().clean();
        }
        for number in [3, 4, 1, 2] {
            lab.hang_up(number);
            lab.check().clean();
        }
        lab.wanpool(["assign"]).ok();
        lab.check().clean();
        (1..=4).for_each(|number| lab.redial(number));
        // Uplinks that came back without a hook are not in service yet: that is drift.
        assert!(lab.check().findings.is_empty());
        lab.check().drifted();
        for command in ["assign", "multipath off"] {
            lab.run(command).ok();
            lab.check().clean();
        }
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

/// What these programs set up before wanpool starts, and rules in front of wanpool's that match no
/// packet of a client.
const BESIDE: &str = "
ip link add tailscale0 type veth peer name tail1
ip link set tailscale0 up
ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable
ip rule add pref 5270 lookup 52
ip route add 100.100.0.0/16 dev tailscale0 table 52
ip rule add pref 220 lookup 220
ip route add 172.30.0.0/24 dev ppp1 table 220
ip rule add pref 1000 l3mdev
ip rule add not fwmark 51820 lookup 51820
ip rule add lookup main suppress_prefixlength 0
ip route add default dev ppp1 table 77
ip rule add pref 500 lookup main suppress_prefixlength 0
ip rule add pref 501 fwmark 0x100/0xff00 lookup 77
ip rule add pref 502 iif tailscale0 lookup 77
ip rule add pref 503 from 10.65.4.2 lookup 77
ip rule add pref 504 oif ppp1 lookup 77
ip rule add pref 505 to 10.8.0.0/16 lookup 77
iptables-restore --noflush <<END
*raw
-A PREROUTING ! -i tailscale0 -d 10.77.0.2/32 -j DROP
COMMIT
*mangle
:LIBVIRT_PRT - [0:0]
-A POSTROUTING -j LIBVIRT_PRT
-A LIBVIRT_PRT -o virbr0 -p udp -m udp --dport 68 -j CHECKSUM --checksum-fill
-A PREROUTING -i lo -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
COMMIT
*nat
:ts-postrouting - [0:0]
:DOCKER - [0:0]
-A POSTROUTING -j ts-postrouting
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -o br0 -j ACCEPT
-A POSTROUTING -m policy --dir out --pol ipsec -j ACCEPT
-A POSTROUTING -d 172.30.0.0/24 -j ACCEPT
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

fn tailscale_strongswan_wireguard_and_docker_are_no_findings(shape: Shape) {
    let lab = shape.rp_filter(2).raise();
    lab.gateway.sh(BESIDE);
    lab.serve(&four(""));
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.wanpool(["multipath", "on"]).ok();
    lab.check().clean();
}
