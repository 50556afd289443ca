//! The most important tests, run inside each Debian with its iptables, ipset, iproute2 and libc. The
//! kernel is that of this machine.

use std::env;

use crate::lab::{Debian, Lab, Machine, copy, copy_to};

inside_each_debian! {
    the_core_tests_pass_inside_debian,
}

/// The main job, our slice, drift and repair, failover and back.
const CORE: [&str; 5] = [
    "scenarios::slice::the_slice_has_the_rules_of_the_contract",
    "scenarios::slice::the_slice_has_the_nexthops_of_the_contract",
    "scenarios::slice::the_slice_has_the_tables_of_the_contract",
    "scenarios::slice::the_slice_is_the_same_with_iptables_nft_and_iptables_legacy",
    "scenarios::foreign::reloads::nft_flush_ruleset_is_repaired",
];
/// With either kind of iptables.
const CORE_WITH_BOTH: [&str; 8] = [
    "scenarios::assign::thirty_clients_are_assigned_ten_each_to_three_equal_uplinks",
    "scenarios::slice::the_slice_has_the_chains_of_the_contract",
    "scenarios::foreign::objects::foreign_bits_of_marks_are_kept",
    "scenarios::drift::each_deleted_object_is_repaired",
    "scenarios::drift::a_flushed_slice_is_repaired",
    "scenarios::uplink_loss::a_lost_device_needs_no_process_and_other_pools_lose_no_packet",
    "scenarios::failover::failover_moves_the_pool_and_ends_only_the_flows_of_its_uplink",
    "scenarios::failover::restore_brings_the_pool_back_and_breaks_no_flow",
];

fn core() -> Vec<String> {
    let with = |kind: &str| CORE_WITH_BOTH.map(|name| format!("{name}::{kind}"));
    let mut names: Vec<String> = CORE.map(str::to_owned).into();
    names.extend(with("with_nft"));
    names.extend(with("with_legacy"));
    names
}

fn the_core_tests_pass_inside_debian(debian: Debian) {
    let lab = Lab::new();
    let machine = Machine::bare(&lab, debian);
    copy_to(&lab.scratch().join("wanpool"));
    let tests = env::current_exe().expect("the path of this program");
    copy(&tests, &lab.scratch().join("tests"));

    let names = core();
    let run =
        machine.run(&format!("WANPOOL_BIN=/mnt/wanpool /mnt/tests --exact {}", names.join(" ")));
    let lines = run.lines();
    for name in &names {
        assert!(lines.contains(&format!("test {name} ... ok").as_str()), "{name}: {run}");
    }
    let summary = format!("test result: ok. {} passed; 0 failed; 0 ignored;", names.len());
    assert!(run.status == 0 && lines.iter().any(|line| line.starts_with(&summary)), "{run}");
}
