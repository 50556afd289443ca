//! Reads the answers to a listing of the set.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;

use super::super::message::{
    Message, NFGENMSG, attributes, big_endian_u32, big_endian_u64, each_attribute, find,
    ip_address, text,
};
use super::{
    ATTR_ADT, ATTR_CADT_FLAGS, ATTR_DATA, ATTR_ELEMENTS, ATTR_FAMILY, ATTR_IP, ATTR_MAXELEM,
    ATTR_NETMASK, ATTR_PACKETS, ATTR_SKBMARK, ATTR_TIMEOUT, ATTR_TYPENAME, FLAG_WITH_COUNTERS,
    FLAG_WITH_SKBINFO, TYPE,
};
use crate::model::Mark;
use crate::model::client_set::ClientSet;

/// What the messages of a listing contained so far.
#[derive(Default)]
pub struct Listing {
    pub set: ClientSet,
    pub count: Option<u32>,
    /// The address family, as it stands in netlink headers.
    pub family: Option<u8>,
    /// What the set is, if wanpool cannot use it: for example `of type hash:net`.
    pub unusable: Option<String>,
}

/// Reads one message of a listing. Only the first message has the header; each may have members.
pub fn parse(listing: &mut Listing, message: &Message<&[u8]>) -> Result<()> {
    for attribute in message.each_attribute(NFGENMSG)? {
        let (kind, value) = attribute?;
        match kind {
            ATTR_FAMILY => listing.family = value.first().copied(),
            ATTR_TYPENAME => {
                let name = text(value);
                if name != TYPE {
                    listing.unusable = Some(format!("of type {name}"));
                }
            }
            ATTR_DATA => parse_header(listing, &attributes(value)?),
            ATTR_ADT if listing.unusable.is_none() => {
                for member in each_attribute(value) {
                    listing.set.entries.extend(parse_member(member?.1)?);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_header(listing: &mut Listing, header: &[(u16, &[u8])]) {
    let flags = find(header, ATTR_CADT_FLAGS).and_then(big_endian_u32).unwrap_or_default();
    if flags & FLAG_WITH_SKBINFO == 0 || flags & FLAG_WITH_COUNTERS == 0 {
        listing.unusable.get_or_insert("without skbinfo and counters".into());
    }
    if find(header, ATTR_TIMEOUT).is_some() || find(header, ATTR_NETMASK).is_some() {
        listing.unusable.get_or_insert("with a timeout or a netmask".into());
    }
    listing.set.max = find(header, ATTR_MAXELEM).and_then(big_endian_u32).unwrap_or_default();
    listing.count = find(header, ATTR_ELEMENTS).and_then(big_endian_u32);
}

pub fn parse_member(member: &[u8]) -> Result<Option<(IpAddr, Mark)>> {
    let (mut address, mut mark) = (None, Mark { value: 0, mask: 0 });
    for attribute in each_attribute(member) {
        match attribute? {
            (ATTR_IP, value) => {
                for inner in each_attribute(value) {
                    address = ip_address(inner?.1);
                }
            }
            (ATTR_SKBMARK, value) => {
                if let Some(skbmark) = big_endian_u64(value) {
                    mark = Mark { value: (skbmark >> 32) as u32, mask: skbmark as u32 };
                }
            }
            _ => {}
        }
    }
    Ok(address.map(|address| (address, mark)))
}

pub fn parse_counters(counters: &mut HashMap<IpAddr, u64>, message: &Message<&[u8]>) -> Result<()> {
    let members = find(&message.attributes(NFGENMSG)?, ATTR_ADT).unwrap_or_default();
    for member in each_attribute(members) {
        let (_, member) = member?;
        let packets = find(&attributes(member)?, ATTR_PACKETS).and_then(big_endian_u64);
        if let (Some((address, _)), Some(packets)) = (parse_member(member)?, packets) {
            counters.insert(address, packets);
        }
    }
    Ok(())
}
