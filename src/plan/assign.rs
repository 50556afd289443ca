//! Decides which pool a client gets: its pin, or else the pool with the fewest clients for its weight.
//!
//! With equal weights this is exactly `EvaLoad` of the script of 2003: the first of the pools with the
//! fewest lines.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rustc_hash::FxHashSet;

use crate::config::{Config, Role};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

/// What happened to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientChange {
    Assigned { client: Client, to: UplinkNo },
    Moved { client: Client, from: UplinkNo, to: UplinkNo },
    Released { client: Client, from: UplinkNo },
}

impl ClientChange {
    pub fn client(&self) -> Client {
        match *self {
            ClientChange::Assigned { client, .. }
            | ClientChange::Moved { client, .. }
            | ClientChange::Released { client, .. } => client,
        }
    }
}

/// Assigns the clients that are in no pool, in this order. Those that are in a pool stay.
pub fn assign(config: &Config, pools: &mut Pools, clients: &[Client]) -> Vec<ClientChange> {
    let mut loads = Loads::of(config, pools);
    let mut changes = Vec::new();
    for &client in clients {
        // A configuration has at least one primary uplink, so there is always a lightest pool.
        let Some(to) = config.pin(client).or_else(|| loads.lightest()) else { continue };
        if pools.insert(client, to).is_ok() {
            loads.add(to);
            changes.push(ClientChange::Assigned { client, to });
        }
    }
    changes
}

/// Moves clients to one pool, from wherever they are. The error names a client that cannot be there.
pub fn move_to(
    config: &Config,
    pools: &mut Pools,
    clients: &[Client],
    to: UplinkNo,
) -> Result<Vec<ClientChange>> {
    let is_backup = config.uplinks.get(&to).is_some_and(|uplink| uplink.role == Role::Backup);
    for &client in clients {
        let path = config.path.display();
        match config.pin(client) {
            None if is_backup => {
                bail!("{client}: a backup has pinned clients only; set a pin in {path}")
            }
            Some(pin) if pin != to => bail!("{client}: pinned to another uplink in {path}"),
            _ => {}
        }
    }
    let mut moving = Vec::new();
    for &client in clients {
        let from = pools.pool_of(client);
        if from != Some(to) {
            moving.push((client, from));
        }
    }
    pools.remove(&moving.iter().map(|&(client, _)| client).collect());
    let mut changes = Vec::new();
    for (client, from) in moving {
        if pools.insert(client, to).is_ok() {
            changes.push(match from {
                Some(from) => ClientChange::Moved { client, from, to },
                None => ClientChange::Assigned { client, to },
            });
        }
    }
    Ok(changes)
}

/// Releases clients from whatever pools they are in.
pub fn release(pools: &mut Pools, clients: &[Client]) -> Vec<ClientChange> {
    let mut released = FxHashSet::default();
    let mut changes = Vec::new();
    for &client in clients {
        if let Some(from) = pools.pool_of(client) {
            if released.insert(client) {
                changes.push(ClientChange::Released { client, from });
            }
        }
    }
    pools.remove(&released);
    changes
}

/// Applies a configuration that has changed to the pools. Excluded clients are released, pinned
/// clients move to the pool of their pin, and the clients of uplinks that no longer exist, or are
/// backups now, get another pool. The files of such pools stay, empty, until [`ensure_pools`].
pub fn apply_config(config: &Config, pools: &mut Pools) -> Vec<ClientChange> {
    let excluded: Vec<Client> =
        pools.clients().filter(|client| config.is_excluded(*client)).collect();
    let mut changes = release(pools, &excluded);

    let mut misplaced = Vec::new();
    for (pool, members) in pools.iter() {
        let is_closed = match config.uplinks.get(&pool) {
            Some(uplink) => uplink.role == Role::Backup,
            None => true,
        };
        for &client in members {
            let is_misplaced = match config.pin(client) {
                Some(pin) => pin != pool,
                None => is_closed,
            };
            if is_misplaced {
                misplaced.push((client, pool));
            }
        }
    }
    let clients: Vec<Client> = misplaced.iter().map(|&(client, _)| client).collect();
    pools.remove(&clients.iter().copied().collect());
    for (change, (_, from)) in assign(config, pools, &clients).into_iter().zip(misplaced) {
        changes.push(match change {
            ClientChange::Assigned { client, to } => ClientChange::Moved { client, from, to },
            other => other,
        });
    }
    changes
}

/// Makes sure that every uplink has a pool, and that no other pool is empty.
pub fn ensure_pools(config: &Config, pools: &mut Pools) {
    for &no in config.uplinks.keys() {
        pools.create(no);
    }
    let all: Vec<UplinkNo> = pools.iter().map(|(no, _)| no).collect();
    for no in all {
        if !config.uplinks.contains_key(&no) {
            pools.drop_empty(no);
        }
    }
}

/// How many clients each pool of a primary has, with the weight of its uplink.
struct Loads(BTreeMap<UplinkNo, Load>);

struct Load {
    clients: u64,
    weight: u64,
}

impl Loads {
    fn of(config: &Config, pools: &Pools) -> Self {
        let mut loads = BTreeMap::new();
        for (&no, uplink) in &config.uplinks {
            if uplink.role == Role::Primary {
                let clients = pools.members(no).len() as u64;
                loads.insert(no, Load { clients, weight: uplink.weight.into() });
            }
        }
        Self(loads)
    }

    fn add(&mut self, pool: UplinkNo) {
        if let Some(load) = self.0.get_mut(&pool) {
            load.clients += 1;
        }
    }

    /// The pool with the fewest clients for its weight; the lowest number among equals.
    fn lightest(&self) -> Option<UplinkNo> {
        let mut loads = self.0.iter();
        let (mut lightest, mut least) = loads.next()?;
        for (no, load) in loads {
            // clients / weight, compared without a division.
            if load.clients * least.weight < least.clients * load.weight {
                (lightest, least) = (no, load);
            }
        }
        Some(*lightest)
    }
}

#[cfg(test)]
mod tests;
