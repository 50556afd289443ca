//! Privileges and file permissions: two capabilities are enough, files have the right mode whatever
//! the umask, no symlink is followed, and no file is trusted that another user could have written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Run, Shape, three};

with_both_iptables! {
    two_capabilities_and_an_own_state_directory_are_enough,
}

const ALICE: u32 = 12345;
const MALLORY: u32 = 12346;
const BOTH: &str = ",+net_admin,+net_raw";

fn two_capabilities_and_an_own_state_directory_are_enough(shape: Shape) {
    let lab = shape.raise();
    lab.config(&three(""));
    // The state directory, the runtime directory and the lock of iptables belong to Alice.
    lab.gateway.sh(&format!(
        "cd {}\nmkdir state run\ntouch xtables.lock\nchown {ALICE}:{ALICE} state run xtables.lock",
        lab.scratch().display()
    ));
    lab.discover(&lab.everyone());
    let alice = |command: &str| lab.run_as(ALICE, BOTH, command);
    alice("restore").ok();
    alice("assign").ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 3]);
    for command in [
        "pools --check",
        "failover ppp0",
        "restore ppp0",
        "multipath on",
        "multipath off",
        "assign 192.168.7.10 --pool 3",
        "assign --rebalance",
    ] {
        alice(command).ok();
    }
    alice("restore").silent();
    // One is not enough: iptables asks for the names of sets by a raw socket.
    let before = lab.state();
    for capabilities in ["", ",+net_admin", ",+net_raw"] {
        let run = lab.run_as(ALICE, capabilities, "flush");
        run.refused(1).naming(&["root", "CAP_NET_ADMIN", "CAP_NET_RAW"]);
    }
    lab.state().assert_is(&before, "too few capabilities");
    alice("flush").ok();
    assert!(lab.rules().is_empty());

    // Neither uses the files of the other.
    let run = lab.wanpool(["restore"]);
    assert_eq!(run.status, 1, "{run}");
    run.naming(&["pool1", "belongs to user 12345; chown root"]);
    assert!(lab.marks().is_empty(), "no client is placed by a file of another user");
    lab.wanpool(["flush"]).ok();
    chown(lab.pool_dir().join(".lock"), Some(0), Some(0)).unwrap();
    alice("restore").refused(1).naming(&[".lock", "Permission denied", "run wanpool as root"]);
    assert!(lab.rules().is_empty());
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
        lab.run_as_nobody(command).ok();
    }
    lab.state().assert_is(&before, "commands that only read");
}

#[test]
fn file_modes_do_not_depend_on_the_umask() {
    for umask in ["000", "022", "077", "277"] {
        let lab = Lab::new();
        lab.config(&(three("") + "\n[hook]\nexec = \"/bin/true\"\n"));
        let (state, run) = (lab.scratch().join("a/b/state"), lab.scratch().join("c/run"));
        lab.script(&format!(
            "umask {umask}; export WANPOOL_STATE_DIR={} WANPOOL_RUN_DIR={}
             \"$WANPOOL\" restore >/dev/null && \"$WANPOOL\" assign 192.168.7.10 192.168.7.11",
            state.display(),
            run.display()
        ))
        .ok();
        for (path, expected) in [
            (state.clone(), "755"),
            (run.clone(), "755"),
            (lab.scratch().join("a/b"), "755"),
            (lab.scratch().join("c"), "755"),
            (state.join("pool1"), "644"),
            (state.join("pool2"), "644"),
            (run.join("uplinks"), "644"),
            (state.join(".lock"), "600"),
        ] {
            let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(format!("{mode:o}"), expected, "{} with {umask}", path.display());
        }
    }
}

/// A file and a directory that symlinks lead to, and that must not change.
fn targets(lab: &Lab) -> (PathBuf, PathBuf) {
    let (file, folder) = (lab.scratch().join("target"), lab.scratch().join("folder"));
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
    let (file, folder) = targets(&lab);
    let at = |name: &str| lab.pool_dir().join(name);
    let before = lab.state();
    for (name, to, reason) in [
        (".lock", &file, "a symlink, not a plain file"),
        ("pool7", &file, "a symlink, not a plain file"),
        (".commit", &folder, "not a folder"),
        (".commit/pool1", &file, "a symlink, not a plain file"),
    ] {
        let _ = fs::remove_file(at(name));
        if name == ".commit/pool1" {
            fs::create_dir(at(".commit")).unwrap();
        }
        symlink(to, at(name)).unwrap();
        lab.wanpool(["assign", "192.168.7.99"]).refused(1).naming(&[name, reason]);
        fs::remove_file(at(name)).unwrap();
        let _ = fs::remove_dir(at(".commit"));
        lab.state().assert_is(&before, name);
    }
    // What an interrupted run has prepared is deleted: the symlink, not its target.
    symlink(&folder, at(".next")).unwrap();
    lab.wanpool(["assign", "192.168.7.99"]).ok();
    assert!(fs::symlink_metadata(at(".next")).is_err());
    assert_unharmed(&file, &folder);
}

#[test]
fn symlinks_in_the_runtime_directory_are_not_followed() {
    let lab = Lab::serving(&(three("") + "\n[hook]\nexec = \"/bin/true\"\n"));
    let (file, folder) = targets(&lab);
    let at = |name: &str| lab.scratch().join("run").join(name);
    for name in ["uplinks", ".uplinks"] {
        let _ = fs::remove_file(at(name));
        symlink(&file, at(name)).unwrap();
        lab.wanpool(["failover", "ppp0"]).ok();
        lab.wanpool(["restore"]).ok();
        assert!(fs::symlink_metadata(at("uplinks")).unwrap().is_file());
        assert_unharmed(&file, &folder);
    }
    // Reading a FIFO does not block.
    lab.gateway.sh(&format!("rm {0}\nmkfifo {0}", at("uplinks").display()));
    lab.script("exec timeout 60 \"$WANPOOL\" pools").ok();
}

