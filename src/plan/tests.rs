//! The plan against a kernel made of plain data: it must lead from any state to any other, in an
//! order that is safe at every step.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::service::{Intent, State, Why};
use super::*;
use crate::config::Role;
use crate::model::{Client, DevName, UplinkNo};
use crate::pools::Pools;
use crate::state::{Address, Link, Nexthop, Route, Way};

mod hooks;
mod kernel;

use kernel::{apply, delete_nexthop};

fn config(uplinks: &[(u8, u8)], more: &str) -> Config {
    let uplinks = uplinks
        .iter()
        .map(|(no, weight)| format!("[uplink.{no}]\ndev = \"ppp{no}\"\nweight = {weight}\n"));
    let text = format!("lan = [\"br0\"]\n{}{more}", uplinks.collect::<String>());
    Config::parse(&text, Path::new("test.toml")).unwrap()
}

/// Makes backups of the uplinks with these bits, but not of the first.
fn with_backups(mut config: Config, bits: u8) -> Config {
    for (no, uplink) in config.uplinks.iter_mut().skip(1) {
        if bits & (1 << no.get()) != 0 {
            uplink.role = Role::Backup;
        }
    }
    config
}

fn no(number: u8) -> UplinkNo {
    UplinkNo::new(number).unwrap()
}

/// A kernel in which these uplinks live, each on a point-to-point device with an address.
fn alive(uplinks: &[u8]) -> Observed {
    let name = |no: &u8| DevName::from_kernel(&format!("ppp{no}"));
    let link = |no: &u8| Link {
        index: u32::from(*no),
        name: name(no),
        up: true,
        carrier: true,
        point_to_point: true,
    };
    let address = |no: &u8| Address {
        dev: name(no),
        local: [10, 64, *no, 2].into(),
        peer: None,
        broadcast: None,
        prefix: 32,
    };
    Observed {
        links: uplinks.iter().map(link).collect(),
        addresses: uplinks.iter().map(address).collect(),
        ..Observed::default()
    }
}

fn sorted(mut slice: Slice) -> Slice {
    slice.routes.sort();
    slice.rules.sort();
    slice.jumps.sort_by_key(|jump| jump.to);
    slice
}

/// Does the plan on `found`, watching each step; returns the steps.
fn reach(config: &Config, found: &Observed, wanted: &Slice) -> Vec<Step> {
    let steps = steps(config, found, wanted);
    let mut slice = found.slice.clone();
    for step in &steps {
        apply(&mut slice, step);
    }
    assert_eq!(sorted(slice.clone()), sorted(wanted.clone()));
    let after = Observed { slice, sysctls: BTreeMap::new(), ..found.clone() };
    let again = super::steps(config, &after, wanted);
    assert!(again.iter().all(|step| matches!(step, Step::Sysctl { .. })), "{again:?}");
    steps
}

/// A slice as a run with this intent would leave it.
fn built(config: &Config, found: &Observed, clients: &[(u8, &str)], intent: Intent) -> Slice {
    let mut pools = Pools::default();
    for (pool, client) in clients {
        pools.insert(client.parse::<Client>().unwrap(), no(*pool)).unwrap();
    }
    let services = service::decide(config, found, intent).unwrap();
    wanted(config, marking::set(config, &pools), &services, Family::Inet)
}

/// A machine on which everything has been built.
fn running(config: &Config, uplinks: &[u8]) -> Observed {
    let mut found = alive(uplinks);
    found.slice = built(config, &found, &[], Intent::RestoreAll);
    found
}

fn some_uplinks() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::btree_map(1..=6u8, 1..=4u8, 1..5)
        .prop_map(|uplinks| uplinks.into_iter().collect())
}

