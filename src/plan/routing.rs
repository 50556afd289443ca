//! Nexthops, tables and rules: which should be there, and the way there from what is.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::Diff;
use super::layout::*;
use super::service::{Service, Services, State};
use crate::config::{Config, Lan, Unassigned};
use crate::model::{DevName, Mark, KernelIds, UplinkNo};
use crate::model::STATE::{Action, MAIN_TABLE, Nexthop, Route, Rule, Slice, RouteTarget};
use crate::model::change::Step;

/// All of the slice that this module knows of; the rest of it is empty.
pub fn slice(config: &Config, services: &Services) -> Slice {
    Slice {
        nexthops: nexthops(config, services),
        routes: routes(config, services),
        rules: rules(config, services.multipath),
        ..Slice::default()
    }
}

/// A nexthop for each uplink in service, the group of those that serve, and that of the backups.
pub fn nexthops(config: &Config, services: &Services) -> BTreeMap<u32, Nexthop> {
    let numbers = &config.kernel_ids;
    let mut nexthops = BTreeMap::new();
    for no in services.up() {
        let dev = config.uplinks[&no].dev.clone();
        let via = services.uplinks[&no].via;
        nexthops.insert(ids.nexthop(no), Nexthop::Device { dev, via });
    }
    let member = |no| (ids.nexthop(no), config.uplinks[&no].weight.into());
    let groups = [
        (ids.group(), services.serving().map(member).collect::<Vec<_>>()),
        (ids.backup_group(), services.backups().map(member).collect()),
    ];
    for (id, members) in groups.into_iter().filter(|(_, members)| !members.is_empty()) {
        nexthops.insert(id, Nexthop::Group(members));
    }
    nexthops
}

pub fn routes(config: &Config, services: &Services) -> Vec<Route> {
    let numbers = &config.kernel_ids;
    let group = services.serving().next().map(|_| RouteTarget::Nexthop(ids.group()));
    let backups = services.backups().next().map(|_| RouteTarget::Nexthop(ids.backup_group()));
    let mut routes = Vec::new();
    for (&no, service) in &services.uplinks {
        let dev = &config.uplinks[&no].dev;
        routes.extend(uplink_table(ids.uplink_table(no), dev, service));
        routes.extend(pool_table(numbers, no, service, group.clone(), backups.clone()));
    }
    let shared = ids.shared_table();
    routes.extend(group.map(|group| default_route(shared, 0, group)));
    routes.extend(backups.map(|backups| default_route(shared, BACKUP_METRIC, backups)));
    routes.push(default_route(shared, BACKSTOP_METRIC, RouteTarget::Unreachable));
    routes
}

/// The uplink alone, in service or failed over, so that its flows and probes can use it. No
/// backstop here: when the device is gone, the rules go on to the shared table.
fn uplink_table(table: u32, dev: &DevName, service: &Service) -> Vec<Route> {
    let way = RouteTarget::Device { dev: dev.clone(), via: service.via };
    match service.state {
        State::Down(_) => vec![],
        State::Up => vec![default_route(table, 0, way)],
        State::FailedOver => {
            let metric = if service.by_probe { PROBED_OUT_METRIC } else { FAILED_OVER_METRIC };
            vec![default_route(table, 0, way.clone()), default_route(table, metric, way)]
        }
    }
}

fn pool_table(
    numbers: &KernelIds,
    no: UplinkNo,
    service: &Service,
    group: Option<RouteTarget>,
    backups: Option<RouteTarget>,
) -> Vec<Route> {
    let table = ids.pool_table(no);
    let own = (service.state == State::Up).then(|| RouteTarget::Nexthop(ids.nexthop(no)));
    let detour = service.to.map(|to| RouteTarget::Nexthop(ids.nexthop(to)));
    [
        (OWN_METRIC, own),
        (DETOUR_METRIC, detour),
        (STANDBY_METRIC, group),
        // Should all that serve die, no process is needed for these either.
        (BACKUP_METRIC, backups),
        (BACKSTOP_METRIC, Some(RouteTarget::Unreachable)),
    ]
    .into_iter()
    .filter_map(|(metric, way)| Some(default_route(table, metric, way?)))
    .collect()
}

