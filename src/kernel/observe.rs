//! What is in the kernel now, put together from what the modules beside this one read.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::{Devices, Kernel, Query, ipset, link, nexthop, route, rule, sysctl};
use crate::state::{Link, Observed, Slice};

impl Kernel {
    pub fn observe(&self, query: &Query) -> Result<Observed> {
        self.observe_all(query).context("looking at the kernel")
    }

    fn observe_all(&self, query: &Query) -> Result<Observed> {
        let Query { family, numbers, .. } = *query;
        let links = link::links(&self.route)?;
        let addresses = link::addresses(&self.route, family, &links)?;
        let devices = Devices::new(&links);
        let mut found = Observed {
            addresses,
            sysctls: sysctl::read(&query.sysctls),
            unloaded: unloaded(&query.modules),
            slice: Slice { family, ..Slice::default() },
            ..Observed::default()
        };
        self.observe_nexthops(query, &devices, &mut found)?;
        found.slice.routes = route::list(&self.route, family, numbers.protocol, &devices)?;
        self.observe_tables(query, &mut found)?;
        found.slice.rules = rule::list(&self.route, family, numbers.protocol)?;
        let needs_gateway =
            |link: &&Link| !link.point_to_point && query.gateways_of.contains(&link.name);
        for link in links.iter().filter(needs_gateway) {
            if let Some(via) = route::gateway(&self.route, family, link, numbers.protocol)? {
                found.gateways.insert(link.name.clone(), via);
            }
        }
        found.links = links;
        found.links_moved = self.devices.replace_with(|_| devices.clone()) != devices;
        if query.set {
            self.observe_set(&mut found)?;
        }
        if query.chains {
            self.iptables()?.read(&mut found.slice)?;
        }
        Ok(found)
    }

    /// Ours are those with our protocol; one of our numbers with another protocol is in our way.
    fn observe_nexthops(
        &self,
        query: &Query,
        devices: &Devices,
        found: &mut Observed,
    ) -> Result<()> {
        for nexthop in nexthop::list(&self.route, devices)? {
            if nexthop.protocol == query.numbers.protocol {
                found.slice.nexthops.insert(nexthop.id, nexthop.nexthop);
            } else if query.nexthops.contains(&nexthop.id) {
                found.taken.push(format!(
                    "nexthop {} belongs to protocol {}; set nexthop-base to a free range",
                    nexthop.id, nexthop.protocol
                ));
            }
        }
        Ok(())
    }

    /// A table of ours that holds nothing of ours yet should hold no default route of others.
    fn observe_tables(&self, query: &Query, found: &mut Observed) -> Result<()> {
        for &table in &query.tables {
            let settled = found.slice.routes.iter().any(|route| route.table == table);
            let protocol = query.numbers.protocol;
            if !settled
                && !route::foreign_defaults(&self.route, query.family, table, protocol)?.is_empty()
            {
                found.taken.push(format!(
                    "table {table} holds a default route that is not ours; \
                     set table-base or uplink-table-base to a free range"
                ));
            }
        }
        Ok(())
    }

    fn observe_set(&self, found: &mut Observed) -> Result<()> {
        match ipset::list(&self.netfilter).context("listing the set wanpool")? {
            ipset::Found::Nothing => {}
            ipset::Found::Ours(set) => found.slice.set = Some(set),
            ipset::Found::Foreign(odd) => found.taken.push(format!(
                "there is a set wanpool {odd}; rename it: ipset rename wanpool OTHER"
            )),
        }
        Ok(())
    }
}

fn unloaded(modules: &[&'static str]) -> BTreeSet<&'static str> {
    modules.iter().copied().filter(|module| sysctl::is_unloaded(module)).collect()
}
