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
    for (config, error) in [
        ("[uplink.1]\ndev = \"ppp0\"\nspeed = 9\n", "wanpool.toml:3:1: unknown field `speed`"),
        (
            "lans = [\"br0\"]\n[uplink.1]\ndev = \"ppp0\"\n",
            "wanpool.toml:1:1: unknown field `lans`",
        ),
    ] {
        lab.config(config);
        for command in ["restore", "assign", "pools"] {
            changing_nothing(&lab, || lab.wanpool([command])).refused(2).naming(&[error]);
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
    for (command, word) in [
        ("scan --dev nosuch0", "nosuch0"),
        ("assign 192.168.7.10 --pool nosuch0", "nosuch0"),
        ("pools 9", "9"),
    ] {
        changing_nothing(&lab, || lab.run(command)).failed().naming(&[word]);
    }
}

fn without_root_nothing_is_changed(shape: Shape) {
    let lab = shape.serving(&three(""));
    lab.wanpool(["assign", "192.168.7.10", "--release"]).ok();
    lab.gateway.sh("ip rule del pref 1000");
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
