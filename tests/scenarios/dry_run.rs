//! `--dry-run` changes nothing, and its lines in a root shell do the same as the run.

use std::time::Duration;

use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    the_printed_commands_do_the_same_as_the_run,
    the_printed_commands_of_failover_and_restore_do_the_same_as_the_run,
}

/// Prints the steps, which changes nothing, and runs them as a script.
#[track_caller]
fn by_script(lab: &Lab, args: &[&str]) {
    let before = lab.state();
    let printed = lab.run(&args.join(" "));
    printed.ok();
    lab.state().assert_is(&before, format!("after {args:?}"));
    assert!(!printed.stdout.is_empty(), "{args:?} has nothing to do");
    lab.gateway.sh(&printed.stdout);
}

fn the_printed_commands_do_the_same_as_the_run(shape: Shape) {
    let config = four("helpers = [\"ftp\"]");
    let run = shape.clone().raise();
    run.serve(&config);
    let lab = shape.raise();
    let empty = lab.kernel_state();
    lab.config(&config);
    lab.discover(&lab.everyone());

    by_script(&lab, &["-n", "restore"]);
    lab.wanpool(["restore"]).silent();
    by_script(&lab, &["-n", "assign"]);
    lab.wanpool(["assign"]).silent();
    lab.state().assert_is(&run.state(), "the script beside the run");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);

    let client = lab.member(1, 2).to_string();
    by_script(&lab, &["--dry-run", "assign", &client, "--pool", "2"]);
    run.wanpool(["assign", &client, "--pool", "2"]).ok();
    lab.wanpool(["assign", &client, "--pool", "2"]).silent();
    by_script(&lab, &["-n", "assign", &client, "--release"]);
    run.wanpool(["assign", &client, "--release"]).ok();
    lab.wanpool(["restore"]).silent();
    lab.state().assert_is(&run.state(), "the script beside the run");

    by_script(&lab, &["-n", "flush"]);
    lab.wanpool(["flush"]).silent();
    lab.kernel_state().assert_is(&empty, "after flush");
}

/// Commands, and what happens before each.
const COMMANDS: [(&str, &str); 12] = [
    ("", "failover ppp0"),
    ("", "restore ppp0"),
    ("", "failover ppp1 --to eth1"),
    ("", "failover ppp1 --to ppp2"),
    ("", "multipath on"),
    (
        "ip link set ppp2 down
         conntrack -I -s 10.9.9.9 -d 100.66.0.1 -p udp --sport 9 --dport 9 -t 600 -m 0x83 2>/dev/null",
        "failover ppp2",
    ),
    ("ip link set ppp2 up", "assign"),
    ("", "restore eth1 --via 10.65.4.9"),
    ("", "failover eth1"),
    ("", "restore eth1 --via 10.65.4.1"),
    ("", "multipath off"),
    ("ip nexthop del id 8704", "restore"),
];

/// The connmarks of all flows that use an uplink.
fn marks(lab: &Lab) -> Vec<u32> {
    let mut marks: Vec<u32> = lab.tracked().into_values().filter(|&mark| mark != 0).collect();
    marks.sort_unstable();
    marks
}

fn the_printed_commands_of_failover_and_restore_do_the_same_as_the_run(shape: Shape) {
    let config = four("").replace("via = \"10.65.4.1\"\n", "");
    let labs = [shape.clone().raise(), shape.raise()];
    for lab in &labs {
        lab.gateway.sh("ip route add default via 10.65.4.1 dev eth1 proto dhcp");
        lab.serve(&config);
    }
    let [run, lab] = &labs;
    for (first, command) in COMMANDS {
        for lab in &labs {
            lab.gateway.sh("conntrack -F 2>/dev/null");
            lab.gateway.sh(first);
            for pool in 1..=4 {
                // There may be no answer: some of these gateways are wrong.
                let brief = lab.client(lab.member(pool, 0)).patience(Duration::from_millis(50));
                let _ = brief.udp().unwrap().ask();
            }
        }
        let words: Vec<&str> = ["-n"].into_iter().chain(command.split(' ')).collect();
        by_script(lab, &words);
        run.run(command).ok();
        lab.state().assert_is(&run.state(), format!("the script beside the run: {command}"));
        assert_eq!(marks(lab), marks(run), "the flows left: {command}");
        lab.run(command).silent();
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}
