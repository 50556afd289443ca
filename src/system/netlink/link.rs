//! The network devices, and the addresses of the gateway.
//!
//! Only what wanpool needs is decoded. A library would decode every attribute, and one attribute
//! that it cannot decode would hide the device.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use nix::libc::ENODEV;

use super::message::{
    Message, MessageBuilder, attributes, find, ip_address, native_u32, native_u64, text,
};
use super::{NetlinkSocket, address_family};
use crate::error::{Error, KernelError};
use crate::model::link::{Address, Link};
use crate::model::{DevName, Family};

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
/// The lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_STATS64: u16 = 23;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// Flags that have existed as long as the 8 bits of the header.
const IFA_F_DADFAILED: u8 = 0x08;
const IFA_F_TENTATIVE: u8 = 0x40;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;
const IFF_POINTOPOINT: u32 = 1 << 4;
const IFF_NOARP: u32 = 1 << 7;
const IFF_LOWER_UP: u32 = 1 << 16;

/// The names and indexes of the devices at one moment.
#[derive(Clone, Default, PartialEq)]
pub struct DeviceIndex(BTreeMap<u32, DevName>);

impl DeviceIndex {
    pub fn new(links: &[Link]) -> Self {
        Self(links.iter().map(|link| (link.index, link.name.clone())).collect())
    }

    pub fn name(&self, index: u32) -> Option<DevName> {
        self.0.get(&index).cloned()
    }

    /// Returns `ENODEV`, the error of the kernel, for a device that does not exist.
    pub fn index(&self, name: &DevName) -> Result<u32> {
        for (index, known) in &self.0 {
            if known == name {
                return Ok(*index);
            }
        }
        Err(Error::Kernel(KernelError { errno: ENODEV, words: None })).context(name.to_string())
    }
}

pub fn links(socket: &NetlinkSocket) -> Result<Vec<Link>> {
    let answers = socket.dump(build_list_without_counters()).context("listing the devices")?;
    answers.iter().map(parse_link).collect()
}

fn build_list_without_counters() -> Message {
    MessageBuilder::new(&[0; IFINFOMSG])
        .put(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .into_message(RTM_GETLINK)
}

pub(super) fn parse_link(message: &Message) -> Result<Link> {
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = message.fixed::<IFINFOMSG>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let attributes = message.attributes(IFINFOMSG)?;
    let name = find(&attributes, IFLA_IFNAME).unwrap_or_default();
    Ok(Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: DevName::from_kernel(&text(name)),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        point_to_point: flags & (IFF_POINTOPOINT | IFF_NOARP) != 0,
        mtu: find(&attributes, IFLA_MTU).and_then(native_u32).unwrap_or_default(),
        in_vrf: slave_kind(&attributes).is_some_and(|kind| kind == "vrf"),
        other_names: other_names(&attributes),
    })
}

/// The kind of the device that this one is a part of.
fn slave_kind(link: &[(u16, &[u8])]) -> Option<String> {
    let info = attributes(find(link, IFLA_LINKINFO)?).ok()?;
    find(&info, IFLA_INFO_SLAVE_KIND).map(text)
}

fn other_names(link: &[(u16, &[u8])]) -> Vec<String> {
    let properties = attributes(find(link, IFLA_PROP_LIST).unwrap_or_default());
    let properties = properties.unwrap_or_default();
    let names = properties.iter().filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
    names.map(|(_, name)| text(name)).collect()
}

/// How many bytes each device has received and sent.
pub fn traffic(socket: &NetlinkSocket) -> Result<HashMap<DevName, (u64, u64)>> {
    let request = MessageBuilder::new(&[0; IFINFOMSG]).into_message(RTM_GETLINK);
    let mut traffic = HashMap::new();
    for answer in socket.dump(request).context("listing the devices")? {
        traffic.extend(parse_traffic(&answer)?);
    }
    Ok(traffic)
}

/// `struct rtnl_link_stats64` begins with `rx_packets`, `tx_packets`, `rx_bytes`, `tx_bytes`.
pub(super) fn parse_traffic(message: &Message) -> Result<Option<(DevName, (u64, u64))>> {
    let link = parse_link(message)?;
    let counters = find(&message.attributes(IFINFOMSG)?, IFLA_STATS64).unwrap_or_default();
    let counters: Vec<u64> =
        counters.chunks_exact(size_of::<u64>()).filter_map(native_u64).collect();
    Ok(match counters[..] {
        [_, _, received, sent, ..] => Some((link.name, (received, sent))),
        _ => None,
    })
}

pub fn addresses(socket: &NetlinkSocket, family: Family, links: &[Link]) -> Result<Vec<Address>> {
    let request = MessageBuilder::new(&[address_family(family), 0, 0, 0, 0, 0, 0, 0])
        .into_message(RTM_GETADDR);
    let mut addresses = Vec::new();
    for answer in socket.dump(request).context("listing the addresses")? {
        addresses.extend(parse_address(&answer, links)?);
    }
    Ok(addresses)
}

/// `None` for an address of a device that was created or deleted since `links` were listed, and for an
/// IPv6 address that no packet can be sent to the Internet with: a link-local one, or one that duplicate
/// address detection has not passed.
pub(super) fn parse_address(message: &Message, links: &[Link]) -> Result<Option<Address>> {
    let [family, prefix, flags, scope, i0, i1, i2, i3] = message.fixed::<IFADDRMSG>()?;
    let is_usable = scope == RT_SCOPE_UNIVERSE && flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0;
    if family == address_family(Family::Inet6) && !is_usable {
        return Ok(None);
    }
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let Some(link) = links.iter().find(|link| link.index == index) else { return Ok(None) };
    let attributes = message.attributes(IFADDRMSG)?;
    // IFA_ADDRESS is the peer where there is one, else the same as IFA_LOCAL.
    let peer = find(&attributes, IFA_ADDRESS).and_then(ip_address);
    let Some(local) = find(&attributes, IFA_LOCAL).and_then(ip_address).or(peer) else {
        return Ok(None);
    };
    Ok(Some(Address {
        dev: link.name.clone(),
        local,
        peer: peer.filter(|&peer| peer != local),
        broadcast: find(&attributes, IFA_BROADCAST).and_then(ip_address),
        prefix,
    }))
}

#[cfg(test)]
mod tests;
