//! Levelling the pools to their weights, with the fewest moves that do it.

use std::collections::{BTreeMap, HashSet};

use super::placement::Change;
use crate::config::{Config, Role};
use crate::model::{Client, UplinkNo};
use crate::model::pools::Pools;

/// Moves clients until each pool is within one client of its weight's share, or as near as its
/// pinned clients let it be. Pinned clients never move; those in `busy`, which have live flows,
/// move only when no other is left; of equals the last to arrive goes first.
pub fn level(config: &Config, pools: &mut Pools, busy: &HashSet<Client>) -> Vec<Change> {
    let targets = targets(config, pools);
    let mut leaving: Vec<(Client, UplinkNo)> = Vec::new();
    let mut arriving: Vec<UplinkNo> = Vec::new();
    for (&no, &target) in &targets {
        let members = pools.members(no);
        let mut movable: Vec<Client> =
            members.iter().rev().copied().filter(|&client| config.pin(client).is_none()).collect();
        // Stable: within each kind the last to arrive stays first.
        movable.sort_by_key(|client| busy.contains(client));
        let surplus = members.len().saturating_sub(target);
        leaving.extend(movable.into_iter().take(surplus).map(|client| (client, no)));
        let room = target.saturating_sub(members.len());
        arriving.extend(std::iter::repeat_n(no, room));
    }
    // Where pins leave fewer to go than there is room, who has nowhere to go stays.
    leaving.truncate(arriving.len());
    pools.remove(&leaving.iter().map(|&(client, _)| client).collect());
    let mut changes = Vec::with_capacity(leaving.len());
    for ((client, from), to) in leaving.into_iter().zip(arriving) {
        if pools.insert(client, to).is_ok() {
            changes.push(Change::Moved { client, from, to });
        }
    }
    changes
}

/// How many clients each pool should have: whole numbers that add up, each within one of its share.
/// A pool with more pinned clients than its share keeps them, and the others share the rest.
fn targets(config: &Config, pools: &Pools) -> BTreeMap<UplinkNo, usize> {
    let mut open: Vec<Load> = config
        .uplinks
        .iter()
        .filter(|(_, uplink)| uplink.role == Role::Primary)
        .map(|(&no, uplink)| Load::of(config, pools, no, uplink.weight))
        .collect();
    let mut targets = BTreeMap::new();
    let mut clients: usize = open.iter().map(|load| load.clients).sum();
    loop {
        let weights: usize = open.iter().map(|load| load.weight).sum();
        // What is pinned beyond the share, rounded up, can only stay.
        let full = |load: &&Load| load.pinned > (clients * load.weight).div_ceil(weights);
        let Some(at) = open.iter().position(|load| full(&load)) else { break };
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

/// Each share rounded down or up so that the sum is right. Rounding up costs no move where the pool
/// has that many clients now, so such pools come first.
fn round(mut loads: Vec<Load>, clients: usize) -> Vec<(UplinkNo, usize)> {
    let weights: usize = loads.iter().map(|load| load.weight).sum();
    let floor = |load: &Load| clients * load.weight / weights;
    let remainder = |load: &Load| clients * load.weight % weights;
    let spare = clients - loads.iter().map(floor).sum::<usize>();
    loads.sort_by_key(|load| {
        let must = load.pinned > floor(load);
        let has = load.clients > floor(load);
        let whole = remainder(load) == 0;
        (whole, !must, !has, std::cmp::Reverse(remainder(load)), load.no)
    });
    let target = |(at, load): (usize, &Load)| (load.no, floor(load) + usize::from(at < spare));
    loads.iter().enumerate().map(target).collect()
}
