//! `failover --probe`: unhealthy uplinks are failed over, and restored when they are healthy again.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use crate::lab::{FAR, Lab, QUICK, three};

/// Three uplinks whose probes have one target, with these further keys.
fn with_probes(more: &str) -> Lab {
    Lab::serving(&three(&format!("{QUICK}{more}\n")))
}

#[test]
fn an_unhealthy_uplink_is_out_after_two_runs_and_back_after_three_good_ones() {
    let lab = with_probes("");
    lab.probe().silent();
    let client = lab.member(1, 0);
    let mut other = lab.client(lab.member(2, 0)).tcp().unwrap();
    let mut begun = lab.client(client).tcp().unwrap();
    assert_eq!(begun.ask(), Ok(lab.uplink_address(1)));

    lab.swallow(1, true);
    lab.probe().silent();
    assert_eq!(lab.state_of(1), "up", "one run is not enough");
    let run = lab.probe();
    assert_eq!(run.stdout, "uplink 1 ppp0 failed-over\n");
    assert!(lab.connmarks(client).is_empty(), "flows on an unhealthy uplink");
    lab.assert_leaves_by(client, &[2, 3]);
    let mut other_uplink = lab.client(client).tcp().unwrap();
    let by = other_uplink.ask();
    lab.probe().silent();
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);

    lab.swallow(1, false);
    lab.probe().silent();
    lab.probe().silent();
    assert_eq!(lab.state_of(1), "failed-over");
    assert_eq!(lab.probe().stdout, "uplink 1 ppp0 up\n");
    lab.probe().silent();
    assert_eq!(other_uplink.ask(), by, "a flow that began on another uplink");
    assert_eq!(other.ask(), Ok(lab.uplink_address(2)), "a flow of another pool");
    lab.assert_leaves_by(client, &[1]);
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
}

#[test]
fn when_all_uplinks_are_unhealthy_one_stays_in_service() {
    let lab = with_probes("");
    for number in 1..=3 {
        lab.swallow(number, true);
    }
    for _ in 0..3 {
        lab.probe();
    }
    let up: Vec<u8> = (1..=3).filter(|&number| lab.state_of(number) == "up").collect();
    assert_eq!(up.len(), 1, "{up:?}");
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
}

#[test]
fn an_uplink_failed_over_by_hand_stays_out() {
    let lab = with_probes("");
    lab.wanpool(["failover", "1"]).ok();
    // A failover by probe becomes one by hand when an admin repeats it.
    lab.swallow(2, true);
    assert_eq!(lab.runs_until(2, "failed-over"), 2);
    lab.wanpool(["failover", "2"]).ok();
    lab.swallow(2, false);
    for _ in 0..4 {
        lab.probe().silent();
    }
    assert_eq!([1, 2].map(|number| lab.state_of(number)), ["failed-over"; 2]);
    assert_eq!(lab.health(1)["healthy_runs"], 6);
    lab.wanpool(["restore"]).ok();
    lab.assert_all_up(3);
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
}

#[test]
fn restore_undoes_a_failover_by_probe() {
    let lab = with_probes("");
    lab.swallow(1, true);
    assert_eq!(lab.runs_until(1, "failed-over"), 2);
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["restore", "1"]).ok();
    assert_eq!(lab.state_of(1), "up");
    assert_eq!(lab.runs_until(1, "failed-over"), 2);
}

#[test]
fn an_uplink_that_is_down_is_neither_probed_nor_changed() {
    let lab = with_probes("");
    lab.probe().silent();
    lab.hang_up(1);
    lab.probe();
    let state = lab.state();
    for _ in 0..3 {
        lab.probe().silent();
    }
    lab.state().assert_is(&state, "after three more runs");
    assert_eq!(lab.health(1)["healthy_runs"], 0);
    lab.wanpool(["flush"]).ok();
    let state = lab.state();
    lab.probe().silent();
    lab.state().assert_is(&state, "after a flush a probe builds nothing");
}

