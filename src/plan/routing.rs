//! The nexthops, routes and rules that should exist.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::priorities::*;
use super::uplinks::{Condition, FailoverCause, GatewayStatus, UplinkStatus};
use crate::config::{Config, Lan, Unassigned};
use crate::model::routing::{
    MAIN_TABLE, MainRoute, Nexthop, Route, RouteTarget, Routing, Rule, RuleAction,
};
use crate::model::{DevName, Family, UplinkNo};

/// Packets that sockets of the gateway send have this input device.
const LOOPBACK: &str = "lo";

/// 100::/64, which no host is in (RFC 6666).
const DISCARD_PREFIX: u128 = 0x100 << 112;

pub fn wanted(config: &Config, status: &GatewayStatus) -> Routing {
    Routing {
        nexthops: nexthops(config, status),
        routes: routes(config, status),
        rules: rules(config, status),
    }
}

/// A nexthop for each uplink in service, the group of the active ones, and that of the backups.
fn nexthops(config: &Config, status: &GatewayStatus) -> BTreeMap<u32, Nexthop> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let mut nexthops = BTreeMap::new();
    for (&no, uplink) in &config.uplinks {
        match status.uplinks.get(&no) {
            Some(status) if status.is_up() => {
                let dev = uplink.dev.clone();
                let nexthop = Nexthop::Device { family, dev, via: status.via };
                nexthops.insert(ids.nexthop(no), nexthop);
            }
            _ => {}
        }
    }
    for (id, members) in [(ids.group(), status.active()), (ids.backup_group(), status.backups())] {
        if members.is_empty() {
            continue;
        }
        let mut group = Vec::new();
        for uplink in config.uplinks.values() {
            if members.contains(&uplink.no) {
                group.push((ids.nexthop(uplink.no), uplink.weight.into()));
            }
        }
        nexthops.insert(id, Nexthop::Group(group));
    }
    nexthops
}

fn routes(config: &Config, status: &GatewayStatus) -> Vec<Route> {
    let (family, ids) = (config.family, &config.kernel_ids);
    // The way for traffic whose own uplink is out of service. It needs no running process: the
    // kernel takes the next route when a nexthop disappears.
    let mut fallback = Vec::new();
    if !status.active().is_empty() {
        fallback.push((FALLBACK_METRIC, RouteTarget::Nexthop(ids.group())));
    }
    if !status.backups().is_empty() {
        fallback.push((BACKUP_METRIC, RouteTarget::Nexthop(ids.backup_group())));
    }
    fallback.push((UNREACHABLE_METRIC, RouteTarget::Unreachable));

    let mut routes = Vec::new();
    for (&no, uplink) in &config.uplinks {
        let Some(uplink_status) = status.uplinks.get(&no) else { continue };
        routes.extend(uplink_table(family, ids.uplink_table(no), &uplink.dev, uplink_status));
        routes.extend(neighbour_routes(ids.uplink_table(no), &uplink.dev, uplink_status));
        let table = ids.pool_table(no);
        if uplink_status.is_up() {
            let own = RouteTarget::Nexthop(ids.nexthop(no));
            routes.push(default_route(family, table, OWN_METRIC, own));
        }
        if let Some(to) = uplink_status.override_uplink {
            let target = RouteTarget::Nexthop(ids.nexthop(to));
            routes.push(default_route(family, table, OVERRIDE_METRIC, target));
        }
        for (metric, target) in &fallback {
            if uplink_status.is_refused && *metric != UNREACHABLE_METRIC {
                continue;
            }
            routes.push(default_route(family, table, *metric, target.clone()));
        }
    }
    for (metric, target) in fallback {
        // In the shared table the group is not the fallback but the first choice.
        let metric = if metric == FALLBACK_METRIC { shared_metric(family) } else { metric };
        routes.push(default_route(family, ids.shared_table(), metric, target));
    }
    routes
}

