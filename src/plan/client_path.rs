//! The path of a client's new connections: the rule that decides on them, the route that it leads to,
//! and the nexthop.
//!
//! Two paths that end in the same device can differ: if the rule of its pool was deleted, a client
//! uses the group of all uplinks, in which the kernel may pick the client's own.

use std::fmt::Display;

use super::routing;
use super::uplinks::GatewayStatus;
use crate::config::Config;
use crate::model::filter::{Chain, Filter, FilterRule, Match, Verdict};
use crate::model::pools::Pools;
use crate::model::routing::{Nexthop, Route, RouteTarget, Routing, Rule, RuleAction};
use crate::model::uplink::State;
use crate::model::{Client, DevName, Mark};

/// A new packet of a client to the Internet, as the rules see it.
pub struct Packet<'a> {
    pub client: Client,
    pub mark: u32,
    pub iif: Option<&'a DevName>,
}

/// What decides on a packet. A part is `None` where nothing decides, or where what decides is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPath {
    pub rule: Option<Rule>,
    pub route: Option<Route>,
    pub nexthop: Option<Nexthop>,
}

impl ClientPath {
    /// Whether a rule or a route of wanpool says that the packet is unreachable.
    pub fn is_unreachable(&self) -> bool {
        match (&self.rule, &self.route) {
            (_, Some(route)) => route.target == RouteTarget::Unreachable,
            (Some(rule), None) => rule.action == RuleAction::Unreachable,
            (None, None) => false,
        }
    }
}

/// The path as configuration and status want it.
pub fn wanted(config: &Config, status: &GatewayStatus, packet: &Packet) -> ClientPath {
    by_routing(&routing::wanted(config, status), packet)
}

/// The path by wanpool's own rules and routes.
pub fn by_routing(routing: &Routing, packet: &Packet) -> ClientPath {
    let matching = routing.rules.iter().filter(|rule| matches(rule, packet));
    let rule = matching.min_by_key(|rule| rule.pref).cloned();
    let route = rule.as_ref().and_then(|rule| best_default(&routing.routes, rule)).cloned();
    let nexthop = route.as_ref().and_then(|route| nexthop_of(routing, route));
    ClientPath { rule, route, nexthop }
}

/// The path by the route that the kernel says it uses. The kernel does not say which rule led there;
/// it is the first of all `rules`, of whatever program, that looks up the table of the route.
pub fn by_route(routing: &Routing, rules: &[Rule], packet: &Packet, route: Route) -> ClientPath {
    let lookup = RuleAction::Lookup(route.table);
    let matching = rules.iter().filter(|rule| rule.action == lookup && matches(rule, packet));
    let rule = matching.min_by_key(|rule| rule.pref).cloned();
    let nexthop = nexthop_of(routing, &route);
    ClientPath { rule, route: Some(route), nexthop }
}

/// Whether a rule decides on a packet to the Internet. For such a packet, a table of which the default
/// routes are ignored has no route.
fn matches(rule: &Rule, packet: &Packet) -> bool {
    if rule.ignores_defaults() || rule.unsupported_selectors.is_some() {
        return false;
    }
    let mark = rule.fwmark.is_none_or(|fwmark| fwmark.matches(packet.mark));
    let iif = rule.iif.as_ref().is_none_or(|iif| Some(iif) == packet.iif);
    let from = rule.from.is_none_or(|net| net.contains(&packet.client.address()));
    // No socket of the gateway sent the packet, and so no device is asked for.
    let oif = rule.oif.is_none();
    (mark && iif && oif && from) != rule.not
}

/// The default route that is used in the table that a rule looks up.
fn best_default<'a>(routes: &'a [Route], rule: &Rule) -> Option<&'a Route> {
    let RuleAction::Lookup(table) = rule.action else { return None };
    let defaults = routes.iter().filter(|it| it.table == table && it.dst.prefix_len() == 0);
    defaults.min_by_key(|route| route.metric)
}

