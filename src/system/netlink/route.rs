//! Routes with our protocol number, in whatever table; and the gateways that others' default
//! routes tell.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use ipnet::Ipv4Net;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::DeviceIndex;
use super::NetlinkSocket;
use crate::error::Error;
use crate::model::link::Link;
use crate::model::routing::{MAIN_TABLE, Route, RouteTarget};

pub fn list(route: &NetlinkSocket, protocol: u8, devices: &DeviceIndex) -> Result<Vec<Route>> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = AddressFamily::Inet;
    filter.header.protocol = RouteProtocol::from(protocol);
    let found = dump(route, filter)?;
    Ok(found.iter().map(|message| parse(message, devices)).collect())
}

/// The gateway of the best default route through a device in the main table, if there is one.
pub fn gateway(route: &NetlinkSocket, link: &Link, our_protocol: u8) -> Result<Option<Ipv4Addr>> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = AddressFamily::Inet;
    filter.attributes = vec![RouteAttribute::Table(MAIN_TABLE), RouteAttribute::Oif(link.index)];
    let mut found: Vec<_> = dump(route, filter)?
        .into_iter()
        .filter(|message| message.header.destination_prefix_length == 0)
        .filter(|message| u8::from(message.header.protocol) != our_protocol)
        .filter_map(|message| Some((metric(&message), gateway_through(&message, link.index)?)))
        .collect();
    found.sort_unstable();
    Ok(found.first().map(|&(_, gateway)| gateway))
}

fn dump(route: &NetlinkSocket, filter: RouteMessage) -> Result<Vec<RouteMessage>> {
    let answers = route.dump(RouteNetlinkMessage::GetRoute(filter).into())?;
    let mut routes = Vec::new();
    for answer in answers {
        // A route with attributes newer than we know is somebody else's.
        if let Ok(RouteNetlinkMessage::NewRoute(message)) = answer.decode() {
            routes.push(message);
        }
    }
    Ok(routes)
}

pub(super) fn parse(message: &RouteMessage, devices: &DeviceIndex) -> Route {
    let mut table = u32::from(message.header.table);
    let (mut dst, mut dev, mut nexthop) = (Ipv4Addr::UNSPECIFIED, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => dst = *address,
            RouteAttribute::Oif(index) => dev = devices.name(*index),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            _ => {}
        }
    }
    let length = message.header.destination_prefix_length;
    let target = match (message.header.kind, nexthop, dev) {
        (RouteType::Unreachable, ..) => RouteTarget::Unreachable,
        (RouteType::Unicast, Some(id), _) => RouteTarget::Nexthop(id),
        (RouteType::Unicast, None, Some(dev)) => {
            RouteTarget::Device { dev, via: gateway_of(&message.attributes) }
        }
        _ => RouteTarget::Other,
    };
    let target = if is_plain(message, &target) { target } else { RouteTarget::Other };
    let dst = Ipv4Net::new(dst, length.min(32)).unwrap_or_default();
    Route { table, dst, tos: message.header.tos, metric: metric(message), target }
}

/// Whether a route has nothing that ours never have: a source address, an MTU, a realm, a gateway
/// that is not onlink.
fn is_plain(message: &RouteMessage, target: &RouteTarget) -> bool {
    let has_more = message.attributes.iter().any(|attribute| {
        use RouteAttribute::{Encap, EncapType, Metrics, PrefSource, Realm, Via};
        matches!(
            attribute,
            PrefSource(_) | Metrics(_) | Realm(_) | Via(_) | EncapType(_) | Encap(_)
        )
    });
    let onlink = message.header.flags.contains(RouteFlags::Onlink);
    !has_more && (onlink || !matches!(target, RouteTarget::Device { via: Some(_), .. }))
}

fn metric(message: &RouteMessage) -> u32 {
    let metric = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    };
    message.attributes.iter().find_map(metric).unwrap_or_default()
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<Ipv4Addr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(*gateway),
        _ => None,
    })
}

