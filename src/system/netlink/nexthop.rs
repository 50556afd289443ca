//! Nexthop objects and their group: `RTM_NEWNEXTHOP` and its kin, which `rtnetlink` lacks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Result;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::DeviceIndex;
use super::NetlinkSocket;
use super::message::{AF_INET, Message, MessageBuilder, native_u32};
use crate::model::routing::Nexthop;

// linux/rtnetlink.h, linux/nexthop.h
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
/// `struct nhmsg`: scope, protocol, a reserved byte, flags.
const NHMSG: usize = 8;
/// `struct nexthop_grp`: id, weight − 1 in one byte and its high byte in the next, two reserved.
const MEMBER: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const RTNH_F_ONLINK: u32 = 4;
/// A group that hashes each packet, as against a resilient one.
const NEXTHOP_GRP_TYPE_MPATH: [u8; 2] = 0u16.to_ne_bytes();

/// A nexthop as found, of whatever protocol.
pub struct Found {
    pub id: u32,
    pub protocol: u8,
    pub nexthop: Nexthop,
}

pub fn list(route: &NetlinkSocket, devices: &DeviceIndex) -> Result<Vec<Found>> {
    let answers = route.dump(MessageBuilder::new(&[0; NHMSG]).into_message(RTM_GETNEXTHOP))?;
    answers.iter().map(|message| parse(message, devices)).collect()
}

pub(super) fn parse(message: &Message, devices: &DeviceIndex) -> Result<Found> {
    let [_, _, protocol, _, f0, f1, f2, f3] = message.fixed::<NHMSG>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let attributes: BTreeMap<u16, &[u8]> = message.attributes(NHMSG)?.into_iter().collect();
    let number = |kind| attributes.get(&kind).and_then(|value| native_u32(value));
    let nexthop = match attributes.get(&NHA_GROUP) {
        Some(members) => parse_group(members, &attributes),
        None => parse_device(number(NHA_OIF), flags, &attributes, devices),
    };
    let nexthop = nexthop.unwrap_or(Nexthop::Other);
    Ok(Found { id: number(NHA_ID).unwrap_or_default(), protocol, nexthop })
}

/// `None` for a kind that we never make: a blackhole, a gateway that is not onlink or is no IPv4
/// address, a tunnel.
fn parse_device(
    index: Option<u32>,
    flags: u32,
    attributes: &BTreeMap<u16, &[u8]>,
    devices: &DeviceIndex,
) -> Option<Nexthop> {
    let dev = devices.name(index?)?;
    let via = match attributes.get(&NHA_GATEWAY) {
        None => None,
        Some(_) if flags & RTNH_F_ONLINK == 0 => return None,
        Some(value) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(*value).ok()?)),
    };
    let is_tunnel = attributes.contains_key(&NHA_ENCAP_TYPE);
    (!is_tunnel).then_some(Nexthop::Device { dev, via })
}

/// `None` for a group of a type that we never make, which the kernel changes into no other.
fn parse_group(members: &[u8], attributes: &BTreeMap<u16, &[u8]>) -> Option<Nexthop> {
    let of_type = attributes.get(&NHA_GROUP_TYPE);
    if of_type.is_some_and(|value| *value != NEXTHOP_GRP_TYPE_MPATH) {
        return None;
    }
    let mut members: Vec<_> = members.chunks_exact(MEMBER).filter_map(parse_member).collect();
    members.sort_unstable();
    Some(Nexthop::Group(members))
}

/// A member's id and weight.
fn parse_member(member: &[u8]) -> Option<(u32, u16)> {
    let &[i0, i1, i2, i3, low, high, _, _] = member else { return None };
    let weight = u16::from_le_bytes([low, high]).saturating_add(1);
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), weight))
}

/// Makes a nexthop, or changes the one with this id in place.
pub fn set(
    route: &NetlinkSocket,
    id: u32,
    nexthop: &Nexthop,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    let message = match nexthop {
        Nexthop::Device { dev, via } => {
            let flags = if via.is_some() { RTNH_F_ONLINK } else { 0 };
            let message = begin(AF_INET, protocol, flags, id)
                .put(NHA_OIF, &devices.index(dev)?.to_ne_bytes());
            match via {
                Some(via) => message.put(NHA_GATEWAY, &via.octets()),
                None => message,
            }
        }
        Nexthop::Group(members) => {
            let entry = |&(id, weight): &(u32, u16)| {
                let [i0, i1, i2, i3] = id.to_ne_bytes();
                let [low, high] = weight.saturating_sub(1).to_le_bytes();
                [i0, i1, i2, i3, low, high, 0, 0]
            };
            let members: Vec<u8> = members.iter().flat_map(entry).collect();
            begin(0, protocol, 0, id).put(NHA_GROUP, &members)
        }
        Nexthop::Other => anyhow::bail!("a nexthop of a kind that we never make"),
    };
    route.request(message.into_message(RTM_NEWNEXTHOP), NLM_F_CREATE | NLM_F_REPLACE)?;
    Ok(())
}

pub fn delete(route: &NetlinkSocket, id: u32) -> Result<()> {
    route.request(begin(0, 0, 0, id).into_message(RTM_DELNEXTHOP), 0)?;
    Ok(())
}

fn begin(family: u8, protocol: u8, flags: u32, id: u32) -> MessageBuilder {
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    MessageBuilder::new(&[family, 0, protocol, 0, f0, f1, f2, f3]).put(NHA_ID, &id.to_ne_bytes())
}