fn default_route(table: u32, metric: u32, way: RouteTarget) -> Route {
    Route { table, dst: Ipv4Net::default(), tos: 0, metric, way }
}

pub fn rules(config: &Config, multipath: bool) -> Vec<Rule> {
    let numbers = &config.kernel_ids;
    let shared = Action::Lookup(ids.shared_table());
    let pref = |offset: u32| ids.rule_pref + offset;
    let mut rules = vec![Rule {
        not: true,
        fwmark: Some(ids.unmarked()),
        ..main_but_defaults(pref(LOCAL_FIRST))
    }];
    for (&no, uplink) in &config.uplinks {
        let from_uplink = Some(uplink.dev.clone());
        let offset = u32::from(no.get());
        rules.push(Rule { iif: from_uplink.clone(), ..main_but_defaults(pref(UPLINK_LOCAL)) });
        rules.push(Rule { iif: from_uplink, ..rule(pref(UPLINK_NO_TRANSIT), Action::Blackhole) });
        rules.push(marked(
            pref(CARRIER + offset),
            ids.uplink_mark(no),
            Action::Lookup(ids.uplink_table(no)),
        ));
        rules.push(marked(
            pref(POOL + offset),
            ids.pool_mark(no),
            Action::Lookup(ids.pool_table(no)),
        ));
    }
    rules.push(marked(pref(CARRIER_GONE), ids.uplink_mark_bit(), shared));

    let rest = match config.unassigned {
        Unassigned::Multipath => shared,
        // Merely leaving the rule out would let them use whatever default main has.
        Unassigned::Unreachable => Action::Unreachable,
    };
    for (not, dev) in lan_selectors(&config.lan) {
        let iif = Some(dev);
        rules.push(Rule { not, iif: iif.clone(), ..main_but_defaults(pref(LAN_LOCAL)) });
        rules.push(Rule { not, iif, ..rule(pref(LAN_REST), rest) });
    }
    if multipath {
        rules.push(main_but_defaults(MULTIPATH_LOCAL));
        rules.push(rule(MULTIPATH_REST, shared));
    }
    rules.sort();
    rules
}

/// What makes rules match packets from the LAN: `not`, and `iif`. Where every device but the uplinks
/// is LAN, that is whatever did not start here: what came in by an uplink was dealt with before.
fn lan_selectors(lan: &Lan) -> Vec<(bool, DevName)> {
    match lan {
        Lan::Devices(devices) => devices.iter().map(|dev| (false, dev.clone())).collect(),
        Lan::AllButUplinks => vec![(true, DevName::from_kernel("lo"))],
    }
}

fn rule(pref: u32, action: Action) -> Rule {
    Rule {
        pref,
        not: false,
        fwmark: None,
        iif: None,
        from: None,
        action,
        suppress_prefixlength_0: false,
        odd: None,
    }
}

fn main_but_defaults(pref: u32) -> Rule {
    Rule { suppress_prefixlength_0: true, ..rule(pref, Action::Lookup(MAIN_TABLE)) }
}

fn marked(pref: u32, mark: Mark, action: Action) -> Rule {
    Rule { fwmark: Some(mark), ..rule(pref, action) }
}

/// Whether a rule decides on packets that bear no mark of ours and did not come in by an uplink.
pub fn catches_unmarked(rule: &Rule) -> bool {
    rule.fwmark.is_none() && !rule.suppress_prefixlength_0 && rule.action != Action::Blackhole
}

pub fn diff(found: &Slice, wanted: &Slice, protocol: u8) -> Diff {
    let mut diff = Diff::default();
    let kept = diff_nexthops(found, wanted, protocol, &mut diff);
    diff_routes(&kept, &wanted.routes, protocol, &mut diff);
    diff_rules(&found.rules, &wanted.rules, protocol, &mut diff);
    // Taking away runs the other way round: rules, routes, nexthops.
    diff.tear_down.reverse();
    diff
}