/// The gateway that a route, of one way or of several, uses on a device.
pub(super) fn gateway_through(message: &RouteMessage, index: u32) -> Option<Ipv4Addr> {
    let of_hops = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::MultiPath(hops) => {
            let hop = hops.iter().find(|hop| hop.interface_index == index)?;
            gateway_of(&hop.attributes)
        }
        _ => None,
    };
    gateway_of(&message.attributes).or_else(|| message.attributes.iter().find_map(of_hops))
}

/// The metrics of others' default routes in a table. Their routes to somewhere do no harm there.
pub fn foreign_defaults(route: &NetlinkSocket, table: u32, our_protocol: u8) -> Result<Vec<u32>> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = AddressFamily::Inet;
    filter.attributes = vec![RouteAttribute::Table(table)];
    let routes = match dump(route, filter) {
        // Filtered by a table that does not exist.
        Err(error) if error.is::<Error>() => return Ok(vec![]),
        routes => routes?,
    };
    let theirs = |found: &&RouteMessage| {
        found.header.destination_prefix_length == 0
            && u8::from(found.header.protocol) != our_protocol
    };
    Ok(routes.iter().filter(theirs).map(metric).collect())
}

/// Makes a route. One of somebody else at the same table, destination and metric is an error.
pub fn add(
    route: &NetlinkSocket,
    wanted: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = RouteNetlinkMessage::NewRoute(build(wanted, protocol, devices)?);
    route.request(message.into(), NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(())
}

/// Changes the route at the same table, destination and metric in place.
pub fn replace(
    route: &NetlinkSocket,
    wanted: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = RouteNetlinkMessage::NewRoute(build(wanted, protocol, devices)?);
    route.request(message.into(), NLM_F_CREATE | NLM_F_REPLACE)?;
    Ok(())
}

pub fn delete(
    route: &NetlinkSocket,
    found: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = build(found, protocol, devices)?;
    route.request(RouteNetlinkMessage::DelRoute(message).into(), 0)?;
    Ok(())
}

fn build(route: &Route, protocol: u8, devices: &DeviceIndex) -> Result<RouteMessage> {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .table_id(route.table)
        .protocol(RouteProtocol::from(protocol))
        .destination_prefix(route.dst.addr(), route.dst.prefix_len());
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    builder = match &route.target {
        RouteTarget::Nexthop(id) => builder.nhid(*id),
        RouteTarget::Device { dev, via: None } => {
            builder.output_interface(devices.index(dev)?).scope(RouteScope::Link)
        }
        RouteTarget::Device { dev, via: Some(via) } => {
            builder.output_interface(devices.index(dev)?).gateway(*via).onlink()
        }
        RouteTarget::Unreachable => builder.kind(RouteType::Unreachable),
        // Deleting takes any kind: RT_SCOPE_NOWHERE, RTN_UNSPEC.
        RouteTarget::Other => builder.scope(RouteScope::NoWhere).kind(RouteType::Unspec),
    };
    let mut message = builder.build();
    message.header.tos = route.tos;
    // A default route has no destination attribute.
    if route.dst.prefix_len() == 0 {
        message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Destination(_)));
    }
    Ok(message)
}

/// An address of the wider Internet that nobody has: the IPv4 dummy address of RFC 7600.
const INTERNET: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// The route, whosever it is, that the kernel uses for a client's packet to [`INTERNET`]: what
/// `ip route get fibmatch` shows. The error is the kernel's where it would not forward the packet.
pub fn lookup(
    route: &NetlinkSocket,
    client: Ipv4Addr,
    mark: u32,
    from: Option<&Link>,
    devices: &DeviceIndex,
) -> Result<Option<Route>> {
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(INTERNET.into(), 32)?
        .source_prefix(client.into(), 32)?
        .mark(mark)
        .build();
    message.header.protocol = RouteProtocol::Unspec;
    message.header.kind = RouteType::Unspec;
    message.header.table = 0;
    message.header.flags = RouteFlags::FibMatch | RouteFlags::LookupTable;
    message.attributes.extend(from.map(|link| RouteAttribute::Iif(link.index)));
    let answers = route.request(RouteNetlinkMessage::GetRoute(message).into(), 0)?;
    for answer in answers {
        if let RouteNetlinkMessage::NewRoute(message) = answer.decode()? {
            return Ok(Some(parse(&message, devices)));
        }
    }
    Ok(None)
}
