//! Routes of the main table that bind the traffic of all clients, or of the gateway itself, to one
//! uplink.

use std::cmp::Reverse;

use super::Finding;
use crate::config::Config;
use crate::model::link::Devices;
use crate::model::routing::ForeignRoute;
use crate::model::snapshot::Surroundings;
use crate::model::{DevName, UplinkNo};
use crate::plan::uplinks::GatewayStatus;

/// `RTPROT_KERNEL`, `RTPROT_DHCP`.
const KERNEL: u8 = 2;
const DHCP: u8 = 16;

pub fn find(
    config: &Config,
    devices: &Devices,
    status: &GatewayStatus,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let routes = &surroundings.main_routes;
    let mut findings = bound_destinations(config, devices, status, routes);
    findings.extend(no_way_out(config, devices, status, surroundings));
    findings
}

/// Destinations that main leads by one uplink, by the way that its default route takes too. The routes
/// to other networks behind another gateway have a reason.
fn bound_destinations(
    config: &Config,
    devices: &Devices,
    status: &GatewayStatus,
    routes: &[ForeignRoute],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.uplinks.len() == 1 {
        return findings;
    }
    for (no, uplink) in &config.uplinks {
        let dev = &uplink.dev;
        let Some(link) = devices.link(dev) else { continue };
        let via = status.uplinks.get(no).and_then(|status| status.via);
        let is_bound = |route: &&ForeignRoute| {
            let takes_default_way = match route.via {
                Some(gateway) => link.point_to_point || via == Some(gateway),
                None => link.point_to_point,
            };
            let is_peer =
                devices.addresses_of(dev).any(|address| address.reaches(route.dst.addr()));
            route.dst.prefix_len() > 1
                && route.protocol != KERNEL
                && route.devs == [dev.clone()]
                && takes_default_way
                && !is_peer
        };
        let bound: Vec<&ForeignRoute> = routes.iter().filter(is_bound).collect();
        let Some(first) = bound.first() else { continue };
        let mut dst = first.dst.to_string();
        dst.truncate(dst.strip_suffix("/32").map_or(dst.len(), str::len));
        let more = match bound.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mut remedy = format!("ip route del {dst} dev {dev}");
        if first.protocol == DHCP {
            remedy += "; with systemd-networkd, set RoutesToDNS=no and RoutesToNTP=no in [DHCPv4]";
        }
        findings.push(Finding::new(
            format!("the main table leads {dst}{more} by {dev}: no failover applies to it"),
            remedy,
        ));
    }
    findings
}

/// The gateway itself has no way out, or only one by an uplink that is out.
fn no_way_out(
    config: &Config,
    devices: &Devices,
    status: &GatewayStatus,
    surroundings: &Surroundings,
) -> Option<Finding> {
    const REMEDY: &str = "wanpool multipath on, and enable = true in [multipath]";
    if status.multipath || status.up().next().is_none() {
        return None;
    }
    // The kernel passes over the routes by an uplink without carrier.
    let has_carrier = |dev: &DevName| devices.link(dev).is_some_and(|link| link.carrier);
    let mut defaults: Vec<&ForeignRoute> = Vec::new();
    for route in &surroundings.main_routes {
        if route.dst.prefix_len() <= 1 && route.devs.iter().any(has_carrier) {
            defaults.push(route);
        }
    }
    let specific = |route: &&&ForeignRoute| (Reverse(route.dst.prefix_len()), route.metric);
    let Some(best) = defaults.iter().min_by_key(specific) else {
        let at = surroundings.resolver?;
        return Some(Finding::new(
            format!(
                "a resolver listens at {at} and the gateway has no way out: unless its servers are \
                 bound to uplinks (wanpool pools --dns), no name is resolved"
            ),
            REMEDY,
        ));
    };
    let uplinks: Vec<Option<UplinkNo>> =
        best.devs.iter().map(|dev| config.uplink_of(dev.as_str())).collect();
    let is_out = |no: &Option<UplinkNo>| no.is_some_and(|no| !status.is_up(no));
    let no = uplinks.first().copied().flatten()?;
    if !uplinks.iter().all(is_out) {
        return None;
    }
    let (dev, state) = (&config.uplinks.get(&no)?.dev, status.state(no)?.word());
    Some(Finding::new(
        format!("the gateway's own traffic leaves by {dev}, which is {state}"),
        REMEDY,
    ))
}
