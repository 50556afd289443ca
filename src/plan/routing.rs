//! The nexthops, routes and rules that should exist. [`rules`] has the rules.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::priorities::*;
use super::uplinks::{Condition, FailoverCause, GatewayStatus, UplinkStatus};
use crate::config::Config;
use crate::model::routing::{MainRoute, Nexthop, Route, RouteTarget, Routing};
use crate::model::{DevName, Family};

mod rules;

pub use rules::{bound_address, catches_unmarked, flow_rule};

/// 100::/64, which no host is in (RFC 6666).
const DISCARD_PREFIX: u128 = 0x100 << 112;

pub fn wanted(config: &Config, status: &GatewayStatus) -> Routing {
    Routing {
        nexthops: nexthops(config, status),
        routes: routes(config, status),
        rules: rules::wanted(config, status),
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
