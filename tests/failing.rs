//! Each call that changes anything fails once with each error that fits it: the run says in one
//! line what it tried and why that failed, the files are whole, who was served is served, and the
//! next run makes all right.

use std::collections::BTreeSet;

use crate::lab::{Call, Inject, Run, Scene};

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
        "openat" => &[ENOSPC, EINTR],
        "write" => &[ENOSPC, EIO, EINTR],
        "sendto" => &[ENOBUFS, EINTR],
        "clone3" | "clone" | "vfork" | "fork" => &[ENOMEM, EPERM],
        "flock" => &[ENOMEM, EINTR],
        "fsync" => &[EIO, ENOSPC, EINTR],
        "chmod" | "fchmod" => &[EPERM, EIO],
        "mkdir" | "rename" | "rmdir" | "unlink" | "unlinkat" => &[ENOSPC, EIO],
        other => panic!("with which errors does {other} fail?"),
    }
}

/// What a failed call makes of the run.
enum Outcome {
    /// It fails too, and says why.
    Fails,
    /// The call is made again, and all is as ever.
    Retried,
    /// The command did what it was told; what else went wrong is complained of.
    Complains,
    /// Nobody need know.
    Silent,
}

fn outcome(call: &Call, error: Error, scene: &Scene) -> Outcome {
    let memory = scene.lab.scratch().join("run").display().to_string();
    let is_memory = call.names(&memory) || call.names(" failed-over since ");
    match call.name.as_str() {
        // The standard library tries these again; a lock and a directory it does not.
        "openat" | "write" | "fsync" | "sendto" if error == EINTR => Outcome::Retried,
        // Losing what is remembered of uplinks costs the next probe some patience, no more.
        "openat" | "write" | "chmod" | "rename" if is_memory => Outcome::Complains,
        "openat" if call.names("/dev/null") => Outcome::Complains,
        // Somebody is to be told of what has been done: that this fails undoes nothing.
        "write" if call.names("\\\"event\\\"") => Outcome::Silent,
        _ => Outcome::Fails,
    }
}

#[track_caller]
fn assert_outcome(run: &Run, error: Error, outcome: &Outcome, what: &str) {
    let one_line = run.stderr.starts_with("wanpool: ")
        && run.stderr.lines().count() == 1
        && run.stderr.contains(error.1);
    match outcome {
        Outcome::Fails => assert!(run.status == 1 && one_line, "{what}: {run}"),
        Outcome::Complains => assert!(run.status == 0 && one_line, "{what}: {run}"),
        Outcome::Retried | Outcome::Silent => {
            assert!(run.status == 0 && run.stderr.is_empty(), "{what}: {run}");
        }
    }
}

/// Lets each call that changes anything fail in each way that fits. An empty matrix proves nothing:
/// there are at least so many points. Returns the errors that were used.
fn failing_at_every_call(scene: &Scene, at_least: usize) -> BTreeSet<&'static str> {
    let mut points = 0;
    let mut used = BTreeSet::new();
    let last_clone = scene.trace.changing().iter().rposition(|(_, call)| call.name == "clone3");
    for (at, (_, call)) in scene.trace.changing().into_iter().enumerate() {
        for &error in errors(call) {
            let what = format!("{:?} with {} at {call}", scene.command, error.0);
            let mut outcome = outcome(call, error, scene);
            if scene.tells_somebody() && Some(at) == last_clone {
                outcome = Outcome::Complains;
            }
            scene.reset();
            let run = scene.lab.inject(scene.command, call, Inject::Error(error.0));
            assert_outcome(&run, error, &outcome, &what);
            scene.assert_unharmed(&what);
            scene.assert_mended(&what);
            points += 1;
            used.insert(error.0);
        }
    }
    assert!(points >= at_least, "{points} points are too few");
    println!("{:?}: {points} calls failed, with {used:?}", scene.command);
    used
}

#[test]
fn each_call_of_assign_that_fails_is_told_in_one_line_and_harms_nobody() {
    let used = failing_at_every_call(&Scene::assign(), 60);
    assert_eq!(used.len(), 6, "all errors are of use: {used:?}");
}

#[test]
fn each_call_of_restore_that_fails_is_told_in_one_line_and_the_next_run_ends_right() {
    failing_at_every_call(&Scene::restore(), 100);
}

#[test]
fn each_call_of_failover_that_fails_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&Scene::failover(), 30);
}

#[test]
fn each_call_of_rebalance_that_fails_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&Scene::rebalance(), 60);
}

#[test]
fn each_call_that_fails_while_a_commit_is_finished_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&Scene::recovery(), 20);
}

#[test]
fn a_question_to_the_kernel_that_fails_is_told_in_one_line_and_harms_nobody() {
    let scene = Scene::assign();
    let asks = |call: &&Call| ["sendto", "recvfrom"].contains(&call.name.as_str());
    let questions: Vec<&Call> = scene.trace.0.iter().filter(asks).collect();
    assert!(questions.len() > 50, "{}", questions.len());
    // Who waits for an answer asks now and then before it is there, so that the last of these calls
    // may not come about in every run.
    for (call, error) in questions.iter().zip([ENOBUFS, EINTR, ENOMEM].into_iter().cycle()) {
        let what = format!("{:?} with {} at {call}", scene.command, error.0);
        scene.reset();
        let run = scene.lab.inject(scene.command, call, Inject::Error(error.0));
        let fails = run.status != 0;
        let outcome = if fails && error != EINTR { Outcome::Fails } else { Outcome::Retried };
        assert_outcome(&run, error, &outcome, &what);
        scene.assert_unharmed(&what);
        scene.assert_mended(&what);
    }
}
