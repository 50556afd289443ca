//! A run that finds the fingerprint of the last one unchanged does not read the set and the chains
//! again: it starts no process, and still repairs what is missing.

use std::fs;

use crate::lab::{Iptables, Lab, Shape, three};

with_both_iptables! {
    assign_repairs_what_is_missing_after_a_clean_run,
}

/// Clients are served, and a run has found nothing to do.
fn checked(shape: Shape) -> Lab {
    let lab = shape.serving(&three(""));
    lab.wanpool(["assign"]).silent();
    lab
}

/// The programs that a run starts.
#[track_caller]
fn processes(lab: &Lab, line: &str) -> Vec<String> {
    let (run, trace) = lab.strace("-e trace=execve", line);
    run.ok();
    let started = trace.lines().filter(|line| line.contains("execve(") && line.ends_with("= 0"));
    started.skip(1).map(str::to_owned).collect()
}

#[test]
fn a_run_with_nothing_to_do_starts_no_process() {
    let lab = checked(Shape::default());
    for command in
        ["assign", "--hook failover ppp9", "restore ppp0", "multipath off", "pools", "scan"]
    {
        assert_eq!(processes(&lab, command), [""; 0], "{command}");
    }
    lab.wanpool(["failover", "ppp0"]).ok();
    assert_eq!(processes(&lab, "failover ppp0"), [""; 0]);
}

#[test]
fn with_iptables_legacy_a_run_with_nothing_to_do_starts_one_process() {
    let lab = checked(Shape::default().iptables(Iptables::Legacy));
    let started = processes(&lab, "assign");
    assert_eq!(started.len(), 1, "{started:?}");
    assert!(started[0].contains("iptables-save"), "{started:?}");
}

#[test]
fn a_move_with_a_valid_fingerprint_updates_the_set() {
    let lab = checked(Shape::default());
    let (moved, released) = (lab.member(1, 0), lab.member(2, 0));
    for command in [format!("assign {moved} --pool 3"), format!("assign {released} --release")] {
        assert_eq!(processes(&lab, &command), [""; 0], "{command}");
    }
    assert_eq!(lab.marks()[&moved], "0x3/0xff");
    assert!(!lab.marks().contains_key(&released));
    lab.wanpool(["pools", "--check"]).silent();
}

/// Conntrack would have to search all its buckets.
#[test]
fn flows_of_an_uplink_out_of_service_are_searched_once() {
    let lab = checked(Shape::default());
    let searches = |options: &str| {
        let (run, trace) = lab.strace("-e trace=sendto", &format!("{options} failover ppp0"));
        run.ok();
        trace.contains("IPCTNL_MSG_CT_GET")
    };
    assert!(searches(""), "the uplink goes out of service");
    assert!(!searches(""));
    assert!(!searches("--hook"), "as pppd runs it");
    fs::remove_file(lab.scratch().join("run/fingerprint")).unwrap();
    assert!(searches(""), "an interrupted run may have left some");
    lab.wanpool(["restore", "ppp0"]).ok();
    assert!(searches(""), "it was in service again");
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.hang_up(1);
    lab.wanpool(["assign"]).ok();
    assert!(searches("--hook"), "assign ends none");
    assert!(!searches("--hook"));
}

fn assign_repairs_what_is_missing_after_a_clean_run(shape: Shape) {
    let lab = checked(shape);
    let served = lab.state();
    let client = lab.member(1, 0);
    for damage in [
        &format!("ipset del wanpool {client}"),
        "ipset flush wanpool",
        "iptables -t mangle -D PREROUTING -j WANPOOL",
        "iptables -t mangle -F WANPOOL-OUT",
        "iptables -t nat -F WANPOOL",
        "iptables -t nat -A WANPOOL -o ppp9 -j MASQUERADE",
        "iptables -t mangle -F; iptables -t mangle -X",
        "ip rule del pref 20195; ip rule del pref 20201; ip route del default table 202 metric 10",
        "ip nexthop del id 8702",
        "ip nexthop del id 8700",
        "ip link set ppp1 down; ip link set ppp1 up",
    ] {
        lab.gateway.sh(damage);
        lab.wanpool(["assign"]).ok();
        lab.state().assert_is(&served, format!("assign after {damage}"));
        lab.wanpool(["assign"]).silent();
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

#[test]
fn another_config_is_followed_by_the_next_assign() {
    let lab = checked(Shape::default());
    lab.config(&three("[kernel]\nmark-mask = 0xff00\n"));
    lab.wanpool(["assign"]).ok();
    lab.wanpool(["pools", "--check"]).silent();
    lab.assert_leaves_by(lab.member(2, 0), &[2]);
}

/// An altered entry changes no fingerprint.
#[test]
fn check_and_restore_do_not_rely_on_the_fingerprint() {
    let lab = checked(Shape::default());
    let served = lab.state();
    let client = lab.member(1, 0);
    lab.gateway.sh(&format!("ipset add -exist wanpool {client} skbmark 0x2/0xff"));
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 3);
    lab.wanpool(["restore"]).ok();
    lab.state().assert_is(&served, "after restore");
}

#[test]
fn a_killed_run_invalidates_the_fingerprint() {
    let lab = checked(Shape::default());
    let client = lab.member(1, 0);
    // When the pool files are in place, and before the kernel has followed: the first file that is
    // deleted is the fingerprint, the second is the folder of the commit.
    let kill = "-e trace=unlinkat -e inject=unlinkat:signal=SIGKILL:when=2";
    let (killed, _) = lab.strace(kill, &format!("assign {client} --pool 2"));
    assert_ne!(killed.status, 0, "{killed}");
    assert_eq!(lab.pool_of(client), Some(2));
    assert_eq!(lab.marks()[&client], "0x1/0xff");
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.marks()[&client], "0x2/0xff");
    lab.wanpool(["pools", "--check"]).silent();
}

#[test]
fn the_fingerprint_of_another_network_namespace_is_ignored() {
    let (lab, other) = (checked(Shape::default()), Lab::new());
    other.config(&three(""));
    for folder in [lab.pool_dir(), lab.scratch().join("run")] {
        assert!(lab.scratch().join("run/fingerprint").is_file());
        let to = other.scratch();
        lab.gateway.sh(&format!("cp -a {} {}", folder.display(), to.display()));
    }
    other.wanpool(["assign"]).ok();
    other.wanpool(["pools", "--check"]).silent();
}