#[test]
fn a_dry_run_prints_the_steps_and_stores_nothing() {
    let lab = with_probes("down = 1");
    let state = lab.state();
    lab.swallow(1, true);
    let run = lab.wanpool(["-n", "failover", "--probe"]);
    let steps =
        ["ip route add default dev ppp0 table 301 metric 2 protocol 87", "ip nexthop del id 8701"];
    assert_eq!(run.ok().lines()[..2], steps, "{run}");
    assert_eq!(lab.runtime_state(), "");
    lab.state().assert_is(&state, "a dry run");
    let run = lab.wanpool(["-v", "-n", "failover", "--probe", "1", "ppp1"]);
    assert!(run.ok().stdout.starts_with(
        "# uplink 1 ppp0 unhealthy: loss 100 %\n# uplink 2 ppp1 healthy: loss 0 %, rtt "
    ));
    assert!(!run.stdout.contains("ppp2"), "{run}");
}

#[test]
fn pools_shows_since_loss_and_rtt() {
    let lab = with_probes("");
    let before = lab.wanpool(["pools"]).ok().lines()[0].to_owned();
    assert!(before.ends_with("share"), "{before}");
    assert!(!lab.wanpool(["pools", "--metrics"]).ok().stdout.contains("probe"));
    lab.swallow(1, true);
    assert_eq!(lab.runs_until(1, "failed-over"), 2);

    let head = lab.wanpool(["pools"]).ok().lines()[0].to_owned();
    let words = |head: &str| head.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&head), words(&format!("{before} since loss rtt")));
    let rows = lab.wanpool(["-j", "pools"]).json();
    let since = rows[0]["since"].as_str().unwrap();
    assert!(since.len() == "2026-01-31T23:59:59Z".len() && since.ends_with('Z'), "{since}");
    let age = format!("echo $(($(date +%s) - $(date -d {since} +%s)))");
    let age: i64 = lab.gateway.sh(&age).trim().parse().unwrap();
    assert!((0..600).contains(&age), "{since} is {age} seconds ago");
    assert_eq!((&rows[0]["loss"], &rows[0]["rtt"]), (&Value::from(100), &Value::Null));
    assert_eq!(rows[1]["loss"], 0);
    assert!(rows[1]["rtt"].as_f64().is_some_and(|rtt| rtt > 0.0 && rtt < 200.0), "{rows}");
    let metrics = lab.wanpool(["pools", "--metrics"]).ok().stdout.clone();
    for line in [
        "wanpool_uplink_probe_loss_ratio{pool=\"1\",uplink=\"ppp0\"} 1",
        "wanpool_uplink_probe_loss_ratio{pool=\"2\",uplink=\"ppp1\"} 0",
        "wanpool_uplink_probe_rtt_seconds{pool=\"2\",uplink=\"ppp1\"} 0.",
        "wanpool_uplink_state_since_timestamp_seconds{pool=\"1\",uplink=\"ppp0\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line}:\n{metrics}");
    }
}

#[test]
fn a_killed_probe_run_leaves_nothing_half_done() {
    let lab = with_probes("down = 1\nup = 1");
    lab.probe();
    let whole = lab.kernel_state();
    lab.swallow(1, true);
    lab.probe();
    let without = lab.kernel_state();
    let client = lab.member(1, 0);
    let mut killed = 0;
    // To probe an unhealthy uplink takes 200 ms, and the rest of a run about 10 ms.
    for delay in (0..30).step_by(2) {
        for (unhealthy, wanted) in [(false, &whole), (true, &without)] {
            lab.swallow(1, unhealthy);
            let brief = lab.client(client).patience(Duration::from_millis(1));
            let _flow = brief.udp().and_then(|mut flow| flow.ask());
            let after = delay + if unhealthy { 200 } else { 0 };
            let run = lab.script(&format!(
                "timeout -s KILL {}.{:03} \"$WANPOOL\" failover --probe",
                after / 1000,
                after % 1000
            ));
            killed += u32::from(run.status != 0);
            assert_eq!(lab.health_records().as_object().map(Map::len), Some(3));
            lab.probe();
            lab.kernel_state().assert_is(wanted, format!("killed after {after} ms"));
            let stuck = unhealthy && lab.connmarks(client).contains(&0x81);
            assert!(!stuck, "a flow on an unhealthy uplink, killed after {after} ms");
        }
    }
    assert!(killed >= 5, "only {killed} runs were killed");
}

