//! Devices and the gateway's own addresses.
//!
//! Decoded by hand, as far as we need it: an exotic device with attributes that a library cannot
//! make sense of must not keep us from seeing the others.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::netlink::{Channel, Raw, Writer, find, native_u64};
use crate::model::{DevName, Family};
use crate::state::{Address, Link};

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

pub fn links(route: &Channel) -> Result<Vec<Link>> {
    let request = Writer::new(&[0; IFINFOMSG])
        .put(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .into_message(RTM_GETLINK);
    let answers = route.dump(request).context("listing the devices")?;
    answers.iter().map(parse_link).collect()
}

pub(super) fn parse_link(message: &Raw) -> Result<Link> {
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
pub fn traffic(route: &Channel) -> Result<HashMap<DevName, (u64, u64)>> {
    let request = Writer::new(&[0; IFINFOMSG]).into_message(RTM_GETLINK);
    let mut traffic = HashMap::new();
    for answer in route.dump(request).context("listing the devices")? {
        traffic.extend(parse_traffic(&answer)?);
    }
    Ok(traffic)
}

pub(super) fn parse_traffic(message: &Raw) -> Result<Option<(DevName, (u64, u64))>> {
    let link = parse_link(message)?;
    let counters = find(&message.attributes(IFINFOMSG)?, IFLA_STATS64).unwrap_or_default();
    let counters: Vec<u64> =
        counters.chunks_exact(size_of::<u64>()).filter_map(native_u64).collect();
    Ok(match counters[..] {
        [_, _, received, sent, ..] => Some((link.name, (received, sent))),
        _ => None,
    })
}

pub fn addresses(route: &Channel, family: Family, links: &[Link]) -> Result<Vec<Address>> {
    let request = Writer::new(&[family.number(), 0, 0, 0, 0, 0, 0, 0]).into_message(RTM_GETADDR);
    let answers = route.dump(request).context("listing the addresses")?;
    let parsed = answers.iter().filter_map(|message| parse_address(message, links).transpose());
    parsed.collect()
}

/// `None` for an address of a device that has gone since the devices were listed.
pub(super) fn parse_address(message: &Raw, links: &[Link]) -> Result<Option<Address>> {
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
