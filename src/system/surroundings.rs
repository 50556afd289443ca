//! Reads what can keep the slice from working: rules of other programs, limits of the kernel,
//! programs that delete objects of others. Does not evaluate whether it is a problem.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use ipnet::Ipv4Net;

use super::netlink::{neighbour, nftables, route, rule};
use super::{Kernel, networkd};
use crate::model::routing::RuleAction;
use crate::model::snapshot::Surroundings;

impl Kernel {
    /// `tables` are those that wanpool uses.
    pub fn surroundings(&self, tables: &[u32]) -> Result<Surroundings> {
        let mut foreign_defaults = Vec::new();
        for &table in tables {
            let metrics = route::foreign_defaults(&self.route, table, self.protocol)?;
            foreign_defaults.extend(metrics.into_iter().map(|metric| (table, metric)));
        }
        let foreign_rules = rule::list_foreign(&self.route, self.protocol)?;
        let (mut tables_to_internet, mut tables_with_routes) = (BTreeSet::new(), BTreeSet::new());
        for rule in &foreign_rules {
            if let RuleAction::Lookup(table) = rule.action {
                let destinations = route::destinations(&self.route, table)?;
                if leads_to_internet(&destinations) {
                    tables_to_internet.insert(table);
                }
                if !destinations.is_empty() {
                    tables_with_routes.insert(table);
                }
            }
        }
        Ok(Surroundings {
            foreign_rules,
            tables_to_internet,
            tables_with_routes,
            foreign_defaults,
            accepting_rules: self.iptables()?.accepting_rules()?,
            other_iptables: self.other_iptables(),
            flowtables: nftables::flowtables(&self.netfilter),
            conntrack: conntrack_number("count").zip(conntrack_number("max")),
            neighbour_limit: neighbour::limit(&self.route)?,
            networkd_deletes: networkd::deletes_foreign_objects(),
        })
    }
}

/// Whether routes with these destinations lead to the whole Internet. VPNs like to use its halves.
fn leads_to_internet(destinations: &[Ipv4Net]) -> bool {
    let halves = destinations.iter().filter(|dst| dst.prefix_len() == 1).count();
    destinations.iter().any(|dst| dst.prefix_len() == 0) || halves == 2
}

/// `nf_conntrack_count` or `nf_conntrack_max`.
fn conntrack_number(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