fn some_alive() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::btree_set(1..=6u8, 0..7).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever uplinks, weights, lives and clients there were before, the steps lead to what is
    /// wanted now, and each finds what it needs when its turn comes.
    #[test]
    fn any_slice_leads_to_any_other(
        before in some_uplinks(), after in some_uplinks(),
        lived in some_alive(), live in some_alive(),
        multipath in any::<bool>(), gone in any::<bool>(), backups in any::<[u8; 2]>(),
    ) {
        let more = if multipath { "[multipath]\nenable = true\n" } else { "" };
        let old = with_backups(config(&before, ""), backups[0]);
        let new = with_backups(config(&after, more), backups[1]);
        let clients = [(before[0].0, "10.0.0.1"), (after[0].0, "10.0.0.2")];
        let then = alive(&lived);
        let mut found = alive(&live);
        if !gone {
            found.slice = built(&old, &then, &clients[..1], Intent::RestoreAll);
            // What stood on a device that has gone went with it.
            for no in lived.iter().filter(|no| !live.contains(no)) {
                delete_nexthop(&mut found.slice, old.numbers.nexthop_base + u32::from(*no));
                let dev = DevName::from_kernel(&format!("ppp{no}"));
                found.slice.routes.retain(|route| !matches!(&route.way, Way::Device { dev: on, .. } if *on == dev));
            }
        }
        let wanted = built(&new, &found, &clients[1..], Intent::RestoreAll);
        reach(&new, &found, &wanted);
    }

    /// Flushing takes everything, in an order the kernel accepts.
    #[test]
    fn removal_leaves_nothing(uplinks in some_uplinks(), live in some_alive()) {
        let config = config(&uplinks, "");
        let found = running(&config, &live);
        let mut slice = found.slice.clone();
        for step in removal(&found.slice, config.numbers.protocol) {
            apply(&mut slice, &step);
        }
        prop_assert_eq!(slice, Slice::default());
    }

    /// The script's EvaLoad, with as many lines as you like: the first pool with the fewest.
    #[test]
    fn with_equal_weights_placement_is_evaload(lines in 1..8u8, clients in 0..60u32) {
        let uplinks: Vec<_> = (1..=lines).map(|no| (no, 1)).collect();
        let config = config(&uplinks, "");
        let mut pools = Pools::default();
        let mut script = vec![0usize; usize::from(lines)];
        for n in 0..clients {
            let client = Client::new((0x0a00_0001 + n).into()).unwrap();
            let changes = placement::place(&config, &mut pools, &[client]);
            let (mut mark, mut line) = (0, script[0]);
            for (at, &load) in script.iter().enumerate().skip(1) {
                if line > load {
                    (mark, line) = (at, load);
                }
            }
            script[mark] += 1;
            let to = no(mark as u8 + 1);
            prop_assert_eq!(changes, vec![placement::Change::Assigned { client, to }]);
        }
    }

    /// With weights, no pool is more than one client away from its share.
    #[test]
    fn loads_follow_the_weights(uplinks in some_uplinks(), clients in 0..200u32) {
        let config = config(&uplinks, "");
        let mut pools = Pools::default();
        let new: Vec<_> = (0..clients).map(|n| Client::new((0x0a00_0001 + n).into()).unwrap()).collect();
        placement::place(&config, &mut pools, &new);
        let sum: f64 = uplinks.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (pool, weight) in uplinks {
            let share = f64::from(clients) * f64::from(weight) / sum;
            let load = pools.members(no(pool)).len() as f64;
            prop_assert!((load - share).abs() <= f64::from(weight) + 1.0, "{pool}: {load}, {share}");
        }
    }
}

#[test]
fn fewest_for_its_weight_the_lowest_number_among_equals() {
    let config = config(&[(1, 2), (2, 1), (3, 1)], "");
    let mut pools = Pools::default();
    let new: Vec<_> = (0..30).map(|n| Client::new((0x0a00_0001 + n).into()).unwrap()).collect();
    placement::place(&config, &mut pools, &new);
    let loads: Vec<_> = [1, 2, 3].map(|pool| pools.members(no(pool)).len()).to_vec();
    assert_eq!(loads, [15, 8, 7]);
}

