//! What a run observed in the kernel. A part that was not read says so ([`Read`]): nothing here can
//! pass for an empty kernel by mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::DevName;
use super::client_set::FoundSet;
use super::filter::{AcceptingRule, Filter};
use super::foreign_filter::ForeignTable;
use super::link::{Devices, LastGateways};
use super::routing::{ForeignRoute, MainRoute, Routing, Rule};

/// The outcome of reading a part of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The caller did not ask for it.
    Skipped,
    /// It was not read, because a counter shows that nothing changed it since a run verified that it
    /// is as it should be.
    Unchanged,
    Is(T),
}

impl<T> Read<T> {
    pub fn get(&self) -> Option<&T> {
        match self {
            Read::Is(value) => Some(value),
            Read::Skipped | Read::Unchanged => None,
        }
    }
}

/// What a run found in the kernel.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub devices: Devices,
    /// A device came, went or was replaced since this run last looked.
    pub devices_changed: bool,
    /// The routes of other programs in the main table by each uplink with ARP, in order of metric.
    pub main_routes: BTreeMap<DevName, Vec<MainRoute>>,
    /// What earlier runs wrote down. The main table and the routes of wanpool say more.
    pub last_gateways: LastGateways,
    /// Values under `/proc/sys`, by path.
    pub sysctls: BTreeMap<String, String>,
    /// `/proc/sys` is read-only, as in a container.
    pub sysctls_are_fixed: bool,
    /// Modules that exist for this kernel and are not loaded.
    pub unloaded_modules: BTreeSet<&'static str>,
    /// Objects that have a name or an id of wanpool and do not belong to it.
    pub conflicts: Vec<Conflict>,
    pub routing: Routing,
    pub set: Read<FoundSet>,
    pub filter: Read<Filter>,
}

impl Snapshot {
    /// The gateways of the default routes that the main table has by a device.
    pub fn main_gateways(&self, dev: &DevName) -> impl Iterator<Item = IpAddr> {
        let routes = self.main_routes.get(dev).into_iter().flatten();
        routes.filter(|route| route.dst.prefix_len() == 0).filter_map(|route| route.via)
    }
}

/// An object that is in the way, and what the admin can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub what: String,
    pub remedy: String,
}

impl Conflict {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// What surrounds the slice and can keep it from working.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The routing rules of other programs.
    pub foreign_rules: Vec<Rule>,
    /// Of the tables that these rules look up, those that lead to the whole Internet: by a default
    /// route or by its two halves.
    pub tables_to_internet: BTreeSet<u32>,
    /// Of the tables that these rules look up, those that have any route.
    pub tables_with_routes: BTreeSet<u32>,
    pub accepting_rules: Vec<AcceptingRule>,
    /// The rules of the packet filter that packets of clients pass.
    pub filter_tables: Vec<ForeignTable>,
    /// The unicast routes of other programs in the main table.
    pub main_routes: Vec<ForeignRoute>,
    /// The address of the gateway on which a resolver listens for clients.
    pub resolver: Option<IpAddr>,
    /// The file with saved rules of wanpool that would be loaded at boot without the set that they
    /// need.
    pub saved_rules: Option<&'static str>,
    /// The other kind of iptables (nft or legacy), if both hold rules.
    pub other_iptables: Option<&'static str>,
    /// Default routes of other programs in wanpool's tables: table and metric.
    pub foreign_defaults: Vec<(u32, u32)>,
    /// The names of nftables flowtables. Their flows bypass marks and rules.
    pub flowtables: Vec<String>,
    /// `nf_conntrack_count` and `nf_conntrack_max`.
    pub conntrack: Option<(u64, u64)>,
    /// `gc_thresh3`: the most neighbours that the kernel keeps.
    pub neighbour_limit: Option<u32>,
    /// systemd-networkd runs, and deletes rules or routes that it did not make.
    pub networkd_deletes: bool,
}

/// Counters that show cheaply whether the client set or the packet filter has changed, however many
/// clients there are. A counter that the kernel does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounters {
    /// How many members the set has.
    pub entries: Option<u32>,
    /// How many members the set has room for.
    pub room: Option<u32>,
    /// The generation of the nftables ruleset.
    pub generation: Option<u32>,
}