/// The default route of one uplink, in service or failed over, for its flows and probes. This table
/// has no unreachable default: without a device the rules go on to the shared table.
fn uplink_table(family: Family, table: u32, dev: &DevName, status: &UplinkStatus) -> Vec<Route> {
    let (dev, via) = (dev.clone(), status.via);
    let target = match family {
        Family::Inet => RouteTarget::Uplink { dev: dev.clone(), via },
        // A route of IPv6 has no realm.
        Family::Inet6 => RouteTarget::Device { dev: dev.clone(), via },
    };
    let route = default_route(family, table, uplink_metric(family), target);
    match status.condition {
        // The mark of a device that is gone stays until another device is there: a loss needs no run.
        Condition::Down(_) => status
            .former_device
            .into_iter()
            .map(|index| failover_mark(family, table, index))
            .collect(),
        Condition::Up => vec![route],
        Condition::FailedOver(FailoverCause::Manual) => {
            let mut routes = Vec::new();
            if let Some(device) = status.device {
                routes.push(failover_mark(family, table, device.index));
                // The kernel refuses a route by a device that is not up.
                if device.up {
                    routes.push(route);
                }
            }
            routes
        }
        Condition::FailedOver(FailoverCause::Probe) => {
            let target = RouteTarget::Device { dev, via };
            vec![route, default_route(family, table, probe_failover_metric(family), target)]
        }
    }
}

/// What the main table has by the device of an uplink beside the default route: its neighbours, and
/// networks behind other gateways. The flows of the uplink ask the main table no more.
fn neighbour_routes(table: u32, dev: &DevName, status: &UplinkStatus) -> Vec<Route> {
    let can_have_routes = match status.condition {
        Condition::Up => true,
        Condition::FailedOver(_) => status.device.is_some_and(|device| device.up),
        Condition::Down(_) => false,
    };
    let mut routes = Vec::new();
    if can_have_routes {
        for &MainRoute { dst, via } in &status.routes {
            let target = RouteTarget::Device { dev: dev.clone(), via };
            let metric = uplink_metric(Family::of_net(dst));
            routes.push(Route { table, dst, tos: 0, metric, target });
        }
    }
    routes
}

/// The route that marks a failover by hand. It matches no packet: no host has such an address. It has
/// no device, and so it stays while the device is not up or has no address. It holds the index of the
/// device, because a line that was dialled again has a new device and starts afresh.
pub fn failover_mark(family: Family, table: u32, index: u32) -> Route {
    let address = match family {
        // 0.0.0.0/8 has room for 24 bits.
        Family::Inet => IpAddr::V4(Ipv4Addr::from(index & 0x00ff_ffff)),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from(DISCARD_PREFIX | u128::from(index))),
    };
    Route {
        table,
        dst: IpNet::from(address),
        tos: 0,
        metric: manual_failover_metric(family),
        target: RouteTarget::Throw,
    }
}

/// The index of the device that a route to this destination marks as failed over.
pub fn failover_index(dst: IpNet) -> u32 {
    match dst.addr() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

fn default_route(family: Family, table: u32, metric: u32, target: RouteTarget) -> Route {
    Route { table, dst: family.whole_internet(), tos: 0, metric, target }
}

fn rules(config: &Config, status: &GatewayStatus) -> Vec<Rule> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let shared = RuleAction::Lookup(ids.shared_table());
    let pref = |offset: u32| ids.rule_pref + offset;
    let mut rules = vec![
        Rule {
            iif: Some(DevName::from_kernel(LOOPBACK)),
            fwmark: Some(ids.uplink_mark_bit()),
            ..Rule::new(family, pref(OWN_FLOW_FALLBACK), RuleAction::Lookup(MAIN_TABLE))
        },
        Rule {
            fwmark: Some(ids.uplink_mark_bit()),
            ..Rule::new(family, pref(FLOW_FALLBACK), shared)
        },
        Rule {
            not: true,
            fwmark: Some(ids.unmarked()),
            ..Rule::main_without_default(family, pref(POOL_LOCAL))
        },
    ];
    for (&no, uplink) in &config.uplinks {
        rules.extend(uplink_rules(config, no, &uplink.dev));
        if let Some(uplink) = status.uplinks.get(&no) {
            rules.extend(bound_address_rules(config, no, uplink));
        }
    }
    let unassigned = match config.unassigned {
        Unassigned::Multipath => shared,
        // Without this rule the clients would use whatever default route the main table has.
        Unassigned::Unreachable => RuleAction::Unreachable,
    };
    for (not, dev) in lan_selectors(&config.lan) {
        let iif = Some(dev);
        let local = Rule::main_without_default(family, pref(UNASSIGNED_LOCAL));
        rules.push(Rule { not, iif: iif.clone(), ..local });
        rules.push(Rule { not, iif, ..Rule::new(family, pref(UNASSIGNED), unassigned) });
    }
    if status.multipath {
        rules.push(Rule::main_without_default(family, MULTIPATH_LOCAL));
        rules.push(Rule::new(family, MULTIPATH, shared));
    }
    rules.sort();
    // Two uplinks may have the same address, as two modems give it.
    rules.dedup();
    rules
}

