//! Reads a [`Snapshot`] of the kernel with the functions of the netlink and netfilter files. Does not
//! know which objects should exist, only which names and ids are wanpool's.

use anyhow::{Context, Result};

use super::netlink::{DeviceIndex, ipset, nexthop, route, rule};
use super::{Kernel, modules, sysctl};
use crate::model::DevName;
use crate::model::client_set::FoundSet;
use crate::model::link::Devices;
use crate::model::routing::Routing;
use crate::model::snapshot::{Conflict, Read, Snapshot};

/// What a snapshot contains besides devices and routing.
#[derive(Clone)]
pub struct Query {
    /// Paths below `/proc/sys`; `*` stands for every device.
    pub sysctls: Vec<String>,
    /// Devices whose gateway is searched in the main table.
    pub gateways_of: Vec<DevName>,
    pub modules: Vec<&'static str>,
    /// The nexthop ids and tables that wanpool uses.
    pub nexthops: Vec<u32>,
    pub tables: Vec<u32>,
    pub set: Need,
    pub filter: Need,
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

impl Kernel {
    pub fn observe(&self, query: &Query) -> Result<Snapshot> {
        self.take_snapshot(query).context("reading the state of the kernel")
    }

    fn take_snapshot(&self, query: &Query) -> Result<Snapshot> {
        let devices = self.devices()?;
        let index = DeviceIndex::new(&devices.links);
        let mut conflicts = Vec::new();
        let routing = self.routing(query, &index, &mut conflicts)?;
        let mut snapshot = Snapshot {
            devices_changed: self.devices.replace(index.clone()) != index,
            gateways: Default::default(),
            sysctls: sysctl::read(&query.sysctls),
            unloaded_modules: modules::unloaded(&query.modules),
            conflicts,
            routing,
            set: query
                .set
                .read(|| ipset::list(&self.netfilter).context("listing the set wanpool"))?,
            filter: query.filter.read(|| self.iptables()?.read())?,
            devices,
        };
        self.read_gateways(query, &mut snapshot)?;
        if let Read::Is(FoundSet::Unusable(what)) = &snapshot.set {
            snapshot.conflicts.push(Conflict::new(
                format!("a set wanpool exists that is {what}"),
                "rename it: ipset rename wanpool OTHER",
            ));
        }
        Ok(snapshot)
    }

    fn routing(
        &self,
        query: &Query,
        index: &DeviceIndex,
        conflicts: &mut Vec<Conflict>,
    ) -> Result<Routing> {
        let mut routing = Routing::default();
        for found in nexthop::list(&self.route, index)? {
            if found.protocol == self.protocol {
                routing.nexthops.insert(found.id, found.nexthop);
            } else if query.nexthops.contains(&found.id) {
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
        routing.routes = route::list(&self.route, self.protocol, index)?;
        for &table in &query.tables {
            // If a table has routes of wanpool, another program's default route in it is not a
            // conflict but a finding of `pools --check`.
            let is_in_use = routing.routes.iter().any(|route| route.table == table);
            if !is_in_use && !route::foreign_defaults(&self.route, table, self.protocol)?.is_empty()
            {
                conflicts.push(Conflict::new(
                    format!("table {table} holds a default route of another program"),
                    "set table-base or uplink-table-base to a free range",
                ));
            }
        }
        routing.rules = rule::list(&self.route, self.protocol)?;
        Ok(routing)
    }

    fn read_gateways(&self, query: &Query, snapshot: &mut Snapshot) -> Result<()> {
        let Devices { links, .. } = &snapshot.devices;
        for link in links {
            if link.point_to_point || !query.gateways_of.contains(&link.name) {
                continue;
            }
            if let Some(via) = route::gateway(&self.route, link, self.protocol)? {
                snapshot.gateways.insert(link.name.clone(), via);
            }
        }
        Ok(())
    }
}
