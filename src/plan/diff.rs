//! The difference between what was found and what is wanted, as changes.

use std::collections::BTreeSet;

use crate::model::change::Change;
use crate::model::filter::{Chain, Filter, Jump};
use crate::model::routing::{Nexthop, Route, RouteTarget, Routing, Rule};

/// What is made or changed, and what is removed after that, each in a safe order.
#[derive(Debug, Default)]
pub struct Diff {
    pub build: Vec<Change>,
    pub tear_down: Vec<Change>,
}

pub fn routing(found: &Routing, wanted: &Routing) -> Diff {
    let mut diff = Diff::default();
    let remaining = diff_nexthops(found, wanted, &mut diff);
    diff_routes(&remaining, &wanted.routes, &mut diff);
    diff_rules(&found.rules, &wanted.rules, &mut diff);
    // Objects are removed in reverse order: rules, routes, nexthops.
    diff.tear_down.reverse();
    diff
}

fn is_group(nexthop: &Nexthop) -> bool {
    matches!(nexthop, Nexthop::Group(_))
}

/// Adds the changes of nexthops. Returns the routes that remain once they are made: the kernel deletes
/// the routes of a nexthop together with it.
fn diff_nexthops(found: &Routing, wanted: &Routing, diff: &mut Diff) -> Vec<Route> {
    let mut deleted = BTreeSet::new();
    for (&id, nexthop) in &found.nexthops {
        match wanted.nexthops.get(&id) {
            None => {
                deleted.insert(id);
            }
            // The kernel does not change a device into a group, or a group into a device.
            Some(wish) if is_group(wish) != is_group(nexthop) || *nexthop == Nexthop::Other => {
                deleted.insert(id);
                diff.build.push(Change::DeleteNexthop { id });
            }
            Some(_) => {}
        }
    }
    // Devices come first: the members of a group must exist.
    let (groups, devices): (Vec<_>, Vec<_>) =
        wanted.nexthops.iter().partition(|(_, nexthop)| is_group(nexthop));
    for (&id, nexthop) in devices.into_iter().chain(groups) {
        let is_as_wanted = match found.nexthops.get(&id) {
            Some(now) if !deleted.contains(&id) => without_members(now, &deleted) == *nexthop,
            _ => false,
        };
        if !is_as_wanted {
            diff.build.push(Change::ReplaceNexthop { id, nexthop: nexthop.clone() });
        }
    }
    for &id in &deleted {
        // A group disappears with its last member.
        let goes_with_members = matches!(
            without_members(&found.nexthops[&id], &deleted),
            Nexthop::Group(members) if members.is_empty()
        );
        if !wanted.nexthops.contains_key(&id) && !goes_with_members {
            diff.tear_down.push(Change::DeleteNexthop { id });
        }
    }
    let mut remaining = found.routes.clone();
    remaining.retain(|route| match route.target {
        RouteTarget::Nexthop(id) => !deleted.contains(&id),
        _ => true,
    });
    remaining
}

/// A nexthop as it is when some members of groups have been deleted.
fn without_members(nexthop: &Nexthop, deleted: &BTreeSet<u32>) -> Nexthop {
    let mut nexthop = nexthop.clone();
    if let Nexthop::Group(members) = &mut nexthop {
        members.retain(|(id, _)| !deleted.contains(id));
    }
    nexthop
}

fn diff_routes(found: &[Route], wanted: &[Route], diff: &mut Diff) {
    let (missing, mut surplus) = unmatched(found, wanted);
    for route in missing {
        let route = route.clone();
        // A route of ours with the same key is changed in place: there is no moment without a route.
        let at = surplus.iter().position(|other| other.key() == route.key());
        match at.map(|at| surplus.swap_remove(at)) {
            // The kernel would keep an MTU and the like of a route by a nexthop.
            Some(other) if is_altered_nexthop_route(other, &route) => {
                diff.build.push(Change::DeleteRoute(other.clone()));
                diff.build.push(Change::AddRoute(route));
            }
            Some(_) => diff.build.push(Change::ReplaceRoute(route)),
            None => diff.build.push(Change::AddRoute(route)),
        }
    }
    surplus.sort();
    diff.tear_down.extend(surplus.into_iter().cloned().map(Change::DeleteRoute));
}

fn is_altered_nexthop_route(found: &Route, wanted: &Route) -> bool {
    found.target == RouteTarget::Other && matches!(wanted.target, RouteTarget::Nexthop(_))
}

fn diff_rules(found: &[Rule], wanted: &[Rule], diff: &mut Diff) {
    let (missing, mut surplus) = unmatched(found, wanted);
    diff.build.extend(missing.into_iter().cloned().map(Change::AddRule));
    surplus.sort();
    diff.tear_down.extend(surplus.into_iter().cloned().map(Change::DeleteRule));
}

/// What is wanted and was not found, and what was found and is not wanted. An object that was found
/// twice and is wanted once is surplus once.
fn unmatched<'a, T: PartialEq>(found: &'a [T], wanted: &'a [T]) -> (Vec<&'a T>, Vec<&'a T>) {
    let mut surplus: Vec<&T> = found.iter().collect();
    let mut missing = Vec::new();
    for object in wanted {
        match surplus.iter().position(|candidate| *candidate == object) {
            Some(at) => drop(surplus.remove(at)),
            None => missing.push(object),
        }
    }
    (missing, surplus)
}

pub fn filter(found: &Filter, wanted: &Filter) -> Diff {
    let mut diff = Diff::default();
    let mut changed = Vec::new();
    for chain in Chain::ALL {
        if let Some(rules) = wanted.chains.get(&chain) {
            if found.chains.get(&chain) != Some(rules) {
                changed.push((chain, rules.clone()));
            }
        }
    }
    if !changed.is_empty() {
        diff.build.push(Change::ReplaceChains(changed));
    }
    let (missing, surplus) = unmatched(&found.jumps, &wanted.jumps);
    diff.build.extend(missing.into_iter().cloned().map(Change::AddJump));
    // A surplus jump is ours if it is a duplicate of ours, or if it leads to a chain that is deleted.
    // Any other rule that leads to our chains belongs to another program.
    let is_ours =
        |jump: &Jump| wanted.jumps.contains(jump) || !wanted.chains.contains_key(&jump.to);
    for jump in surplus.into_iter().rev() {
        if is_ours(jump) {
            diff.tear_down.push(Change::DeleteJump(jump.clone()));
        }
    }
    for &chain in found.chains.keys().rev() {
        if !wanted.chains.contains_key(&chain) {
            diff.tear_down.push(Change::DeleteChain(chain));
        }
    }
    diff
}
