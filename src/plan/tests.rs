//! The changes against a kernel made of plain data: they must lead from any state to any other, in an
//! order that is safe after every change.

use proptest::prelude::*;

use super::fixtures::{changes, config, dev, no, pools, running, usable};
use super::uplinks::{Intent, decide};
use super::*;
use crate::config::Role;
use crate::model::client_set::ClientSet;
use crate::model::filter::Jump;
use crate::model::pools::Pools;
use crate::model::routing::{Nexthop, Route, RouteTarget, Routing};
use crate::model::{DevName, Family};

pub mod fake_kernel;

use fake_kernel::{apply, delete_nexthop, filter};

/// Makes backups of the uplinks with these bits, but not of the first.
fn with_backups(mut config: Config, bits: u8) -> Config {
    for (no, uplink) in config.uplinks.iter_mut().skip(1) {
        if bits & (1 << no.get()) != 0 {
            uplink.role = Role::Backup;
        }
    }
    config
}

/// The parts of a snapshot that are wanpool's, each in a defined order.
fn slice(mut kernel: Snapshot) -> (Routing, Read<FoundSet>, Filter) {
    kernel.routing.routes.sort();
    kernel.routing.rules.sort();
    filter(&mut kernel).jumps.sort_by_key(|jump| jump.to);
    let Read::Is(filter) = kernel.filter else { unreachable!() };
    (kernel.routing, kernel.set, filter)
}

/// Makes the changes of a run one by one, and checks that they lead to what is wanted and that a
/// second run has nothing to do. Returns the changes.
pub fn reach(config: &Config, found: &Snapshot, pools: &Pools, intent: Intent) -> Vec<Change> {
    let changes = changes(config, found, pools, intent);
    let mut kernel = found.clone();
    for change in &changes {
        apply(&mut kernel, change);
    }
    let wanted = fixtures::after(config, found, pools, intent);
    assert_eq!(slice(kernel.clone()), slice(wanted));
    let status = decide(config, found, intent).unwrap();
    let again = super::changes(config, &kernel, &status, PoolEdit::none(pools)).unwrap();
    assert_eq!(again, []);
    changes
}

fn some_uplinks() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::btree_map(1..=6u8, 1..=4u8, 1..5)
        .prop_map(|uplinks| uplinks.into_iter().collect())
}

fn some_usable() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::btree_set(1..=6u8, 0..7).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_state_leads_to_any_other_in_a_safe_order(
        before in some_uplinks(), after in some_uplinks(),
        was_usable in some_usable(), is_usable in some_usable(),
        multipath in any::<bool>(), is_empty in any::<bool>(), backups in any::<[u8; 2]>(),
    ) {
        let more = if multipath { "[multipath]\nenable = true\n" } else { "" };
        let old = with_backups(config(&before, ""), backups[0]);
        let new = with_backups(config(&after, more), backups[1]);
        let mut found = usable(&is_usable);
        if !is_empty {
            let old_pools = pools(&[(before[0].0, "10.0.0.1")]);
            let then = fixtures::after(&old, &usable(&was_usable), &old_pools, Intent::RESTORE_ALL);
            found = Snapshot { devices: found.devices, ..then };
            // The kernel has deleted the objects of devices that have gone.
            for number in was_usable.iter().filter(|number| !is_usable.contains(number)) {
                delete_nexthop(&mut found.routing, old.kernel_ids.nexthop(no(*number)));
                found.routing.routes.retain(|route| route.dev() != Some(&dev(*number)));
            }
        }
        reach(&new, &found, &pools(&[(after[0].0, "10.0.0.2")]), Intent::RESTORE_ALL);
    }

    #[test]
    fn removal_leaves_nothing(uplinks in some_uplinks(), usable in some_usable()) {
        let mut kernel = running(&config(&uplinks, ""), &usable);
        for change in removal(&kernel).unwrap() {
            apply(&mut kernel, &change);
        }
        let nothing = (Routing::default(), Read::Is(FoundSet::Absent), Filter::default());
        prop_assert_eq!(slice(kernel), nothing);
    }
}

