//! The neighbour table: who has been heard behind a device.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use nix::libc::ENOENT;

use super::NetlinkSocket;
use super::message::{AF_INET, Message, MessageBuilder, find, native_u32};
use crate::error::errno;
use crate::model::link::{Link, Neighbour};
use crate::model::{Client, LinkAddress};

// linux/rtnetlink.h, linux/neighbour.h
const RTM_GETNEIGH: u16 = 30;
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_IFINDEX: u16 = 8;
/// `RTM_GETNEIGHTBL` of `linux/rtnetlink.h`, `NDTA_*` of `linux/neighbour.h`.
const RTM_GETNEIGHTBL: u16 = 66;
const NDTMSG: usize = 4;
const NDTA_NAME: u16 = 1;
const NDTA_THRESH3: u16 = 4;
const ARP_TABLE: &[u8] = b"arp_cache\0";
/// `ndm_type` of a host, as against a broadcast or multicast address.
const RTN_UNICAST: u8 = 1;

/// What `keep` makes of the entries behind one device that stand for a host we can reach, in the
/// kernel's order.
pub fn on_device<T>(
    route: &NetlinkSocket,
    link: &Link,
    keep: impl Fn(Neighbour) -> Option<T>,
) -> Result<Vec<T>> {
    let mut fixed = [0; NDMSG];
    fixed[0] = AF_INET;
    let request = MessageBuilder::new(&fixed)
        .put(NDA_IFINDEX, &link.index.to_ne_bytes())
        .into_message(RTM_GETNEIGH);
    let take = |kept: &mut Vec<T>, message: &Message<&[u8]>| {
        kept.extend(parse(message, link)?.and_then(&keep));
        Ok(())
    };
    route
        .dump_into(request, take)
        .with_context(|| format!("listing the neighbours behind {}", link.name))
}

/// Whether one client is behind a device. What [`on_device`] lists may lack entries, without any sign
/// of it, when others came or went while the kernel listed them.
pub fn is_on_device(route: &NetlinkSocket, link: &Link, client: Client) -> Result<bool> {
    let mut fixed = [0; NDMSG];
    fixed[0] = AF_INET;
    fixed[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let request = MessageBuilder::new(&fixed).put(NDA_DST, &client.address().octets());
    let answers = match route.request(request.into_message(RTM_GETNEIGH), 0) {
        Err(error) if errno(&error) == Some(ENOENT) => return Ok(false),
        answers => answers.with_context(|| format!("looking for the neighbour {client}"))?,
    };
    for answer in &answers {
        if parse(answer, link)?.is_some_and(|found| found.client == client) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `None` for what is no client's entry, or not behind this device.
pub(super) fn parse<B: AsRef<[u8]>>(
    message: &Message<B>,
    link: &Link,
) -> Result<Option<Neighbour>> {
    let [_, _, _, _, i0, i1, i2, i3, s0, s1, _, kind] = message.fixed::<NDMSG>()?;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let Some(state) = state_word(u16::from_ne_bytes([s0, s1])) else { return Ok(None) };
    if index != link.index || kind != RTN_UNICAST {
        return Ok(None);
    }
    let (mut client, mut lladdr) = (None, LinkAddress::default());
    for attribute in message.each_attribute(NDMSG)? {
        match attribute? {
            (NDA_DST, value) => {
                let address = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                client = address.and_then(|address| Client::new(address).ok());
            }
            (NDA_LLADDR, value) => lladdr = LinkAddress::new(value),
            _ => {}
        }
    }
    Ok(client.map(|client| Neighbour { client, lladdr, dev: link.name.clone(), state }))
}

/// `gc_thresh3`: the most neighbours that the kernel keeps. The sysctl file exists in the first network
/// namespace only; the netlink dump works in all.
pub fn limit(route: &NetlinkSocket) -> Result<Option<u32>> {
    let request = MessageBuilder::new(&[AF_INET, 0, 0, 0]).into_message(RTM_GETNEIGHTBL);
    for answer in route.dump(request)? {
        if let Some(limit) = parse_limit(&answer)? {
            return Ok(Some(limit));
        }
    }
    Ok(None)
}

/// The dump has one message for the table and one for each device; only the first has limits.
pub(super) fn parse_limit(answer: &Message) -> Result<Option<u32>> {
    let attributes = answer.attributes(NDTMSG)?;
    if find(&attributes, NDTA_NAME) != Some(ARP_TABLE) {
        return Ok(None);
    }
    Ok(find(&attributes, NDTA_THRESH3).and_then(native_u32))
}

/// The word of `ip neigh` for a state in which the neighbour's address is known (`NUD_VALID`).
fn state_word(state: u16) -> Option<&'static str> {
    match state {
        0x02 => Some("reachable"),
        0x04 => Some("stale"),
        0x08 => Some("delay"),
        0x10 => Some("probe"),
        0x40 => Some("noarp"),
        0x80 => Some("permanent"),
        _ => None,
    }
}
