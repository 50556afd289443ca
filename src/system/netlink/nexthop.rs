//! Nexthop objects and groups of them: `RTM_NEWNEXTHOP` and its relatives, which `rtnetlink` lacks.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use nix::libc::EOPNOTSUPP;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::message::{Message, MessageBuilder, address_bytes, find, ip_address, native_u32};
use super::{DeviceIndex, NetlinkSocket, address_family};
use crate::error::errno;
use crate::model::Family;
use crate::model::routing::Nexthop;

// linux/rtnetlink.h, linux/nexthop.h
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
/// The length of `struct nhmsg`: address family, scope, protocol, a reserved byte, flags.
const NHMSG: usize = 8;
/// The length of `struct nexthop_grp`: id, the low byte of weight − 1, its high byte, two reserved
/// bytes.
const MEMBER: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const RTNH_F_ONLINK: u32 = 4;
/// The type of a group that chooses a member by the hash of the packet. The other type is
/// resilient.
const NEXTHOP_GRP_TYPE_MPATH: [u8; 2] = 0u16.to_ne_bytes();

/// A nexthop of any protocol, as found in the kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub id: u32,
    pub protocol: u8,
    /// A group has none.
    pub family: Option<Family>,
    pub nexthop: Nexthop,
}

pub fn list(socket: &NetlinkSocket, devices: &DeviceIndex) -> Result<Vec<Found>> {
    let request = MessageBuilder::new(&[0; NHMSG]).into_message(RTM_GETNEXTHOP);
    let answers = match socket.dump(request) {
        Err(error) if errno(&error) == Some(EOPNOTSUPP) => {
            return Err(error).context("the kernel has no nexthop objects: they need Linux 5.3");
        }
        answers => answers?,
    };
    answers.iter().map(|message| parse(message, devices)).collect()
}

pub(super) fn parse(message: &Message, devices: &DeviceIndex) -> Result<Found> {
    let [family, _, protocol, _, f0, f1, f2, f3] = message.fixed::<NHMSG>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let attributes = message.attributes(NHMSG)?;
    let nexthop = match find(&attributes, NHA_GROUP) {
        Some(members) => parse_group(members, &attributes),
        None => parse_device(family, flags, &attributes, devices),
    };
    let id = find(&attributes, NHA_ID).and_then(native_u32).unwrap_or_default();
    let family = family_of_header(family);
    Ok(Found { id, protocol, family, nexthop: nexthop.unwrap_or(Nexthop::Other) })
}

fn family_of_header(number: u8) -> Option<Family> {
    [Family::Inet, Family::Inet6].into_iter().find(|&family| address_family(family) == number)
}

/// The nexthops of a family: the kernel has one range of ids for both. A group has the family of its
/// members, and counts as IPv4 if these are unknown.
pub fn of_family(all: Vec<Found>, family: Family) -> Vec<Found> {
    let known: BTreeMap<u32, Family> =
        all.iter().filter_map(|found| Some((found.id, found.family?))).collect();
    let family_of = |found: &Found| match &found.nexthop {
        Nexthop::Group(members) => members.iter().find_map(|(id, _)| known.get(id).copied()),
        _ => found.family,
    };
    let is_of_family = |found: &Found| family_of(found).unwrap_or(Family::Inet) == family;
    all.into_iter().filter(|found| is_of_family(found)).collect()
}

/// `None` for a kind that wanpool never makes: a blackhole, a tunnel, a gateway that is not onlink
/// or has no address.
fn parse_device(
    family: u8,
    flags: u32,
    attributes: &[(u16, &[u8])],
    devices: &DeviceIndex,
) -> Option<Nexthop> {
    if find(attributes, NHA_ENCAP_TYPE).is_some() {
        return None;
    }
    let family =
        [Family::Inet, Family::Inet6].into_iter().find(|it| address_family(*it) == family)?;
    let dev = devices.name(native_u32(find(attributes, NHA_OIF)?)?)?;
    let Some(gateway) = find(attributes, NHA_GATEWAY) else {
        return Some(Nexthop::Device { family, dev, via: None });
    };
    if flags & RTNH_F_ONLINK == 0 {
        return None;
    }
    Some(Nexthop::Device { family, dev, via: Some(ip_address(gateway)?) })
}

/// `None` for a group of a type that wanpool never makes. The kernel cannot change the type of a
/// group.
fn parse_group(members: &[u8], attributes: &[(u16, &[u8])]) -> Option<Nexthop> {
    if find(attributes, NHA_GROUP_TYPE).is_some_and(|kind| kind != NEXTHOP_GRP_TYPE_MPATH) {
        return None;
    }
    let mut members: Vec<_> = members.chunks_exact(MEMBER).filter_map(parse_member).collect();
    members.sort_unstable();
    Some(Nexthop::Group(members))
}

/// The id and the weight of a member.
fn parse_member(member: &[u8]) -> Option<(u32, u16)> {
    let &[i0, i1, i2, i3, low, high, _, _] = member else { return None };
    let weight = u16::from_le_bytes([low, high]).saturating_add(1);
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), weight))
}

/// Creates a nexthop, or changes the one with this id in place.
pub fn set(
    socket: &NetlinkSocket,
    id: u32,
    nexthop: &Nexthop,
    protocol: u8,
    devices: &DeviceIndex,
) -> Result<()> {
    socket.change(build_set(id, nexthop, protocol, devices)?, NLM_F_CREATE | NLM_F_REPLACE)
}

fn build_set(id: u32, nexthop: &Nexthop, protocol: u8, devices: &DeviceIndex) -> Result<Message> {
    let message = match nexthop {
        Nexthop::Device { family, dev, via } => {
            let flags = if via.is_some() { RTNH_F_ONLINK } else { 0 };
            let device = devices.index(dev)?.to_ne_bytes();
            let message = begin(address_family(*family), protocol, flags, id).put(NHA_OIF, &device);
            match via {
                None => message,
                Some(via) => message.put(NHA_GATEWAY, &address_bytes(*via)),
            }
        }
        Nexthop::Group(members) => {
            let mut bytes = Vec::with_capacity(members.len() * MEMBER);
            for (id, weight) in members {
                bytes.extend(id.to_ne_bytes());
                bytes.extend(weight.saturating_sub(1).to_le_bytes());
                bytes.extend([0, 0]);
            }
            // The kernel demands no address family (AF_UNSPEC) for a group.
            begin(0, protocol, 0, id).put(NHA_GROUP, &bytes)
        }
        Nexthop::Other => bail!("wanpool cannot create a nexthop of this kind"),
    };
    Ok(message.into_message(RTM_NEWNEXTHOP))
}

pub fn delete(socket: &NetlinkSocket, id: u32) -> Result<()> {
    socket.change(build_delete(id), 0)
}

fn build_delete(id: u32) -> Message {
    begin(0, 0, 0, id).into_message(RTM_DELNEXTHOP)
}

fn begin(family: u8, protocol: u8, flags: u32, id: u32) -> MessageBuilder {
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    MessageBuilder::new(&[family, 0, protocol, 0, f0, f1, f2, f3]).put(NHA_ID, &id.to_ne_bytes())
}

#[cfg(test)]
mod tests;
