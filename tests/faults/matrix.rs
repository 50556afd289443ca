//! One command, and a fault at each of its system calls that change anything: it is killed, it is
//! told to stop, or the call fails. The pool files stay whole, clients stay served, and the next run
//! ends in the right state.

use std::collections::BTreeSet;

use crate::lab::{Call, FaultScenario, Inject, Run};

/// Makes each line a test: a fault, a scenario, and the least number of calls. A matrix that is
/// empty for a wrong reason proves nothing.
macro_rules! matrix {
    ($($name:ident: $fault:ident, $scenario:ident, $at_least:literal;)*) => {$(
        #[test]
        fn $name() {
            $fault(&FaultScenario::$scenario(), $at_least);
        }
    )*};
}

matrix! {
    assign_can_be_killed_at_any_call: kill_before_every_call, assign, 20;
    restore_can_be_killed_at_any_call: kill_before_every_call, restore, 50;
    failover_can_be_killed_at_any_call: kill_before_every_call, failover, 10;
    rebalance_can_be_killed_at_any_call: kill_before_every_call, rebalance, 20;
    a_move_can_be_killed_at_any_call: kill_at_every_call, move_to_pool, 45;
    a_release_can_be_killed_at_any_call: kill_at_every_call, release, 40;
    a_run_that_finishes_a_commit_can_be_killed_at_any_call: kill_at_every_call, recovery, 25;

    assign_can_be_terminated_at_any_call: terminate_at_every_call, assign, 20;
    restore_can_be_terminated_at_any_call: terminate_at_every_call, restore, 50;
    failover_can_be_terminated_at_any_call: terminate_at_every_call, failover, 10;
    rebalance_can_be_terminated_at_any_call: terminate_at_every_call, rebalance, 20;

    each_failed_call_of_assign_is_reported: fail_every_call, assign, 60;
    each_failed_call_of_restore_is_reported: fail_every_call, restore, 70;
    each_failed_call_of_failover_is_reported: fail_every_call, failover, 30;
    each_failed_call_of_rebalance_is_reported: fail_every_call, rebalance, 60;
    each_failed_call_while_a_commit_is_finished_is_reported: fail_every_call, recovery, 20;
}

/// A run that reads the kernel once more than the traced one has other calls at these numbers, and
/// is tried again.
#[track_caller]
fn inject(scenario: &FaultScenario, at: usize, fault: Inject, what: &str) -> Run {
    let mut why = String::new();
    for _ in 0..5 {
        scenario.reset();
        match scenario.lab.inject(scenario.command, &scenario.trace, at, fault) {
            Ok(run) => return run,
            Err(other) => why = other,
        }
    }
    panic!("{what}: {why}");
}

/// Kills the command right before each call that changes anything. What a death right after a call
/// leaves behind is the same for every signal, and [`terminate_at_every_call`] sees that.
fn kill_before_every_call(scenario: &FaultScenario, at_least: usize) {
    let points = scenario.trace.changing().into_iter().map(|(at, _)| at).collect();
    kill_at(scenario, points, at_least);
}

/// Kills the command right before and right after each call that changes anything. Right after it
/// is the next call that does more than wait for an answer: how many calls it takes to read an
/// answer differs from run to run.
fn kill_at_every_call(scenario: &FaultScenario, at_least: usize) {
    let calls = &scenario.trace.0;
    let mut points = BTreeSet::new();
    for (at, _) in scenario.trace.changing() {
        points.insert(at);
        points.extend((at + 1..calls.len()).find(|&next| !calls[next].waits()));
    }
    kill_at(scenario, points, at_least);
}

