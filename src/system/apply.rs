//! Makes one change to the kernel. Does not know why it is made.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result};
use nix::libc::{EEXIST, ENODEV, ENOENT, ESRCH};

use super::netlink::{DeviceIndex, conntrack, ipset, nexthop, route, rule};
use super::{Kernel, modules, shell, sysctl};
use crate::error::errno;
use crate::model::change::Change;

impl Kernel {
    /// Makes one change. Deleting an object that does not exist is no error, nor is adding a rule that
    /// exists.
    pub fn apply(&self, change: &Change) -> Result<()> {
        match self.make(change, &self.devices.borrow()) {
            Err(error) if is_already_done(change, &error) => Ok(()),
            result => result.with_context(|| shell::summary(change, self.family, self.protocol)),
        }
    }

    fn make(&self, change: &Change, devices: &DeviceIndex) -> Result<()> {
        let Self { route, netfilter, protocol, .. } = self;
        let protocol = *protocol;
        match change {
            Change::LoadModule(module) => modules::load(module),
            Change::SetSysctl { key, value, is_optional } => match sysctl::write(key, value) {
                // The device has gone since.
                Err(error) if *is_optional && is_not_found(&error) => Ok(()),
                result => result,
            },
            Change::ReplaceNexthop { id, nexthop } => {
                nexthop::set(route, *id, nexthop, protocol, devices)
            }
            Change::DeleteNexthop { id } => nexthop::delete(route, *id),
            Change::AddRoute(wanted) => route::add(route, wanted, protocol, devices),
            Change::ReplaceRoute(wanted) => route::replace(route, wanted, protocol, devices),
            Change::DeleteRoute(found) => route::delete(route, found, protocol, devices),
            Change::AddRule(rule) => rule::add(route, rule, protocol),
            Change::DeleteRule(rule) => rule::delete(route, rule, protocol),
            Change::CreateSet { max, buckets } => {
                ipset::create(netfilter, self.family, *max, *buckets)
            }
            Change::DestroySet => ipset::destroy(netfilter, self.family),
            Change::AddEntries(entries) => ipset::add(netfilter, self.family, entries),
            Change::DeleteEntries(addresses) => ipset::delete(netfilter, self.family, addresses),
            Change::ReplaceChains(chains) => self.iptables()?.replace_chains(chains),
            Change::DeleteChain(chain) => self.iptables()?.delete_chain(*chain),
            Change::AddJump(jump) => self.iptables()?.add_jump(jump),
            Change::DeleteJump(jump) => self.iptables()?.delete_jump(jump),
            Change::EndFlows { mark } => conntrack::end(netfilter, self.family, *mark),
            Change::EndFlowsFrom { mark, sources } => {
                conntrack::end_from(netfilter, self.family, *mark, sources)
            }
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::NotFound)
}

fn is_already_done(change: &Change, error: &anyhow::Error) -> bool {
    let Some(errno) = errno(error) else { return false };
    match change {
        Change::AddRule(_) => errno == EEXIST,
        // The kernel deletes what depends on a device together with the device.
        Change::DeleteNexthop { .. }
        | Change::DeleteRoute(_)
        | Change::DeleteRule(_)
        | Change::DestroySet => [ENOENT, ESRCH, ENODEV].contains(&errno),
        _ => false,
    }
}
