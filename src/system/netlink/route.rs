//! Routes: those with the protocol number of wanpool in any table, and the route that a packet would
//! take. [`foreign`] has those of other programs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteRealm, RouteScope,
    RouteType,
};

use super::message::{Message, decode_known};
use super::{DeviceIndex, NetlinkSocket, family_of};
use crate::model::Family;
use crate::model::link::Link;
use crate::model::routing::{Route, RouteTarget, UPLINK_REALM};

mod foreign;

pub use foreign::{destinations, foreign_defaults, foreign_in_main, in_main};

// linux/rtnetlink.h
pub(super) const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

/// The routes with this protocol number, in all tables.
pub fn list(
    socket: &NetlinkSocket,
    family: Family,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<Vec<Route>> {
    let mut filter = filter(family);
    filter.header.protocol = RouteProtocol::from(protocol);
    let found = dump(socket, &filter)?;
    Ok(found.iter().map(|message| parse(message, devices)).collect())
}

fn destination(message: &RouteMessage) -> IpNet {
    let family = family_of(message.header.address_family);
    let length = message.header.destination_prefix_length;
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(address) = attribute {
            let net = ip_address(address).and_then(|address| IpNet::new(address, length).ok());
            return net.unwrap_or(family.whole_internet());
        }
    }
    family.whole_internet()
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn filter(family: Family) -> RouteMessage {
    let mut filter = RouteMessage::default();
    filter.header.address_family = family.into();
    filter
}

fn dump(socket: &NetlinkSocket, filter: &RouteMessage) -> Result<Vec<RouteMessage>> {
    let answers = socket.dump(Message::encode(RTM_GETROUTE, filter))?;
    Ok(decode_known(&answers, RTM_NEWROUTE))
}

pub(super) fn parse(message: &RouteMessage, devices: &DeviceIndex) -> Route {
    let mut table = u32::from(message.header.table);
    let (mut dev, mut nexthop) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => dev = devices.name(*index),
            RouteAttribute::NhId(id) => nexthop = Some(*id),
            _ => {}
        }
    }
    let target = match (message.header.kind, nexthop, dev) {
        _ if has_foreign_attributes(message) => RouteTarget::Other,
        (RouteType::Unreachable, ..) => RouteTarget::Unreachable,
        (RouteType::Throw, ..) => RouteTarget::Throw,
        // The kernel shows the type of a blackhole nexthop as that of its routes.
        (RouteType::Unicast | RouteType::BlackHole, Some(id), _) => RouteTarget::Nexthop(id),
        (RouteType::Unicast, None, Some(dev)) => match gateway_of(&message.attributes) {
            Some(_) if !message.header.flags.contains(RouteFlags::Onlink) => RouteTarget::Other,
            via if has_uplink_realm(message) => RouteTarget::Uplink { dev, via },
            via => RouteTarget::Device { dev, via },
        },
        _ => RouteTarget::Other,
    };
    let dst = destination(message);
    Route { table, dst, tos: message.header.tos, metric: metric(message), target }
}

/// Whether a route has attributes that the routes of wanpool never have.
fn has_foreign_attributes(message: &RouteMessage) -> bool {
    use RouteAttribute::{Encap, EncapType, Metrics, PrefSource, Realm, Via};
    message.attributes.iter().any(|attribute| match attribute {
        PrefSource(_) | Metrics(_) | Via(_) | EncapType(_) | Encap(_) => true,
        Realm(realm) => *realm != uplink_realm(),
        _ => false,
    })
}

fn has_uplink_realm(message: &RouteMessage) -> bool {
    message.attributes.contains(&RouteAttribute::Realm(uplink_realm()))
}

fn uplink_realm() -> RouteRealm {
    RouteRealm { source: 0, destination: UPLINK_REALM }
}

fn metric(message: &RouteMessage) -> u32 {
    for attribute in &message.attributes {
        if let RouteAttribute::Priority(metric) = attribute {
            return *metric;
        }
    }
    0
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    for attribute in attributes {
        if let RouteAttribute::Gateway(gateway) = attribute {
            return ip_address(gateway);
        }
    }
    None
}

/// The gateway that a route, which may be a multipath route, uses on a device.
pub(super) fn gateway_through(message: &RouteMessage, index: u32) -> Option<IpAddr> {
    if let Some(gateway) = gateway_of(&message.attributes) {
        return Some(gateway);
    }
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            let hop = hops.iter().find(|hop| hop.interface_index == index)?;
            return gateway_of(&hop.attributes);
        }
    }
    None
}

