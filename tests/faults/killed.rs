//! A run that is killed, or told to stop, right before or right after each call that changes
//! anything: the files are whole, who was served is served, and the next run makes all right.
//!
//! Right after a change is at the entry of the next call that does more than wait for an answer:
//! whether the answer was read makes no difference to anybody, and how many calls that takes
//! differs from run to run. Often that next call is the next change.

use std::collections::BTreeSet;

use crate::lab::{FaultScenario, Inject, Run};

/// Kills the scene's command right before and right after each call that changes anything. An
/// empty matrix proves nothing: there are at least so many points.
fn killed_at_every_call(scene: &FaultScenario, at_least: usize) {
    let calls = &scene.trace.0;
    let after = |at: usize| (at + 1..calls.len()).find(|&at| !calls[at].waits());
    let changing = scene.trace.changing();
    let points: BTreeSet<usize> =
        changing.iter().flat_map(|&(at, _)| [Some(at), after(at)]).flatten().collect();
    assert!(points.len() >= at_least, "{} points are too few", points.len());
    for (round, &at) in points.iter().enumerate() {
        let what = format!("{:?} killed at {}", scene.command, scene.trace.0[at]);
        kill(scene, at, &what);
        scene.assert_unharmed(&what);
        if round % 3 == 0 {
            scene.assert_cron_mends(&what);
        }
        scene.assert_mended(&what);
    }
    println!(
        "{:?}: {} calls change anything, killed at {}",
        scene.command,
        changing.len(),
        points.len()
    );
}

/// A run may look once more than the one in the trace, and so be off it.
#[track_caller]
fn kill(scene: &FaultScenario, at: usize, what: &str) {
    let mut off = String::new();
    for _ in 0..5 {
        scene.reset();
        match scene.lab.kill_at(scene.command, &scene.trace, at) {
            Ok(()) => return,
            Err(why) => off = why,
        }
    }
    panic!("{what}: {off}");
}

#[test]
fn assign_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::assign(), 50);
}

#[test]
fn restore_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::restore(), 75);
}

#[test]
fn failover_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::failover(), 30);
}

#[test]
fn rebalance_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::rebalance(), 50);
}

#[test]
fn a_move_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::to_pool(), 50);
}

#[test]
fn a_release_killed_at_any_call_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::release(), 40);
}

#[test]
fn a_run_killed_while_it_finishes_another_ones_commit_harms_nobody_and_the_next_run_ends_right() {
    killed_at_every_call(&FaultScenario::recovery(), 25);
}

/// Tells the scene's command to stop, in two ways in turn, at each call that changes anything.
fn told_to_stop_at_every_call(scene: &FaultScenario, at_least: usize) {
    let changing = scene.trace.changing();
    assert!(changing.len() >= at_least, "{} points are too few", changing.len());
    for (round, (_, call)) in changing.iter().enumerate() {
        let signal = if round % 2 == 0 { "TERM" } else { "INT" };
        let what = format!("{:?} with SIG{signal} at {call}", scene.command);
        scene.reset();
        let run = scene.lab.inject(scene.command, call, Inject::Signal(signal));
        let run = run.unwrap_or_else(|| panic!("{what}: it never came to that"));
        assert!([0, Run::KILLED].contains(&run.status), "{what}: {run}");
        assert!(run.stderr.is_empty(), "{what}: {run}");
        scene.assert_unharmed(&what);
        scene.assert_mended(&what);
    }
    println!("{:?}: told to stop at {} calls", scene.command, changing.len());
}

#[test]
fn a_restore_told_to_stop_stops_there_or_ends_and_the_next_run_ends_right() {
    told_to_stop_at_every_call(&FaultScenario::restore(), 50);
}

#[test]
fn an_assign_told_to_stop_stops_there_or_ends_and_harms_nobody() {
    told_to_stop_at_every_call(&FaultScenario::assign(), 20);
    told_to_stop_at_every_call(&FaultScenario::rebalance(), 20);
}

#[test]
fn a_failover_told_to_stop_stops_there_or_ends_and_harms_nobody() {
    told_to_stop_at_every_call(&FaultScenario::failover(), 10);
}

#[test]
fn what_is_committed_is_on_the_disk_before_it_counts_and_before_anything_follows() {
    let scene = FaultScenario::rebalance();
    let calls = &scene.trace.0;
    let place = |name: &str, word: &str| {
        let found = calls.iter().position(|call| call.name == name && call.names(word));
        found.unwrap_or_else(|| panic!("no {name} of {word}"))
    };
    let synced = |from: usize, to: usize| calls[from..to].iter().any(|call| call.name == "fsync");
    let commit = place("rename", ".next");
    let mut last = place("mkdir", ".next");
    for pool in ["pool1", "pool2", "pool3"] {
        let made = place("openat", &format!(".next/{pool}\", O_WRONLY"));
        let written = made + calls[made..].iter().position(|call| call.name == "write").unwrap();
        let next = calls[written..].iter().position(|call| call.name == "openat").unwrap();
        assert!(last <= made && synced(written, written + next), "{pool} is not synced");
        last = written + next;
    }
    assert!(last < commit && synced(last, commit), "the folder of the new files is not synced");
    let in_place = place("rename", ".commit/pool1");
    assert!(commit < in_place && synced(commit, in_place), "the commit is not synced");
    let told = calls.iter().position(|call| call.names("IPSET_CMD_ADD"));
    assert!(told.is_some_and(|told| in_place < told), "the kernel follows the files");
}