fn kill_at(scenario: &FaultScenario, points: BTreeSet<usize>, at_least: usize) {
    let calls = &scenario.trace.0;
    assert!(points.len() >= at_least, "only {} calls", points.len());
    for (round, at) in points.into_iter().enumerate() {
        let what = format!("{} killed at {}", scenario.command, calls[at]);
        inject(scenario, at, Inject::Kill, &what);
        scenario.assert_unharmed(&what);
        if round % 3 == 0 {
            scenario.assert_assign_repairs(&what);
        }
        scenario.assert_same_command_repairs(&what);
    }
}

fn terminate_at_every_call(scenario: &FaultScenario, at_least: usize) {
    let calls = scenario.trace.changing();
    assert!(calls.len() >= at_least, "only {} calls", calls.len());
    for (round, (at, call)) in calls.into_iter().enumerate() {
        let signal = if round % 2 == 0 { "TERM" } else { "INT" };
        let what = format!("{} with SIG{signal} at {call}", scenario.command);
        let run = inject(scenario, at, Inject::Signal(signal), &what);
        assert!([0, Run::KILLED].contains(&run.status) && run.stderr.is_empty(), "{what}: {run}");
        scenario.assert_unharmed(&what);
        scenario.assert_same_command_repairs(&what);
    }
}

/// An error, and the system's message for it.
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
        "fchmod" => &[EPERM, EIO],
        "mkdirat" | "renameat" | "unlinkat" => &[ENOSPC, EIO],
        other => panic!("with which errors does {other} fail?"),
    }
}

/// What a failed call makes of the run.
enum Outcome {
    /// It fails, and prints why.
    Fails,
    /// It does its work, and warns.
    Warns,
    /// It does its work, and prints nothing.
    Succeeds,
}

fn outcome(scenario: &FaultScenario, call: &Call, error: Error) -> Outcome {
    let runtime_dir = scenario.lab.scratch().join("run").display().to_string();
    match call.name.as_str() {
        // These calls are repeated, but not flock and mkdirat.
        "openat" | "write" | "fsync" | "sendto" | "sendmsg" if error == EINTR => Outcome::Succeeds,
        // The end of the process unlocks as well.
        "flock" if call.names("LOCK_UN") => Outcome::Succeeds,
        // Without a fingerprint the next run reads everything.
        _ if call.names("fingerprint") => Outcome::Succeeds,
        // It counts only while there is no slice.
        _ if call.names("flushed") => Outcome::Succeeds,
        _ if reads_fingerprint(call) => Outcome::Succeeds,
        // Losing the runtime state restarts the counters of the probes.
        "openat" | "write" | "fchmod" | "unlinkat" | "renameat" if call.names(&runtime_dir) => {
            Outcome::Warns
        }
        "openat" if call.names("/dev/null") => Outcome::Warns,
        // The stdin of the hook.
        "write" if call.names("\\\"event\\\"") => Outcome::Succeeds,
        _ => Outcome::Fails,
    }
}

/// Asks for the generation of the ruleset, or for the number of entries of the set.
fn reads_fingerprint(call: &Call) -> bool {
    call.name.starts_with("send") && (call.names("GETGEN") || call.names("IPSET_CMD_LIST"))
}

#[track_caller]
fn assert_outcome(run: &Run, error: Error, outcome: &Outcome, what: &str) {
    let is_one_line = run.stderr.starts_with("wanpool: ")
        && run.stderr.lines().count() == 1
        && run.stderr.contains(error.1);
    let is_right = match outcome {
        Outcome::Fails => run.status == 1 && is_one_line,
        Outcome::Warns => run.status == 0 && is_one_line,
        Outcome::Succeeds => run.status == 0 && run.stderr.is_empty(),
    };
    assert!(is_right, "{what}: {run}");
}

