//! Objects with our numbers and names that cannot be proved to be ours: they are kept, and the check
//! reports them where they are a conflict.

use crate::lab::{Lab, four};

fn served() -> Lab {
    Lab::serving(&four("helpers = [\"ftp\"]"))
}

#[test]
fn a_rule_put_back_by_hand_without_our_protocol_is_replaced() {
    let lab = served();
    let right = lab.rules();
    let by_hand = "ip rule add pref 20201 fwmark 0x1/0xff lookup 201";
    lab.gateway.sh(&format!("ip rule del pref 20201\n{by_hand}"));
    let check = lab.check();
    assert!(check.drifted().contains(by_hand), "{check}");
    lab.gateway.sh(&check.steps);
    lab.wanpool(["assign"]).silent();
    assert_eq!(lab.check().status, 0);
    // The foreign rule is kept.
    lab.gateway.sh(&by_hand.replace("add", "del"));
    lab.check().clean();
    assert_eq!(lab.rules(), right);
}

#[test]
fn a_set_that_is_too_small_is_reported_with_a_remedy_that_works() {
    let lab = served();
    lab.gateway.sh("ipset create small hash:ip maxelem 64 counters skbinfo
         ipset swap small wanpool
         ipset save small | sed -n 's/^add small/add wanpool/p' | ipset restore
         ipset destroy small");
    // No command can change anything; the error and the check name the reason and the next step.
    lab.wanpool(["assign", "192.168.7.99"])
        .refused(1)
        .naming(&["room for 64 members only", "wanpool flush"]);
    lab.check().naming(&["room for 64 members only", "wanpool flush"]);
    lab.wanpool(["flush"]).ok();
    lab.wanpool(["restore"]).ok();
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
}

#[test]
fn a_route_replaced_by_hand_with_a_foreign_one_is_reported() {
    let lab = served();
    for damage in [
        "ip route replace default dev ppp1 table 201 metric 10",
        "ip route replace default dev ppp1 table 301",
        "ip route add default dev ppp1 table 201",
    ] {
        lab.gateway.sh(damage);
        // It cannot be proved to be ours, so no step removes it, and the check reports it.
        lab.check().naming(&["has a default route of another program", "ip route del default"]);
        lab.gateway.sh(&damage.replace("replace", "del").replace("add", "del"));
        lab.wanpool(["restore"]).ok();
        lab.check().clean();
    }
}

#[test]
fn foreign_jumps_with_comments_do_not_stop_flush() {
    let lab = served();
    for comment in ["two words", "a \\\"quote\\\"", "it's mine", "\\$(reboot) -j ACCEPT"] {
        let jump = format!("-j WANPOOL -m comment --comment \"{comment}\"");
        lab.gateway.sh(&format!("iptables -t mangle -A PREROUTING {jump}"));
    }
    lab.wanpool(["flush"]).ok();
    assert!(!lab.filter().contains("WANPOOL"), "{}", lab.filter());
}