#[test]
fn clients_of_an_uplink_that_is_configured_no_more_move_to_the_others() {
    let config = config(&[(1, 1), (2, 1)], "[pin]\n\"10.0.0.9\" = 2\n");
    let mut pools = Pools::default();
    for client in ["10.0.0.1", "10.0.0.9", "10.0.0.2"] {
        pools.insert(client.parse().unwrap(), no(7)).unwrap();
    }
    let changes = placement::settle(&config, &mut pools);
    let places: Vec<_> = changes
        .iter()
        .map(|change| match change {
            placement::Change::Moved { client, from, to } => {
                (client.to_string(), from.get(), to.get())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        places,
        [("10.0.0.1".into(), 7, 1), ("10.0.0.9".into(), 7, 2), ("10.0.0.2".into(), 7, 1)]
    );
    placement::tidy(&config, &mut pools);
    assert!(pools.iter().all(|(pool, _)| pool != no(7)));
}

#[test]
fn a_failover_is_one_nexthop_less_and_the_memory_of_it() {
    let config = config(&[(1, 1), (2, 1)], "");
    let found = running(&config, &[1, 2]);
    let intent = Intent::FailOver { uplink: no(1), to: None };
    let steps = reach(&config, &found, &built(&config, &found, &[], intent));
    let commands: Vec<_> =
        steps.iter().map(Step::to_string).filter(|step| !step.starts_with("sysctl")).collect();
    assert_eq!(
        commands,
        ["ip route add default dev ppp1 table 301 metric 1 protocol 87", "ip nexthop del id 8701"]
    );
}

#[test]
fn assign_leaves_a_failed_over_uplink_out_and_takes_one_that_lost_its_nexthop_in() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    let state = |found: &Observed, intent| {
        service::decide(&config, found, intent).unwrap().uplinks[&no(1)].state
    };

    delete_nexthop(&mut found.slice, 8701);
    assert_eq!(state(&found, Intent::Keep), State::Up, "the carrier was lost for a moment");

    found = running(&config, &[1, 2]);
    found.slice = built(&config, &found, &[], Intent::FailOver { uplink: no(1), to: None });
    assert_eq!(state(&found, Intent::Keep), State::FailedOver);
    assert_eq!(state(&found, Intent::RestoreAll), State::Up);
    let other = Intent::Restore { uplink: no(2), via: None };
    assert_eq!(state(&found, other), State::FailedOver);
}

#[test]
fn a_line_lives_when_it_is_up_and_has_an_address_and_a_way() {
    let config = config(&[(1, 1), (2, 1)], "");
    let state = |found: &Observed| {
        service::decide(&config, found, Intent::Keep).unwrap().uplinks[&no(1)].state
    };
    let mut found = alive(&[1, 2]);
    assert_eq!(state(&found), State::Up);
    found.links[0].point_to_point = false;
    assert_eq!(state(&found), State::Down(Why::NoGateway));
    found.gateways.insert(DevName::from_kernel("ppp1"), [10, 64, 1, 1].into());
    assert_eq!(state(&found), State::Up);
    found.addresses.remove(0);
    assert_eq!(state(&found), State::Down(Why::NoAddress));
    found.links[0].carrier = false;
    assert_eq!(state(&found), State::Down(Why::NoCarrier));
    found.links[0].up = false;
    assert_eq!(state(&found), State::Down(Why::NotUp));
    found.links.remove(0);
    assert_eq!(state(&found), State::Down(Why::NoDevice));
}

#[test]
fn the_last_uplink_cannot_be_failed_over() {
    let config = config(&[(1, 1), (2, 1)], "");
    let found = running(&config, &[1]);
    let fail = |uplink, to| service::decide(&config, &found, Intent::FailOver { uplink, to });
    assert!(fail(no(1), None).unwrap_err().contains("no other uplink is in service"));
    assert!(fail(no(1), Some(no(2))).unwrap_err().contains("uplink 2 (ppp2) is not in service"));
    assert!(fail(no(1), Some(no(1))).unwrap_err().contains("cannot stand in for itself"));
    assert!(fail(no(2), None).is_ok(), "it is out already");
}

#[test]
fn backups_serve_only_while_no_other_does_and_stand_behind_it_in_every_table() {
    let config = with_backups(config(&[(1, 1), (2, 1), (3, 2)], ""), 0b1100);
    let group = |members: &[u8]| {
        let weight = |no: u8| if no == 3 { 2 } else { 1 };
        Nexthop::Group(members.iter().map(|&no| (8700 + u32::from(no), weight(no))).collect())
    };
    for (live, serving, backups) in
        [(&[1, 2, 3][..], &[1][..], &[2, 3][..]), (&[2, 3], &[2, 3], &[2, 3]), (&[1], &[1], &[])]
    {
        let found = alive(live);
        let slice = built(&config, &found, &[], Intent::RestoreAll);
        reach(&config, &found, &slice);
        assert_eq!(slice.nexthops.get(&8700), Some(&group(serving)), "{live:?}");
        let of_backups = (!backups.is_empty()).then(|| group(backups));
        assert_eq!(slice.nexthops.get(&8751), of_backups.as_ref(), "{live:?}");
        for table in 200..=203 {
            let behind = |route: &&Route| route.table == table && route.metric == 30;
            let way = slice.routes.iter().find(behind).map(|route| route.way.clone());
            assert_eq!(way, of_backups.as_ref().map(|_| Way::Nexthop(8751)), "{live:?}, {table}");
        }
    }
}

#[test]
fn probes_take_out_all_but_one_and_bring_back_only_what_probes_took_out() {
    let config = config(&[(1, 1), (2, 1), (3, 1)], "");
    let mut found = running(&config, &[1, 2, 3]);
    let set = |all: &[u8]| all.iter().map(|&number| no(number)).collect();
    let probed = |out: &[u8], back: &[u8]| Intent::Probed { out: set(out), back: set(back) };
    let up = |found: &Observed, intent| -> Vec<u8> {
        let services = service::decide(&config, found, intent).unwrap();
        services.up().map(UplinkNo::get).collect()
    };
    assert_eq!(up(&found, probed(&[1, 2, 3], &[])), [3]);
    found.slice = built(&config, &found, &[], Intent::FailOver { uplink: no(1), to: None });
    found.slice = built(&config, &found, &[], probed(&[2], &[]));
    assert_eq!(up(&found, Intent::Keep), [3]);
    assert_eq!(up(&found, probed(&[], &[1, 2])), [2, 3], "1 was taken out by hand");
    assert_eq!(up(&found, probed(&[3], &[2])), [2]);
    assert_eq!(up(&found, Intent::RestoreAll), [1, 2, 3]);
    found.slice = built(&config, &found, &[], Intent::FailOver { uplink: no(2), to: None });
    assert_eq!(up(&found, probed(&[], &[1, 2])), [3], "2 is kept out by hand now");
}

#[test]
fn a_hook_that_was_overtaken_does_nothing() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    let lost = Intent::Lost { uplink: no(1) };
    let services = service::decide(&config, &found, lost).unwrap();
    assert_eq!(services.uplinks[&no(1)].state, State::Up);
    assert_eq!(flows_to_end(&services, lost), []);

    found.addresses.remove(0);
    let services = service::decide(&config, &found, lost).unwrap();
    assert_eq!(flows_to_end(&services, lost), [no(1)]);
}

