//! A run that finds the signs of the last one unchanged believes in the set and the chains; these are
//! the bounds of that belief.

use std::fs;

use crate::lab::{Iptables, Lab, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    assign_repairs_what_is_missing_after_a_clean_run,
}

/// The programs that a run starts, itself aside.
fn processes(lab: &Lab, command: &str) -> Vec<String> {
    let trace = lab.scratch().join("trace");
    lab.script(&format!("strace -qq -f -e trace=execve -o {} {command}", trace.display())).ok();
    let text = fs::read_to_string(trace).expect("what strace saw");
    let started = text.lines().filter(|line| line.contains("execve(") && line.ends_with("= 0"));
    started.skip(1).map(str::to_owned).collect()
}

/// Served, and then found in order once.
fn checked(shape: Shape) -> Lab {
    let lab = shape.serving(&three(""));
    lab.wanpool(["assign"]).silent();
    lab
}

#[test]
fn a_run_with_nothing_to_do_starts_no_process() {
    let lab = checked(Shape::default());
    for command in
        ["assign", "--hook failover ppp9", "restore ppp0", "multipath off", "pools", "scan"]
    {
        assert_eq!(processes(&lab, &format!("$WANPOOL {command}")), [""; 0], "{command}");
    }
    lab.wanpool(["failover", "ppp0"]).ok();
    assert_eq!(processes(&lab, "$WANPOOL failover ppp0"), [""; 0]);
}

/// Conntrack would go through all its buckets for it.
#[test]
fn flows_of_an_uplink_out_of_service_are_searched_once() {
    let lab = checked(Shape::default());
    let trace = lab.scratch().join("trace");
    let looks_when = |options: &str| {
        let strace = format!("strace -qq -e trace=sendto -o {}", trace.display());
        lab.script(&format!("{strace} $WANPOOL {options} failover ppp0")).ok();
        fs::read_to_string(&trace).expect("what strace saw").contains("IPCTNL_MSG_CT_GET")
    };
    assert!(looks_when(""), "it goes out");
    assert!(!looks_when(""));
    assert!(!looks_when("--hook"), "as pppd runs it");
    fs::remove_file(lab.scratch().join("run/checked")).unwrap();
    assert!(looks_when(""), "a run that was cut short may have left some");
    lab.wanpool(["restore", "ppp0"]).ok();
    assert!(looks_when(""), "it was back");
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.hang_up(1);
    lab.wanpool(["assign"]).ok();
    assert!(looks_when("--hook"), "assign ended none");
    assert!(!looks_when("--hook"));
}

#[test]
fn with_iptables_legacy_a_run_with_nothing_to_do_starts_one_process() {
    let lab = checked(Shape::default().iptables(Iptables::Legacy));
    let started = processes(&lab, "$WANPOOL assign");
    assert_eq!(started.len(), 1, "{started:?}");
    assert!(started[0].contains("iptables-save"), "{started:?}");
}

fn assign_repairs_what_is_missing_after_a_clean_run(shape: Shape) {
    let lab = checked(shape);
    let served = lab.state();
    let client = lab.member(1, 0);
    for damage in [
        format!("ipset del wanpool {client}"),
        "ipset flush wanpool".into(),
        "iptables -t mangle -D PREROUTING -j WANPOOL".into(),
        "iptables -t mangle -F WANPOOL-OUT".into(),
        "iptables -t nat -A WANPOOL -o ppp9 -j MASQUERADE".into(),
        "iptables -t mangle -F; iptables -t mangle -X".into(),
        "ip rule del pref 1201; ip route del default table 202 metric 10".into(),
    ] {
        lab.gateway.sh(&damage);
        lab.wanpool(["assign"]).ok();
        lab.state().assert_is(&served, format!("assign after {damage}"));
        lab.wanpool(["assign"]).silent();
    }
}

/// The lines are as many and as long as before.
#[test]
fn a_pool_file_edited_by_hand_is_followed_by_the_next_assign() {
    let lab = checked(Shape::default());
    let (one, two) = (lab.member(1, 0), lab.member(2, 0));
    let swap = |pool: u8, from, to| {
        let path = lab.pool_dir().join(format!("pool{pool}"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace(&format!("{from}\n"), &format!("{to}\n"))).unwrap();
    };
    swap(1, one, two);
    swap(2, two, one);
    lab.wanpool(["assign"]).ok();
    assert_eq!((&*lab.marks()[&one], &*lab.marks()[&two]), ("0x2/0xff", "0x1/0xff"));
    lab.wanpool(["pools", "--check"]).silent();
}

#[test]
fn another_config_is_followed_by_the_next_assign() {
    let lab = checked(Shape::default());
    lab.config(&three("[kernel]\nmark-mask = 0xff00\n"));
    lab.wanpool(["assign"]).ok();
    lab.wanpool(["pools", "--check"]).silent();
    assert_eq!(lab.client(lab.member(2, 0)).seen(), Ok(lab.uplink_address(2)));
}

#[test]
fn a_move_with_a_valid_fingerprint_updates_the_set() {
    let lab = checked(Shape::default());
    let (moved, released) = (lab.member(1, 0), lab.member(2, 0));
    let (moves, releases) = (moved.to_string(), released.to_string());
    assert_eq!(processes_of_a_change(&lab, &["assign", &moves, "--pool", "3"]), 0);
    assert_eq!(processes_of_a_change(&lab, &["assign", &releases, "--release"]), 0);
    assert_eq!(lab.marks()[&moved], "0x3/0xff");
    assert!(!lab.marks().contains_key(&released));
    lab.wanpool(["pools", "--check"]).silent();
}

fn processes_of_a_change(lab: &Lab, args: &[&str]) -> usize {
    let trace = lab.scratch().join("trace");
    let command = format!("strace -qq -f -e trace=execve -o {} $WANPOOL ", trace.display());
    lab.script(&(command + &args.join(" "))).ok();
    fs::read_to_string(trace).unwrap().matches("execve(").count() - 1
}

/// What the signs cannot show, restore and --check do not rely on them for.
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
    let client = lab.member(1, 0).to_string();
    // When its files are in place and nothing of the kernel has followed.
    let trace = lab.scratch().join("trace");
    let killed = lab.script(&format!(
        "strace -qq -f -e trace=rmdir -e inject=rmdir:signal=SIGKILL:when=2 -o {} \
         $WANPOOL assign {client} --pool 2",
        trace.display()
    ));
    assert_ne!(killed.status, 0, "{killed}");
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.marks()[&client.parse().unwrap()], "0x2/0xff");
    lab.wanpool(["pools", "--check"]).silent();
}

#[test]
fn the_fingerprint_of_another_network_namespace_is_ignored() {
    let lab = checked(Shape::default());
    let run_dir = lab.scratch().join("run");
    assert!(run_dir.join("checked").is_file());
    let other = Shape::default().raise();
    other.config(&three(""));
    fs::create_dir_all(other.pool_dir()).unwrap();
    for (name, bytes) in lab.files() {
        fs::write(other.pool_dir().join(name), bytes).unwrap();
    }
    fs::create_dir_all(other.scratch().join("run")).unwrap();
    fs::copy(run_dir.join("checked"), other.scratch().join("run/checked")).unwrap();
    other.wanpool(["assign"]).ok();
    other.wanpool(["pools", "--check"]).silent();
}
