//! Foreign objects of an admin, and the foreign bits of a mark, which are kept.

use std::net::Ipv4Addr;

use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    foreign_bits_of_marks_are_kept,
}

/// Objects of an admin, some with numbers and names next to ours.
pub const FOREIGN: &str = "
ip link add side0 type veth peer name side1
ip link set side0 up
ip link set side1 up
ip nexthop add id 42 dev br0
ip nexthop add id 8799 dev side0
ip route add 172.30.0.0/16 nhid 42
ip route add default dev side0 table 77
ip route add 10.9.0.0/16 dev side0 table 201
ip rule add pref 500 from 192.168.99.0/24 lookup 77
ip rule add pref 20000 from 192.168.98.0/24 lookup 77
ip rule add pref 20201 fwmark 0x100/0xff00 lookup 77
ip rule add pref 20301 iif side0 lookup 77
ip rule add pref 31999 to 203.0.113.0/24 lookup 77
ipset create office hash:ip
ipset add office 192.168.7.99
ipset create wanpool-not hash:net skbinfo
ipset add wanpool-not 192.168.0.0/16 skbmark 0x7/0xff
iptables-restore --noflush <<END
*raw
-A PREROUTING -i side0 -j NOTRACK
COMMIT
*mangle
:ADMIN - [0:0]
:WANPOOL-NOT - [0:0]
-A PREROUTING -j ADMIN
-A PREROUTING -i side0 -j WANPOOL-NOT
-A OUTPUT -o side0 -j WANPOOL-NOT
-A ADMIN -d 203.0.113.9 -j MARK --set-xmark 0x100/0xff00
-A WANPOOL-NOT -m set --match-set office src -j RETURN
COMMIT
*nat
-A POSTROUTING -o side0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A INPUT -i side0 -j DROP
-A FORWARD -i side0 -j DROP
-A FORWARD -j ACCEPT
COMMIT
END
";

/// Counts every forwarded packet of the client, and those whose foreign bits are wrong.
fn count_marked(lab: &Lab, client: Ipv4Addr) {
    lab.gateway.sh(&format!(
        "iptables-restore --noflush <<END
*mangle
:SENT - [0:0]
:LOST - [0:0]
-A PREROUTING -s {client} -j MARK --set-xmark 0x5a00/0xff00
-A PREROUTING -s {client} -j CONNMARK --set-xmark 0x6b0000/0xff0000
-A FORWARD -s {client} -j SENT
-A FORWARD -s {client} -m mark ! --mark 0x5a00/0xffffff00 -j LOST
-A SENT -j RETURN
-A LOST -j RETURN
COMMIT
END"
    ));
}

fn packets(lab: &Lab, chain: &str) -> u64 {
    let saved = lab.gateway.sh("iptables-save -c -t mangle");
    let rule = format!(" -A {chain} -j RETURN");
    let line = saved.lines().find(|line| line.ends_with(&rule)).expect("the counting rule");
    let count = line.trim_start_matches('[').split(':').next().expect("a count");
    count.parse().expect("a number")
}

fn foreign_bits_of_marks_are_kept(shape: Shape) {
    let lab = shape.raise();
    let client = lab.everyone()[0];
    count_marked(&lab, client);
    lab.serve(&four(""));
    // UDP, since over TCP an ACK may follow an answer at any time.
    let mut open = lab.client(client).udp().unwrap();
    for _ in 0..5 {
        assert_eq!(open.ask(), Ok(lab.uplink_address(1)));
    }
    assert!(packets(&lab, "SENT") >= 5);
    assert_eq!(packets(&lab, "LOST"), 0);
    assert_eq!(lab.connmarks(client), [0x6b_0081]);
    lab.wanpool(["flush"]).ok();
    assert_eq!(lab.connmarks(client)[0] & !0xff, 0x6b_0000);
}
