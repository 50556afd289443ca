//! The neighbour table: who has been heard behind a device.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

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

/// The entries behind one device that stand for a host we can reach, in the kernel's order.
pub async fn behind(route: &Channel, family: Family, link: &Link) -> Result<Vec<Neighbour>> {
    let mut fixed = [0; NDMSG];
    fixed[0] = family.number();
    let request =
        Writer::new(&fixed).put(NDA_IFINDEX, &link.index.to_ne_bytes()).into_message(RTM_GETNEIGH);
    let answers = route
        .dump(request)
        .await
        .with_context(|| format!("listing the neighbours behind {}", link.name))?;
    let parsed = answers.iter().filter_map(|message| parse(message, link).transpose());
    parsed.collect()
}

/// `None` for what is no client's entry, or not behind this device.
pub(super) fn parse(message: &Raw, link: &Link) -> Result<Option<Neighbour>> {
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
