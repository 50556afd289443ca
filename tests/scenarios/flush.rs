//! `flush` holds against hooks and timers until somebody creates the slice again.

use crate::lab::{Lab, QUICK, three};

#[test]
fn hooks_and_timers_do_not_create_the_slice_again_after_flush() {
    let lab = Lab::with().without_ethernet().serving(&(three("") + QUICK));
    let hooks = lab.hooks();
    let served = lab.state();
    lab.wanpool(["flush"]).ok();
    let flushed = lab.kernel_state();
    let assert_left_alone = |what: &str| lab.kernel_state().assert_is(&flushed, what);
    let run_dir = lab.scratch().join("run").display().to_string();
    for (hook, number) in [("ip-up", 1), ("ip-down", 2)] {
        hooks.ppp(hook, number).var("WANPOOL_RUN_DIR", &run_dir).run().silent();
        assert_left_alone(hook);
    }
    for command in ["assign", "failover --probe", "restore ppp0", "failover ppp0", "multipath on"] {
        lab.run(&format!("--hook {command}")).silent();
        assert_left_alone(command);
    }
    let empty = lab.run("-j --hook assign").json();
    assert_eq!(empty["steps"], serde_json::json!([]));
    assert_eq!(hooks.log(), "");
    let check = lab.wanpool(["pools", "--check"]);
    let finding =
        "# wanpool flush removed the slice, and hooks and timers do not create it: wanpool restore";
    assert!(check.status == 3 && check.stdout.starts_with(finding), "{check}");

    // A unit that starts, and what an admin types.
    for command in ["--hook restore", "restore", "assign", "failover 1"] {
        lab.run(command).ok();
        lab.wanpool(["restore", "1"]);
        lab.state().assert_is(&served, command);
        lab.run("--hook failover ppp0").ok();
        lab.run("--hook restore ppp0").ok();
        lab.state().assert_is(&served, command);
        lab.wanpool(["flush"]).ok();
    }
    // A dry run is no run.
    lab.run("-n restore").ok();
    lab.run("--hook assign").silent();
    assert_left_alone("after a dry run");
}
