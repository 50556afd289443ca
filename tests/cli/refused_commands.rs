//! Commands that cannot work fail with one clear line and their exit status, and change nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lab::{Lab, Run, Shape, three};

with_both_iptables! {
    without_root_nothing_is_changed,
    without_iptables_nothing_is_changed,
}

/// Runs it; the kernel and the files stay the same.
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

#[test]
fn a_bad_config_is_refused_with_file_line_and_reason() {
    let lab = Lab::new();
    lab.config("[uplink.1]\ndev = \"ppp0\"\nspeed = 9\n");
    for command in ["restore", "assign", "pools"] {
        let run = changing_nothing(&lab, || lab.wanpool([command]));
        run.refused(2).naming(&["wanpool.toml:3:1: unknown field `speed`"]);
    }
}

/// Which addresses no client can have has tables of values in `model/address` and `plan/clients`.
#[test]
fn addresses_and_names_that_are_wrong_are_named() {
    let lab = Lab::three_uplinks();
    for (command, status, word) in [
        ("assign 192.168.7.300", 2, "192.168.7.300"),
        ("assign foo", 2, "foo"),
        ("assign 127.0.0.1", 2, "loopback"),
        ("assign ::1", 2, "IPv6"),
        ("assign 192.168.7.1", 1, "the gateway's own address, on br0"),
        ("assign 192.168.7.10 --pool nosuch0", 2, "nosuch0"),
        ("scan --dev nosuch0", 1, "nosuch0"),
        ("scan --dev ppp0", 2, "not a LAN device"),
        ("pools 9", 2, "there is no uplink \"9\""),
    ] {
        changing_nothing(&lab, || lab.run(command)).refused(status).naming(&[word]);
    }
    // In a list of neighbours such addresses are skipped.
    let list = "127.0.0.1\n192.168.7.1\n192.168.7.255\n224.0.0.1\n";
    let from = ["assign", "--from", "-"];
    changing_nothing(&lab, || lab.wanpool_reading(from, list)).silent();
}

fn without_root_nothing_is_changed(shape: Shape) {
    let lab = shape.serving(&three(""));
    lab.wanpool(["assign", "192.168.7.10", "--release"]).ok();
    lab.gateway.sh("ip rule del pref 20195");
    for command in
        ["restore", "assign", "flush", "assign 192.168.7.99", "assign 192.168.7.11 --release"]
    {
        changing_nothing(&lab, || lab.run_as_nobody(command)).refused(1).naming(&["root"]);
    }
    assert_eq!(lab.run_as_nobody("scan --new").ok().stdout, "192.168.7.10\n");
    fs::set_permissions(lab.pool_dir().join("pool1"), fs::Permissions::from_mode(0o600)).unwrap();
    lab.run_as_nobody("scan").failed().naming(&["pool1"]);
}

fn without_iptables_nothing_is_changed(shape: Shape) {
    let lab = shape.raise();
    lab.config(&three(""));
    lab.discover(&lab.everyone());
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
