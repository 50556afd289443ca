//! `--dry-run` changes nothing, and its lines in a root shell do the very same as the run.

use crate::lab::{Lab, Shape, four};
use crate::with_both_iptables;

with_both_iptables! {
    the_printed_commands_do_what_the_run_would_do,
}

/// Prints the steps, sees that nothing changed, and runs them as a script.
#[track_caller]
fn by_script<const N: usize>(lab: &Lab, args: [&str; N]) {
    let before = lab.state();
    let printed = lab.wanpool(args);
    printed.ok();
    lab.state().assert_is(&before, format!("after {args:?}"));
    assert!(!printed.stdout.is_empty(), "{args:?} has nothing to do");
    lab.gateway.sh(&printed.stdout);
}

fn the_printed_commands_do_what_the_run_would_do(shape: Shape) {
    let config = four("helpers = [\"ftp\"]");
    let run = shape.clone().raise();
    run.serve(&config);
    let lab = shape.raise();
    let virgin = lab.kernel_state();
    lab.config(&config);
    lab.hear(&lab.everyone());

    by_script(&lab, ["-n", "restore"]);
    lab.wanpool(["restore"]).silent();
    by_script(&lab, ["-n", "assign"]);
    lab.wanpool(["assign"]).silent();
    lab.state().assert_is(&run.state(), "the script beside the run");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);

    let client = lab.member(1, 2).to_string();
    by_script(&lab, ["--dry-run", "assign", &client, "--pool", "2"]);
    run.wanpool(["assign", &client, "--pool", "2"]).ok();
    lab.wanpool(["assign", &client, "--pool", "2"]).silent();
    by_script(&lab, ["-n", "assign", &client, "--release"]);
    run.wanpool(["assign", &client, "--release"]).ok();
    lab.wanpool(["restore"]).silent();
    lab.state().assert_is(&run.state(), "the script beside the run");

    by_script(&lab, ["-n", "flush"]);
    lab.wanpool(["flush"]).silent();
    lab.kernel_state().assert_is(&virgin, "after flush");
}