#[test]
fn two_probe_runs_and_a_hook_at_once_do_not_disturb_each_other() {
    let lab = with_probes("");
    for round in 0..6 {
        let unhealthy = round % 2 == 0;
        lab.swallow(1, unhealthy);
        for _ in 0..3 {
            let run = lab.script(
                "\"$WANPOOL\" failover --probe & \"$WANPOOL\" failover --probe &
                 WANPOOL_HOOK=1 \"$WANPOOL\" restore ppp2 & wait
                 \"$WANPOOL\" pools --check",
            );
            assert!(run.stderr.is_empty() && run.status == 0, "{run}");
        }
        assert_eq!(lab.state_of(1), if unhealthy { "failed-over" } else { "up" });
    }
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn while_a_run_probes_the_lock_is_free_and_an_older_result_does_not_count() {
    // To probe an unhealthy uplink takes two seconds.
    let probe = "[probe]\ntargets = [\"100.66.0.1\"]\ntimeout = \"2s\"\n";
    let lab = Lab::serving(&three(probe));
    lab.count_for(*FAR.ip());
    lab.swallow(1, true);
    let mut first = lab.start(&["failover", "--probe", "1"]);
    lab.await_counted(1, *FAR.ip());
    // The first run cannot end before the others.
    send(&first, Signal::SIGSTOP);
    let hook = lab.wanpool(["restore", "2", "-w", "0"]);
    let second = lab.wanpool(["failover", "--probe", "1"]);
    let counted = lab.health(1);
    send(&first, Signal::SIGCONT);
    assert!(first.wait().unwrap().success());
    hook.ok();
    second.silent();
    assert_eq!(counted["unhealthy_runs"], 1);
    assert_eq!(lab.health(1)["unhealthy_runs"], 1, "the first began before the second had ended");
    assert_eq!(lab.state_of(1), "up");
}

#[test]
fn the_runtime_state_is_in_run_under_the_path_of_the_state_directory() {
    let lab = with_probes("");
    let run = lab.script("env -u WANPOOL_RUN_DIR \"$WANPOOL\" failover --probe");
    run.silent();
    let below = lab.pool_dir();
    let dir = Path::new("/run/wanpool").join(below.strip_prefix("/").unwrap());
    let text = fs::read_to_string(dir.join("uplinks"));
    fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    let records: Map<String, Value> = serde_json::from_str(&text.unwrap()).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(lab.runtime_state(), "");
}

#[test]
fn a_peer_that_has_never_answered_condemns_nothing() {
    let lab = Lab::three_uplinks();
    lab.swallow(1, true);
    for _ in 0..3 {
        let run = lab.wanpool(["failover", "--probe"]);
        assert_eq!((run.status, &*run.stdout), (0, ""), "{run}");
        assert!(run.stderr.contains("uplink 1 (ppp0)"), "{run}");
        assert!(run.stderr.contains("10.64.1.1 has never answered"), "{run}");
    }
    // A timer would tell it once; it has been told.
    lab.run("--hook failover --probe").silent();
    lab.assert_all_up(3);
    lab.swallow(1, false);
    lab.run("failover --probe").silent();
    lab.swallow(1, true);
    lab.run("failover --probe").silent();
    assert_eq!(lab.run("failover --probe").stdout, "uplink 1 ppp0 failed-over\n");
}
