//! Devices and the gateway's own addresses.
//!
//! Decoded by hand, as far as we need it: an exotic device with attributes that a library cannot
//! make sense of must not keep us from seeing the others.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use nix::libc::ENODEV;

use super::NetlinkSocket;
use super::message::{AF_INET, Message, MessageBuilder, find, native_u64};
use crate::error::{Error, KernelError};
use crate::model::DevName;
use crate::model::link::{Address, Link};

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/if.h
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFF_UP: u32 = 1;
const IFF_POINTOPOINT: u32 = 1 << 4;
const IFF_NOARP: u32 = 1 << 7;
const IFF_LOWER_UP: u32 = 1 << 16;

/// The names and indexes of devices at one moment.
#[derive(Clone, Default, PartialEq)]
pub struct DeviceIndex(BTreeMap<u32, DevName>);

impl DeviceIndex {
    pub fn new(links: &[Link]) -> Self {
        Self(links.iter().map(|link| (link.index, link.name.clone())).collect())
    }

    pub fn name(&self, index: u32) -> Option<DevName> {
        self.0.get(&index).cloned()
    }

    /// The error is the kernel's: `ENODEV`.
    pub fn index(&self, name: &DevName) -> Result<u32> {
        let found = self.0.iter().find(|(_, known)| *known == name);
        let no_device = || Error::Kernel(KernelError { errno: ENODEV, words: None });
        found.map(|(&index, _)| index).ok_or_else(no_device).with_context(|| name.to_string())
    }
}

pub fn links(route: &NetlinkSocket) -> Result<Vec<Link>> {
    let request = MessageBuilder::new(&[0; IFINFOMSG])
        .put(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .into_message(RTM_GETLINK);
    let answers = route.dump(request).context("listing the devices")?;
    answers.iter().map(parse_link).collect()
}

pub(super) fn parse_link(message: &Message) -> Result<Link> {
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = message.fixed::<IFINFOMSG>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let attributes = message.attributes(IFINFOMSG)?;
    let name = find(&attributes, IFLA_IFNAME).unwrap_or_default();
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name));
    Ok(Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: DevName::from_kernel(&name),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        point_to_point: flags & (IFF_POINTOPOINT | IFF_NOARP) != 0,
    })
}

/// Bytes received and sent by each device: `rx_bytes`, `tx_bytes` of `struct rtnl_link_stats64`,
/// behind `rx_packets` and `tx_packets`.
pub fn traffic(route: &NetlinkSocket) -> Result<HashMap<DevName, (u64, u64)>> {
    let request = MessageBuilder::new(&[0; IFINFOMSG]).into_message(RTM_GETLINK);
    let mut traffic = HashMap::new();
    for answer in route.dump(request).context("listing the devices")? {
        traffic.extend(parse_traffic(&answer)?);
    }
    Ok(traffic)
}

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

pub fn addresses(route: &NetlinkSocket, links: &[Link]) -> Result<Vec<Address>> {
    let request = MessageBuilder::new(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]).into_message(RTM_GETADDR);
    let answers = route.dump(request).context("listing the addresses")?;
    let parsed = answers.iter().filter_map(|message| parse_address(message, links).transpose());
    parsed.collect()
}

/// `None` for an address of a device that has gone since the devices were listed.
pub(super) fn parse_address(message: &Message, links: &[Link]) -> Result<Option<Address>> {
    let [_, prefix, _, _, i0, i1, i2, i3] = message.fixed::<IFADDRMSG>()?;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let Some(link) = links.iter().find(|link| link.index == index) else { return Ok(None) };
    let attributes = message.attributes(IFADDRMSG)?;
    let address = |wanted| {
        let octets = <[u8; 4]>::try_from(find(&attributes, wanted)?).ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let Some(local) = address(IFA_LOCAL).or_else(|| address(IFA_ADDRESS)) else { return Ok(None) };
    Ok(Some(Address {
        dev: link.name.clone(),
        local,
        peer: address(IFA_ADDRESS).filter(|&peer| peer != local),
        broadcast: address(IFA_BROADCAST),
        prefix,
    }))
}