#[test]
fn what_was_not_read_is_never_taken_for_an_empty_kernel() {
    let config = config(&[(1, 1)], "");
    let found = running(&config, &[1]);
    let pools = pools(&[(1, "10.0.0.1")]);
    let status = decide(&config, &found, Intent::Keep).unwrap();
    let plan = |found: &Snapshot| changes_of(&config, found, &status, &pools);
    for found in [
        Snapshot { set: Read::Skipped, ..found.clone() },
        Snapshot { filter: Read::Skipped, ..found.clone() },
    ] {
        assert!(plan(&found).is_err());
        assert!(removal(&found).is_err());
    }
    let unchanged = Snapshot { set: Read::Unchanged, filter: Read::Unchanged, ..found };
    assert_eq!(plan(&unchanged).unwrap(), []);
    assert!(removal(&unchanged).is_err());
}

#[test]
fn a_set_that_is_too_small_keeps_its_members_and_stops_nothing_else() {
    let config = config(&[(1, 1)], "");
    let mut found = running(&config, &[1]);
    let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2")]);
    let mark = config.kernel_ids.pool_mark(no(1));
    let entries = vec![([10, 0, 0, 2].into(), mark), ([10, 0, 0, 9].into(), mark)];
    found.set = Read::Is(FoundSet::Usable(ClientSet { max: 1, entries }));
    let status = decide(&config, &found, Intent::Keep).unwrap();
    let changes = changes_of(&config, &found, &status, &pools).unwrap();
    assert_eq!(changes.last(), Some(&Change::DeleteEntries(vec![[10, 0, 0, 9].into()])));
    assert!(!changes.iter().any(|change| matches!(change, Change::AddEntries(_))), "{changes:?}");
    let told: Vec<String> =
        obstacles(&config, &found, &pools).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["the set wanpool has room for 1 of 2 clients; wanpool flush && wanpool restore"]
    );
}

fn changes_of(
    config: &Config,
    found: &Snapshot,
    status: &GatewayStatus,
    pools: &Pools,
) -> Result<Vec<Change>> {
    super::changes(config, found, status, PoolEdit::none(pools))
}

#[test]
fn with_an_unchanged_set_only_the_clients_that_change_are_compared() {
    let config = config(&[(1, 1), (2, 1)], "");
    let before = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (1, "10.0.0.3")]);
    let after = pools(&[(1, "10.0.0.1"), (2, "10.0.0.2"), (2, "10.0.0.4")]);
    let client = |text: &str| text.parse().unwrap();
    let client_changes = [
        assign::ClientChange::Moved { client: client("10.0.0.2"), from: no(1), to: no(2) },
        assign::ClientChange::Released { client: client("10.0.0.3"), from: no(1) },
        assign::ClientChange::Assigned { client: client("10.0.0.4"), to: no(2) },
    ];
    let found = running(&config, &[1, 2]);
    let found = Snapshot { set: Read::Unchanged, ..found };
    let status = decide(&config, &found, Intent::Keep).unwrap();
    let edit = PoolEdit { after: &after, changes: &client_changes, ..PoolEdit::none(&before) };
    let mark = config.kernel_ids.pool_mark(no(2));
    assert_eq!(
        super::changes(&config, &found, &status, edit).unwrap(),
        [
            Change::AddEntries(vec![([10, 0, 0, 2].into(), mark), ([10, 0, 0, 4].into(), mark)]),
            Change::DeleteEntries(vec![[10, 0, 0, 3].into()]),
        ]
    );
}

#[test]
fn a_failover_deletes_one_nexthop_and_adds_the_mark_of_it() {
    let config = config(&[(1, 1), (2, 1)], "");
    let found = running(&config, &[1, 2]);
    let intent = Intent::FailOver { uplink: no(1), to: None };
    let changes = reach(&config, &found, &Pools::default(), intent);
    let [Change::AddRoute(route), Change::DeleteNexthop { id: 8701 }] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(route.to_string(), "throw 0.0.0.1/32 table 301 metric 1");
}

/// What somebody did by hand to the nexthops and routes of a running gateway.
type Edit = fn(&mut Routing);

fn device(dev: DevName) -> Nexthop {
    Nexthop::Device { family: Family::Inet, dev, via: None }
}

