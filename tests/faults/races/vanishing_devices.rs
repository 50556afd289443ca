//! A device that goes, or comes back as another, after a run has looked and before it acts.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use crate::lab::{Lab, Run, Shape, four, write_script};
use crate::with_both_iptables;

with_both_iptables! {
    a_device_removed_between_observe_and_apply_does_no_harm,
    a_device_recreated_between_observe_and_apply_does_no_harm,
}

/// Runs a command that stops when it has looked at everything, the chains being the last; goes on
/// when `deed` is done.
fn with_deed_between(lab: &Lab, command: &str, deed: impl FnOnce()) -> Run {
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
        deed();
        lab.gateway.sh(&format!("echo >{dir}/go"));
        run.join().expect("the run's thread")
    });
    lab.gateway.sh(&format!("rm -r {dir}/looked {dir}/go {dir}/stopped"));
    fs::remove_file(&save).expect("to take the stub away");
    symlink(real, save).expect("the link as before");
    run
}

/// What is missing of the slice in each case, so that there is something to do, and who does it.
const CASES: [(&str, &str); 6] = [
    ("", "restore ppp0"),
    ("", "failover ppp1 --to ppp0"),
    ("", "failover ppp0"),
    ("ip nexthop del id 8701", "assign"),
    ("ip rule del pref 1000; ip nexthop del id 8700; ipset flush wanpool", "restore"),
    ("\"$WANPOOL\" flush", "restore"),
];

#[track_caller]
fn assert_all_served(lab: &Lab, without: &[u8]) {
    for pool in 1..=4 {
        let own = lab.uplink_address(pool);
        let seen = lab.client(lab.member(pool, 0)).seen();
        let others = (1..=4).filter(|other| !without.contains(other));
        let others: Vec<_> = others.map(|other| lab.uplink_address(other)).collect();
        let right = match without.contains(&pool) {
            true => seen.as_ref().is_ok_and(|seen| others.contains(seen)),
            false => seen == Ok(own),
        };
        assert!(right, "pool {pool} without {without:?}: {seen:?}");
    }
}

fn a_device_removed_between_observe_and_apply_does_no_harm(shape: Shape) {
    let lab = shape.client_addresses(8).serving(&four(""));
    let right = lab.state();
    for (damage, command) in CASES {
        assert_eq!(lab.script(damage).status, 0, "{damage}");
        let run = with_deed_between(&lab, command, || lab.hang_up(1));
        match command {
            "failover ppp1 --to ppp0" => {
                run.refused(1).naming(&["ppp0", "not in service"]);
            }
            _ => assert!(!run.ok().stdout.contains("ppp0 up"), "{run}"),
        }
        lab.wanpool(["assign"]).ok();
        assert_all_served(&lab, &[1]);
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
        let run = with_deed_between(&lab, command, || lab.redial(1));
        // The same name is another device by now, and all is done with that.
        run.ok();
        lab.wanpool(["assign"]).ok();
        lab.wanpool(["assign"]).silent();
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&right, command);
        assert_all_served(&lab, &[]);
    }
}
