//! Levels the pools to their weights with the fewest moves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::assign::ClientChange;
use crate::config::{Config, Role};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

/// Moves clients until each pool is within one client of its share, or as near as its pinned clients
/// allow. Pinned clients never move. Clients with live flows move only when there are no others; among
/// equals, the last to arrive moves first.
pub fn rebalance(
    config: &Config,
    pools: &mut Pools,
    with_flows: &HashSet<IpAddr>,
) -> Vec<ClientChange> {
    let mut leaving: Vec<(Client, UplinkNo)> = Vec::new();
    let mut arriving: Vec<UplinkNo> = Vec::new();
    for (no, target) in targets(config, pools) {
        let members = pools.members(no);
        let mut movable: Vec<Client> = members.to_vec();
        movable.retain(|&client| config.pin(client).is_none());
        movable.reverse();
        // The sort is stable: within each kind the last to arrive stays first.
        movable.sort_by_key(|client| with_flows.contains(&client.address()));
        for client in movable.into_iter().take(members.len().saturating_sub(target)) {
            leaving.push((client, no));
        }
        for _ in members.len()..target {
            arriving.push(no);
        }
    }
    // Pins can leave fewer places than clients that would move. Those who have no place stay.
    leaving.truncate(arriving.len());
    pools.remove(&leaving.iter().map(|&(client, _)| client).collect());
    let mut changes = Vec::with_capacity(leaving.len());
    for ((client, from), to) in leaving.into_iter().zip(arriving) {
        if pools.insert(client, to).is_ok() {
            changes.push(ClientChange::Moved { client, from, to });
        }
    }
    changes
}

/// How many clients each pool should have. The numbers add up to all clients, and each is within one
/// of the share. A pool with more pinned clients than its share keeps them; the others share the rest.
fn targets(config: &Config, pools: &Pools) -> BTreeMap<UplinkNo, usize> {
    let mut open = Vec::new();
    for (&no, uplink) in &config.uplinks {
        if uplink.role == Role::Primary {
            open.push(Load::of(config, pools, no, uplink.weight));
        }
    }
    let mut targets = BTreeMap::new();
    let mut clients: usize = open.iter().map(|load| load.clients).sum();
    while let Some(at) = find_overfull(&open, clients) {
        let load = open.swap_remove(at);
        targets.insert(load.no, load.pinned);
        clients -= load.pinned;
    }
    targets.extend(round(open, clients));
    targets
}

struct Load {
    no: UplinkNo,
    weight: usize,
    clients: usize,
    pinned: usize,
}

impl Load {
    fn of(config: &Config, pools: &Pools, no: UplinkNo, weight: u8) -> Self {
        let members = pools.members(no);
        let pinned = members.iter().filter(|&&client| config.pin(client).is_some()).count();
        Self { no, weight: weight.into(), clients: members.len(), pinned }
    }
}

fn total_weight(loads: &[Load]) -> usize {
    loads.iter().map(|load| load.weight).sum()
}

/// A pool that has more pinned clients than its share, rounded up.
fn find_overfull(loads: &[Load], clients: usize) -> Option<usize> {
    let weights = total_weight(loads);
    loads.iter().position(|load| load.pinned > (clients * load.weight).div_ceil(weights))
}

/// Rounds each share down or up so that the sum is right. A pool that has the rounded-up number of
/// clients already is rounded up first, which saves a move.
fn round(mut loads: Vec<Load>, clients: usize) -> Vec<(UplinkNo, usize)> {
    let weights = total_weight(&loads);
    let floor = |load: &Load| clients * load.weight / weights;
    let remainder = |load: &Load| clients * load.weight % weights;
    let left_over = clients - loads.iter().map(floor).sum::<usize>();
    loads.sort_by_key(|load| {
        let is_whole = remainder(load) == 0;
        let must_round_up = load.pinned > floor(load);
        let has_more = load.clients > floor(load);
        (is_whole, !must_round_up, !has_more, Reverse(remainder(load)), load.no)
    });
    let mut targets = Vec::new();
    for (at, load) in loads.iter().enumerate() {
        targets.push((load.no, floor(load) + usize::from(at < left_over)));
    }
    targets
}
