//! The configuration changes while clients are served: pins, weights, exclusions, new and removed
//! uplinks.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::lab::{Lab, Shape, three, two, uplinks};

with_both_iptables! {
    an_uplink_removed_from_the_config_gives_its_clients_to_the_others,
    a_new_uplink_gets_new_clients_and_old_ones_only_by_rebalance,
}

/// Every client is in exactly one pool.
#[track_caller]
fn assert_all_assigned(lab: &Lab) {
    for client in lab.everyone() {
        assert!(lab.pool_of(client).is_some(), "{client} is in no pool");
    }
}

/// The clients that `-j assign` has moved, and from which pool. It did nothing else.
#[track_caller]
fn moved_from(report: &Value) -> Vec<(String, u64)> {
    assert_eq!((&report["assigned"], &report["released"]), (&json!([]), &json!([])), "{report}");
    let row = |row: &Value| {
        (row["client"].as_str().expect("a client").to_owned(), row["from"].as_u64().expect("from"))
    };
    report["moved"].as_array().expect("an array").iter().map(row).collect()
}

#[test]
fn pinned_clients_are_in_their_pools_and_excluded_ones_in_none() {
    let pins = "\n[pin]\n\"192.168.7.8/29\" = 2\n\"192.168.7.14\" = 1\n";
    let exclude = "exclude = [\"192.168.7.20\", \"192.168.7.24/30\"]";
    let lab = Lab::serving(&(three(exclude) + pins));
    for client in lab.everyone() {
        let pool = lab.pool_of(client);
        match client.octets()[3] {
            14 => assert_eq!(pool, Some(1)),
            10..=15 => assert_eq!(pool, Some(2)),
            20 | 24..=27 => assert_eq!(pool, None),
            _ => assert!(pool.is_some(), "{client}"),
        }
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

#[test]
fn a_new_pin_moves_its_clients_and_breaks_no_connection() {
    let lab = Lab::three_uplinks();
    let [address, of_prefix, there] =
        [(1, 4), (2, 9), (3, 9)].map(|(pool, at)| lab.member(pool, at));
    let talk = lab.talk(&[address, of_prefix, there]);
    let net = Ipv4Addr::from(u32::from(of_prefix) & !1);
    assert!(u32::from(there) & !1 == u32::from(net), "{there} and {of_prefix} share a prefix");
    lab.config(&format!("{}\n[pin]\n\"{address}\" = 2\n\"{net}/31\" = 3\n", three("")));
    let lines = format!("{address} pool 2 ppp1 from 1\n{of_prefix} pool 3 ppp2 from 2\n");
    assert_eq!(lab.wanpool(["assign"]).ok().stdout, lines);
    lab.wanpool(["assign"]).silent();
    lab.assert_leaves_by(address, &[2]);
    lab.assert_leaves_by(of_prefix, &[3]);
    talk.goes_on("after the move", |_| true);
    for flow in talk.stop() {
        let uplink = [address, of_prefix, there].iter().position(|&client| client == flow.client);
        flow.assert_whole(lab.uplink_address(uplink.expect("one of them") as u8 + 1));
    }
}

#[test]
fn a_pinned_client_cannot_be_moved_by_name() {
    let lab = Lab::serving(&(three("") + "\n[pin]\n\"192.168.7.20\" = 3\n"));
    let before = lab.state();
    let run = lab.wanpool(["assign", "192.168.7.21", "192.168.7.20", "--pool", "1"]);
    run.failed().naming(&["192.168.7.20", "pinned"]);
    lab.state().assert_is(&before, &run);
    lab.wanpool(["assign", "192.168.7.20", "--pool", "3"]).silent();
}

#[test]
fn a_newly_excluded_client_is_released_and_stays_out() {
    let lab = Lab::three_uplinks();
    let client = lab.everyone()[3];
    let pool = lab.pool_of(client).unwrap();
    // Its prefix may even be pinned.
    let exclude = format!("exclude = [\"{client}\"]");
    lab.config(&(three(&exclude) + "\n[pin]\n\"192.168.7.12/31\" = 2\n"));
    let run = lab.wanpool(["assign"]);
    assert!(run.ok().lines().contains(&&*format!("{client} released from {pool}")), "{run}");
    lab.wanpool(["assign"]).silent();
    assert_eq!(lab.pool_of(client), None);
    assert!(!lab.marks().contains_key(&client), "an excluded client is still in the set");
    let before = lab.state();
    for command in [format!("assign {client}"), format!("assign {client} --pool 2")] {
        lab.run(&command).failed().naming(&[&client.to_string(), "exclude"]);
    }
    lab.state().assert_is(&before, "after an excluded client was named");
    assert!(!lab.wanpool(["scan"]).ok().stdout.contains(&format!("{client} ")));
}

fn an_uplink_removed_from_the_config_gives_its_clients_to_the_others(shape: Shape) {
    let lab = shape.serving(&three(""));
    let (others, leaving) = ([lab.pool(1), lab.pool(2)], lab.pool(3));
    let talk = lab.talk(&[lab.members(1), lab.members(2)].concat());
    lab.config(&two());

    let report = lab.wanpool(["-j", "assign"]).json();
    let expected: Vec<_> = leaving.iter().map(|client| (client.clone(), 3)).collect();
    assert_eq!(moved_from(&report), expected);
    for row in report["moved"].as_array().unwrap() {
        let pool = lab.pool_of(row["client"].as_str().unwrap().parse().unwrap()).expect("a pool");
        assert_eq!((&row["pool"], &row["uplink"]), (&json!(pool), &json!(lab.uplink_dev(pool))));
    }
    let names: Vec<String> = lab.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["pool1", "pool2"]);
    for (pool, before) in [1, 2].into_iter().zip(others) {
        assert_eq!(lab.pool(pool)[..10], before, "in order of arrival");
    }
    assert_eq!(lab.pool_sizes(), [15, 15]);
    assert_all_assigned(&lab);
    lab.wanpool(["assign"]).silent();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2]);
    let is_of_three =
        |(pref, rule): &(u32, String)| [20113, 20203].contains(pref) || rule.contains("ppp2");
    assert!(!lab.rules().iter().any(is_of_three), "rules of a removed uplink");
    assert_eq!((lab.table(203), lab.table(303)), (vec![], vec![]));
    talk.assert_on_own_uplinks(&lab);
}

