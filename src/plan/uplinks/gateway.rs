//! Decides which gateway an uplink has.

use std::net::IpAddr;

use super::evaluate::Previous;
use super::{Condition, GatewayStatus, Intent};
use crate::config::{Config, Uplink};
use crate::model::link::{LastGateway, LastGateways};
use crate::model::snapshot::Snapshot;
use crate::model::{Family, UplinkNo};

/// The gateway of an uplink: the one that a person gives with the command; else the configured one,
/// which an edit changes in every run; else the one that a hook gives; else what the main table says
/// now, because DHCP clients change it without an event that reaches a hook. What is remembered counts
/// where the main table says nothing, or still says what it said before the gateway was told: dhclient
/// does not change the route when a renewal brings another router.
pub fn gateway(
    config: &Config,
    found: &Snapshot,
    uplink: &Uplink,
    no: UplinkNo,
    previous: &Previous,
    intent: Intent,
) -> Option<IpAddr> {
    let is_renewed = intent.renews_gateway(no);
    let given = intent.gateway(no);
    let given_by_person = if matches!(intent, Intent::Restore { .. }) { given } else { None };
    // If the main table has several, the one in use stays until the gateway is determined anew.
    let kept = if is_renewed { None } else { previous.agreed_gateway };
    given_by_person
        .or(uplink.via)
        .or(given)
        .or_else(|| told_gateway(found, uplink, no, intent))
        .or(kept.filter(|kept| found.main_gateways(&uplink.dev).any(|it| it == *kept)))
        .or_else(|| found.main_gateways(&uplink.dev).next())
        .or_else(|| match config.family {
            Family::Inet => remembered_gateway(found, uplink, previous, is_renewed),
            // A router that is lost takes its route with it.
            Family::Inet6 => None,
        })
}

/// The gateway that was told after the one that the main table has. A person who restores the uplink asks
/// for that of the main table.
fn told_gateway(found: &Snapshot, uplink: &Uplink, no: UplinkNo, intent: Intent) -> Option<IpAddr> {
    if matches!(intent, Intent::Restore { uplink, .. } if uplink == no) {
        return None;
    }
    let index = found.devices.link(&uplink.dev)?.index;
    let last = found.last_gateways.get(&uplink.dev).filter(|last| last.index == index)?;
    let is_unchanged = found.main_gateways(&uplink.dev).next() == Some(last.instead_of?);
    is_unchanged.then_some(last.via)
}

/// The gateway in use, or else the last one that was written down.
fn remembered_gateway(
    found: &Snapshot,
    uplink: &Uplink,
    previous: &Previous,
    is_renewed: bool,
) -> Option<IpAddr> {
    // A gateway that was mistyped for a point-to-point device is forgotten.
    if is_renewed && needs_no_gateway(found, uplink) {
        return None;
    }
    let index = found.devices.link(&uplink.dev).map(|link| link.index);
    let written = found.last_gateways.get(&uplink.dev).filter(|last| Some(last.index) == index);
    let of_kernel = previous.agreed_gateway.or(previous.last_gateway);
    let via = of_kernel.or(written.map(|last| last.via))?;
    let Some(last) = written else { return Some(via) };
    // The device may have moved to another network, in which this gateway is not. Some providers have
    // a gateway outside the network of the address.
    let mut addresses = found.devices.addresses_of(&uplink.dev).peekable();
    let has_no_address = addresses.peek().is_none();
    let is_there = addresses.any(|address| {
        address.reaches(via) || (last.via == via && last.addresses.contains(&address.local))
    });
    if has_no_address || is_there { Some(via) } else { None }
}

/// What is to be remembered of gateways: those in use that are not in the configuration. That of an
/// uplink which is down stays.
pub fn last_gateways(config: &Config, found: &Snapshot, status: &GatewayStatus) -> LastGateways {
    let mut all = LastGateways::new();
    for (no, uplink) in &config.uplinks {
        let Some(status) = status.uplinks.get(no).filter(|_| uplink.via.is_none()) else {
            continue;
        };
        if matches!(status.condition, Condition::Down(_)) {
            if let Some(last) = found.last_gateways.get(&uplink.dev) {
                all.insert(uplink.dev.clone(), last.clone());
            }
        } else if let (Some(via), Some(device)) = (status.via, status.device) {
            let addresses = status.addresses.clone();
            let is_in_main = found.main_gateways(&uplink.dev).any(|it| it == via);
            let first = found.main_gateways(&uplink.dev).next();
            let instead_of = first.filter(|_| !is_in_main);
            let last = LastGateway { index: device.index, via, addresses, instead_of };
            all.insert(uplink.dev.clone(), last);
        }
    }
    all
}

/// Whether the device leads to one host only.
pub fn needs_no_gateway(found: &Snapshot, uplink: &Uplink) -> bool {
    let link = found.devices.link(&uplink.dev);
    link.is_some_and(|link| link.point_to_point) || found.devices.peer_of(&uplink.dev).is_some()
}
