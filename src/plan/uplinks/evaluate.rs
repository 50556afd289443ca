//! Evaluates one uplink from the snapshot: whether it is usable, which gateway it has, and whether it
//! was failed over.
//!
//! A failover is remembered by the kernel alone, in the uplink's own table (300+N): one by hand by
//! [`failover_mark`], one by a probe by a second default route with [`probe_failover_metric`]. An
//! uplink that was dialled again starts afresh: the mark is for the device that it had, and the route
//! disappears together with the device. A nexthop that is merely missing (the carrier was lost for a
//! moment, or somebody deleted it) does not look like a failover.

use std::net::IpAddr;

use ipnet::IpNet;

use super::gateway::{gateway, needs_no_gateway};
use super::{Condition, Device, DownReason, FailoverCause, Intent, UplinkStatus};
use crate::config::{Config, Uplink};
use crate::model::routing::{MainRoute, Nexthop, Route, RouteTarget};
use crate::model::snapshot::Snapshot;
use crate::model::{Family, UplinkNo};
use crate::plan::priorities::{OVERRIDE_METRIC, manual_failover_metric, probe_failover_metric};
use crate::plan::routing::{bound_address, failover_index, failover_mark};

pub fn evaluate(
    config: &Config,
    found: &Snapshot,
    no: UplinkNo,
    uplink: &Uplink,
    intent: Intent,
) -> UplinkStatus {
    let previous = Previous::of(config, found, no, uplink);
    let via = gateway(config, found, uplink, no, &previous, intent);
    let condition = match (previous.failover, down_reason(found, uplink, via)) {
        (Some(cause), _) if !previous.is_undone_by(intent, no, via) => Condition::FailedOver(cause),
        (_, Some(reason)) => Condition::Down(reason),
        (_, None) => Condition::Up,
    };
    let override_uplink = match condition {
        Condition::Up => None,
        _ => override_uplink(config, found, no),
    };
    let device = found.devices.link(&uplink.dev);
    let device = device.map(|link| Device { index: link.index, up: link.up });
    let former_device = match device {
        Some(_) => None,
        None => former_device(found, config.kernel_ids.uplink_table(no)),
    };
    UplinkStatus {
        condition,
        device,
        former_device,
        via,
        addresses: addresses(config, found, uplink),
        routes: routes_beside_default(found, uplink, via),
        override_uplink,
        is_refused: false,
        role: uplink.role,
    }
}

