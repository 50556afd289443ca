//! One change to the kernel. `system/apply` makes it, and `system/shell` has the command that a
//! person would type to do the same.

use std::net::IpAddr;

use super::Mark;
use super::filter::{Chain, FilterRule, Jump};
use super::routing::{Nexthop, Route, Rule};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    LoadModule(&'static str),
    SetSysctl {
        /// The path below `/proc/sys`.
        key: String,
        value: String,
        /// Clients are served without it too.
        is_optional: bool,
    },
    /// Makes the nexthop, or changes it in place.
    ReplaceNexthop {
        id: u32,
        nexthop: Nexthop,
    },
    /// The kernel also removes the routes that use it, and its place in groups.
    DeleteNexthop {
        id: u32,
    },
    AddRoute(Route),
    /// Changes the route with the same key in place.
    ReplaceRoute(Route),
    DeleteRoute(Route),
    AddRule(Rule),
    DeleteRule(Rule),
    CreateSet {
        max: u32,
        /// The initial number of hash buckets: `hashsize`.
        buckets: u32,
    },
    DestroySet,
    /// Adds members to the client set, or changes their marks in place. The kernel knows addresses,
    /// not clients, and a member that is deleted may be the address of no client.
    AddEntries(Vec<(IpAddr, Mark)>),
    DeleteEntries(Vec<IpAddr>),
    /// Makes the chains or replaces their rules, each table in one transaction.
    ReplaceChains(Vec<(Chain, Vec<FilterRule>)>),
    DeleteChain(Chain),
    AddJump(Jump),
    DeleteJump(Jump),
    /// Ends the conntrack entries with this connmark, and no others.
    EndFlows {
        mark: Mark,
    },
    /// Of these, ends only those that one of the addresses began.
    EndFlowsFrom {
        mark: Mark,
        sources: Vec<IpAddr>,
    },
}

impl Change {
    /// Whether clients are served without it too.
    pub fn is_optional(&self) -> bool {
        match self {
            Change::LoadModule(_) => true,
            Change::SetSysctl { is_optional, .. } => *is_optional,
            Change::ReplaceChains(chains) => chains.iter().all(|(chain, _)| chain.is_optional()),
            Change::AddJump(jump) => jump.to.is_optional(),
            _ => false,
        }
    }

    /// How many shell commands make this change.
    pub fn count(&self) -> usize {
        match self {
            Change::AddEntries(entries) => entries.len(),
            Change::DeleteEntries(addresses) => addresses.len(),
            Change::EndFlowsFrom { sources, .. } => sources.len(),
            Change::DeleteChain(_) => 2,
            _ => 1,
        }
    }
}