/// The tables of modes and owners are unit tests of `src/system/files`.
#[test]
fn a_config_or_pool_file_that_another_user_can_have_written_is_refused() {
    let lab = Lab::three_uplinks();
    let before = lab.state();
    for (file, status) in [(lab.config_file(), 2), (lab.pool_dir().join("pool2"), 1)] {
        for (mode, owner, step) in [(0o664, 0, "chmod go-w"), (0o644, MALLORY, "chown root")] {
            chown(&file, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let step = format!("{step} {}", file.display());
            for command in ["restore", "assign 192.168.7.99", "pools 2", "scan", "-n restore"] {
                lab.run(command).refused(status).naming(&[&step]);
            }
            // The step that is printed is all that is needed.
            lab.gateway.sh(&step);
            lab.wanpool(["restore"]).silent();
        }
    }
    lab.state().assert_is(&before, "files that others may write");
}

/// The owner of the state folder, or of the folder above it, exchanges `.next`, `.commit` or the state
/// folder itself at the worst moments for a symlink.
#[test]
fn the_owner_of_the_state_folder_cannot_lead_root_out_of_it() {
    let lab = Lab::three_uplinks();
    let outside = lab.scratch().join("outside");
    fs::create_dir(&outside).unwrap();
    let secret = outside.join("pool1");
    fs::write(&secret, "10.9.9.9\n").unwrap();
    for dir in [lab.scratch(), &lab.pool_dir()] {
        chown(dir, Some(MALLORY), Some(MALLORY)).unwrap();
    }
    let client = lab.member(1, 0);
    // The call behind which root is stopped, and the folder that is exchanged then.
    for (call, folder) in [
        ("flock", "state"),
        ("mkdirat", "state"),
        ("mkdirat", "state/.next"),
        ("fchmod", "state"),
        ("fchmod", "state/.next"),
        ("renameat", "state"),
        ("renameat", "state/.commit"),
        ("unlinkat", "run"),
    ] {
        for target in [&secret, &outside] {
            fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
            fs::set_permissions(&outside, Permissions::from_mode(0o700)).unwrap();
            let run = exchange(&lab, call, folder, target);
            let what = format!("{call}, {}: {run}", target.display());
            assert!((0..NOT_EXCHANGED).contains(&run.status), "{what}");
            let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!((mode(&secret), mode(&outside)), (0o600, 0o700), "{what}");
            assert_eq!(fs::metadata(&secret).unwrap().uid(), 0, "{what}");
            assert_eq!(fs::read_to_string(&secret).unwrap(), "10.9.9.9\n", "{what}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{what}");
            assert_eq!(lab.marks().len(), 30, "{what}");
            lab.gateway.sh(&format!("cd {}; rm -rf .next .commit", lab.pool_dir().display()));
            lab.wanpool(["assign", &client.to_string(), "--pool", "1"]);
            lab.wanpool(["restore"]);
        }
    }
}

#[test]
fn only_symlinks_of_root_lead_to_the_state_folder() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0).to_string();
    let link = lab.scratch().join("link");
    symlink(lab.pool_dir(), &link).unwrap();
    let state_dir = link.display().to_string();
    let move_to =
        |pool| lab.wanpool(["--state-dir", &state_dir, "assign", &client, "--pool", pool]);
    move_to("2").ok();
    std::os::unix::fs::lchown(&link, Some(MALLORY), None).unwrap();
    let step = "link is a symlink that belongs to user 12346; name the folder that it leads to";
    move_to("1").refused(1).naming(&[step]);
    lab.wanpool(["--state-dir", &state_dir, "scan"]).refused(1).naming(&[step]);
    assert_eq!(lab.pool_of(client.parse().unwrap()), Some(2));
}

/// A status of [`exchange`]: the folder was not exchanged.
const NOT_EXCHANGED: i32 = 98;

/// Moves a client as root, and exchanges the folder for a symlink to the target behind the first such
/// call. The trace tells when the process stands there: before, other processes of strace and other
/// stops of the program look the same in /proc.
fn exchange(lab: &Lab, call: &str, folder: &str, target: &Path) -> Run {
    let client = lab.member(1, 0);
    lab.script(&format!(
        "cd {}
         rm -f trace
         strace -o trace -e trace={call} -e inject={call}:signal=STOP:when=1 \
             \"$WANPOOL\" assign {client} --pool 2 &
         strace=$!
         trap 'kill -KILL $(cat /proc/$strace/task/$strace/children) 2>/dev/null' EXIT
         tries=0
         until grep -q 'stopped by SIGSTOP' trace 2>/dev/null; do
             tries=$((tries + 1))
             [ $tries -lt 6000 ] || exit {NOT_EXCHANGED}
             sleep 0.01
         done
         setpriv --reuid {MALLORY} --clear-groups sh -c \
             'mv -T {folder} {folder}.old && ln -s {} {folder}' || exit {NOT_EXCHANGED}
         kill -CONT $(cat /proc/$strace/task/$strace/children)
         wait $strace
         status=$?
         rm -f {folder}
         case {folder} in
             */*) rm -r {folder}.old ;;
             *) mv {folder}.old {folder} ;;
         esac
         exit $status",
        lab.scratch().display(),
        target.display(),
    ))
}
