//! Reads a [`Snapshot`] of the kernel with the functions of the netlink and netfilter files. Does not
//! know which objects should exist, only which names and ids are wanpool's.

use anyhow::{Context, Result};

use super::netlink::{DeviceIndex, ipset, nexthop, route, rule};
use super::{Kernel, modules, sysctl};
use crate::model::DevName;
use crate::model::client_set::{FoundSet, set_name};
use crate::model::link::Devices;
use crate::model::routing::Routing;
use crate::model::snapshot::{Conflict, Read, Snapshot};

/// What a snapshot contains besides devices.
#[derive(Clone)]
pub struct Query {
    /// Paths below `/proc/sys`; `*` stands for every device.
    pub sysctls: Vec<String>,
    /// Devices whose routes are read in the main table.
    pub uplinks: Vec<DevName>,
    pub modules: Vec<&'static str>,
    /// The nexthop ids and tables that wanpool uses.
    pub nexthops: Vec<u32>,
    pub tables: Vec<u32>,
}

/// Whether a part of the kernel is read for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The part is read. The client set needs CAP_NET_ADMIN; the packet filter needs CAP_NET_RAW too.
    Read,
    Skip,
    /// The caller knows that the part is unchanged.
    Unchanged,
}

impl Need {
    fn read<T>(self, read: impl FnOnce() -> Result<T>) -> Result<Read<T>> {
        match self {
            Need::Read => Ok(Read::Is(read()?)),
            Need::Skip => Ok(Read::Skipped),
            Need::Unchanged => Ok(Read::Unchanged),
        }
    }
}

/// What is tried, for errors.
const READING: &str = "reading the state of the kernel";

impl Kernel {
    /// All but the client set and the packet filter.
    pub fn observe(&self, query: &Query) -> Result<Snapshot> {
        self.take_snapshot(query).context(READING)
    }

    /// The client set and the packet filter.
    pub fn read_marking(&self, snapshot: &mut Snapshot, set: Need, filter: Need) -> Result<()> {
        let name = set_name(self.family);
        let list = || {
            ipset::list(&self.netfilter, self.family)
                .with_context(|| format!("listing the set {name}"))
        };
        snapshot.set = set.read(list).context(READING)?;
        snapshot.filter = filter.read(|| self.iptables()?.read()).context(READING)?;
        if let Read::Is(FoundSet::Unusable(what)) = &snapshot.set {
            snapshot.conflicts.push(Conflict::new(
                format!("a set {name} exists that is {what}"),
                format!("rename it: ipset rename {name} OTHER"),
            ));
        }
        Ok(())
    }

    /// Whether there are nexthops, routes or rules of wanpool.
    pub fn has_routing(&self) -> Result<bool> {
        let index = DeviceIndex::default();
        let own = || self.own_routing(nexthop::list(&self.route, &index)?, &index);
        Ok(own().context(READING)? != Routing::default())
    }

    /// The nexthops, routes and rules of wanpool. `nexthops` are those of all programs.
    fn own_routing(&self, nexthops: Vec<nexthop::Found>, index: &DeviceIndex) -> Result<Routing> {
        let mut routing = Routing::default();
        for found in nexthop::of_family(nexthops, self.family) {
            if found.protocol == self.protocol {
                routing.nexthops.insert(found.id, found.nexthop);
            }
        }
        routing.routes = route::list(&self.route, self.family, self.protocol, index)?;
        routing.rules = rule::list(&self.route, self.family, self.protocol)?;
        Ok(routing)
    }

    fn take_snapshot(&self, query: &Query) -> Result<Snapshot> {
        let devices = self.devices()?;
        let index = DeviceIndex::new(&devices.links);
        let mut conflicts = Vec::new();
        let routing = self.routing(query, &index, &mut conflicts)?;
        let mut snapshot = Snapshot {
            devices_changed: self.devices.replace(index.clone()) != index,
            main_routes: Default::default(),
            last_gateways: Default::default(),
            sysctls: sysctl::read(&query.sysctls),
            sysctls_are_fixed: sysctl::are_fixed(),
            unloaded_modules: modules::unloaded(&query.modules),
            conflicts,
            routing,
            set: Read::Skipped,
            filter: Read::Skipped,
            devices,
        };
        self.read_main_routes(query, &mut snapshot)?;
        Ok(snapshot)
    }

    fn routing(
        &self,
        query: &Query,
        index: &DeviceIndex,
        conflicts: &mut Vec<Conflict>,
    ) -> Result<Routing> {
        let nexthops = nexthop::list(&self.route, index)?;
        // The kernel has one range of ids for both families.
        for found in &nexthops {
            if found.protocol != self.protocol && query.nexthops.contains(&found.id) {
                let other = found.protocol;
                conflicts.push(Conflict::new(
                    format!("nexthop {} belongs to protocol {other}", found.id),
                    format!(
                        "if it was made by wanpool with protocol = {other}, set that again, run \
                         wanpool flush, and then change protocol; otherwise set nexthop-base to a \
                         free range"
                    ),
                ));
            }
        }
        let routing = self.own_routing(nexthops, index)?;
        for &table in &query.tables {
            // If a table has routes of wanpool, another program's default route in it is not a
            // conflict but a finding of `pools --check`.
            if routing.routes.iter().any(|route| route.table == table) {
                continue;
            }
            let foreign = route::foreign_defaults(&self.route, self.family, table, self.protocol)?;
            if !foreign.is_empty() {
                conflicts.push(Conflict::new(
                    format!("table {table} holds a default route of another program"),
                    "set table-base or uplink-table-base to a free range",
                ));
            }
        }
        Ok(routing)
    }

    fn read_main_routes(&self, query: &Query, snapshot: &mut Snapshot) -> Result<()> {
        let Devices { links, .. } = &snapshot.devices;
        for link in links {
            // A device that leads to one host only needs no gateway.
            if !link.point_to_point && query.uplinks.contains(&link.name) {
                let routes = route::in_main(&self.route, self.family, link, self.protocol)?;
                snapshot.main_routes.insert(link.name.clone(), routes);
            }
        }
        Ok(())
    }
}
