//! What cannot be done is said in one clear line, with its exit status, and nothing changes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use crate::lab::{Lab, Run, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    without_root_nothing_is_changed,
    without_iptables_nothing_is_changed,
}

/// Does it, and sees that the kernel and the files are as before.
#[track_caller]
fn changing_nothing(lab: &Lab, run: impl FnOnce() -> Run) -> Run {
    let before = lab.state();
    let run = run();
    lab.state().assert_is(&before, &run);
    run
}

#[test]
fn a_missing_config_is_a_configuration_error() {
    let lab = Lab::new();
    let file = lab.config_file().display().to_string();
    for command in ["restore", "assign", "scan", "pools", "flush"] {
        changing_nothing(&lab, || lab.wanpool([command])).refused(2).naming(&[&file]);
    }
    let elsewhere = ["--config", "/nowhere/wanpool.toml", "restore"];
    changing_nothing(&lab, || lab.wanpool(elsewhere)).refused(2).naming(&["/nowhere/wanpool.toml"]);
}

/// Each with the line it is on and a word of the reason.
const BAD_CONFIGS: [(&str, u32, &str); 17] = [
    ("[uplink.1]\ndev = \"ppp0\"\nspeed = 9\n", 3, "speed"),
    ("lans = [\"br0\"]\n[uplink.1]\ndev = \"ppp0\"\n", 1, "lans"),
    ("exclude = [\"192.168.7.300\"]\n[uplink.1]\ndev = \"ppp0\"\n", 1, "192.168.7.300"),
    ("[uplink.1]\ndev = \"eth1\"\nvia = \"10.65.4\"\n", 3, "10.65.4"),
    ("[uplink.1]\ndev = \"ppp0\"\n[pin]\n\"192.168.7.x\" = 1\n", 4, "192.168.7.x"),
    ("[uplink.1]\ndev = \"ppp0\"\n[pin]\n\"192.168.7.50\" = 2\n", 4, "2"),
    ("[uplink.1]\ndev = \"ppp0\"\n[uplink.2]\ndev = \"ppp0\"\n", 4, "ppp0"),
    ("[uplink.1]\ndev = \"ppp0\"\n[uplink.1]\ndev = \"ppp1\"\n", 3, "duplicate"),
    ("[uplink.1]\ndev = \"ppp0\"\n[uplink.01]\ndev = \"ppp1\"\n", 3, "1"),
    ("[uplink.0]\ndev = \"ppp0\"\n", 1, "0"),
    ("[uplink.51]\ndev = \"ppp0\"\n", 1, "51"),
    ("[uplink.1]\ndev = \"ppp0\"\nweight = 0\n", 3, "weight"),
    ("[uplink.1]\ndev = \"ppp0\"\nweight = 256\n", 3, "weight"),
    ("[uplink.3]\ndev = \"ppp0\"\n[kernel]\ntable-base = 250\n", 4, "253"),
    ("[uplink.1]\ndev = \"ppp0\"\n[kernel]\ntable-base = 0\n", 4, "0"),
    ("[uplink.1]\ndev = \"ppp0\"\n[kernel]\nmark-mask = 0x1ff\n", 4, "adjacent"),
    ("unassigned = \"drop\"\n[uplink.1]\ndev = \"ppp0\"\n", 1, "drop"),
];

#[test]
fn a_bad_config_is_refused_with_file_line_and_reason() {
    let lab = Lab::new();
    for (config, line, word) in BAD_CONFIGS {
        lab.config(config);
        let place = format!("wanpool.toml:{line}");
        for command in ["restore", "assign", "pools"] {
            changing_nothing(&lab, || lab.wanpool([command])).refused(2).naming(&[&place, word]);
        }
    }
}

#[test]
fn a_bad_address_on_the_command_line_is_a_usage_error() {
    let lab = Lab::three_uplinks();
    for client in ["192.168.7.300", "foo", "192.168.7"] {
        changing_nothing(&lab, || lab.wanpool(["assign", client])).refused(2).naming(&[client]);
    }
}

#[test]
fn an_unknown_device_or_uplink_is_named() {
    let lab = Lab::three_uplinks();
    changing_nothing(&lab, || lab.wanpool(["scan", "--dev", "nosuch0"]))
        .failed()
        .naming(&["nosuch0"]);
    let to_nosuch = ["assign", "192.168.7.10", "--pool", "nosuch0"];
    changing_nothing(&lab, || lab.wanpool(to_nosuch)).failed().naming(&["nosuch0"]);
    changing_nothing(&lab, || lab.wanpool(["pools", "9"])).failed().naming(&["9"]);
}

/// The program where everybody may run it.
fn copied(lab: &Lab) -> String {
    let copy = lab.scratch().join("wanpool");
    crate::lab::copy_to(&copy);
    copy.display().to_string()
}

fn without_root_nothing_is_changed(shape: Shape) {
    let lab = shape.serving(&three(""));
    lab.wanpool(["assign", "192.168.7.10", "--release"]).ok();
    lab.gateway.sh("ip rule del pref 1000");
    let nobody = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all {}",
        copied(&lab)
    );
    for command in
        ["restore", "assign", "flush", "assign 192.168.7.99", "assign 192.168.7.11 --release"]
    {
        let run = changing_nothing(&lab, || lab.script(&format!("{nobody} {command}")));
        run.refused(1).naming(&["root"]);
    }
    let scan = lab.script(&format!("{nobody} scan --new"));
    assert_eq!(scan.ok().stdout, "192.168.7.10\n", "scan needs no root");
    fs::set_permissions(lab.pool_dir().join("pool1"), fs::Permissions::from_mode(0o600)).unwrap();
    lab.script(&format!("{nobody} scan")).failed().naming(&["pool1"]);
}

fn without_iptables_nothing_is_changed(shape: Shape) {
    let lab = shape.raise();
    lab.config(&three(""));
    lab.hear(&lab.everyone());
    // In a mount namespace of its own the directory with iptables is empty.
    let hidden = |command: &str| {
        let script = format!(
            "exec unshare --mount sh -ec 'mount -t tmpfs none /usr/sbin; mount -t tmpfs none /sbin
             PATH=/usr/bin:/bin exec \"$WANPOOL\" {command}'"
        );
        changing_nothing(&lab, || lab.script(&script))
    };
    for command in ["restore", "assign"] {
        hidden(command).refused(1).naming(&["iptables"]);
    }
}

#[test]
fn another_run_that_does_not_end_is_waited_for_and_then_told() {
    let lab = Lab::three_uplinks();
    let lock = lab.hold_lock();
    changing_nothing(&lab, || lab.wanpool(["-w", "0", "assign", "192.168.7.99"])).refused(4);
    changing_nothing(&lab, || lab.wanpool(["--wait", "1", "restore"])).refused(4);
    drop(lock);
    lab.wanpool(["-w", "0", "assign", "192.168.7.99"]).ok();
    assert!(lab.pool_of(Ipv4Addr::new(192, 168, 7, 99)).is_some());
}
