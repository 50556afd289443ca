//! Decisions: from the configuration, the pools and a snapshot of the kernel to changes. Pure, so that
//! every case can be tested without a kernel.
//!
//! [`uplinks`] decides which uplinks are in service and [`assign`] which pool a client gets;
//! [`routing`], [`filter`], [`client_set`] and [`sysctl`] say which kernel objects follow from that;
//! [`changes`] is what differs, in an order in which a stop between any two changes is safe.

use anyhow::{Result, bail};

use crate::config::Config;
use crate::model::Family;
use crate::model::change::Change;
use crate::model::client_set::{FoundSet, set_name};
use crate::model::filter::{Chain, Filter};
use crate::model::pools::Pools;
use crate::model::routing::Routing;
use crate::model::snapshot::{Conflict, Read, Snapshot};

pub mod assign;
pub mod client_path;
pub mod client_set;
pub mod clients;
mod diff;
pub mod failback;
pub mod filter;
pub mod findings;
pub mod flows;
pub mod ownership;
mod priorities;
pub mod probes;
pub mod prune;
pub mod rebalance;
pub mod routing;
pub mod shares;
pub mod sysctl;
pub mod uplinks;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod placement_proptest;
#[cfg(test)]
mod tests;

use client_set::PoolEdit;
use uplinks::GatewayStatus;

/// The changes that make the kernel what configuration, status and pools want.
pub fn changes(
    config: &Config,
    found: &Snapshot,
    status: &GatewayStatus,
    edit: PoolEdit,
) -> Result<Vec<Change>> {
    let routing = diff::routing(&found.routing, &routing::wanted(config, status));
    let set = client_set::diff(config, &found.set, edit)?;
    let filter = match &found.filter {
        Read::Skipped => bail!("the packet filter was not read"),
        // It is as the state of the gateway before this run wants it.
        Read::Unchanged => {
            let before = filter::wanted(config, found, &uplinks::current(config, found));
            diff::filter(&before, &filter::wanted(config, found, status))
        }
        Read::Is(filter) => diff::filter(filter, &filter::wanted(config, found, status)),
    };
    let sysctls = sysctl::changes(config, found, status);

    // Routing comes before the marks that use it, and forwarding is switched on last.
    let mut changes = sysctls.first;
    changes.extend(routing.build);
    for helper in &config.helpers {
        if found.unloaded_modules.contains(helper.nat_module()) {
            changes.push(Change::LoadModule(helper.nat_module()));
        }
    }
    changes.extend(set.build);
    changes.extend(filter.build);
    changes.extend(sysctls.forwarding);
    changes.extend(filter.tear_down);
    changes.extend(set.tear_down);
    changes.extend(routing.tear_down);
    Ok(changes)
}

/// The changes that remove the whole slice. Sysctls stay, because other programs may rely on them.
pub fn removal(found: &Snapshot) -> Result<Vec<Change>> {
    let (Read::Is(set), Read::Is(filter)) = (&found.set, &found.filter) else {
        bail!("the client set and the packet filter were not read");
    };
    let mut changes = Vec::new();
    let mut routing = diff::routing(&found.routing, &Default::default()).tear_down;
    // When the marks are gone, these rules would catch the packets of open flows and send them out by
    // another uplink, so they are deleted before the marks.
    routing.retain(|change| match change {
        Change::DeleteRule(rule) if routing::catches_unmarked(rule) => {
            changes.push(change.clone());
            false
        }
        _ => true,
    });
    changes.extend(diff::filter(filter, &Filter::default()).tear_down);
    changes.extend(routing);
    // It comes last: a rule that uses the set may be left, in a table that cannot be read or in the
    // other kind of iptables.
    let is_unused = !filter.unreadable.contains_key(&Chain::SET_MARK.table);
    if matches!(set, FoundSet::Usable(_)) && is_unused {
        changes.push(Change::DestroySet);
    }
    Ok(changes)
}

/// Whether there is no slice: it has routes and rules even if every uplink is down.
pub fn is_absent(found: &Snapshot) -> bool {
    found.routing == Routing::default()
}

/// What keeps a part of the slice from being as it should be. It stays as it is, and everything else
/// goes on.
pub fn obstacles(config: &Config, found: &Snapshot, pools: &Pools) -> Vec<Conflict> {
    let mut obstacles = unreadable_tables(config.family, found);
    if let Some(set) = found.set.get().and_then(FoundSet::usable) {
        if !client_set::has_room(config, set, pools) {
            let clients = client_set::len(config, pools);
            obstacles.push(Conflict::new(
                format!(
                    "the set {} has room for {} of {clients} clients",
                    set_name(config.family),
                    set.max
                ),
                "wanpool flush && wanpool restore",
            ));
        }
    }
    if found.sysctls_are_fixed {
        let status = uplinks::current(config, found);
        obstacles.extend(sysctl::obstacles(config, found, &status));
    }
    obstacles
}

/// The tables of the packet filter that cannot be read.
pub fn unreadable_tables(family: Family, found: &Snapshot) -> Vec<Conflict> {
    let mut problems = Vec::new();
    for (table, reason) in found.filter.get().into_iter().flat_map(|filter| &filter.unreadable) {
        problems.push(Conflict::new(
            format!("the table {table} cannot be read, and nothing is changed in it: {reason}"),
            format!(
                "delete the rule in it that nft made: nft -a list table {} {table}",
                family.nft()
            ),
        ));
    }
    problems
}

/// The first object that has a name or an id of wanpool and is not usable.
pub fn first_conflict(family: Family, found: &Snapshot) -> Option<Conflict> {
    if let Some(conflict) = found.conflicts.first() {
        return Some(conflict.clone());
    }
    let set = found.set.get().and_then(FoundSet::usable)?;
    if set.max >= client_set::MIN_ROOM {
        return None;
    }
    Some(Conflict::new(
        format!("the set {} has room for {} members only", set_name(family), set.max),
        "wanpool flush removes it",
    ))
}
