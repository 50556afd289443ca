//! Objects of the kernel that change, or reads that fail, while the kernel is read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::lab::{Lab, Run, four, uplinks};

/// Leaves time for other programs between two reads of one dump.
const SLOWLY: &str = "-e trace=recvfrom,recvmsg -e inject=recvfrom,recvmsg:delay_enter=3000";

/// Repeats these lines of `ip -batch` in the gateway while `work` runs.
fn while_churning(lab: &Lab, lines: &str, work: impl FnOnce()) {
    let mut ip = lab.gateway.command("ip");
    ip.args(["-force", "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = lab.gateway.enter(|| ip.spawn()).expect("to start ip");
    let mut stdin = child.stdin.take().expect("its stdin is a pipe");
    let stop = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if stdin.write_all(lines.as_bytes()).is_err() {
                    break;
                }
            }
            drop(stdin);
        });
        let done = catch_unwind(AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        done
    });
    child.wait().expect("the end of ip");
    done.unwrap_or_else(|panic| resume_unwind(panic));
}

fn batch(lab: &Lab, lines: &str) {
    lab.gateway.sh(&format!("ip -batch - <<END\n{lines}END\n"));
}

/// The run had nothing to do, or failed because of this. Returns its status.
#[track_caller]
fn assert_silent_or_refused(run: &Run, why: &str) -> i32 {
    match run.status {
        0 => run.silent(),
        _ => run.refused(1).naming(&[why]),
    };
    run.status
}

/// The kernel dumps rules in parts, by position: a new rule in front shifts all others, and no flag
/// says so. With so many rules a part ends among ours.
#[test]
fn foreign_rules_that_change_during_the_dump_cause_no_change() {
    let lab = Lab::with().client_addresses(1).raise();
    let many: Vec<String> = (0..50).map(|number| format!("ppp{number}")).collect();
    lab.serve(&uplinks("", &many.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut others = String::new();
    for number in 0..300 {
        let from = format!("10.1.{}.{}", number / 250, number % 250);
        writeln!(others, "rule add pref {} from {from} lookup 77", 2 + number).expect("memory");
    }
    batch(&lab, &others);
    let (mut come, mut go) = (String::new(), String::new());
    for number in 0..10 {
        writeln!(come, "rule add pref 1 from 10.9.0.{number} lookup 77").expect("memory");
        writeln!(go, "rule del pref 1 from 10.9.0.{number} lookup 77").expect("memory");
    }
    let before = lab.state();
    while_churning(&lab, &(come + &go), || {
        for _ in 0..15 {
            let (run, _) = lab.strace(SLOWLY, "restore");
            assert_silent_or_refused(&run, "the rules change faster than they can be read");
        }
    });
    lab.gateway.sh("while ip rule del pref 1 2>/dev/null; do :; done");
    lab.state().assert_is(&before, "while foreign rules changed");
    lab.wanpool(["restore"]).silent();
}

/// The same with neighbours: `assign --prune` must not release a client that a dump has skipped.
#[test]
fn neighbours_that_change_during_the_dump_release_no_client() {
    let lab = Lab::with().client_addresses(1).raise();
    let address = |net: &str, number: u32| format!("{net}.{}.{}", number / 250, 1 + number % 250);
    let mut there = String::from("addr add 172.16.0.1/16 dev br0\n");
    for number in 250..3250 {
        let mac = format!("lladdr 02:01:00:00:{:02x}:{:02x}", number / 250, number % 250);
        let client = address("172.16", number);
        writeln!(there, "neigh add {client} {mac} nud permanent dev br0").expect("memory");
    }
    batch(&lab, &there);
    lab.serve(&four(""));
    let (mut come, mut go) = (String::new(), String::new());
    for number in 0..3000 {
        let other = address("10.77", number);
        let mac = "lladdr 02:02:00:00:00:01";
        writeln!(come, "neigh add {other} {mac} nud permanent dev eth1").expect("memory");
        writeln!(go, "neigh del {other} dev eth1").expect("memory");
    }
    let files = lab.files();
    while_churning(&lab, &(come + &go), || {
        for _ in 0..15 {
            lab.strace(SLOWLY, "assign --prune").0.silent();
        }
    });
    assert!(lab.files() == files, "a client was moved");
}

/// A dump of routes has a flag where they changed meanwhile, and is repeated.
#[test]
fn foreign_routes_that_change_during_the_dump_cause_no_change() {
    let lab = Lab::with().client_addresses(1).serving(&four(""));
    let before = lab.state();
    let (mut come, mut go) = (String::new(), String::new());
    for number in 0..50 {
        writeln!(come, "nexthop add id {} dev br0 proto 99", 5000 + number).expect("memory");
        writeln!(come, "route add 10.8.{number}.0/24 dev br0 table 201").expect("memory");
        writeln!(come, "addr add 10.7.{number}.1/32 dev br0").expect("memory");
        writeln!(go, "addr del 10.7.{number}.1/32 dev br0").expect("memory");
        writeln!(go, "route del 10.8.{number}.0/24 dev br0 table 201").expect("memory");
        writeln!(go, "nexthop del id {}", 5000 + number).expect("memory");
    }
    while_churning(&lab, &(come + &go), || {
        for _ in 0..10 {
            let run = lab.wanpool(["restore"]);
            assert_silent_or_refused(&run, "change faster than they can be read");
        }
    });
    lab.state().assert_is(&before, "while foreign routes changed");
}

/// Each read from the kernel fails once: the run succeeds all the same, or reports it.
#[test]
fn a_failed_read_is_retried_or_reported() {
    let lab = Lab::with().client_addresses(4).serving(&four(""));
    let right = lab.state();
    let mut runs = 0;
    for error in ["ENOBUFS", "EINTR", "EIO"] {
        for at in (1..).step_by(if error == "ENOBUFS" { 1 } else { 4 }) {
            lab.gateway.sh("ip rule del pref 20201\nip route del default table 202 metric 10");
            let (run, trace) = lab.strace(
                &format!(
                    "-e trace=recvfrom,recvmsg -e inject=recvfrom,recvmsg:error={error}:when={at}"
                ),
                "assign --prune",
            );
            if run.status != 0 {
                run.refused(1);
            }
            lab.wanpool(["restore"]).ok();
            lab.state().assert_is(&right, format!("{error} at {at}: {run}"));
            if !trace.contains("INJECTED") {
                break;
            }
            runs += 1;
        }
    }
    assert!(runs > 30, "only {runs} runs");
}
