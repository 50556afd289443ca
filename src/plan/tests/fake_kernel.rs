//! A kernel made of plain data: what a change does to a snapshot. It refuses what the real one would
//! refuse.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Mark;
use crate::model::change::Change;
use crate::model::client_set::{ClientSet, FoundSet};
use crate::model::filter::{Filter, FilterRule, Verdict};
use crate::model::routing::{Nexthop, Route, RouteTarget, Routing};
use crate::model::snapshot::{Read, Snapshot};

/// Makes a change, with what the kernel does by itself: a nexthop goes with its routes, and a group
/// with its last member.
pub fn apply(kernel: &mut Snapshot, change: &Change) {
    let routing = &mut kernel.routing;
    match change {
        Change::SetSysctl { key, value, .. } => {
            kernel.sysctls.insert(key.clone(), value.clone());
        }
        Change::LoadModule(module) => {
            kernel.unloaded_modules.remove(module);
        }
        Change::EndFlows { .. } | Change::EndFlowsFrom { .. } => {}
        Change::ReplaceNexthop { id, nexthop } => replace_nexthop(routing, *id, nexthop),
        Change::DeleteNexthop { id } => {
            assert!(routing.nexthops.contains_key(id), "{change:?}: it does not exist");
            delete_nexthop(routing, *id);
        }
        Change::AddRoute(route) => {
            let exists = routing.routes.iter().any(|other| other.key() == route.key());
            assert!(!exists, "{change:?}: it exists");
            replace_route(routing, route);
        }
        Change::ReplaceRoute(route) => replace_route(routing, route),
        Change::DeleteRoute(route) => delete_route(routing, route),
        Change::AddRule(rule) => {
            assert!(!routing.rules.contains(rule), "{change:?}: it exists");
            routing.rules.push(rule.clone());
        }
        Change::DeleteRule(rule) => remove(&mut routing.rules, rule),
        Change::CreateSet { max, .. } => {
            assert!(kernel.set == Read::Is(FoundSet::Absent), "{change:?}: it exists");
            let set = ClientSet { max: *max, entries: vec![] };
            kernel.set = Read::Is(FoundSet::Usable(set));
        }
        Change::DestroySet => {
            let is_used = filter(kernel).chains.values().flatten().any(uses_client_set);
            assert!(!is_used, "{change:?}: a rule uses it");
            kernel.set = Read::Is(FoundSet::Absent);
        }
        Change::AddEntries(entries) => {
            change_set(kernel, |all| all.extend(entries.iter().copied()));
        }
        Change::DeleteEntries(addresses) => {
            change_set(kernel, |all| all.retain(|address, _| !addresses.contains(address)));
        }
        Change::ReplaceChains(chains) => {
            let set_exists = kernel.set.get().is_some_and(|set| set.usable().is_some());
            assert!(set_exists, "{change:?}: there is no set");
            filter(kernel).chains.extend(chains.iter().cloned());
        }
        Change::DeleteChain(chain) => {
            let filter = filter(kernel);
            let is_used = filter.jumps.iter().any(|jump| jump.to == *chain);
            assert!(!is_used && filter.chains.remove(chain).is_some(), "{change:?}");
        }
        Change::AddJump(jump) => {
            let filter = filter(kernel);
            assert!(filter.chains.contains_key(&jump.to), "{change:?}: no such chain");
            filter.jumps.push(jump.clone());
        }
        Change::DeleteJump(jump) => remove(&mut filter(kernel).jumps, jump),
    }
}

pub fn filter(kernel: &mut Snapshot) -> &mut Filter {
    match &mut kernel.filter {
        Read::Is(filter) => filter,
        other => panic!("the filter is {other:?}"),
    }
}

fn uses_client_set(rule: &FilterRule) -> bool {
    matches!(rule, FilterRule::Known { verdict: Verdict::MarkFromClientSet(_), .. })
}

fn remove<T: PartialEq + std::fmt::Debug>(list: &mut Vec<T>, item: &T) {
    let at = list.iter().position(|candidate| candidate == item);
    list.remove(at.unwrap_or_else(|| panic!("{item:?} does not exist")));
}

fn replace_nexthop(routing: &mut Routing, id: u32, nexthop: &Nexthop) {
    if let Nexthop::Group(members) = nexthop {
        let exists = |(id, _): &(u32, u16)| routing.nexthops.contains_key(id);
        assert!(members.iter().all(exists), "a member of {id} does not exist");
    }
    routing.nexthops.insert(id, nexthop.clone());
}

pub fn delete_nexthop(routing: &mut Routing, id: u32) {
    routing.nexthops.remove(&id);
    routing.routes.retain(|route| route.target != RouteTarget::Nexthop(id));
    let mut empty = Vec::new();
    for (&group, nexthop) in &mut routing.nexthops {
        if let Nexthop::Group(members) = nexthop {
            members.retain(|(member, _)| *member != id);
            if members.is_empty() {
                empty.push(group);
            }
        }
    }
    for group in empty {
        delete_nexthop(routing, group);
    }
}

/// The target of a request that names none matches any route with its key.
fn delete_route(routing: &mut Routing, route: &Route) {
    if route.target != RouteTarget::Other {
        return remove(&mut routing.routes, route);
    }
    let at = routing.routes.iter().position(|other| other.key() == route.key());
    routing.routes.remove(at.unwrap_or_else(|| panic!("{route} does not exist")));
}

fn replace_route(routing: &mut Routing, route: &Route) {
    if let RouteTarget::Nexthop(id) = route.target {
        assert!(routing.nexthops.contains_key(&id), "nexthop {id} does not exist");
    }
    match routing.routes.iter_mut().find(|candidate| candidate.key() == route.key()) {
        Some(existing) => *existing = route.clone(),
        None => routing.routes.push(route.clone()),
    }
}

fn change_set(kernel: &mut Snapshot, change: impl FnOnce(&mut BTreeMap<IpAddr, Mark>)) {
    let Read::Is(FoundSet::Usable(set)) = &mut kernel.set else { panic!("there is no set") };
    let mut all = set.entries.iter().copied().collect();
    change(&mut all);
    set.entries = all.into_iter().collect();
}
