//! Who may do what, and what a stranger can make of it: capabilities without root, files of the
//! right mode whatever the umask, no link followed, nothing believed that others could have written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Run, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    two_capabilities_and_an_own_state_directory_are_enough,
    a_run_as_root_keeps_the_owner_of_the_state_directory,
}

const ALICE: u32 = 12345;
const MALLORY: u32 = 12346;

/// The program as another user with these capabilities, and no others.
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

/// A state folder of Alice's, who may use the lock of iptables.
fn of_alice(shape: Shape) -> Lab {
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

fn two_capabilities_and_an_own_state_directory_are_enough(shape: Shape) {
    let lab = of_alice(shape);
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
    // One alone does not do: iptables asks for names of sets by a raw socket.
    let before = lab.state();
    for capabilities in ["", ",+net_admin", ",+net_raw"] {
        let run = run_as(&lab, ALICE, capabilities, "flush");
        run.refused(1).naming(&["root", "CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }
    lab.state().assert_is(&before, "too few capabilities");
    alice("flush").ok();
    assert!(lab.rules().is_empty());
}

fn a_run_as_root_keeps_the_owner_of_the_state_directory(shape: Shape) {
    let lab = of_alice(shape);
    lab.hear(&lab.everyone());
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    let owner = |name: &str| fs::metadata(lab.pool_dir().join(name)).unwrap().uid();
    assert_eq!([".lock", "pool1", "pool3"].map(owner), [ALICE; 3]);
    run_as(&lab, ALICE, BOTH, "assign 192.168.7.10 --pool 2").ok();
    lab.wanpool(["assign", "192.168.7.10", "--pool", "3"]).ok();
    run_as(&lab, ALICE, BOTH, "restore").silent();
    // A lock of root's own, as older versions left it.
    chown(lab.pool_dir().join(".lock"), Some(0), Some(0)).unwrap();
    run_as(&lab, ALICE, BOTH, "restore").refused(1).naming(&[
        ".lock",
        "Permission denied",
        "owner",
    ]);
}

#[test]
fn scan_and_pools_need_no_capability_at_all() {
    let lab = Lab::three_uplinks();
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
    lab.state().assert_is(&before, "what nobody asked");
}

#[test]
fn file_modes_do_not_depend_on_the_umask() {
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

/// A file that nobody may change, and a folder likewise, for links to lead to.
fn victims(lab: &Lab) -> (PathBuf, PathBuf) {
    let (file, folder) = (lab.scratch().join("victim"), lab.scratch().join("folder"));
    fs::write(&file, "192.168.7.77\n").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("pool1"), "192.168.7.78\n").unwrap();
    (file, folder)
}

#[track_caller]
fn assert_unharmed(file: &Path, folder: &Path) {
    assert_eq!(fs::read_to_string(file).unwrap(), "192.168.7.77\n");
    assert_eq!(fs::read_to_string(folder.join("pool1")).unwrap(), "192.168.7.78\n");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn symlinks_in_the_state_directory_are_not_followed() {
    let lab = Lab::three_uplinks();
    let (file, folder) = victims(&lab);
    let at = |name: &str| lab.pool_dir().join(name);
    let change = || lab.wanpool(["assign", "192.168.7.99"]);
    let undo = || drop(lab.wanpool(["assign", "192.168.7.99", "--release"]).ok().lines());
    // Names that others may think we use are nothing to us.
    for name in ["pool1.tmp", ".pool1", "pool1~", "tmp"] {
        symlink(&file, at(name)).unwrap();
    }
    change().ok();
    undo();
    fs::remove_file(at(".lock")).unwrap();
    for (name, to, word) in [
        (".lock", &file, "not a plain file"),
        ("pool7", &file, "not a plain file"),
        (".commit", &folder, "not a folder of ours"),
    ] {
        symlink(to, at(name)).unwrap();
        let before = lab.state();
        change().refused(1).naming(&[name, word]);
        lab.state().assert_is(&before, name);
        fs::remove_file(at(name)).unwrap();
        assert_unharmed(&file, &folder);
    }
    // Preparations that were never finished are forgotten: the link, not what it leads to.
    for to in [&folder, &file, Path::new("/nonexistent")] {
        symlink(to, at(".next")).unwrap();
        change().ok();
        undo();
        assert!(fs::symlink_metadata(at(".next")).is_err());
        assert_unharmed(&file, &folder);
    }
    lab.gateway.sh(&format!("mkfifo {}", at(".next").display()));
    change().ok();
    undo();
    // A link within a commit.
    fs::create_dir(at(".commit")).unwrap();
    symlink(&file, at(".commit/pool1")).unwrap();
    change().refused(1).naming(&[".commit/pool1", "a symlink"]);
    lab.wanpool(["pools"]).refused(1).naming(&[".commit/pool1", "a symlink"]);
    assert_unharmed(&file, &folder);
}

#[test]
fn symlinks_in_the_runtime_directory_are_not_followed() {
    let lab = Lab::serving(&(three("") + "\n[hook]\nexec = \"/bin/true\"\n"));
    let (file, folder) = victims(&lab);
    let at = |name: &str| lab.scratch().join("run").join(name);
    for name in ["uplinks", ".uplinks"] {
        let _ = fs::remove_file(at(name));
        symlink(&file, at(name)).unwrap();
        lab.wanpool(["failover", "ppp0"]).ok();
        lab.wanpool(["restore"]).ok();
        assert!(fs::symlink_metadata(at("uplinks")).unwrap().is_file());
        assert_unharmed(&file, &folder);
    }
    // Nor is a FIFO waited for.
    lab.gateway.sh(&format!("rm {0}\nmkfifo {0}", at("uplinks").display()));
    lab.script("exec timeout 60 \"$WANPOOL\" pools").ok();
}

#[test]
fn a_config_writable_by_others_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let file = lab.config_file();
    for (mode, owner, group, word) in [
        (0o666, 0, 0, "chmod o-w"),
        (0o646, 0, 0, "chmod o-w"),
        (0o664, 0, 100, "chmod g-w"),
        (0o644, MALLORY, 0, "chown root"),
    ] {
        chown(&file, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let next = format!("{word} {}", file.display());
        for command in ["restore", "assign", "pools", "scan", "flush", "failover ppp0"] {
            lab.run(command).refused(2).naming(&[&next]);
        }
    }
    // What it says helps.
    lab.gateway.sh(&format!("chown root {}", file.display()));
    lab.wanpool(["restore"]).silent();
    // A group of root's may.
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    lab.wanpool(["restore"]).silent();
    lab.state().assert_is(&before, "a config that others may write");
}

#[test]
fn a_pool_file_writable_by_others_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let file = lab.pool_dir().join("pool2");
    for (mode, owner, group, word) in [
        (0o666, 0, 0, "chmod o-w"),
        (0o664, 0, 100, "chmod g-w"),
        (0o600, MALLORY, MALLORY, "chown root"),
    ] {
        chown(&file, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let next = format!("{word} {}", file.display());
        for command in ["restore", "assign 192.168.7.99", "pools", "scan", "-n restore"] {
            lab.run(command).refused(1).naming(&[&next]);
        }
    }
    lab.gateway.sh(&format!("chown root {}", file.display()));
    lab.wanpool(["restore"]).silent();
    lab.state().assert_is(&before, "a pool file that others may write");
}

#[test]
fn a_commit_of_another_user_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    let commit = lab.pool_dir().join(".commit");
    for (folder_of, file_of, mode) in
        [(MALLORY, MALLORY, 0o755), (MALLORY, 0, 0o755), (0, MALLORY, 0o755), (0, 0, 0o777)]
    {
        fs::create_dir(&commit).unwrap();
        fs::write(commit.join("pool1"), "10.6.6.6\n").unwrap();
        chown(&commit, Some(folder_of), Some(folder_of)).unwrap();
        chown(commit.join("pool1"), Some(file_of), Some(file_of)).unwrap();
        fs::set_permissions(&commit, Permissions::from_mode(mode)).unwrap();
        for command in ["restore", "assign 192.168.7.99", "pools", "scan"] {
            let run = lab.run(command);
            run.refused(1).naming(&[".commit", "; ch"]);
        }
        fs::remove_dir_all(&commit).unwrap();
        lab.state().assert_is(&before, "a commit of somebody else's");
    }
    // Our own is.
    fs::create_dir(&commit).unwrap();
    fs::write(commit.join("pool1"), "10.6.6.6\n").unwrap();
    lab.wanpool(["restore"]).ok();
    assert_eq!(lab.pool(1), ["10.6.6.6"]);
}
