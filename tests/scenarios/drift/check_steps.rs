//! Each kind of object of ours deleted, altered or doubled by hand: `pools --check` finds it, and
//! `restore`, or what the check prints in a root shell, mends it.

use crate::lab::{CHAINS, Lab, Shape, four};
use crate::with_both_iptables;

with_both_iptables! {
    chains_rules_and_jumps_of_ours_that_were_changed_are_mended,
    a_set_that_was_changed_is_mended,
    a_slice_that_is_gone_is_mended,
}

fn served(shape: Shape) -> Lab {
    let lab = shape.rp_filter(1).serving(&four("helpers = [\"ftp\"]"));
    lab
}

/// What there is, whatever the order among rules of one preference.
fn picture(lab: &Lab) -> Vec<String> {
    let mut lines: Vec<String> = lab.state().0.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[track_caller]
fn mended(lab: &Lab, right: &[String]) {
    let check = lab.check();
    let now = picture(lab);
    let lost: Vec<_> = right.iter().filter(|line| !now.contains(line)).collect();
    let gained: Vec<_> = now.iter().filter(|line| !right.contains(line)).collect();
    assert!(now == right, "lost {lost:#?} gained {gained:#?}");
    check.clean();
    lab.wanpool(["restore"]).silent();
    lab.wanpool(["assign"]).silent();
}

/// Does each damage twice: `restore` mends it, and so do the steps that the check prints.
#[track_caller]
fn assert_mended(lab: &Lab, damages: &[&str]) {
    let right = picture(lab);
    for damage in damages {
        println!("{damage}");
        lab.gateway.sh(damage);
        let check = lab.check();
        check.drifted();
        assert!(check.findings.is_empty(), "{check}");
        lab.wanpool(["restore"]).ok();
        mended(lab, &right);

        lab.gateway.sh(damage);
        // The whole of what is printed, comments and all.
        let run = lab.apart("", "pools --check");
        assert_eq!(run.status, 3, "{run}");
        lab.gateway.sh(&run.stdout);
        mended(lab, &right);
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
}

#[test]
fn nexthops_that_were_changed_are_mended() {
    let lab = served(Lab::with());
    assert_mended(
        &lab,
        &[
            "ip nexthop del id 8701",
            "ip nexthop del id 8700",
            "ip nexthop replace id 8701 dev ppp1 proto 87",
            "ip nexthop del id 8702; ip nexthop add id 8702 blackhole proto 87",
            "ip nexthop replace id 8704 via 10.65.4.7 dev eth1 onlink proto 87",
            "ip nexthop replace id 8700 group 8701,3/8702/8703/8704 proto 87",
            "ip nexthop replace id 8700 group 8701/8702 proto 87",
            "ip nexthop add id 8711 dev ppp0 proto 87",
            "ip nexthop add id 4711 group 8701/8702 proto 87",
        ],
    );
}

#[test]
fn routes_that_were_changed_are_mended() {
    let lab = served(Lab::with());
    assert_mended(
        &lab,
        &[
            "ip route del default table 201 metric 10",
            "ip route del default table 202 metric 20",
            "ip route del unreachable default table 203",
            "ip route del default table 304",
            "ip route del default table 200; ip route del unreachable default table 200",
            "ip route replace default nhid 8702 table 201 metric 10 proto 87",
            "ip route replace prohibit default table 202 metric 20 proto 87",
            "ip route replace default dev ppp1 table 301 proto 87",
            "ip route replace default via 10.65.4.7 dev eth1 onlink table 304 proto 87",
            "ip route add default dev ppp1 table 201 proto 87",
            "ip route add default dev ppp1 table 205 proto 87",
            "ip route add 10.1.0.0/16 via 192.168.7.77 table 201 proto 87",
            "ip route add blackhole 10.2.0.0/16 table 203 proto 87",
        ],
    );
}

#[test]
fn rules_that_were_changed_are_mended() {
    let lab = served(Lab::with());
    assert_mended(
        &lab,
        &[
            "ip rule del pref 1000",
            "ip rule del pref 1010",
            "for n in 1 2 3 4; do ip rule del pref 1020; done",
            "ip rule del pref 1102",
            "ip rule del pref 1190",
            "ip rule del pref 1203",
            "ip rule del pref 1300; ip rule del pref 1301",
            "ip rule del pref 1201; ip rule add pref 1201 fwmark 0x1/0xff lookup 202 proto 87",
            "ip rule del pref 1201; ip rule add pref 1201 fwmark 0x1 lookup 201 proto 87",
            "ip rule del pref 1020 iif ppp0; ip rule add pref 1020 iif ppp0 unreachable proto 87",
            "ip rule add pref 1207 fwmark 0x1/0xff lookup 201 proto 87",
            "ip rule add pref 700 iif br0 lookup 202 proto 87",
        ],
    );
}

#[test]
fn a_rule_doubled_with_a_selector_that_ours_never_have_is_mended() {
    let lab = served(Lab::with());
    let rule = "from 192.168.7.0/24 fwmark 0x1/0xff lookup 201";
    assert_mended(&lab, &[&format!("ip rule add pref 1201 {rule} proto 87")]);
}

#[test]
fn a_rule_doubled_with_a_deed_that_ours_never_have_is_mended() {
    let lab = served(Lab::with());
    assert_mended(&lab, &["ip rule add pref 1201 fwmark 0x1/0xff prohibit proto 87"]);
}

fn a_set_that_was_changed_is_mended(shape: Shape) {
    let lab = served(shape);
    assert_mended(
        &lab,
        &[
            "ipset del wanpool 192.168.7.10",
            "ipset -exist add wanpool 192.168.7.10 skbmark 0x3/0xff",
            "ipset -exist add wanpool 192.168.7.10 skbmark 0x1/0xffff",
            "ipset -exist add wanpool 192.168.7.10",
            "ipset add wanpool 10.9.9.9 skbmark 0x1/0xff",
            "ipset flush wanpool",
            "iptables -t mangle -F WANPOOL\nipset destroy wanpool",
        ],
    );
}

fn chains_rules_and_jumps_of_ours_that_were_changed_are_mended(shape: Shape) {
    let lab = served(shape);
    // Of all six at once: what was mended is seen from each.
    let of_each = |deed: &str| {
        let line = |(table, from, chain): &(&str, &str, &str)| {
            let deed = deed.replace("FROM", from).replace("CHAIN", chain);
            deed.split(';').map(|deed| format!("iptables -t {table} {deed}\n")).collect::<String>()
        };
        CHAINS.iter().map(line).collect::<String>()
    };
    let deeds = [
        "-F CHAIN",
        "-D CHAIN 1",
        "-A CHAIN -j RETURN",
        "-D FROM 1",
        "-D FROM 1;-F CHAIN;-X CHAIN",
    ];
    let mut damages: Vec<String> = deeds.into_iter().map(of_each).collect();
    damages.extend(
        [
            "-t mangle -R WANPOOL 3 -i ppp0 -j MARK --set-xmark 0x82/0xff",
            "-t mangle -A PREROUTING -j WANPOOL",
        ]
        .map(|deed| format!("iptables {deed}")),
    );
    // The rules' order counts.
    damages.push(
        "first=$(iptables -t mangle -S WANPOOL 1)
         iptables -t mangle -D WANPOOL 1\niptables -t mangle $first"
            .to_owned(),
    );
    assert_mended(&lab, &damages.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn sysctls_that_were_changed_are_mended() {
    let lab = Lab::with().rp_filter(1).serving(&(four("") + "\n[multipath]\nhash = \"source\"\n"));
    for (key, value) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/ip_dynaddr", "0"),
        ("net/ipv4/conf/all/src_valid_mark", "0"),
        ("net/ipv4/fib_multipath_hash_policy", "0"),
        ("net/ipv4/fib_multipath_hash_fields", "7"),
    ] {
        let right = lab.gateway.read_sysctl(key);
        for by_restore in [true, false] {
            lab.gateway.sysctl(key, value);
            let check = lab.check();
            assert!(check.drifted().contains(&key.replace('/', ".")), "{check}");
            match by_restore {
                true => drop(lab.wanpool(["restore"]).ok().lines()),
                false => drop(lab.gateway.sh(&check.steps)),
            }
            assert_eq!(lab.gateway.read_sysctl(key), right, "{key}");
            lab.check().clean();
        }
    }
}

fn a_slice_that_is_gone_is_mended(shape: Shape) {
    let lab = served(shape);
    let [program, config, state] = [crate::lab::binary(), lab.config_file(), lab.pool_dir()]
        .map(|path| path.display().to_string());
    assert_mended(&lab, &[&format!("{program} --config {config} --state-dir {state} flush")]);
}

#[test]
fn a_pool_file_edited_by_hand_is_drift_until_restore() {
    let lab = served(Lab::with());
    let client = lab.member(1, 0);
    let dir = lab.pool_dir();
    lab.gateway.sh(&format!("cd {}\nsed -i 1d pool1\necho {client} >>pool2", dir.display()));
    let check = lab.check();
    assert_eq!(check.drifted(), format!("ipset -exist add wanpool {client} skbmark 0x2/0xff\n"));
    lab.gateway.sh(&check.steps);
    lab.check().clean();
    assert_eq!(lab.client(client).seen(), Ok(lab.uplink_address(2)));
}