#[test]
fn a_route_leaves_a_nexthop_that_goes_before_the_nexthop_is_deleted() {
    let config = config(&[(1, 1), (2, 1), (3, 1)], "");
    let foreign: Edit = |routing| {
        routing.nexthops.insert(8740, device(dev(3)));
        let mut routes = routing.routes.iter_mut();
        let route = routes.find(|route| route.table == 201 && route.metric == 10).unwrap();
        route.target = RouteTarget::Nexthop(8740);
    };
    let only_member: Edit = |routing| {
        routing.nexthops.insert(8700, Nexthop::Group(vec![(8702, 1)]));
        routing.nexthops.insert(8702, Nexthop::Other);
    };
    let doubled: Edit = |routing| {
        let route = routing.routes.iter().find(|route| route.table == 301).unwrap().clone();
        routing.routes.push(Route { target: RouteTarget::Other, ..route });
    };
    let doubled_by_nexthop: Edit = |routing| {
        let route = routing.routes.iter().find(|route| route.table == 201).unwrap().clone();
        routing.routes.push(Route { target: RouteTarget::Other, ..route.clone() });
        routing.routes.push(Route { target: RouteTarget::Nexthop(8703), ..route });
    };
    for edit in [foreign, only_member, doubled, doubled_by_nexthop] {
        let mut found = running(&config, &[1, 2, 3]);
        edit(&mut found.routing);
        reach(&config, &found, &Pools::default(), Intent::RESTORE_ALL);
    }

    // The uplink that `failover --to` named is no longer usable, and another one is named.
    let to = |to| Intent::FailOver { uplink: no(1), to: Some(no(to)) };
    let mut found =
        fixtures::after(&config, &running(&config, &[1, 2, 3]), &Pools::default(), to(3));
    found.devices.addresses.retain(|address| address.dev != dev(3));
    assert_eq!(found.routing.nexthops.get(&8703), Some(&device(dev(3))));
    reach(&config, &found, &Pools::default(), to(2));

    // Other ids were configured.
    let moved = fixtures::config(&[(1, 1), (2, 1), (3, 1)], "[kernel]\nnexthop-base = 9000\n");
    reach(&moved, &running(&config, &[1, 2, 3]), &Pools::default(), Intent::Keep);
}

#[test]
fn backups_are_active_only_while_no_primary_is_and_come_last_in_every_table() {
    let config = with_backups(config(&[(1, 1), (2, 1), (3, 2)], ""), 0b1100);
    let group = |members: &[u8]| {
        let weight = |no: u8| if no == 3 { 2 } else { 1 };
        Nexthop::Group(members.iter().map(|&no| (8700 + u32::from(no), weight(no))).collect())
    };
    for (up, active, backups) in
        [(&[1, 2, 3][..], &[1][..], &[2, 3][..]), (&[2, 3], &[2, 3], &[2, 3]), (&[1], &[1], &[])]
    {
        let found = usable(up);
        reach(&config, &found, &Pools::default(), Intent::RESTORE_ALL);
        let routing = running(&config, up).routing;
        assert_eq!(routing.nexthops.get(&8700), Some(&group(active)), "{up:?}");
        let of_backups = if backups.is_empty() { None } else { Some(group(backups)) };
        assert_eq!(routing.nexthops.get(&8751), of_backups.as_ref(), "{up:?}");
        for table in 200..=203 {
            let mut routes = routing.routes.iter();
            let route = routes.find(|route| route.table == table && route.metric == 30);
            let wanted = of_backups.as_ref().map(|_| RouteTarget::Nexthop(8751));
            assert_eq!(route.map(|route| route.target.clone()), wanted, "{up:?}, {table}");
        }
    }
}

#[test]
fn a_jump_of_another_program_to_our_chain_is_left_alone() {
    let config = config(&[(1, 1)], "");
    let mut found = running(&config, &[1]);
    let ours = filter(&mut found).jumps[0].clone();
    let theirs = Jump { from: "MINE".into(), ..ours.clone() };
    filter(&mut found).jumps.extend([theirs.clone(), ours.clone()]);
    let changes = changes(&config, &found, &Pools::default(), Intent::RESTORE_ALL);
    assert!(changes.contains(&Change::DeleteJump(ours)), "our duplicate");
    assert!(!changes.contains(&Change::DeleteJump(theirs.clone())));
    let removal = removal(&found).unwrap();
    assert!(removal.contains(&Change::DeleteJump(theirs)), "the chain could not be deleted");
}