fn fail_every_call(scenario: &FaultScenario, at_least: usize) {
    let calls = scenario.trace.changing();
    let starts_child = |call: &Call| call.name.contains("clone") || call.name.contains("fork");
    let last_child = calls.iter().rposition(|(_, call)| starts_child(call));
    let mut kinds = BTreeSet::new();
    let mut count = 0;
    for (number, &(at, call)) in calls.iter().enumerate() {
        // The first call of a kind fails with each error, the others with one error after another.
        let all = errors(call);
        let is_first = kinds.insert((&call.name, call.object()));
        let one = number % all.len();
        for &error in if is_first { all } else { &all[one..=one] } {
            let what = format!("{} with {} at {call}", scenario.command, error.0);
            let mut outcome = outcome(scenario, call, error);
            if scenario.runs_hook() && Some(number) == last_child {
                outcome = Outcome::Warns;
            }
            let run = inject(scenario, at, Inject::Error(error.0), &what);
            if call.name.starts_with("send") {
                // The error names the step that failed.
                assert!(!run.stderr.contains("reading the state of the kernel"), "{what}: {run}");
            }
            assert_outcome(&run, error, &outcome, &what);
            scenario.assert_unharmed(&what);
            scenario.assert_same_command_repairs(&what);
            count += 1;
        }
    }
    assert!(count >= at_least, "only {count} calls failed");
}

#[test]
fn each_failed_query_to_the_kernel_is_reported() {
    let scenario = FaultScenario::assign();
    let is_answer = |call: &Call| call.name.starts_with("recv");
    let is_query = |(_, call): &(usize, &Call)| call.name.starts_with("send") || is_answer(call);
    let queries: Vec<_> = scenario.trace.0.iter().enumerate().filter(is_query).collect();
    assert!(queries.len() > 40, "{}", queries.len());
    let mut lost = 0;
    for ((at, call), error) in queries.into_iter().zip([ENOBUFS, EINTR, ENOMEM].into_iter().cycle())
    {
        let what = format!("{} with {} at {call}", scenario.command, error.0);
        scenario.reset();
        // A run may wait for an answer once less, and then the last of these calls is not made, or
        // is made when everything has been read.
        let inject = Inject::Error(error.0);
        let Ok(run) = scenario.lab.inject(scenario.command, &scenario.trace, at, inject) else {
            continue;
        };
        let is_late = (is_answer(call) || reads_fingerprint(call)) && run.status == 0;
        let succeeds = error == EINTR || is_late;
        let outcome = if succeeds { Outcome::Succeeds } else { Outcome::Fails };
        assert_outcome(&run, error, &outcome, &what);
        lost += usize::from(is_answer(call) && error == ENOBUFS && !is_late);
        scenario.assert_unharmed(&what);
        scenario.assert_same_command_repairs(&what);
    }
    // A lost answer is reported, not waited for.
    assert!(lost > 0);
}

#[test]
fn a_commit_is_synced_before_it_counts_and_before_the_kernel_follows() {
    let scenario = FaultScenario::rebalance();
    let calls = &scenario.trace.0;
    let place = |name: &str, word: &str| {
        let found = calls.iter().position(|call| call.name == name && call.names(word));
        found.unwrap_or_else(|| panic!("no {name} of {word}"))
    };
    let commit = place("renameat", ".next");
    let mut last = place("mkdirat", ".next");
    for pool in ["pool1", "pool2", "pool3"] {
        let made = place("openat", &format!("/.next>, \"{pool}\", O_WRONLY"));
        let synced = place("fsync", &format!("/.next/{pool}>"));
        let written = made + calls[made..].iter().position(|call| call.name == "write").unwrap();
        assert!(last < made && written < synced, "{pool} is not synced");
        last = synced;
    }
    let folder = place("fsync", "/.next>");
    assert!(last < folder && folder < commit, "the folder of the new files is not synced");
    let in_place = place("renameat", "/.commit>, \"pool1\"");
    let synced = calls[commit..in_place].iter().any(|call| call.name == "fsync");
    assert!(synced, "the commit is not synced");
    let set = calls.iter().position(|call| call.names("IPSET_CMD_ADD"));
    assert!(set.is_some_and(|set| in_place < set), "the kernel follows the files");
}
