//! Other programs delete parts of the slice: `restore` or `assign` repairs it and changes nothing of
//! theirs.

use super::snapshot::foreign;
use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    a_ruleset_loaded_over_ours_is_repaired,
    flushes_by_other_programs_are_repaired,
}

pub fn served(shape: Shape) -> Lab {
    shape.client_addresses(4).serving(&four("helpers = [\"ftp\"]"))
}

/// Does it twice: `restore` repairs it, and so does `assign`.
#[track_caller]
pub fn assert_repaired(lab: &Lab, reload: &str, drifts: bool) {
    let right = ours(lab);
    for command in ["restore", "assign"] {
        lab.gateway.sh(reload);
        let theirs = foreign(lab);
        let check = lab.wanpool(["pools", "--check"]);
        assert_eq!(check.status, if drifts { 3 } else { 0 }, "{reload}: {check}");
        lab.wanpool([command]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        foreign(lab).assert_is(&theirs, format!("{command} after {reload}"));
        assert_eq!(ours(lab), right, "{command} after {reload}");
        let check = lab.wanpool(["pools", "--check"]);
        assert_eq!(check.status, 0, "{command} after {reload}: {check}");
        lab.wanpool([command]).silent();
    }
}

/// Every line of the gateway that is ours.
fn ours(lab: &Lab) -> Vec<String> {
    let theirs = foreign(lab).0;
    let theirs: Vec<&str> = theirs.lines().collect();
    let state = lab.kernel_state().0;
    let ours = |line: &&str| {
        (line.contains("proto 87") || line.contains("WANPOOL") || line.contains("wanpool"))
            && !theirs.contains(line)
    };
    let mut lines: Vec<String> = state.lines().filter(ours).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// As `netfilter-persistent` and `iptables-apply` do: all tables, as they were before ours.
fn a_ruleset_loaded_over_ours_is_repaired(shape: Shape) {
    let lab = served(shape);
    for fixture in ["docker", "firewalld"] {
        let file = format!("{}/tests/fixtures/{fixture}.iptables", env!("CARGO_MANIFEST_DIR"));
        let empty =
            "printf '*mangle\\nCOMMIT\\n*raw\\nCOMMIT\\n*nat\\nCOMMIT\\n' | iptables-restore";
        assert_repaired(&lab, &format!("{empty}\niptables-restore {file}"), true);
    }
}

fn flushes_by_other_programs_are_repaired(shape: Shape) {
    let lab = served(shape);
    let every_table = |deed: &str| {
        ["mangle", "nat", "raw"].map(|table| format!("iptables -w -t {table} {deed}\n")).concat()
    };
    for reload in [
        every_table("-F") + &every_table("-X"),
        // How many scripts for several uplinks begin.
        "ip rule flush
         ip rule add pref 32766 lookup main
         ip rule add pref 32767 lookup default"
            .to_owned(),
        "ip nexthop flush; ip rule del pref 20195; iptables -w -t mangle -F; ipset flush"
            .to_owned(),
    ] {
        assert_repaired(&lab, &reload, true);
    }
    // The kernel keeps a set that rules refer to.
    assert_repaired(&lab, "ipset destroy || true; ipset destroy wanpool || true", false);
}

#[test]
fn nft_flush_ruleset_is_repaired() {
    let lab = served(Lab::with());
    assert_repaired(&lab, "nft flush ruleset", true);
}

/// As `systemctl restart networking`: every device down, its addresses gone, and set up again, with
/// all tables of routes flushed on the way.
#[test]
fn a_restart_of_networking_is_repaired() {
    let lab = served(Lab::with());
    let mut reload = String::from("ip route flush table all || true\n");
    for dev in ["br0", "ppp0", "ppp1", "ppp2", "eth1"] {
        reload += &format!("ip link set {dev} down\nip addr flush dev {dev}\n");
    }
    reload += "ip addr add 192.168.7.1/24 dev br0\nip link set br0 up\n";
    for number in 1..=4 {
        let (dev, own) = (lab.uplink_dev(number), lab.uplink_address(number));
        let peer = match number {
            4 => format!("{own}/24"),
            _ => format!("{own} peer {}", lab.uplink_gateway(number)),
        };
        reload += &format!("ip addr add {peer} dev {dev}\nip link set {dev} up\n");
    }
    assert_repaired(&lab, &reload, true);
}