#[test]
fn restore_after_an_edit_releases_the_excluded_and_moves_those_of_a_removed_uplink() {
    let lab = Lab::three_uplinks();
    let excluded = lab.member(1, 0);
    let strict = format!("unassigned = \"unreachable\"\nexclude = [\"{excluded}\"]");
    lab.config(&uplinks(&strict, &["ppp0", "ppp1"]));
    lab.wanpool(["restore"]).ok();
    assert_eq!(lab.pool_of(excluded), None);
    for client in lab.everyone() {
        if client == excluded {
            assert!(lab.client(client).seen().is_err(), "service for {client}");
        } else {
            assert!(lab.pool_of(client).is_some(), "{client} is in no pool");
        }
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2]);
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
    lab.wanpool(["assign"]).silent();
}

#[test]
fn a_run_killed_while_it_removes_an_uplink_loses_no_client() {
    let lab = Lab::three_uplinks();
    let before = lab.files();
    for call in ["rename", "unlink"] {
        for at in 1.. {
            for (name, bytes) in &before {
                fs::write(lab.pool_dir().join(name), bytes).unwrap();
            }
            lab.config(&two());
            let calls = format!("'/^{call}");
            let kill = format!("-e trace={calls}' -e inject={calls}:signal=KILL:when={at}'");
            if lab.strace(&kill, "assign").0.status == 0 {
                assert!(at > 1, "it was never killed at {call}");
                break;
            }
            // A reader sees every client at any time, and the next run ends what was begun.
            let scan = lab.wanpool(["-j", "scan"]).json();
            let assigned = scan.as_array().unwrap().iter().filter(|row| !row["pool"].is_null());
            assert_eq!(assigned.count(), 30, "killed at {call} {at}");
            lab.wanpool(["assign"]).ok();
            assert_eq!(lab.pool_sizes(), [15, 15], "killed at {call} {at}");
            assert_all_assigned(&lab);
            assert_eq!(lab.files().len(), 2, "killed at {call} {at}");
        }
    }
}

fn a_new_uplink_gets_new_clients_and_old_ones_only_by_rebalance(shape: Shape) {
    let lab = shape.raise();
    let (old, new) = (lab.everyone()[..20].to_vec(), lab.everyone()[20..].to_vec());
    lab.config(&two());
    lab.discover(&old);
    lab.wanpool(["assign"]).ok();
    let before = [lab.pool(1), lab.pool(2)];
    let talk = lab.talk(&old);

    lab.config(&three(""));
    assert_eq!(lab.wanpool(["assign"]).ok().stdout, "uplink 3 ppp2 up\n");
    assert_eq!([lab.pool(1), lab.pool(2)], before, "no client moves");
    lab.discover(&new);
    lab.wanpool(["assign"]).ok();
    assert_eq!([lab.pool(1), lab.pool(2)], before, "no client moves");
    assert_eq!(lab.members(3), new, "all new ones, in order of address");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);

    lab.config(&three("").replace("\"ppp2\"", "\"ppp2\"\nweight = 2"));
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.pool_sizes(), [10, 10, 10]);
    lab.wanpool(["assign", "--rebalance"]).ok();
    let [one, two, third] = lab.pool_sizes();
    assert!(third == 15 && one.abs_diff(two) == 1, "{one} {two} {third}");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    talk.goes_on("after the rebalance", |_| true);
    for flow in talk.stop() {
        let began = if before[0].contains(&flow.client.to_string()) { 1 } else { 2 };
        flow.assert_whole(lab.uplink_address(began));
    }
}
