//! `assign` fills the pools like the script of 2003: same pools, same order, same bytes.

use std::fs;
use std::path::Path;

use crate::lab::{Lab, two};

const PASS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seed/pass.sh");

/// Addresses in no order, none of which the script's `grep -w` could mistake for another.
fn addresses() -> Vec<String> {
    (0..24u32).map(|at| format!("10.20.{}.{}", at * 7 % 5, 10 + at * 11 % 24)).collect()
}

/// A table as `/proc/net/arp` shows it.
fn arp(addresses: &[String]) -> String {
    let head = "IP address       HW type     Flags       HW address            Mask     Device\n";
    let line = |address: &String| {
        format!("{address:<16} 0x1         0x2         02:00:00:00:00:01     *        br0\n")
    };
    head.to_owned() + &addresses.iter().map(line).collect::<String>()
}

/// One pass of the script and one of the program over the same list; both have the same files.
fn pass(lab: &Lab, script: &Path, list: &[String]) {
    let table = lab.scratch().join("arp");
    fs::write(&table, arp(list)).unwrap();
    let table = table.to_str().unwrap();
    lab.gateway.sh(&format!("cd {} && ARP={table} IPT=true bash {PASS}", script.display()));
    lab.wanpool(["assign", "--from", table]).ok();
    for pool in ["pool1", "pool2"] {
        let read = |dir: &Path| fs::read_to_string(dir.join(pool)).expect(pool);
        assert_eq!(read(&lab.pool_dir()), read(script), "{pool} after {} clients", list.len());
    }
}

/// Passes over the first so many addresses, one after the other, from these pool files on.
#[track_caller]
fn assert_same(pool1: &str, passes: impl IntoIterator<Item = usize>) {
    let lab = Lab::new();
    lab.config(&two());
    let script = lab.scratch().join("script");
    for dir in [&script, &lab.pool_dir()] {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("pool1"), pool1).unwrap();
        fs::write(dir.join("pool2"), "").unwrap();
    }
    for count in passes {
        pass(&lab, &script, &addresses()[..count]);
    }
}

#[test]
fn one_new_client_at_a_time_goes_where_the_script_puts_it() {
    assert_same("", 1..=24);
}

#[test]
fn a_whole_list_gives_the_pool_files_of_the_script_byte_for_byte() {
    assert_same("", [24]);
}

#[test]
fn pools_that_are_not_level_are_filled_as_the_script_fills_them() {
    assert_same("10.30.0.1\n10.30.0.3\n10.30.0.2\n10.30.0.9\n10.30.0.7\n", [3, 4, 9, 24]);
}
