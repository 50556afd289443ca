//! The client set as the pools want it, and the changes that lead there.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::assign::ClientChange;
use super::diff::Diff;
use crate::config::Config;
use crate::model::change::Change;
use crate::model::client_set::{ClientSet, FoundSet};
use crate::model::pools::Pools;
use crate::model::snapshot::Read;
use crate::model::{Client, Mark};

/// The least number of members that the set must have room for: `maxelem`.
pub const MIN_ROOM: u32 = 1 << 20;

/// The pools before and after a run, and the clients that differ.
#[derive(Clone, Copy)]
pub struct PoolEdit<'a> {
    pub before: &'a Pools,
    pub after: &'a Pools,
    pub changes: &'a [ClientChange],
    /// Whether the pools could be read. If not, members of the set stay as they are.
    pub is_known: bool,
}

impl<'a> PoolEdit<'a> {
    /// No client changes.
    pub fn none(pools: &'a Pools) -> Self {
        Self { before: pools, after: pools, changes: &[], is_known: true }
    }
}

pub fn wanted(config: &Config, pools: &Pools) -> ClientSet {
    let mut entries = Vec::with_capacity(pools.len());
    for &no in config.uplinks.keys() {
        let mark = config.kernel_ids.pool_mark(no);
        let members = pools.members(no).iter().filter(|it| it.family() == config.family);
        entries.extend(members.map(|client| (client.address(), mark)));
    }
    entries.sort_unstable_by_key(|&(address, _)| address);
    ClientSet { max: room(config, pools), entries }
}

/// How many members the set should have.
pub fn len(config: &Config, pools: &Pools) -> u32 {
    let members = config.uplinks.keys().flat_map(|&no| pools.members(no));
    let len = members.filter(|client| client.family() == config.family).count();
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Whether the set has room for all clients.
pub fn has_room(config: &Config, set: &ClientSet, pools: &Pools) -> bool {
    len(config, pools) <= set.max
}

fn room(config: &Config, pools: &Pools) -> u32 {
    len(config, pools).saturating_mul(2).max(MIN_ROOM)
}

/// The changes to the set. If it is unchanged, it is as the pools before the run say, and only the
/// clients that change are compared.
pub fn diff(config: &Config, found: &Read<FoundSet>, edit: PoolEdit) -> Result<Diff> {
    let mut diff = Diff::default();
    match found {
        Read::Skipped => bail!("the client set was not read"),
        Read::Unchanged => {
            let clients: Vec<Client> = edit.changes.iter().map(ClientChange::client).collect();
            let before = entries_of(config, edit.before, &clients);
            diff_entries(&before, &entries_of(config, edit.after, &clients), &mut diff);
        }
        Read::Is(found) => {
            let wanted = wanted(config, edit.after);
            if let Some(set) = found.usable() {
                if !edit.is_known {
                    return Ok(diff);
                }
                diff_entries(&set.entries, &wanted.entries, &mut diff);
                // The kernel would refuse some of the members.
                if !has_room(config, set, edit.after) {
                    diff.build.clear();
                }
            } else {
                let buckets = buckets(wanted.entries.len());
                diff.build.push(Change::CreateSet { max: wanted.max, buckets });
                diff_entries(&[], &wanted.entries, &mut diff);
            }
        }
    }
    Ok(diff)
}

/// Creates a set without members.
pub fn create_empty() -> Change {
    Change::CreateSet { max: MIN_ROOM, buckets: buckets(0) }
}

/// The entries of some clients.
fn entries_of(config: &Config, pools: &Pools, clients: &[Client]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for &client in clients {
        match pools.pool_of(client) {
            Some(no) if client.family() == config.family && config.uplinks.contains_key(&no) => {
                entries.push((client.address(), config.kernel_ids.pool_mark(no)));
            }
            _ => {}
        }
    }
    entries.sort_unstable_by_key(|&(address, _)| address);
    entries.dedup();
    entries
}

/// Hash buckets for the members that are added at once: while the kernel grows a set, it moves all
/// members again and again. A bucket holds several members, and ipset(8) begins with 1024 buckets.
fn buckets(members: usize) -> u32 {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    (members / 2).clamp(1024, MIN_ROOM).next_power_of_two()
}

type Entry = (IpAddr, Mark);

/// Both lists are in order of address, so one pass finds what to add and what to delete.
fn diff_entries(found: &[Entry], wanted: &[Entry], diff: &mut Diff) {
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let mut found = found.iter().peekable();
    for entry in wanted {
        while let Some((address, _)) = found.next_if(|(address, _)| *address < entry.0) {
            deleted.push(*address);
        }
        match found.next_if(|(address, _)| *address == entry.0) {
            Some(same) if same == entry => {}
            _ => added.push(*entry),
        }
    }
    deleted.extend(found.map(|(address, _)| *address));
    if !added.is_empty() {
        diff.build.push(Change::AddEntries(added));
    }
    if !deleted.is_empty() {
        diff.tear_down.push(Change::DeleteEntries(deleted));
    }
}
