//! Privileges and trusted files: two capabilities are enough, files have their mode whatever the
//! umask is, no symlink is followed, and a file that other users can have written is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Run, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    a_user_with_two_capabilities_and_an_own_state_folder_needs_no_root,
}

const ALICE: u32 = 12345;
const MALLORY: u32 = 12346;

/// Runs the program as another user who has only these capabilities.
fn run_as(lab: &Lab, user: u32, capabilities: &str, command: &str) -> Run {
    let copy = lab.scratch().join("wanpool");
    if !copy.exists() {
        crate::lab::copy_to(&copy);
    }
    let caps = format!("-all{capabilities}");
    lab.script(&format!(
        "WANPOOL_RUN_DIR={}/run exec setpriv --reuid {user} --regid {user} --clear-groups \
         --inh-caps={caps} --ambient-caps={caps} --bounding-set={caps} {} {command}",
        lab.pool_dir().display(),
        copy.display()
    ))
}

const BOTH: &str = ",+net_admin,+net_raw";

/// A gateway whose state folder and lock of iptables belong to Alice.
fn lab_of_alice(shape: Shape) -> Lab {
    let lab = shape.raise();
    lab.config(&three(""));
    fs::create_dir(lab.pool_dir()).unwrap();
    let lock = lab.scratch().join("xtables.lock");
    fs::write(&lock, "").unwrap();
    for path in [lab.pool_dir(), lock] {
        chown(path, Some(ALICE), Some(ALICE)).unwrap();
    }
    lab
}