/// The addresses that sockets of the gateway may be bound to. A loss of the line needs no run: the
/// addresses that it had stay until it has others, or until another uplink has them.
fn addresses(config: &Config, found: &Snapshot, uplink: &Uplink) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        found.devices.addresses_of(&uplink.dev).map(|address| address.local).collect();
    if addresses.is_empty() {
        for rule in &found.routing.rules {
            addresses.extend(bound_address(config, uplink.no, rule));
        }
        addresses.retain(|former| found.devices.addresses.iter().all(|it| it.local != *former));
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

/// What the table of an uplink needs beside a default route by this gateway. A VPN may have split the
/// Internet into two halves; these are no neighbours.
fn routes_beside_default(found: &Snapshot, uplink: &Uplink, via: Option<IpAddr>) -> Vec<MainRoute> {
    let mut routes: Vec<MainRoute> = Vec::new();
    if via.is_none() {
        return routes;
    }
    for route in found.main_routes.get(&uplink.dev).into_iter().flatten() {
        let is_known = routes.iter().any(|known| known.dst == route.dst);
        let is_elsewhere = route.dst.prefix_len() > 1 && !is_link_local(route.dst);
        if is_elsewhere && route.via != via && !is_known {
            routes.push(*route);
        }
    }
    routes
}

/// Link-local addresses are the same on every device, and no flow is routed to one.
fn is_link_local(dst: IpNet) -> bool {
    matches!(dst, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// What the objects that earlier runs made say about an uplink. Objects for another device are
/// ignored: the number may have belonged to another line.
pub(super) struct Previous {
    failover: Option<FailoverCause>,
    /// The gateway in use, if route and nexthop agree. If they do not, somebody altered one of them.
    pub agreed_gateway: Option<IpAddr>,
    pub last_gateway: Option<IpAddr>,
}

impl Previous {
    fn of(config: &Config, found: &Snapshot, no: UplinkNo, uplink: &Uplink) -> Self {
        let table = config.kernel_ids.uplink_table(no);
        let mut routes = Vec::new();
        for route in &found.routing.routes {
            let is_default = route.table == table && route.dst.prefix_len() == 0;
            if is_default && route.dev() == Some(&uplink.dev) {
                routes.push(route);
            }
        }
        let nexthop = nexthop_of(config, found, uplink);
        let of_nexthop = nexthop.flatten();
        let of_route = routes.first().and_then(|route| gateway_of(route));
        let agree = nexthop.is_none() || of_nexthop == of_route;
        Self {
            // A failover that was cut short before it deleted the nexthop did not happen.
            failover: if nexthop.is_some() {
                None
            } else if is_marked(config, found, uplink, table) {
                Some(FailoverCause::Manual)
            } else {
                failover(config.family, &routes)
            },
            agreed_gateway: if agree { of_route } else { None },
            last_gateway: of_nexthop.or(of_route),
        }
    }

    /// Whether the intent undoes the failover. `via` is the gateway that the intent leads to.
    fn is_undone_by(&self, intent: Intent, no: UplinkNo, via: Option<IpAddr>) -> bool {
        let by_probe = self.failover == Some(FailoverCause::Probe);
        match intent {
            Intent::RestoreAll { by_hook } => !by_hook,
            Intent::Restore { uplink, .. } => uplink == no,
            Intent::Probed { back, .. } => by_probe && back.contains(no),
            // A line that was dialled again has no mark. Where the mark still exists, the hook reports
            // a renewed lease, or a device that never went away. That does not undo what a person
            // did. It does not refute a probe either, which found the uplink unhealthy while the
            // device was up and puts it back by itself; but no probe has used a new gateway yet.
            Intent::Returned { uplink, .. } => uplink == no && by_probe && via != self.last_gateway,
            Intent::Keep | Intent::FailOver { .. } | Intent::Lost { .. } | Intent::Multipath(_) => {
                false
            }
        }
    }
}

/// The gateway of an uplink's nexthop, if the uplink has one by its own device.
pub fn nexthop_of(config: &Config, found: &Snapshot, uplink: &Uplink) -> Option<Option<IpAddr>> {
    match found.routing.nexthops.get(&config.kernel_ids.nexthop(uplink.no)) {
        Some(Nexthop::Device { dev, via, .. }) if *dev == uplink.dev => Some(*via),
        _ => None,
    }
}

/// Whether the device that the uplink has now was failed over by hand.
fn is_marked(config: &Config, found: &Snapshot, uplink: &Uplink, table: u32) -> bool {
    let Some(link) = found.devices.link(&uplink.dev) else { return false };
    found.routing.routes.contains(&failover_mark(config.family, table, link.index))
}

/// The index of a device that was failed over by hand, for an uplink that has no device now.
fn former_device(found: &Snapshot, table: u32) -> Option<u32> {
    for route in &found.routing.routes {
        let index = failover_index(route.dst);
        if *route == failover_mark(Family::of_net(route.dst), table, index) {
            return Some(index);
        }
    }
    None
}

/// What default routes say. Version 0.1.0 marked a failover by hand by such a route, too.
fn failover(family: Family, routes: &[&Route]) -> Option<FailoverCause> {
    let has_metric = |metric| routes.iter().any(|route| route.metric == metric);
    if has_metric(manual_failover_metric(family)) {
        Some(FailoverCause::Manual)
    } else if has_metric(probe_failover_metric(family)) {
        Some(FailoverCause::Probe)
    } else {
        None
    }
}

fn gateway_of(route: &Route) -> Option<IpAddr> {
    match route.target {
        RouteTarget::Device { via, .. } | RouteTarget::Uplink { via, .. } => via,
        _ => None,
    }
}

/// Why an uplink is not usable. It is usable if its device is up and has an address and a way to the
/// next hop.
pub fn down_reason(found: &Snapshot, uplink: &Uplink, via: Option<IpAddr>) -> Option<DownReason> {
    let Some(link) = found.devices.link(&uplink.dev) else {
        let is_other_name = found.devices.named_otherwise(&uplink.dev).is_some();
        return Some(if is_other_name { DownReason::OtherName } else { DownReason::NoDevice });
    };
    let has_address = found.devices.addresses_of(&uplink.dev).next().is_some();
    let has_next_hop = via.is_some() || needs_no_gateway(found, uplink);
    if !uplink.is_used {
        Some(DownReason::NotUsed)
    } else if !link.up {
        Some(DownReason::NotUp)
    } else if !link.carrier {
        Some(DownReason::NoCarrier)
    } else if !has_address {
        Some(DownReason::NoAddress)
    } else if !has_next_hop {
        Some(DownReason::NoGateway)
    } else {
        None
    }
}

/// The uplink to which `failover --to` sent a pool, if it still does.
pub fn override_uplink(config: &Config, found: &Snapshot, no: UplinkNo) -> Option<UplinkNo> {
    let table = config.kernel_ids.pool_table(no);
    let mut routes = found.routing.routes.iter();
    let route = routes.find(|route| route.table == table && route.metric == OVERRIDE_METRIC)?;
    let RouteTarget::Nexthop(id) = route.target else { return None };
    let mut numbers = config.uplinks.keys().copied();
    if let Some(to) = numbers.find(|to| config.kernel_ids.nexthop(*to) == id) {
        return Some(to);
    }
    // `nexthop-base` may have been edited.
    match found.routing.nexthops.get(&id) {
        Some(Nexthop::Device { dev, .. }) => config.uplink_of(dev.as_str()),
        _ => None,
    }
}
