//! The lab itself is sound: a slice made by hand, without the program, works in it.

use std::time::Duration;

use crate::lab::{Ftp, Iptables, Lab, wait_until};

/// Two uplinks as DESIGN has them, in the words of `ip`, `ipset` and `iptables`.
const SLICE: &str = "
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.src_valid_mark=1
ip nexthop add id 8701 dev ppp0 proto 87
ip nexthop add id 8702 dev ppp1 proto 87
ip nexthop add id 8700 group 8701/8702 proto 87
ip route add default nhid 8700 table 200 proto 87
ip rule add pref 1000 not fwmark 0/0xff lookup main suppress_prefixlength 0
for n in 1 2; do
    dev=ppp$((n - 1)) flow=$((0x80 + n))
    ip route add default dev $dev table $((300 + n)) proto 87
    ip route add default nhid $((8700 + n)) metric 10 table $((200 + n)) proto 87
    ip route add default nhid 8700 metric 20 table $((200 + n)) proto 87
    ip rule add pref 1010 iif $dev lookup main suppress_prefixlength 0
    ip rule add pref 1020 iif $dev blackhole
    ip rule add pref $((1100 + n)) fwmark $flow/0xff lookup $((300 + n))
    ip rule add pref $((1200 + n)) fwmark $n/0xff lookup $((200 + n))
done
ip rule add pref 1300 iif br0 lookup main suppress_prefixlength 0
ip rule add pref 1301 iif br0 lookup 200
ipset create wanpool hash:ip skbinfo counters
ipset add wanpool 192.168.7.10 skbmark 0x1/0xff
ipset add wanpool 192.168.7.11 skbmark 0x2/0xff
iptables-restore --noflush <<END
*mangle
-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
-A PREROUTING -m mark ! --mark 0/0xff -j RETURN
-A PREROUTING -i ppp0 -j CONNMARK --set-xmark 0x81/0xff
-A PREROUTING -i ppp1 -j CONNMARK --set-xmark 0x82/0xff
-A PREROUTING -i br0 -j SET --map-set wanpool src --map-mark
-A POSTROUTING -o ppp0 -m connmark --mark 0/0xff -j CONNMARK --set-xmark 0x81/0xff
-A POSTROUTING -o ppp1 -m connmark --mark 0/0xff -j CONNMARK --set-xmark 0x82/0xff
COMMIT
*nat
-A POSTROUTING -o ppp0 -j MASQUERADE
-A POSTROUTING -o ppp1 -j MASQUERADE
COMMIT
*raw
-A PREROUTING -i br0 -p tcp --dport 21 -j CT --helper ftp
COMMIT
END
";

fn works_with_a_slice_made_by_hand(lab: &Lab) {
    let [one, two] = ["192.168.7.10", "192.168.7.11"].map(|client| client.parse().unwrap());
    lab.hear(&[one, two]);
    let brief = |client| lab.client(client).patience(Duration::from_millis(300));
    assert!(brief(one).tcp().is_err(), "service without a slice");
    lab.gateway.sh(SLICE);
    let before = lab.carried(2);
    lab.assert_leaves_by(one, &[1]);
    assert_eq!(lab.carried(2), before);
    lab.assert_leaves_by(two, &[2]);
    assert_eq!(lab.connmarks(two), [0x82, 0x82]);
    let mut open = lab.client(two).tcp().unwrap();
    assert_eq!(open.ask(), Ok(lab.uplink_address(2)));
    lab.swallow(2, true);
    assert!(
        brief(two).udp().unwrap().ask().is_err(),
        "an answer by a line that swallows everything"
    );
    lab.swallow(2, false);
    assert_eq!(open.ask(), Ok(lab.uplink_address(2)));
}

#[test]
fn the_lab_works_with_a_slice_made_by_hand() {
    works_with_a_slice_made_by_hand(&Lab::new());
}

#[test]
fn the_lab_works_with_iptables_legacy_and_strict_rp_filter() {
    let shape = Lab::with().iptables(Iptables::Legacy).rp_filter(1);
    works_with_a_slice_made_by_hand(&shape.raise());
}

#[test]
fn the_lab_redials_an_uplink_with_another_address() {
    let lab = Lab::with().one_gateway().client_addresses(400).raise();
    lab.redial_as(1, "10.64.1.77".parse().unwrap());
    lab.gateway.sh(SLICE);
    let client = lab.everyone()[0];
    assert_eq!(lab.client(client).seen(), Ok("10.64.1.77".parse().unwrap()));
    lab.hang_up(1);
    wait_until("the line is gone", || lab.table(301).is_empty());
    lab.assert_leaves_by(client, &[2]);
}

#[test]
fn active_ftp_in_the_lab_needs_the_helper() {
    let lab = Lab::new();
    lab.gateway.sh(SLICE);
    let (ftp, client) = (Ftp::start(&lab), lab.everyone()[1]);
    assert_eq!(ftp.fetch(&lab, client).as_deref(), Ok("hello\n"));
    lab.gateway.sh("iptables -t raw -F PREROUTING");
    assert!(ftp.fetch(&lab, client).is_err(), "active FTP without the helper");
}
