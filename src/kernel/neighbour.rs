//! The neighbour table: who has been heard behind a device.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::error::{ENOENT, is_errno};
use super::netlink::{Channel, Raw, Writer};
use crate::model::{Client, Family, LinkAddress};
use crate::state::{Link, Neighbour};

// linux/rtnetlink.h, linux/neighbour.h
const RTM_GETNEIGH: u16 = 30;
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_IFINDEX: u16 = 8;
/// `ndm_type` of a host, as against a broadcast or multicast address.
const RTN_UNICAST: u8 = 1;

/// What `keep` makes of the entries behind one device that stand for a host we can reach, in the
/// kernel's order.
pub fn behind<T>(
    route: &Channel,
    family: Family,
    link: &Link,
    keep: impl Fn(Neighbour) -> Option<T>,
) -> Result<Vec<T>> {
    let mut fixed = [0; NDMSG];
    fixed[0] = family.number();
    let request =
        Writer::new(&fixed).put(NDA_IFINDEX, &link.index.to_ne_bytes()).into_message(RTM_GETNEIGH);
    let take = |kept: &mut Vec<T>, message: &Raw<&[u8]>| {
        kept.extend(parse(message, link)?.and_then(&keep));
        Ok(())
    };
    route
        .dump_into(request, take)
        .with_context(|| format!("listing the neighbours behind {}", link.name))
}

/// Whether one client is behind a device. What [`behind`] lists may lack entries, without any sign
/// of it, when others came or went while the kernel listed them.
pub fn is_behind(route: &Channel, family: Family, link: &Link, client: Client) -> Result<bool> {
    let mut fixed = [0; NDMSG];
    fixed[0] = family.number();
    fixed[4..8].copy_from_slice(&link.index.to_ne_bytes());
    let request = Writer::new(&fixed).put(NDA_DST, &client.address().octets());
    let answers = match route.request(request.into_message(RTM_GETNEIGH), 0) {
        Err(error) if is_errno(&error, ENOENT) => return Ok(false),
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
pub(super) fn parse<B: AsRef<[u8]>>(message: &Raw<B>, link: &Link) -> Result<Option<Neighbour>> {
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
