//! Twenty runs at the same time.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, places, three};

/// How long all of a round may take before it counts as a deadlock. A round takes a second or two.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits for all of them; none may hang, and none may fail.
#[track_caller]
fn assert_all_succeed(children: Vec<(String, Child)>, round: usize) {
    let deadline = Instant::now() + DEADLOCK_TIMEOUT;
    let mut running = children;
    while !running.is_empty() {
        let mut waiting = Vec::new();
        for (what, mut child) in running {
            if child.try_wait().expect("its status").is_none() {
                waiting.push((what, child));
                continue;
            }
            let output = child.wait_with_output().expect("its output");
            let printed = String::from_utf8_lossy(&output.stderr);
            let succeeded = output.status.success() && printed.is_empty();
            assert!(succeeded, "round {round}: {what}: {} {printed}", output.status);
        }
        running = waiting;
        if Instant::now() >= deadline {
            let names: Vec<String> = running.iter().map(|(what, _)| what.clone()).collect();
            for (_, child) in &mut running {
                let _ = child.kill();
            }
            panic!("round {round}: {names:?} do not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn twenty_runs_at_once_fifty_times_leave_every_client_in_exactly_one_pool() {
    let lab = Lab::with().without_ethernet().raise();
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    let mut expected = 0;
    for round in 0..50u8 {
        // Fifteen new clients, each assigned by a run of its own; some of them twice.
        let clients: Vec<String> =
            (10..25).map(|host| format!("192.168.{}.{host}", 20 + round)).collect();
        let mut children: Vec<(String, Child)> = Vec::new();
        let mut go = |args: &[&str]| children.push((args.join(" "), lab.start(args)));
        for client in &clients {
            go(&["-w", "100", "assign", client]);
        }
        go(&["-w", "100", "restore"]);
        go(&["-w", "100", "failover", if round % 2 == 0 { "1" } else { "2" }]);
        go(&["pools"]);
        go(&["-w", "100", "assign", &clients[7], &clients[3]]);
        go(&["-j", "pools"]);
        assert_all_succeed(children, round.into());
        expected += clients.len();
        let places = places(&lab.pool_files());
        assert_eq!(places.len(), expected, "round {round}");
        for client in &clients {
            assert!(places.contains_key(&client.parse().expect("an address")), "{client} is lost");
        }
        let marks = lab.marks();
        let right = places.iter().map(|(client, pool)| (*client, format!("{pool:#x}/0xff")));
        assert_eq!(marks, right.collect(), "round {round}");
    }
    lab.wanpool(["restore"]);
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
    assert_eq!(lab.pool_sizes(), [250; 3], "each went to the pool with the fewest clients");
}
