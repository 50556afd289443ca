//! Foreign objects that use our names or numbers: an error names them and the next step, and nothing
//! changes; `flush` keeps them and removes what is ours. Which chains are foreign, and which sets
//! cannot be used, has tables of values in `src`.

use crate::lab::{Lab, Shape, four, three};

with_both_iptables! {
    a_foreign_chain_with_our_name_is_reported_and_kept,
    flush_keeps_a_foreign_chain_and_removes_the_rest,
    chains_made_for_another_configuration_are_still_ours,
    flush_removes_all_else_after_iptables_was_switched,
}

/// Makes a foreign chain with this name, with rules and a jump.
fn make_foreign_chain(lab: &Lab, table: &str, name: &str, from: &str) {
    lab.gateway.sh(&format!(
        "iptables -t {table} -N {name}
         iptables -t {table} -A {name} -s 198.51.100.7 -j RETURN
         iptables -t {table} -A {name} -m comment --comment 'two words' -j ACCEPT
         iptables -t {table} -A {from} -j {name}"
    ));
}

/// Every command that changes anything fails with these words, and the check finds them.
#[track_caller]
fn assert_conflict(lab: &Lab, words: &[&str]) {
    let before = lab.state();
    for command in ["restore", "assign", "-n assign", "failover ppp0", "multipath on"] {
        lab.run(command).refused(1).naming(words);
    }
    let check = lab.check();
    assert_eq!((check.status, &*check.steps), (3, ""), "{check}");
    check.naming(words);
    for command in ["pools", "scan", "pools 192.168.7.10"] {
        lab.run(command).ok();
    }
    lab.state().assert_is(&before, "after the commands that were refused");
}

fn a_foreign_chain_with_our_name_is_reported_and_kept(shape: Shape) {
    let lab = shape.raise();
    lab.config(&four(""));
    make_foreign_chain(&lab, "nat", "WANPOOL", "POSTROUTING");
    let advice = "iptables -w -t nat -E WANPOOL OTHER";
    assert_conflict(&lab, &["the chain WANPOOL of table nat", "no rule of wanpool", advice]);
    // The next step that it names is enough.
    lab.gateway.sh(advice);
    let theirs = lab.kernel_state();
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["restore"]).silent();
    lab.wanpool(["flush"]).ok();
    lab.kernel_state().assert_is(&theirs, "after flush");
}

fn flush_keeps_a_foreign_chain_and_removes_the_rest(shape: Shape) {
    let lab = shape.serving(&four(""));
    // Without helpers there is no chain of ours in the table raw.
    make_foreign_chain(&lab, "raw", "WANPOOL", "PREROUTING");
    assert_conflict(&lab, &["WANPOOL", "raw"]);
    lab.wanpool(["flush"]).ok();
    lab.wanpool(["flush"]).silent();
    let left = lab.filter();
    let rules: Vec<&str> = left.lines().filter(|line| line.contains("WANPOOL")).collect();
    assert_eq!(
        rules,
        [
            ":WANPOOL -",
            "-A PREROUTING -j WANPOOL",
            "-A WANPOOL -s 198.51.100.7/32 -j RETURN",
            "-A WANPOOL -m comment --comment \"two words\" -j ACCEPT",
        ],
        "{left}"
    );
    assert!(lab.rules().is_empty() && lab.gateway.sh("ipset list -n").is_empty());
}

fn chains_made_for_another_configuration_are_still_ours(shape: Shape) {
    // With other devices and other bits of the mark.
    let lab = shape.serving(
        "[uplink.9]\ndev = \"eth1\"\nvia = \"10.65.4.1\"\n[kernel]\nmark-mask = 0xff0000\n",
    );
    lab.config(&four("helpers = [\"ftp\"]"));
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 4]);
}

fn flush_removes_all_else_after_iptables_was_switched(shape: Shape) {
    let lab = shape.serving(&three(""));
    let was_legacy = lab.gateway.sh("iptables --version").contains("legacy");
    let (old, new) = if was_legacy { ("legacy", "nft") } else { ("nft", "legacy") };
    let switch_to = |kind: &str| {
        for (name, of_kind) in [
            ("iptables", format!("iptables-{kind}")),
            ("iptables-save", format!("iptables-{kind}-save")),
            ("iptables-restore", format!("iptables-{kind}-restore")),
        ] {
            let bin = lab.scratch().join("bin").display().to_string();
            lab.gateway.sh(&format!("ln -sfn /usr/sbin/{of_kind} {bin}/{name}"));
        }
    };
    switch_to(new);
    let old = format!("iptables-{old}");
    lab.wanpool(["flush"]).refused(1).naming(&["in use", &old, "run wanpool flush"]);
    assert!(lab.rules().is_empty() && lab.gateway.sh("ip nexthop").is_empty());
    switch_to(old.trim_start_matches("iptables-"));
    lab.wanpool(["flush"]).ok();
    assert!(lab.gateway.sh("ipset list -n").is_empty());
    switch_to(new);
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

/// The step that is named works: put the protocol back, flush, and change it then.
#[test]
fn another_protocol_without_a_flush_is_a_conflict_with_its_next_step() {
    let lab = Lab::three_uplinks();
    let before = lab.kernel_state();
    lab.config(&three("\n[kernel]\nprotocol = 88\n"));
    let step = "if it was made by wanpool with protocol = 87, set that again, run wanpool flush";
    assert_conflict(&lab, &["nexthop 87", "belongs to protocol 87", step]);
    lab.kernel_state().assert_is(&before, "nothing is doubled");
    lab.config(&three(""));
    lab.wanpool(["flush"]).ok();
    lab.config(&three("\n[kernel]\nprotocol = 88\n"));
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

#[test]
fn a_foreign_nexthop_route_or_set_in_conflict_is_reported_and_kept() {
    let lab = Lab::new();
    lab.config(&four(""));
    for (make, undo, words) in [
        (
            "ip nexthop add id 8701 dev br0 protocol 42",
            "ip nexthop del id 8701",
            ["nexthop 8701", "protocol 42", "nexthop-base"],
        ),
        (
            "ip route add default dev br0 table 201",
            "ip route del default table 201",
            ["table 201", "of another program", "table-base"],
        ),
        (
            "ipset create wanpool hash:net",
            "ipset destroy wanpool",
            ["a set wanpool", "hash:net", "rename"],
        ),
        (
            "ipset create wanpool hash:ip timeout 9 skbinfo counters",
            "ipset destroy wanpool",
            ["a set wanpool", "timeout", "rename"],
        ),
    ] {
        lab.gateway.sh(make);
        assert_conflict(&lab, &words);
        let theirs = lab.kernel_state();
        lab.wanpool(["flush"]).silent();
        lab.kernel_state().assert_is(&theirs, "after flush");
        lab.gateway.sh(undo);
    }
    lab.wanpool(["restore"]).ok();
}
