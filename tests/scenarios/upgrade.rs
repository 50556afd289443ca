//! An upgrade from version 0.1.0, whose rules stood elsewhere and in another order.

use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    an_upgrade_moves_rules_and_breaks_no_connection,
}

/// The slice as version 0.1.0 made it, as far as it was another one.
fn make_old_slice(lab: &Lab) {
    let mut script = String::from(
        "ip rule | sed -n 's/:.* proto 87$//p' | while read -r pref; do ip rule del pref $pref; done
         ip rule add pref 1000 not fwmark 0/0xff lookup main suppress_prefixlength 0 proto 87
         ip rule add pref 1190 fwmark 0x80/0x80 lookup 200 proto 87
         ip rule add pref 1300 iif br0 lookup main suppress_prefixlength 0 proto 87
         ip rule add pref 1301 iif br0 lookup 200 proto 87
         iptables -t mangle -F WANPOOL-OUT; iptables -t nat -F WANPOOL
         iptables -t mangle -A WANPOOL-OUT -m connmark ! --mark 0x0/0xff -j CONNMARK \\
             --restore-mark --nfmask 0xff --ctmask 0xff
         ip route del 10.65.4.0/24 table 304\n",
    );
    for number in 1..=4 {
        let (dev, mark) = (lab.uplink_dev(number), 0x80 + number);
        let via = if dev == "eth1" { "via 10.65.4.1 onlink" } else { "" };
        script += &format!(
            "ip rule add pref 1010 iif {dev} lookup main suppress_prefixlength 0 proto 87
             ip rule add pref 1020 iif {dev} blackhole proto 87
             ip rule add pref 110{number} fwmark {mark:#x}/0xff lookup 30{number} proto 87
             ip rule add pref 120{number} fwmark {number:#x}/0xff lookup 20{number} proto 87
             ip route replace default {via} dev {dev} table 30{number} proto 87
             iptables -t nat -A WANPOOL -o {dev} -j MASQUERADE\n"
        );
    }
    lab.gateway.sh(&script);
}

fn an_upgrade_moves_rules_and_breaks_no_connection(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&four(""));
        let before = lab.state();
        make_old_slice(&lab);
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        let flows = lab.talk(&[1, 2, 3, 4].map(|pool| lab.member(pool, 0)));
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&before, "after the upgrade");
        flows.assert_on_own_uplinks(&lab);
    }
}