fn a_user_with_two_capabilities_and_an_own_state_folder_needs_no_root(shape: Shape) {
    let lab = lab_of_alice(shape);
    lab.hear(&lab.everyone());
    let alice = |command: &str| run_as(&lab, ALICE, BOTH, command);
    alice("restore").ok();
    alice("assign").ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 3]);
    alice("pools --check").ok();
    alice("failover ppp0").ok();
    alice("restore ppp0").ok();
    alice("multipath on").ok();
    alice("multipath off").ok();
    alice("assign 192.168.7.10 --pool 3").ok();
    alice("assign --rebalance").ok();
    alice("restore").silent();
    // Root does not trust the files of another user.
    lab.wanpool(["restore"]).refused(1).naming(&["it belongs to user 12345; chown root", "pool1"]);
    // One capability is not enough: iptables looks up the names of sets by a raw socket.
    let before = lab.state();
    for capabilities in ["", ",+net_admin", ",+net_raw"] {
        let run = run_as(&lab, ALICE, capabilities, "flush");
        run.refused(1).naming(&["root", "CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }
    lab.state().assert_is(&before, "too few capabilities");
    alice("flush").ok();
    assert!(lab.rules().is_empty());
}

#[test]
fn scan_and_pools_need_no_capability() {
    let lab = Lab::new();
    lab.serve(&three(""));
    let before = lab.state();
    for command in [
        "scan",
        "scan --new",
        "-j scan",
        "pools",
        "-j pools",
        "pools 1",
        "pools 192.168.7.10",
        "pools --metrics",
        "multipath show",
        "",
    ] {
        run_as(&lab, 65534, "", command).ok();
    }
    lab.state().assert_is(&before, "commands that only show");
}

#[test]
fn all_may_read_the_files_and_only_their_owner_may_write_them_whatever_the_umask_is() {
    for umask in ["000", "022", "077", "277"] {
        let lab = Lab::new();
        lab.config(&(three("") + "\n[hook]\nexec = \"/bin/true\"\n"));
        let (deep, run) = (lab.scratch().join("a/b/state"), lab.scratch().join("c/run"));
        lab.script(&format!(
            "umask {umask}; export WANPOOL_STATE_DIR={} WANPOOL_RUN_DIR={}
             \"$WANPOOL\" restore >/dev/null && \"$WANPOOL\" assign 192.168.7.10 192.168.7.11",
            deep.display(),
            run.display()
        ))
        .ok();
        let mode = |path: PathBuf| format!("{:o}", fs::metadata(path).unwrap().mode() & 0o7777);
        for folder in [&deep, &run, deep.parent().unwrap(), run.parent().unwrap()] {
            assert_eq!(mode(folder.to_owned()), "755", "{} with {umask}", folder.display());
        }
        for file in [deep.join("pool1"), deep.join("pool2"), run.join("uplinks")] {
            assert_eq!(mode(file.clone()), "644", "{} with {umask}", file.display());
        }
        assert_eq!(mode(deep.join(".lock")), "600", "with {umask}");
    }
}

/// A file and a folder that symlinks lead to and that must not change.
fn link_targets(lab: &Lab) -> (PathBuf, PathBuf) {
    let (file, folder) = (lab.scratch().join("victim"), lab.scratch().join("folder"));
    fs::write(&file, "192.168.7.77\n").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("pool1"), "192.168.7.78\n").unwrap();
    (file, folder)
}

#[track_caller]
fn assert_unchanged(file: &Path, folder: &Path) {
    assert_eq!(fs::read_to_string(file).unwrap(), "192.168.7.77\n");
    assert_eq!(fs::read_to_string(folder.join("pool1")).unwrap(), "192.168.7.78\n");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn no_symlink_in_the_state_folder_is_followed() {
    let lab = Lab::new();
    lab.serve(&three(""));
    let (file, folder) = link_targets(&lab);
    let at = |name: &str| lab.pool_dir().join(name);
    // Names that wanpool does not use are ignored.
    for name in ["pool1.tmp", ".pool1", "pool1~", "tmp"] {
        symlink(&file, at(name)).unwrap();
    }
    // A preparation that was not finished is discarded: the link, not what it leads to.
    symlink(&folder, at(".next")).unwrap();
    lab.wanpool(["assign", "192.168.7.99"]).ok();
    assert!(fs::symlink_metadata(at(".next")).is_err());
    fs::remove_file(at(".lock")).unwrap();
    for (name, target, word) in [
        (".lock", &file, "not a plain file"),
        ("pool7", &file, "not a plain file"),
        (".commit", &folder, "not a folder"),
    ] {
        symlink(target, at(name)).unwrap();
        let before = lab.state();
        lab.wanpool(["assign", "192.168.7.98"]).refused(1).naming(&[name, word]);
        lab.state().assert_is(&before, name);
        fs::remove_file(at(name)).unwrap();
    }
    assert_unchanged(&file, &folder);
}

#[test]
fn no_symlink_in_the_folder_of_the_runtime_state_is_followed() {
    let lab = Lab::new();
    lab.serve(&(three("") + "\n[hook]\nexec = \"/bin/true\"\n"));
    let (file, folder) = link_targets(&lab);
    let at = |name: &str| lab.scratch().join("run").join(name);
    for name in ["uplinks", ".uplinks", "fingerprint", ".fingerprint"] {
        let _ = fs::remove_file(at(name));
        symlink(&file, at(name)).unwrap();
        lab.wanpool(["failover", "ppp0"]).ok();
        lab.wanpool(["restore"]).ok();
        assert!(fs::symlink_metadata(at("uplinks")).unwrap().is_file());
        assert_unchanged(&file, &folder);
    }
    // A FIFO does not block a run.
    lab.gateway.sh(&format!("rm {0}\nmkfifo {0}", at("uplinks").display()));
    lab.script("exec timeout 60 \"$WANPOOL\" pools").ok();
}

#[test]
fn a_file_that_other_users_can_have_written_is_refused_with_the_next_step() {
    let lab = Lab::new();
    lab.serve(&three(""));
    let before = lab.state();
    let pool = lab.pool_dir().join("pool2");
    for (file, status, commands) in [
        (lab.config_file(), 2, ["restore", "pools", "scan", "flush", "failover ppp0"]),
        (pool, 1, ["restore", "pools", "scan", "assign 192.168.7.99", "-n restore"]),
    ] {
        for (mode, owner, group, next_step) in [
            (0o666, 0, 0, "chmod go-w"),
            (0o664, 0, 100, "chmod go-w"),
            (0o664, MALLORY, MALLORY, "chmod go-w"),
            (0o644, MALLORY, 0, "chown root"),
        ] {
            chown(&file, Some(owner), Some(group)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let next_step = format!("{next_step} {}", file.display());
            for command in commands {
                let run = lab.script(&format!("exec \"$WANPOOL\" {command}"));
                run.refused(status).naming(&[&next_step]);
            }
        }
        lab.gateway.sh(&format!("chown root {}", file.display()));
        lab.wanpool(["restore"]).silent();
    }
    lab.state().assert_is(&before, "files that other users can have written");
}
