//! The difference between what was found and what is wanted, as changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::change::Change;
use crate::model::filter::{Chain, Filter, Jump, Table};
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

/// Adds the changes of nexthops. Returns the routes that exist when those of routes are made.
fn diff_nexthops(found: &Routing, wanted: &Routing, diff: &mut Diff) -> Routes {
    // The ids that go at once, and those that go when the routes have been changed.
    let (mut deleted_first, mut deleted_last) = (BTreeSet::new(), BTreeSet::new());
    for (&id, nexthop) in &found.nexthops {
        match wanted.nexthops.get(&id) {
            None => {
                deleted_last.insert(id);
            }
            // The kernel does not change a device into a group, or a group into a device.
            Some(wish) if is_group(wish) != is_group(nexthop) || *nexthop == Nexthop::Other => {
                deleted_first.insert(id);
                diff.build.push(Change::DeleteNexthop { id });
            }
            Some(_) => {}
        }
    }
    for (&id, nexthop) in &found.nexthops {
        if goes_with_members(nexthop, &deleted_first) {
            deleted_first.insert(id);
            deleted_last.remove(&id);
        }
    }
    let deleted: BTreeSet<u32> = deleted_first.union(&deleted_last).copied().collect();
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
    for &id in &deleted_last {
        if !goes_with_members(&found.nexthops[&id], &deleted) {
            diff.tear_down.push(Change::DeleteNexthop { id });
        }
    }
    Routes::after(&found.routes, &deleted_first, &deleted_last)
}

/// The routes that were found, by what happens to them before routes are changed. The kernel deletes
/// the routes of a nexthop together with it; routes of a nexthop that was deleted first are gone.
#[derive(Default)]
struct Routes {
    staying: Vec<Route>,
    /// They exist until their nexthop is deleted at the end, and need no change of their own to go.
    leaving: Vec<Route>,
}

impl Routes {
    fn after(found: &[Route], deleted_first: &BTreeSet<u32>, deleted_last: &BTreeSet<u32>) -> Self {
        let mut routes = Self::default();
        for route in found {
            match route.target {
                RouteTarget::Nexthop(id) if deleted_first.contains(&id) => {}
                RouteTarget::Nexthop(id) if deleted_last.contains(&id) => {
                    routes.leaving.push(route.clone());
                }
                _ => routes.staying.push(route.clone()),
            }
        }
        routes
    }
}

/// Whether a group disappears together with the last of its members.
fn goes_with_members(nexthop: &Nexthop, deleted: &BTreeSet<u32>) -> bool {
    match nexthop {
        Nexthop::Group(members) => members.iter().all(|(id, _)| deleted.contains(id)),
        _ => false,
    }
}

/// A nexthop as it is when some members of groups have been deleted.
fn without_members(nexthop: &Nexthop, deleted: &BTreeSet<u32>) -> Nexthop {
    let mut nexthop = nexthop.clone();
    if let Nexthop::Group(members) = &mut nexthop {
        members.retain(|(id, _)| !deleted.contains(id));
    }
    nexthop
}

fn diff_routes(found: &Routes, wanted: &[Route], diff: &mut Diff) {
    let (missing, mut surplus) = unmatched(&found.staying, wanted);
    for route in wanted {
        let others = surplus.iter().copied().chain(&found.leaving);
        let mut with_key: Vec<&Route> = others.filter(|it| it.key() == route.key()).collect();
        let is_missing = missing.contains(&route);
        if !with_key.is_empty() {
            if !is_missing {
                with_key.push(route);
            }
            replace_all(&with_key, route, diff);
        } else if is_missing {
            diff.build.push(Change::AddRoute(route.clone()));
        }
        surplus.retain(|other| other.key() != route.key());
    }
    surplus.sort();
    diff.tear_down.extend(surplus.into_iter().cloned().map(Change::DeleteRoute));
}

/// Makes one route of those that have its key. It is changed in place, so that there is no moment
/// without a route. Of several, a request to delete one can take another, because they may differ only
/// in attributes that a request cannot name: all but one are deleted first, whichever these are.
fn replace_all(found: &[&Route], wanted: &Route, diff: &mut Diff) {
    let any = Route { target: RouteTarget::Other, ..wanted.clone() };
    let must_go = found.iter().any(|route| is_altered_nexthop_route(route, wanted));
    let deletions = if must_go { found.len() } else { found.len() - 1 };
    for _ in 0..deletions {
        diff.build.push(Change::DeleteRoute(any.clone()));
    }
    diff.build.push(if must_go {
        Change::AddRoute(wanted.clone())
    } else {
        Change::ReplaceRoute(wanted.clone())
    });
}

/// Whether the kernel would keep an MTU and the like, which a route by a nexthop has, if the route
/// were changed in place.
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
    let wanted = &without_tables(wanted, &found.unreadable);
    let (missing, surplus) = unmatched(&found.jumps, &wanted.jumps);
    // Optional chains come last, in changes of their own: the kernel may refuse these.
    for are_optional in [false, true] {
        let mut changed = Vec::new();
        for chain in Chain::ALL {
            if let Some(rules) = wanted.chains.get(&chain) {
                if found.chains.get(&chain) != Some(rules) && chain.is_optional() == are_optional {
                    changed.push((chain, rules.clone()));
                }
            }
        }
        if !changed.is_empty() {
            diff.build.push(Change::ReplaceChains(changed));
        }
        for jump in &missing {
            if jump.to.is_optional() == are_optional {
                diff.build.push(Change::AddJump((*jump).clone()));
            }
        }
    }
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

fn without_tables(filter: &Filter, tables: &BTreeMap<Table, String>) -> Filter {
    let mut filter = filter.clone();
    filter.chains.retain(|chain, _| !tables.contains_key(&chain.table));
    filter.jumps.retain(|jump| !tables.contains_key(&jump.to.table));
    filter
}
