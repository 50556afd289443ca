//! Routes of other programs: those in the main table, and those in tables that wanpool or a rule uses.

use anyhow::Result;
use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::{destination, dump, filter, gateway_of, gateway_through, metric};
use crate::error::Error;
use crate::model::link::Link;
use crate::model::routing::{ForeignRoute, MAIN_TABLE, MainRoute};
use crate::model::{DevName, Family};
use crate::system::netlink::{DeviceIndex, NetlinkSocket};

/// The routes of other programs in the main table by a device, in order of metric.
pub fn in_main(
    socket: &NetlinkSocket,
    family: Family,
    link: &Link,
    our_protocol: u8,
) -> Result<Vec<MainRoute>> {
    let mut filter = filter(family);
    filter.attributes = vec![RouteAttribute::Table(MAIN_TABLE), RouteAttribute::Oif(link.index)];
    Ok(main_routes(&dump(socket, &filter)?, link, our_protocol))
}

pub(super) fn main_routes(found: &[RouteMessage], link: &Link, our_protocol: u8) -> Vec<MainRoute> {
    let mut routes = Vec::new();
    for message in found {
        if is_foreign_unicast(message, our_protocol) {
            let via = gateway_through(message, link.index);
            routes.push((metric(message), MainRoute { dst: destination(message), via }));
        }
    }
    routes.sort_by_key(|(metric, _)| *metric);
    routes.into_iter().map(|(_, route)| route).collect()
}

/// All unicast routes of other programs in the main table.
pub fn foreign_in_main(
    socket: &NetlinkSocket,
    family: Family,
    devices: &DeviceIndex,
    our_protocol: u8,
) -> Result<Vec<ForeignRoute>> {
    let mut filter = filter(family);
    filter.attributes = vec![RouteAttribute::Table(MAIN_TABLE)];
    let mut routes = Vec::new();
    for message in dump(socket, &filter)? {
        if is_foreign_unicast(&message, our_protocol) {
            routes.push(ForeignRoute {
                dst: destination(&message),
                devs: devices_of(&message, devices),
                via: gateway_of(&message.attributes),
                metric: metric(&message),
                protocol: message.header.protocol.into(),
            });
        }
    }
    Ok(routes)
}

fn devices_of(message: &RouteMessage, devices: &DeviceIndex) -> Vec<DevName> {
    let mut found = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.extend(devices.name(*index)),
            RouteAttribute::MultiPath(hops) => {
                found.extend(hops.iter().filter_map(|hop| devices.name(hop.interface_index)));
            }
            _ => {}
        }
    }
    found
}

/// The metrics of the default routes that other programs have in a table.
pub fn foreign_defaults(
    socket: &NetlinkSocket,
    family: Family,
    table: u32,
    our_protocol: u8,
) -> Result<Vec<u32>> {
    let mut routes = in_table(socket, family, table)?;
    routes.retain(|message| is_foreign_default(message, our_protocol));
    Ok(routes.iter().map(metric).collect())
}

/// The destinations of the routes in a table.
pub fn destinations(socket: &NetlinkSocket, family: Family, table: u32) -> Result<Vec<IpNet>> {
    Ok(in_table(socket, family, table)?.iter().map(destination).collect())
}

/// The routes in a table.
fn in_table(socket: &NetlinkSocket, family: Family, table: u32) -> Result<Vec<RouteMessage>> {
    let mut filter = filter(family);
    filter.attributes = vec![RouteAttribute::Table(table)];
    match dump(socket, &filter) {
        // The kernel refuses to filter by a table that does not exist.
        Err(error) if error.is::<Error>() => Ok(vec![]),
        routes => routes,
    }
}

fn is_foreign_unicast(message: &RouteMessage, our_protocol: u8) -> bool {
    message.header.kind == RouteType::Unicast
        && message.header.tos == 0
        && u8::from(message.header.protocol) != our_protocol
}

fn is_foreign_default(message: &RouteMessage, our_protocol: u8) -> bool {
    message.header.destination_prefix_length == 0
        && u8::from(message.header.protocol) != our_protocol
}
