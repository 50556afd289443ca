//! A device that disappears, or is created again, after a run has read the kernel and before it
//! applies its changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use crate::lab::{Lab, Run, Shape, four, write_script};

with_both_iptables! {
    a_device_removed_between_observe_and_apply_does_no_harm,
    a_device_recreated_between_observe_and_apply_does_no_harm,
}

/// Runs a command that waits when it has read everything (the chains are the last), until `event`
/// has happened.
fn with_event_between(lab: &Lab, command: &str, event: impl FnOnce()) -> Run {
    let save = lab.scratch().join("bin/iptables-save");
    let real = fs::read_link(&save).expect("the lab's own iptables-save");
    let dir = lab.scratch().display();
    let stub = format!(
        "#!/bin/sh\n{} \"$@\" || exit\nmkdir {dir}/stopped 2>/dev/null || exit 0\n\
         echo >{dir}/looked\nread -r _ <{dir}/go\n",
        real.display()
    );
    fs::remove_file(&save).expect("to take the link away");
    write_script(&save, &stub);
    lab.gateway.sh(&format!("mkfifo {dir}/looked {dir}/go"));
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| lab.run(command));
        lab.gateway.sh(&format!("timeout 60 cat {dir}/looked"));
        event();
        lab.gateway.sh(&format!("echo >{dir}/go"));
        run.join().expect("the run's thread")
    });
    lab.gateway.sh(&format!("rm -r {dir}/looked {dir}/go {dir}/stopped"));
    fs::remove_file(&save).expect("to take the stub away");
    symlink(real, save).expect("the link as before");
    run
}

/// What is removed from the slice, so that there is something to do, and the command that does it.
const CASES: [(&str, &str); 6] = [
    ("", "restore ppp0"),
    ("", "failover ppp1 --to ppp0"),
    ("", "failover ppp0"),
    ("ip nexthop del id 8701", "assign"),
    ("ip rule del pref 20195; ip nexthop del id 8700; ipset flush wanpool", "restore"),
    ("\"$WANPOOL\" flush", "restore"),
];

#[track_caller]
fn assert_all_served(lab: &Lab, uplinks: &[u8]) {
    for pool in 1..=4 {
        let own = [pool];
        let expected = if uplinks.contains(&pool) { &own } else { uplinks };
        lab.assert_leaves_by(lab.member(pool, 0), expected);
    }
}

fn a_device_removed_between_observe_and_apply_does_no_harm(shape: Shape) {
    let lab = shape.client_addresses(8).serving(&four(""));
    let right = lab.state();
    for (damage, command) in CASES {
        assert_eq!(lab.script(damage).status, 0, "{damage}");
        let run = with_event_between(&lab, command, || lab.hang_up(1));
        match command {
            "failover ppp1 --to ppp0" => {
                run.refused(1).naming(&["ppp0", "not in service"]);
            }
            _ => assert!(!run.ok().stdout.contains("ppp0 up"), "{run}"),
        }
        lab.wanpool(["assign"]).ok();
        assert_all_served(&lab, &[2, 3, 4]);
        lab.wanpool(["assign"]).silent();

        lab.redial(1);
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&right, command);
    }
}

fn a_device_recreated_between_observe_and_apply_does_no_harm(shape: Shape) {
    let lab = shape.client_addresses(8).serving(&four(""));
    let right = lab.state();
    for (damage, command) in CASES {
        assert_eq!(lab.script(damage).status, 0, "{damage}");
        let run = with_event_between(&lab, command, || lab.redial(1));
        // The new device has the same name, and everything is done with that one.
        run.ok();
        lab.wanpool(["assign"]).ok();
        lab.wanpool(["assign"]).silent();
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&right, command);
        assert_all_served(&lab, &[1, 2, 3, 4]);
    }
}
