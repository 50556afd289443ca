//! A kernel made of plain data: what becomes of a slice by a step. It refuses what the real one
//! would refuse.

use std::collections::BTreeMap;

use crate::model::STATE::{Nexthop, Route, Set, Slice, RouteTarget};
use crate::model::change::Step;

/// What the kernel does with a step, its own part included: a nexthop takes its routes along, a
/// group its last member.
pub fn apply(slice: &mut Slice, step: &Step) {
    match step {
        Step::Sysctl { .. }
        | Step::LoadModule(_)
        | Step::FlowsEnd { .. }
        | Step::ClientFlowsEnd { .. } => {}
        Step::NexthopSet { id, nexthop, .. } => set_nexthop(slice, *id, nexthop),
        Step::NexthopDelete { id } => {
            assert!(slice.nexthops.contains_key(id), "{step}: it is not there");
            delete_nexthop(slice, *id);
        }
        Step::RouteAdd { route, .. } => {
            let key = |route: &Route| (route.table, route.dst, route.metric);
            assert!(
                slice.routes.iter().all(|other| key(other) != key(route)),
                "{step}: it is there"
            );
            set_route(slice, route);
        }
        Step::RouteReplace { route, .. } => set_route(slice, route),
        Step::RouteDelete { route, .. } => take(&mut slice.routes, route, step),
        Step::RuleAdd { rule, .. } => {
            assert!(!slice.rules.contains(rule), "{step}: it is there");
            slice.rules.push(rule.clone());
        }
        Step::RuleDelete { rule, .. } => take(&mut slice.rules, rule, step),
        Step::SetCreate { max, .. } => {
            assert!(slice.set.is_none(), "{step}: it is there");
            slice.set = Some(Set { max: *max, entries: vec![] });
        }
        Step::SetDestroy => {
            let used = slice.chains.values().flatten().any(|rule| rule.contains("--map-set"));
            assert!(!used, "{step}: a rule uses it");
            slice.set = None;
        }
        Step::EntriesSet(entries) => change_set(slice, |all| all.extend(entries.iter().copied())),
        Step::EntriesDelete(clients) => {
            change_set(slice, |all| all.retain(|client, _| !clients.contains(client)));
        }
        Step::ChainsSet(chains) => {
            assert!(slice.set.is_some(), "{step}: the set is not there");
            slice.chains.extend(chains.iter().cloned());
        }
        Step::ChainDelete(chain) => {
            let used = slice.jumps.iter().any(|jump| jump.to == *chain);
            assert!(!used && slice.chains.remove(chain).is_some(), "{step}");
        }
        Step::JumpAdd(jump) => {
            assert!(slice.chains.contains_key(&jump.to), "{step}: no such chain");
            slice.jumps.push(jump.clone());
        }
        Step::JumpDelete(jump) => take(&mut slice.jumps, jump, step),
    }
}

fn take<T: PartialEq>(list: &mut Vec<T>, item: &T, step: &Step) {
    let at = list.iter().position(|candidate| candidate == item);
    list.remove(at.unwrap_or_else(|| panic!("{step}: it is not there")));
}

fn set_nexthop(slice: &mut Slice, id: u32, nexthop: &Nexthop) {
    if let Nexthop::Group(members) = nexthop {
        let there = |(id, _): &(u32, u16)| slice.nexthops.contains_key(id);
        assert!(members.iter().all(there), "a member of {id} is not there");
    }
    slice.nexthops.insert(id, nexthop.clone());
}

pub fn delete_nexthop(slice: &mut Slice, id: u32) {
    slice.nexthops.remove(&id);
    slice.routes.retain(|route| route.way != RouteTarget::Nexthop(id));
    let mut empty = Vec::new();
    for (&group, nexthop) in &mut slice.nexthops {
        if let Nexthop::Group(members) = nexthop {
            members.retain(|(member, _)| *member != id);
            empty.extend(members.is_empty().then_some(group));
        }
    }
    for group in empty {
        delete_nexthop(slice, group);
    }
}

fn set_route(slice: &mut Slice, route: &Route) {
    if let RouteTarget::Nexthop(id) = route.way {
        assert!(slice.nexthops.contains_key(&id), "nexthop {id} is not there");
    }
    let key = |route: &Route| (route.table, route.dst, route.metric);
    match slice.routes.iter_mut().find(|candidate| key(candidate) == key(route)) {
        Some(there) => *there = route.clone(),
        None => slice.routes.push(route.clone()),
    }
}

fn change_set(
    slice: &mut Slice,
    change: impl FnOnce(&mut BTreeMap<std::net::Ipv4Addr, crate::model::Mark>),
) {
    let set = slice.set.as_mut().expect("the set is there");
    let mut all = set.entries.iter().copied().collect();
    change(&mut all);
    set.entries = all.into_iter().collect();
}
