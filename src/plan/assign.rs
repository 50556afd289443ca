//! Who goes where: a client's pin, else the pool with the fewest clients for its weight.
//!
//! With equal weights this is exactly `EvaLoad` of the script of 2003: the first of the pools with
//! the fewest lines.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::config::{Config, Role};
use crate::model::{Client, UplinkNo};
use crate::model::pools::Pools;

/// What happened to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Assigned { client: Client, to: UplinkNo },
    Moved { client: Client, from: UplinkNo, to: UplinkNo },
    Released { client: Client, from: UplinkNo },
}

impl Change {
    pub fn client(&self) -> Client {
        match *self {
            Change::Assigned { client, .. }
            | Change::Moved { client, .. }
            | Change::Released { client, .. } => client,
        }
    }
}

/// Places those that are in no pool, in their order; those that are in one stay.
pub fn place(config: &Config, pools: &mut Pools, clients: &[Client]) -> Vec<Change> {
    let mut loads = Loads::of(config, pools);
    let mut changes = Vec::new();
    for &client in clients {
        let to = config.pin(client).unwrap_or_else(|| loads.lightest());
        if pools.insert(client, to).is_ok() {
            loads.add(to);
            changes.push(Change::Assigned { client, to });
        }
    }
    changes
}

/// Puts clients into one pool, from wherever they are.
pub fn put(pools: &mut Pools, clients: &[Client], to: UplinkNo) -> Vec<Change> {
    let moving: Vec<Client> =
        clients.iter().copied().filter(|&client| pools.place(client) != Some(to)).collect();
    let from: Vec<_> = moving.iter().map(|&client| pools.place(client)).collect();
    pools.remove(&moving.iter().copied().collect());
    let mut changes = Vec::new();
    for (client, from) in moving.into_iter().zip(from) {
        if pools.insert(client, to).is_ok() {
            changes.push(match from {
                Some(from) => Change::Moved { client, from, to },
                None => Change::Assigned { client, to },
            });
        }
    }
    changes
}

/// Takes clients out of whatever pools they are in.
pub fn release(pools: &mut Pools, clients: &[Client]) -> Vec<Change> {
    let mut seen = FxHashSet::default();
    let changes = clients
        .iter()
        .filter(|&&client| seen.insert(client))
        .filter_map(|&client| Some(Change::Released { client, from: pools.place(client)? }))
        .collect();
    pools.remove(&seen);
    changes
}

/// Brings the pools in line with a configuration that has changed: who is excluded now leaves, who
/// is pinned now goes to its place, and the clients of uplinks that are no more, or are backups now,
/// get new ones. The files of such pools stay, empty, until [`tidy`].
pub fn settle(config: &Config, pools: &mut Pools) -> Vec<Change> {
    let excluded = everyone(pools).map(|(client, _)| client);
    let excluded: Vec<Client> = excluded.filter(|&client| config.is_excluded(client)).collect();
    let mut changes = release(pools, &excluded);

    let homeless = |&(client, from): &(Client, UplinkNo)| match config.pin(client) {
        Some(pin) => pin != from,
        None => config.uplinks.get(&from).is_none_or(|uplink| uplink.role == Role::Backup),
    };
    let homeless: Vec<(Client, UplinkNo)> = everyone(pools).filter(homeless).collect();
    pools.remove(&homeless.iter().map(|&(client, _)| client).collect());
    let clients: Vec<Client> = homeless.iter().map(|&(client, _)| client).collect();
    let placed = place(config, pools, &clients);
    changes.extend(placed.into_iter().zip(homeless).map(|(change, (_, from))| match change {
        Change::Assigned { client, to } => Change::Moved { client, from, to },
        other => other,
    }));
    changes
}

fn everyone(pools: &Pools) -> impl Iterator<Item = (Client, UplinkNo)> {
    pools.iter().flat_map(|(no, all)| all.iter().map(move |&client| (client, no)))
}

/// Every uplink has a pool file, and no other pool has an empty one.
pub fn tidy(config: &Config, pools: &mut Pools) {
    for &no in config.uplinks.keys() {
        pools.create(no);
    }
    let orphans: Vec<UplinkNo> =
        pools.iter().map(|(no, _)| no).filter(|no| !config.uplinks.contains_key(no)).collect();
    for no in orphans {
        pools.drop_empty(no);
    }
}

/// How many clients each pool has, and how many it should have for its weight; backups aside.
struct Loads(BTreeMap<UplinkNo, (u64, u64)>);

impl Loads {
    fn of(config: &Config, pools: &Pools) -> Self {
        let load = |(&no, uplink): (&UplinkNo, &crate::config::Uplink)| {
            (no, (pools.members(no).len() as u64, u64::from(uplink.weight)))
        };
        let primaries = config.uplinks.iter().filter(|(_, it)| it.role == Role::Primary);
        Self(primaries.map(load).collect())
    }

    fn add(&mut self, pool: UplinkNo) {
        if let Some((clients, _)) = self.0.get_mut(&pool) {
            *clients += 1;
        }
    }

    /// The pool with the fewest clients for its weight; the lowest number among equals. A
    /// configuration has one uplink at least that is no backup.
    fn lightest(&self) -> UplinkNo {
        let lighter = |one: &(&UplinkNo, &(u64, u64)), other: &(&UplinkNo, &(u64, u64))| {
            // clients / weight, compared without dividing. `min_by` keeps the first of equals.
            (one.1.0 * other.1.1).cmp(&(other.1.0 * one.1.1))
        };
        *self.0.iter().min_by(lighter).expect("a configuration has at least one primary").0
    }
}
