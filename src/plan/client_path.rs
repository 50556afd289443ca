//! The path of a client's new connections: the rule that decides on them, the route it leads to,
//! and the nexthop. [`wanted`] says which they should be, [`difference`] where the ones found are
//! not those. Pure.
//!
//! Two paths that end in the same device may still differ: with its rule deleted, a client goes by
//! the group of all uplinks, in which the kernel may well pick the client's own.

use ipnet::Ipv4Net;

use super::routing;
use super::service::Services;
use crate::config::Config;
use crate::model::{Client, DevName, Mark};
use crate::model::STATE::{Action, Nexthop, Route, Rule, Slice, RouteTarget};
use crate::model::change::{NexthopText, RouteText, RuleText};

/// A new packet of a client to the wider Internet, as the rules see it.
pub struct Packet<'a> {
    pub client: Client,
    pub mark: u32,
    pub iif: Option<&'a DevName>,
}

/// What decides on a packet. A part is `None` where nothing decides, or where what does is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    pub rule: Option<Rule>,
    pub route: Option<Route>,
    pub nexthop: Option<Nexthop>,
}

impl Path {
    /// Whether a rule or a route of ours says that the packet is to go nowhere.
    pub fn is_unreachable(&self) -> bool {
        match (&self.rule, &self.route) {
            (_, Some(route)) => route.way == RouteTarget::Unreachable,
            (Some(rule), None) => rule.action == Action::Unreachable,
            (None, None) => false,
        }
    }
}

/// The path as the configuration and the uplinks in service ask for it.
pub fn wanted(config: &Config, services: &Services, packet: &Packet) -> Path {
    by_slice(&routing::slice(config, services), packet)
}

/// The path by our own rules and routes alone.
pub fn by_slice(slice: &Slice, packet: &Packet) -> Path {
    let matching = slice.rules.iter().filter(|rule| matches(rule, packet));
    let rule = matching.min_by_key(|rule| rule.pref).cloned();
    let route = rule.as_ref().and_then(|rule| best_default(&slice.routes, rule)).cloned();
    let nexthop = nexthop_of(slice, route.as_ref());
    Path { rule, route, nexthop }
}

/// The path by the route that the kernel says it uses. Which rule led there the kernel does not
/// say; it is the first of `rules`, everybody's, that looks up the route's table.
pub fn by_route(slice: &Slice, rules: &[Rule], packet: &Packet, route: Route) -> Path {
    let leads_there = |rule: &&Rule| rule.action == Action::Lookup(route.table);
    let matching = rules.iter().filter(|rule| matches(rule, packet)).filter(leads_there);
    let rule = matching.min_by_key(|rule| rule.pref).cloned();
    let nexthop = nexthop_of(slice, Some(&route));
    Path { rule, route: Some(route), nexthop }
}

/// What is found in place of what is wanted, in one sentence.
pub fn difference(found: &Path, wanted: &Path) -> Option<String> {
    let rule = |path: &Path| path.rule.as_ref().map(|rule| RuleText(rule).to_string());
    let route = |path: &Path| path.route.as_ref().map(|route| RouteText(route).to_string());
    let nexthop = |path: &Path| path.nexthop.as_ref().map(|it| NexthopText(it).to_string());
    in_place_of("rule", rule(found), rule(wanted))
        .or_else(|| in_place_of("route", route(found), route(wanted)))
        .or_else(|| in_place_of("nexthop", nexthop(found), nexthop(wanted)))
}

fn in_place_of(what: &str, found: Option<String>, wanted: Option<String>) -> Option<String> {
    if found == wanted {
        return None;
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    Some(format!("{what} {} in place of {}", or_none(found), or_none(wanted)))
}

/// Whether a rule decides on a packet to the wider Internet, for which the routes of a table other
/// than its defaults do not count.
fn matches(rule: &Rule, packet: &Packet) -> bool {
    let mark = rule.fwmark.is_none_or(|Mark { value, mask }| packet.mark & mask == value);
    let iif = rule.iif.as_ref().is_none_or(|iif| Some(iif) == packet.iif);
    let from = rule.from.is_none_or(|net: Ipv4Net| net.contains(&packet.client.address()));
    !rule.suppress_prefixlength_0 && rule.odd.is_none() && (mark && iif && from) != rule.not
}

/// The route that a rule's table has for the wider Internet.
fn best_default<'a>(routes: &'a [Route], rule: &Rule) -> Option<&'a Route> {
    let Action::Lookup(table) = rule.action else { return None };
    let here = routes.iter().filter(|route| route.table == table && route.dst.prefix_len() == 0);
    here.min_by_key(|route| route.metric)
}

fn nexthop_of(slice: &Slice, route: Option<&Route>) -> Option<Nexthop> {
    match route?.way {
        RouteTarget::Nexthop(id) => slice.nexthops.get(&id).cloned(),
        _ => None,
    }
}

/// The devices by which a path leaves: of a group all its members, since which of them the kernel
/// picks for a packet says nothing of the next one.
pub fn devices(slice: &Slice, path: &Path) -> Vec<DevName> {
    match (&path.nexthop, &path.route) {
        (Some(Nexthop::Device { dev, .. }), _) => vec![dev.clone()],
        (Some(Nexthop::Group(members)), _) => {
            let member = |(id, _): &(u32, u16)| match slice.nexthops.get(id) {
                Some(Nexthop::Device { dev, .. }) => Some(dev.clone()),
                _ => None,
            };
            members.iter().filter_map(member).collect()
        }
        (_, Some(Route { way: RouteTarget::Device { dev, .. }, .. })) => vec![dev.clone()],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests;
