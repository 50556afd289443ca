//! Each call that changes anything fails once with each error that fits it: the run says in one
//! line what it tried and why that failed, the files are whole, who was served is served, and the
//! next run makes all right.

use std::collections::BTreeSet;

use crate::lab::{Call, FaultScenario, Inject, Run};

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
        "sendto" | "sendmsg" => &[ENOBUFS, EINTR],
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

fn outcome(call: &Call, error: Error, scene: &FaultScenario) -> Outcome {
    let memory = scene.lab.scratch().join("run").display().to_string();
    let is_memory = call.names(&memory);
    match call.name.as_str() {
        // The standard library tries these again; a lock and a directory it does not.
        "openat" | "write" | "fsync" | "sendto" | "sendmsg" if error == EINTR => Outcome::Retried,
        // The end of the process unlocks as well.
        "flock" if call.names("LOCK_UN") => Outcome::Silent,
        // Without it the next run looks at everything, no more.
        _ if call.names("/run/checked") || call.names("/run/.checked") => Outcome::Silent,
        // Where a sign of change cannot be read, everything is looked at.
        _ if asks_for_a_sign(call) => Outcome::Silent,
        // Losing what is remembered of uplinks costs the next probe some patience, no more.
        "openat" | "write" | "fchmod" | "unlink" | "rename" if is_memory => Outcome::Complains,
        "openat" if call.names("/dev/null") => Outcome::Complains,
        // Somebody is to be told of what has been done: that this fails undoes nothing.
        "write" if call.names("\\\"event\\\"") => Outcome::Silent,
        _ => Outcome::Fails,
    }
}

/// The generation of the ruleset, or how many members the set has, which its list begins with.
fn asks_for_a_sign(call: &Call) -> bool {
    call.name.starts_with("send") && (call.names("GETGEN") || call.names("IPSET_CMD_LIST"))
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
fn failing_at_every_call(scene: &FaultScenario, at_least: usize) -> BTreeSet<&'static str> {
    let mut points = 0;
    let mut used = BTreeSet::new();
    let starts = |call: &Call| call.name.contains("clone") || call.name.contains("fork");
    let last_start = scene.trace.changing().iter().rposition(|(_, call)| starts(call));
    for (at, (_, call)) in scene.trace.changing().into_iter().enumerate() {
        for &error in errors(call) {
            let what = format!("{:?} with {} at {call}", scene.command, error.0);
            let mut outcome = outcome(call, error, scene);
            if scene.tells_somebody() && Some(at) == last_start {
                outcome = Outcome::Complains;
            }
            let mut runs = (0..5).map(|_| {
                scene.reset();
                scene.lab.inject(scene.command, call, Inject::Error(error.0))
            });
            let run = runs.find_map(|run| run);
            let run = run.unwrap_or_else(|| panic!("{what}: it never came to that"));
            if call.name.starts_with("send") {
                // The step is what was tried, not that nothing can be asked from then on.
                assert!(!run.stderr.contains("looking at the kernel"), "{what}: {run}");
            }
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
    let used = failing_at_every_call(&FaultScenario::assign(), 60);
    assert_eq!(used.len(), 6, "all errors are of use: {used:?}");
}

#[test]
fn each_call_of_restore_that_fails_is_told_in_one_line_and_the_next_run_ends_right() {
    failing_at_every_call(&FaultScenario::restore(), 100);
}

#[test]
fn each_call_of_failover_that_fails_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&FaultScenario::failover(), 30);
}

#[test]
fn each_call_of_rebalance_that_fails_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&FaultScenario::rebalance(), 60);
}

#[test]
fn each_call_that_fails_while_a_commit_is_finished_is_told_in_one_line_and_harms_nobody() {
    failing_at_every_call(&FaultScenario::recovery(), 20);
}

#[test]
fn a_question_to_the_kernel_that_fails_is_told_in_one_line_and_harms_nobody() {
    let scene = FaultScenario::assign();
    let is_answer = |call: &Call| call.name.starts_with("recv");
    let asks = |call: &&Call| call.name.starts_with("send") || is_answer(call);
    let questions: Vec<&Call> = scene.trace.0.iter().filter(asks).collect();
    assert!(questions.len() > 50, "{}", questions.len());
    let mut lost = 0;
    for (call, error) in questions.iter().zip([ENOBUFS, EINTR, ENOMEM].into_iter().cycle()) {
        let what = format!("{:?} with {} at {call}", scene.command, error.0);
        scene.reset();
        // Who waits for an answer looks once more or once less for it, and so the last of these
        // calls may not come about, or come when all has been said.
        let Some(run) = scene.lab.inject(scene.command, call, Inject::Error(error.0)) else {
            continue;
        };
        let late = (is_answer(call) || asks_for_a_sign(call)) && run.status == 0;
        let outcome = if error == EINTR || late { Outcome::Retried } else { Outcome::Fails };
        assert_outcome(&run, error, &outcome, &what);
        lost += usize::from(is_answer(call) && error == ENOBUFS && !late);
        scene.assert_unharmed(&what);
        scene.assert_mended(&what);
    }
    // An answer that was lost is not waited for.
    assert!(lost > 0);
}
