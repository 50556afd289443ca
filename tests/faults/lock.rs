//! The lock: only one run changes anything at a time, commands that only read do not wait, and the
//! lock is free as soon as its holder has ended, in whatever way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, three, wait_until, write_script};

fn served() -> Lab {
    Lab::with().without_ethernet().serving(&three(""))
}

/// A process that holds the lock until its stdin is closed.
fn holder(lab: &Lab) -> Child {
    let mut command = lab.gateway.command("flock");
    command.arg(lab.pool_dir().join(".lock")).arg("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let holder = command.spawn().expect("to start flock");
    let taken = format!("flock -n {}/.lock true && exit 1 || exit 0", lab.pool_dir().display());
    wait_until("it holds the lock", || lab.script(&taken).status == 0);
    holder
}

fn number_in(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_stopped(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains("stop"))
}

#[test]
fn a_run_that_cannot_get_the_lock_exits_4_and_changes_nothing() {
    let lab = served();
    let before = lab.state();
    let mut holder = holder(&lab);
    for command in
        ["assign 192.168.7.77", "restore", "failover 1", "flush", "multipath on", "assign --prune"]
    {
        lab.run(&format!("-w 0 {command}")).refused(4).naming(&[".lock", "another run holds it"]);
    }
    let start = Instant::now();
    lab.wanpool(["-w", "1", "assign", "192.168.7.77"]).refused(4).naming(&["--wait"]);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    lab.state().assert_is(&before, "while another process held the lock");

    // Commands that only read, and dry runs, need no lock.
    for command in ["pools", "pools --check", "scan", "-n failover 1"] {
        lab.run(&format!("-w 0 {command}")).ok();
    }

    drop(holder.stdin.take());
    holder.wait().expect("its end");
    lab.wanpool(["-w", "0", "assign", "192.168.7.77"]).ok();
}

#[test]
fn a_run_that_waits_long_enough_gets_the_lock() {
    let lab = served();
    let mut holder = holder(&lab);
    let mut run = lab.start(&["-w", "600", "assign", "192.168.7.77"]);
    let waits = format!("ls -l /proc/{}/fd | grep -q '/\\.lock$'", run.id());
    wait_until("it waits", || lab.script(&waits).status == 0);
    // Readers do not wait.
    for _ in 0..10 {
        lab.wanpool(["pools"]).ok();
    }
    assert!(run.try_wait().expect("its status").is_none());
    assert_eq!(lab.pool_of("192.168.7.77".parse().unwrap()), None);
    drop(holder.stdin.take());
    holder.wait().expect("its end");
    assert!(run.wait().expect("its end").success());
    assert_eq!(lab.pool_of("192.168.7.77".parse().unwrap()), Some(1));
}

#[test]
fn a_child_process_of_a_killed_run_does_not_hold_the_lock() {
    let lab = served();
    let right = lab.state();
    lab.wanpool(["flush"]).ok();
    // An iptables-restore that never ends, like one that waits for the xtables lock.
    let program = lab.scratch().join("bin/iptables-restore");
    let (kept, pid_file) = (program.with_extension("kept"), lab.scratch().join("sleeper"));
    fs::rename(&program, &kept).expect("to put iptables-restore aside");
    let script = format!("#!/bin/sh\necho $$ >{}\nexec sleep 60\n", pid_file.display());
    write_script(&program, &script);

    let mut run = lab.start(&["restore"]);
    wait_until("its child sleeps", || number_in(&pid_file).is_some());
    lab.wanpool(["-w", "0", "restore"]).refused(4);
    run.kill().expect("to kill it");
    run.wait().expect("its end");
    fs::rename(&kept, &program).expect("to put iptables-restore back");

    let child = Pid::from_raw(number_in(&pid_file).expect("a number"));
    kill(child, None).expect("the child is alive");
    lab.wanpool(["-w", "0", "restore"]).ok();
    lab.state().assert_is(&right, "after the next run");
    kill(child, Signal::SIGKILL).expect("to end the child");
    lab.wanpool(["-w", "0", "assign"]).silent();
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
}

#[test]
fn a_stopped_run_holds_the_lock_until_it_continues() {
    let lab = served();
    let before = lab.state();
    let mut run = lab.gateway.command("sh");
    run.arg("-c").arg(
        "exec strace -qq -o /dev/null -e trace=renameat -e inject=renameat:signal=STOP:when=1 \
         \"$0\" assign 192.168.7.77 192.168.7.78",
    );
    run.arg(crate::lab::binary()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut run = lab.gateway.enter(|| run.spawn()).expect("to start strace");
    let children = PathBuf::from(format!("/proc/{0}/task/{0}/children", run.id()));
    wait_until("it is stopped in the middle of its commit", || {
        number_in(&children).is_some_and(is_stopped) && lab.pool_dir().join(".commit").exists()
    });
    lab.wanpool(["-w", "0", "assign", "192.168.7.79"]).refused(4);
    // A reader sees the commit as done.
    let rows = lab.wanpool(["-j", "pools"]).json();
    let clients = rows.as_array().unwrap().iter().map(|row| row["clients"].as_u64().unwrap());
    assert_eq!(clients.sum::<u64>(), 32, "{rows}");
    let program = Pid::from_raw(number_in(&children).expect("the program"));
    kill(program, Signal::SIGCONT).expect("to let it go on");
    assert!(run.wait().expect("its end").success());
    assert_eq!([77, 78].map(|host| lab.pool_of([192, 168, 7, host].into())), [Some(1), Some(2)]);
    lab.wanpool(["assign", "192.168.7.77", "192.168.7.78", "--release"]).ok();
    lab.state().assert_is(&before, "all as before");
}