fn nexthop_of(routing: &Routing, route: &Route) -> Option<Nexthop> {
    match route.target {
        RouteTarget::Nexthop(id) => routing.nexthops.get(&id).cloned(),
        _ => None,
    }
}

/// The devices by which a path leaves. Those of a group are all its members: which of them the kernel
/// picks for one packet says nothing about the next one.
pub fn devices(routing: &Routing, path: &ClientPath) -> Vec<DevName> {
    let mut devices = Vec::new();
    match (&path.nexthop, &path.route) {
        (Some(Nexthop::Device { dev, .. }), _) => devices.push(dev.clone()),
        (Some(Nexthop::Group(members)), _) => {
            for (id, _) in members {
                if let Some(Nexthop::Device { dev, .. }) = routing.nexthops.get(id) {
                    devices.push(dev.clone());
                }
            }
        }
        (_, Some(route)) => devices.extend(route.dev().cloned()),
        (_, None) => {}
    }
    devices
}

/// Whether packets that leave by this device are masqueraded. Without the rights to read the packet
/// filter, the configuration stands for it.
pub fn is_masqueraded(config: &Config, filter: Option<&Filter>, dev: &DevName) -> bool {
    let Some(filter) = filter else {
        return config.uplinks.values().any(|uplink| uplink.dev == *dev && uplink.nat);
    };
    let rules = filter.chains.get(&Chain::MASQUERADE).into_iter().flatten();
    let output = Match::OutputDevice(dev.clone());
    rules.into_iter().any(|rule| match rule {
        FilterRule::Known { matches, verdict: Verdict::Masquerade } => matches.contains(&output),
        _ => false,
    })
}

/// What a client's path is judged by.
pub struct Comparison<'a> {
    pub client: Client,
    pub pools: &'a Pools,
    pub status: &'a GatewayStatus,
    pub config: &'a Config,
    pub found: &'a ClientPath,
    pub wanted: &'a ClientPath,
    /// The entry of the client set, if the set could be read.
    pub entry: Option<Option<Mark>>,
    /// Why the kernel does not forward the packet.
    pub refusal: Option<String>,
}

impl Comparison<'_> {
    /// What is not as it should be, in one sentence, with the next step.
    pub fn difference(&self) -> Option<String> {
        let pool = self.pools.pool_of(self.client);
        let filed = pool.map(|no| self.config.kernel_ids.pool_mark(no));
        if let Some(entry) = self.entry {
            if entry != filed {
                let (entry, filed) = (or_nothing(entry), or_nothing(filed));
                return Some(format!(
                    "the set says {entry}, the pool file {filed}: wanpool restore"
                ));
            }
        }
        if let Some(refusal) = &self.refusal {
            return Some(format!("the kernel does not forward: {refusal}"));
        }
        if let Some(difference) = difference(self.found, self.wanted) {
            return Some(format!("{difference}: see wanpool pools --check"));
        }
        // The path is as it should be, but it is not that of the client's own uplink.
        let no = pool?;
        match self.status.state(no)? {
            State::Up => None,
            state => {
                let dev = &self.config.uplinks.get(&no)?.dev;
                Some(format!("its uplink {dev} is {}", state.word()))
            }
        }
    }
}

/// What was found in place of what is wanted.
fn difference(found: &ClientPath, wanted: &ClientPath) -> Option<String> {
    in_place_of("rule", found.rule.as_ref(), wanted.rule.as_ref())
        .or_else(|| in_place_of("route", found.route.as_ref(), wanted.route.as_ref()))
        .or_else(|| in_place_of("nexthop", found.nexthop.as_ref(), wanted.nexthop.as_ref()))
}

fn in_place_of<T: Display>(what: &str, found: Option<T>, wanted: Option<T>) -> Option<String> {
    let (found, wanted) = (or_none(found), or_none(wanted));
    if found == wanted { None } else { Some(format!("{what} {found} in place of {wanted}")) }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn or_nothing(mark: Option<Mark>) -> String {
    mark.map_or_else(|| "nothing".to_owned(), |mark| mark.to_string())
}

#[cfg(test)]
mod tests;
