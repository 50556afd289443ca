//! Each call that changes anything fails once, with each error that fits it: the run says in one
//! line what it tried and why that failed, the files are whole, who was served is served, and the
//! next run makes all right.

use crate::lab::{Call, Inject, Scene};

/// An error, and the words of the system for it.
type Error = (&'static str, &'static str);
const ENOSPC: Error = ("ENOSPC", "No space left on device");
const EIO: Error = ("EIO", "Input/output error");
const EPERM: Error = ("EPERM", "Operation not permitted");
const EINTR: Error = ("EINTR", "Interrupted system call");
const ENOBUFS: Error = ("ENOBUFS", "No buffer space available");
const ENOMEM: Error = ("ENOMEM", "Cannot allocate memory");

/// The errors with which a call may fail.
fn errors(call: &Call) -> &'static [Error] {
    match call.name.as_str() {
        "openat" if call.names("/proc/sys") => &[EPERM, ENOMEM],
        "openat" => &[ENOSPC, EIO, EINTR],
        "write" => &[ENOSPC, EIO, EINTR],
        "sendto" => &[ENOBUFS, ENOMEM, EINTR],
        "clone3" | "clone" | "vfork" | "fork" => &[ENOMEM, EPERM],
        "flock" => &[ENOMEM, EIO],
        "fsync" => &[EIO, ENOSPC, EINTR],
        "chmod" | "fchmod" => &[EPERM, EIO],
        "mkdir" | "rename" | "rmdir" | "unlink" => &[ENOSPC, EIO],
        other => panic!("with which errors does {other} fail?"),
    }
}

/// Where a failure is no failure of the run, and why.
fn tolerated(call: &Call, error: Error, scene: &Scene) -> Option<&'static str> {
    if error == EINTR && call.name != "rename" {
        return Some("tried again");
    }
    let memory = scene.lab.scratch().join("run").display().to_string();
    if call.names(&memory) {
        return Some("what is remembered of uplinks serves the next probe only; complained of");
    }
    None
}

/// Lets each call that changes anything fail in each way that fits. An empty matrix proves nothing:
/// there are at least so many points.
fn failing_at_every_call(scene: &Scene, at_least: usize) {
    let mut points = 0;
    for (_, call) in scene.trace.changing() {
        for &error in errors(call) {
            let what = format!("{:?} with {} at {call}", scene.command, error.0);
            scene.reset();
            let run = scene.lab.inject(scene.command, call, Inject::Error(error.0));
            match (run.status, tolerated(call, error, scene)) {
                (0, Some(_)) => println!("{what}: 0 {}", run.stderr),
                (0, None) => println!("XX {what}: 0 {}", run.stderr),
                _ => println!("{what}: {} {}{}", run.status, run.stderr, if run.stderr.contains(error.1) {""} else {"XX"}),
            }
            scene.assert_unharmed(&what);
            scene.assert_mended(&what);
            points += 1;
        }
    }
    assert!(points >= at_least, "{points} points are too few");
    println!("{:?}: {points} failures", scene.command);
}

#[test]
fn each_call_of_assign_may_fail() {
    failing_at_every_call(&Scene::assign(), 40);
}
#[test]
fn each_call_of_restore_may_fail() {
    failing_at_every_call(&Scene::restore(), 40);
}
#[test]
fn each_call_of_failover_may_fail() {
    failing_at_every_call(&Scene::failover(), 40);
}