/// The rule by which flows and probes use the table of their uplink.
pub fn flow_rule(config: &Config, no: UplinkNo) -> Rule {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = ids.rule_pref + FLOW + u32::from(no.get());
    let lookup = RuleAction::Lookup(ids.uplink_table(no));
    Rule { fwmark: Some(ids.uplink_mark(no)), ..Rule::new(family, pref, lookup) }
}

fn uplink_rules(config: &Config, no: UplinkNo, dev: &DevName) -> [Rule; 5] {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = |offset: u32| ids.rule_pref + offset;
    let (iif, number) = (Some(dev.clone()), u32::from(no.get()));
    let pool = Rule::new(family, pref(POOL + number), RuleAction::Lookup(ids.pool_table(no)));
    let uplink_table = RuleAction::Lookup(ids.uplink_table(no));
    [
        Rule {
            iif: iif.clone(),
            // Not to a VPN that takes everything, by 0.0.0.0/1 and 128.0.0.0/1 either.
            suppress_prefixlength: Some(1),
            ..Rule::new(family, pref(UPLINK_LOCAL), RuleAction::Lookup(MAIN_TABLE))
        },
        Rule { iif, ..Rule::new(family, pref(UPLINK_NO_TRANSIT), RuleAction::Blackhole) },
        flow_rule(config, no),
        Rule { fwmark: Some(ids.pool_mark(no)), ..pool },
        Rule { oif: Some(dev.clone()), ..Rule::new(family, pref(BOUND_DEVICE), uplink_table) },
    ]
}

/// The rules by which a socket of the gateway that is bound to an address of an uplink leaves by it.
///
/// What the gateway answers has that address, too. If the main table has a way, it is looked up first,
/// so that a packet which has found none is recognised by the realm of its route. The packet filter
/// then drops answers, restores the mark of the uplink in others, and gives the mark of bound sockets
/// to what begins a flow: by these marks, the way is looked up again.
fn bound_address_rules(config: &Config, no: UplinkNo, status: &UplinkStatus) -> Vec<Rule> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = |offset: u32| ids.rule_pref + offset;
    let mut rules = Vec::new();
    for &address in &status.addresses {
        let from = |rule: Rule| Rule {
            from: Some(address.into()),
            iif: Some(DevName::from_kernel(LOOPBACK)),
            ..rule
        };
        let marked = |rule: Rule| from(Rule { fwmark: Some(ids.bound_mark()), ..rule });
        let own =
            |offset| Rule::new(family, pref(offset), RuleAction::Lookup(ids.uplink_table(no)));
        let main = Rule::new(family, pref(BOUND_ADDRESS_MAIN), RuleAction::Lookup(MAIN_TABLE));
        rules.extend([
            marked(Rule::main_without_default(family, pref(BOUND_FLOW_LOCAL))),
            marked(own(BOUND_FLOW)),
            from(main),
            from(own(BOUND_ADDRESS)),
        ]);
    }
    rules
}

/// The address of a rule for sockets that are bound to an address of this uplink.
pub fn bound_address(config: &Config, no: UplinkNo, rule: &Rule) -> Option<IpAddr> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let is_ours = rule.pref == ids.rule_pref + BOUND_ADDRESS
        && rule.action == RuleAction::Lookup(ids.uplink_table(no));
    let from = rule.from.filter(|from| is_ours && from.prefix_len() == family.host_length())?;
    Some(from.addr())
}

/// What makes a rule match packets from the LAN: `not`, and `iif`. If every device but the uplinks is
/// LAN, that is whatever did not start on this machine: earlier rules have dealt with packets from
/// uplinks.
fn lan_selectors(lan: &Lan) -> Vec<(bool, DevName)> {
    match lan {
        Lan::Devices(devices) => devices.iter().map(|dev| (false, dev.clone())).collect(),
        Lan::AllButUplinks => vec![(true, DevName::from_kernel(LOOPBACK))],
    }
}

/// Whether a rule decides on packets that have no mark and did not come in by an uplink.
pub fn catches_unmarked(rule: &Rule) -> bool {
    let is_for_sockets = rule.oif.is_some() || rule.from.is_some();
    let is_for_all = rule.fwmark.is_none() && !is_for_sockets;
    is_for_all && !rule.ignores_defaults() && rule.action != RuleAction::Blackhole
}