#[test]
fn what_is_remembered_of_a_line_belongs_to_its_device_not_to_its_number() {
    let before = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&before, &[1, 2]);
    found.slice = built(&before, &found, &[], Intent::FailOver { uplink: no(1), to: None });
    let swapped = Config::parse(
        "lan = [\"br0\"]\n[uplink.1]\ndev = \"ppp2\"\n[uplink.2]\ndev = \"ppp1\"\n",
        Path::new("test.toml"),
    );
    let services = service::decide(&swapped.unwrap(), &found, Intent::Keep).unwrap();
    assert_eq!(services.uplinks[&no(1)].state, State::Up, "ppp2 was never failed over");
}

#[test]
fn a_restore_goes_by_what_is_said_and_any_other_run_by_what_is_there() {
    let via = |last: u8| std::net::Ipv4Addr::new(10, 64, 1, last);
    let plain = config(&[(1, 1), (2, 1)], "");
    let mut fixed = plain.clone();
    fixed.uplinks.get_mut(&no(1)).unwrap().via = Some(via(9));
    let mut found = alive(&[1, 2]);
    found.links[0].point_to_point = false;
    found.gateways.insert(DevName::from_kernel("ppp1"), via(1));
    let gateway = |config: &Config, found: &Observed, intent| {
        service::decide(config, found, intent).unwrap().uplinks[&no(1)].via.unwrap()
    };
    let renewed = Intent::Restore { uplink: no(1), via: Some(via(7)) };
    assert_eq!(gateway(&plain, &found, Intent::Keep), via(1), "main's");
    assert_eq!(gateway(&fixed, &found, Intent::Keep), via(9), "the configured one");
    assert_eq!(gateway(&fixed, &found, renewed), via(7), "the one just given");

    found.slice = built(&plain, &found, &[], renewed);
    assert_eq!(gateway(&plain, &found, Intent::Keep), via(7), "the one used last");
    assert_eq!(gateway(&plain, &found, Intent::RestoreAll), via(1), "main's again");
    assert_eq!(gateway(&fixed, &found, Intent::RestoreAll), via(9), "the configured one");
    found.gateways.clear();
    assert_eq!(gateway(&plain, &found, Intent::RestoreAll), via(7), "there is no other");
}

#[test]
fn a_line_without_carrier_can_be_kept_out_too() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    delete_nexthop(&mut found.slice, 8701);
    found.links[0].carrier = false;
    let intent = Intent::FailOver { uplink: no(1), to: None };
    found.slice = built(&config, &found, &[], intent);
    found.links[0].carrier = true;
    let services = service::decide(&config, &found, Intent::Keep).unwrap();
    assert_eq!(services.uplinks[&no(1)].state, State::FailedOver);
}

#[test]
fn a_rule_of_others_that_leads_to_a_chain_of_ours_is_theirs() {
    let config = config(&[(1, 1)], "");
    let mut found = running(&config, &[1]);
    let jump = found.slice.jumps[0].clone();
    let theirs = crate::state::Jump { from: "MINE".into(), ..jump.clone() };
    found.slice.jumps.extend([theirs.clone(), jump.clone()]);
    let wanted = built(&config, &found, &[], Intent::RestoreAll);
    let steps = steps(&config, &found, &wanted);
    assert!(steps.contains(&Step::JumpDelete(jump)), "ours, doubled");
    assert!(!steps.contains(&Step::JumpDelete(theirs.clone())));
    let removal = removal(&found.slice, config.numbers.protocol);
    assert!(removal.contains(&Step::JumpDelete(theirs)), "or the chain could not go");
}