/// The nexthop steps. Returns the routes that are left once they are done: the kernel takes those
/// of a deleted nexthop along.
fn diff_nexthops(found: &Slice, wanted: &Slice, protocol: u8, diff: &mut Diff) -> Vec<Route> {
    let is_group = |nexthop: &Nexthop| matches!(nexthop, Nexthop::Group(_));
    let mut doomed = BTreeSet::new();
    for (&id, nexthop) in &found.nexthops {
        match wanted.nexthops.get(&id) {
            None => {
                doomed.insert(id);
            }
            // The kernel changes no device into a group, nor the other way round.
            Some(wish) if is_group(wish) != is_group(nexthop) || *nexthop == Nexthop::Other => {
                doomed.insert(id);
                diff.build.push(Step::NexthopDelete { id });
            }
            Some(_) => {}
        }
    }
    // Devices first: a group can only be made of what is there. By id the group comes first.
    let (groups, devices): (Vec<_>, Vec<_>) =
        wanted.nexthops.iter().partition(|(_, nexthop)| is_group(nexthop));
    for (&id, nexthop) in devices.into_iter().chain(groups) {
        let now = found.nexthops.get(&id).filter(|_| !doomed.contains(&id));
        let now = now.map(|nexthop| without(nexthop, &doomed));
        if now.as_ref() != Some(nexthop) {
            diff.build.push(Step::NexthopSet { id, nexthop: nexthop.clone(), protocol });
        }
    }
    for &id in doomed.iter().filter(|id| !wanted.nexthops.contains_key(id)) {
        if !dies_with_its_members(&found.nexthops[&id], &doomed) {
            diff.tear_down.push(Step::NexthopDelete { id });
        }
    }
    let survives = |route: &&Route| !matches!(route.way, RouteTarget::Nexthop(id) if doomed.contains(&id));
    found.routes.iter().filter(survives).cloned().collect()
}

/// A group as it is when some of its members have been deleted.
fn without(nexthop: &Nexthop, doomed: &BTreeSet<u32>) -> Nexthop {
    match nexthop {
        Nexthop::Group(members) => {
            Nexthop::Group(members.iter().filter(|(id, _)| !doomed.contains(id)).copied().collect())
        }
        other => other.clone(),
    }
}

fn dies_with_its_members(nexthop: &Nexthop, doomed: &BTreeSet<u32>) -> bool {
    matches!(nexthop, Nexthop::Group(members) if members.iter().all(|(id, _)| doomed.contains(id)))
}

fn diff_routes(found: &[Route], wanted: &[Route], protocol: u8, diff: &mut Diff) {
    let key = |route: &Route| (route.table, route.dst, route.tos, route.metric);
    let mut spare: Vec<&Route> = found.iter().collect();
    let mut missing = Vec::new();
    for route in wanted {
        match spare.iter().position(|candidate| *candidate == route) {
            Some(at) => drop(spare.swap_remove(at)),
            None => missing.push(route),
        }
    }
    for route in missing.into_iter().cloned() {
        // What stands of ours at the same key is changed in place: no moment without a route.
        let there = spare.iter().position(|candidate| key(candidate) == key(&route));
        match there.map(|at| spare.swap_remove(at)) {
            // Of a route by a nexthop the kernel would keep an MTU and the like.
            Some(other) if other.way == RouteTarget::Other && matches!(route.way, RouteTarget::Nexthop(_)) => {
                diff.build.push(Step::RouteDelete { route: other.clone(), protocol });
                diff.build.push(Step::RouteAdd { route, protocol });
            }
            Some(_) => diff.build.push(Step::RouteReplace { route, protocol }),
            None => diff.build.push(Step::RouteAdd { route, protocol }),
        }
    }
    spare.sort();
    let delete = |route: &&Route| Step::RouteDelete { route: (*route).clone(), protocol };
    diff.tear_down.extend(spare.iter().map(delete));
}

fn diff_rules(found: &[Rule], wanted: &[Rule], protocol: u8, diff: &mut Diff) {
    let mut spare: Vec<&Rule> = found.iter().collect();
    for rule in wanted {
        match spare.iter().position(|candidate| *candidate == rule) {
            Some(at) => drop(spare.swap_remove(at)),
            None => diff.build.push(Step::RuleAdd { rule: rule.clone(), protocol }),
        }
    }
    spare.sort();
    let delete = |rule: &&Rule| Step::RuleDelete { rule: (*rule).clone(), protocol };
    diff.tear_down.extend(spare.iter().map(delete));
}
