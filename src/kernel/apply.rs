//! One step, done; and what counts as done already.

use anyhow::{Context, Result};

use super::error::{EEXIST, ENODEV, ENOENT, ESRCH, KernelError};
use super::{Devices, Kernel, conntrack, ipset, nexthop, route, rule, sysctl};
use crate::model::Family;
use crate::step::Step;

impl Kernel {
    /// Does one step. Taking away what is gone already, or adding what is there, is done.
    pub fn apply(&self, family: Family, step: &Step) -> Result<()> {
        let devices = self.devices.borrow();
        let done = self.do_step(family, step, &devices);
        match done {
            Err(error) if is_done_already(step, &error) => Ok(()),
            done => done.with_context(|| step.to_string()),
        }
    }

    fn do_step(&self, family: Family, step: &Step, devices: &Devices) -> Result<()> {
        let route = &self.route;
        match step {
            Step::LoadModule(module) => sysctl::load_module(module),
            Step::Sysctl { key, value } => sysctl::write(key, value),
            Step::NexthopSet { id, nexthop, protocol } => {
                nexthop::set(route, family, *id, nexthop, *protocol, devices)
            }
            Step::NexthopDelete { id } => nexthop::delete(route, *id),
            Step::RouteAdd { route: wanted, protocol } => {
                route::add(route, wanted, *protocol, devices)
            }
            Step::RouteReplace { route: wanted, protocol } => {
                route::replace(route, wanted, *protocol, devices)
            }
            Step::RouteDelete { route: found, protocol } => {
                route::delete(route, found, *protocol, devices)
            }
            Step::RuleAdd { rule, protocol } => rule::add(route, family, rule, *protocol),
            Step::RuleDelete { rule, protocol } => rule::delete(route, family, rule, *protocol),
            Step::SetCreate { max, buckets } => {
                ipset::create(&self.netfilter, family, *max, *buckets)
            }
            Step::SetDestroy => ipset::destroy(&self.netfilter),
            Step::EntriesSet(entries) => ipset::add(&self.netfilter, family, entries),
            Step::EntriesDelete(clients) => ipset::delete(&self.netfilter, family, clients),
            Step::ChainsSet(chains) => self.iptables()?.set_chains(chains),
            Step::ChainDelete(chain) => self.iptables()?.delete_chain(*chain),
            Step::JumpAdd(jump) => self.iptables()?.add_jump(jump),
            Step::JumpDelete(jump) => self.iptables()?.delete_jump(jump),
            Step::FlowsEnd { mark } => conntrack::end(&self.netfilter, *mark),
            Step::ClientFlowsEnd { mark, clients } => {
                conntrack::end_of(&self.netfilter, family, *mark, clients)
            }
        }
    }
}

fn is_done_already(step: &Step, error: &anyhow::Error) -> bool {
    let Some(KernelError { errno, .. }) = error.downcast_ref() else { return false };
    match step {
        Step::RuleAdd { .. } => *errno == EEXIST,
        // What stood on a device goes with it.
        Step::NexthopDelete { .. }
        | Step::RouteDelete { .. }
        | Step::RuleDelete { .. }
        | Step::SetDestroy => [ENOENT, ESRCH, ENODEV].contains(errno),
        _ => false,
    }
}