/// Creates a route. Another program's route with the same table, destination and metric is an
/// error.
pub fn add(
    socket: &NetlinkSocket,
    wanted: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = build(wanted, protocol, devices)?;
    socket.change(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// Changes the route with the same table, destination and metric in place.
pub fn replace(
    socket: &NetlinkSocket,
    wanted: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = build(wanted, protocol, devices)?;
    socket.change(message, NLM_F_CREATE | NLM_F_REPLACE)
}

pub fn delete(
    socket: &NetlinkSocket,
    found: &Route,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    socket.change(build_delete(found, protocol, devices)?, 0)
}

/// RT_SCOPE_NOWHERE matches a route of any scope: somebody may have added it with another one.
fn build_delete(found: &Route, protocol: u8, devices: &DeviceIndex) -> Result<Message> {
    let mut message = build_message(found, protocol, devices)?;
    message.header.scope = RouteScope::NoWhere;
    Ok(Message::encode(RTM_DELROUTE, &message))
}

fn build(route: &Route, protocol: u8, devices: &DeviceIndex) -> Result<Message> {
    Ok(Message::encode(RTM_NEWROUTE, &build_message(route, protocol, devices)?))
}

fn build_message(route: &Route, protocol: u8, devices: &DeviceIndex) -> Result<RouteMessage> {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .table_id(route.table)
        .protocol(RouteProtocol::from(protocol))
        .destination_prefix(route.dst.addr(), route.dst.prefix_len())?;
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    builder = match &route.target {
        RouteTarget::Nexthop(id) => builder.nhid(*id),
        RouteTarget::Device { dev, via } | RouteTarget::Uplink { dev, via } => {
            builder = builder.output_interface(devices.index(dev)?);
            match via {
                None => builder.scope(RouteScope::Link),
                Some(via) => builder.gateway(*via)?.onlink(),
            }
        }
        RouteTarget::Unreachable => builder.kind(RouteType::Unreachable),
        RouteTarget::Throw => builder.kind(RouteType::Throw),
        // Such a route is only ever deleted. RT_SCOPE_NOWHERE and RTN_UNSPEC match every kind.
        RouteTarget::Other => builder.scope(RouteScope::NoWhere).kind(RouteType::Unspec),
    };
    let mut message = builder.build();
    message.header.tos = route.tos;
    if matches!(route.target, RouteTarget::Uplink { .. }) {
        message.attributes.push(RouteAttribute::Realm(uplink_realm()));
    }
    // A default route has no destination attribute.
    if route.dst.prefix_len() == 0 {
        message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Destination(_)));
    }
    Ok(message)
}

/// An address that stands for the Internet and that no host has: the IPv4 dummy address of RFC
/// 7600.
const INTERNET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));
/// The same in IPv6: an address of 2000::/16, which no registry hands out.
const INTERNET6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1));

/// The route, of any protocol, that the kernel uses for a packet of a client to [`INTERNET`], as
/// `ip route get fibmatch` shows it. Returns the error of the kernel if it would not forward the
/// packet.
pub fn lookup(
    socket: &NetlinkSocket,
    client: IpAddr,
    mark: u32,
    from: Option<&Link>,
    devices: &DeviceIndex,
) -> Result<Option<Route>> {
    for answer in socket.request(build_lookup(client, mark, from)?, 0)? {
        if answer.kind == RTM_NEWROUTE {
            return Ok(Some(parse(&answer.decode()?, devices)));
        }
    }
    Ok(None)
}

fn build_lookup(client: IpAddr, mark: u32, from: Option<&Link>) -> Result<Message> {
    let family = Family::of(client);
    let length = family.host_length();
    let internet = match family {
        Family::Inet => INTERNET,
        Family::Inet6 => INTERNET6,
    };
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(internet, length)?
        .source_prefix(client, length)?
        .mark(mark)
        .build();
    message.header.protocol = RouteProtocol::Unspec;
    message.header.kind = RouteType::Unspec;
    message.header.table = 0;
    message.header.flags = match family {
        Family::Inet => RouteFlags::FibMatch | RouteFlags::LookupTable,
        // IPv6 names the table by itself, and refuses the flag.
        Family::Inet6 => RouteFlags::FibMatch,
    };
    if let Some(link) = from {
        message.attributes.push(RouteAttribute::Iif(link.index));
    }
    Ok(Message::encode(RTM_GETROUTE, &message))
}

#[cfg(test)]
mod tests;
