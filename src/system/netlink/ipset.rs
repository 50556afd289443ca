//! The set `wanpool`, over nfnetlink: `linux/netfilter/ipset/ip_set.h`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use nix::libc::ENOENT;

use super::NetlinkSocket;
use super::message::{
    AF_INET, Message, MessageBuilder, NET_BYTEORDER, NFGENMSG, attributes, big_endian_u32,
    each_attribute, find,
};
use crate::error::errno;
use crate::model::Mark;
use crate::model::client_set::{ClientSet, FoundSet, SET_NAME};

/// `NFNL_SUBSYS_IPSET`, the upper byte of the message type.
const SUBSYSTEM: u16 = 6 << 8;
const CMD_CREATE: u16 = 2;
const CMD_DESTROY: u16 = 3;
const CMD_LIST: u16 = 7;
const CMD_ADD: u16 = 9;
const CMD_DEL: u16 = 10;
const CMD_TYPE: u16 = 13;

const ATTR_PROTOCOL: u16 = 1;
const ATTR_SETNAME: u16 = 2;
const ATTR_TYPENAME: u16 = 3;
const ATTR_REVISION: u16 = 4;
const ATTR_FAMILY: u16 = 5;
const ATTR_FLAGS: u16 = 6;
const ATTR_DATA: u16 = 7;
const ATTR_ADT: u16 = 8;
const ATTR_LINENO: u16 = 9;

/// Inside `ATTR_DATA`.
const ATTR_IP: u16 = 1;
const ATTR_TIMEOUT: u16 = 6;
const ATTR_CADT_FLAGS: u16 = 8;
const ATTR_HASHSIZE: u16 = 18;
const ATTR_MAXELEM: u16 = 19;
const ATTR_NETMASK: u16 = 20;
const ATTR_BUCKETSIZE: u16 = 21;
const ATTR_ELEMENTS: u16 = 24;
const ATTR_PACKETS: u16 = 25;
const ATTR_SKBMARK: u16 = 27;
const ATTR_IPADDR_IPV4: u16 = 1;

const FLAG_LIST_HEADER: u32 = 1 << 2;
const FLAG_WITH_COUNTERS: u32 = 1 << 3;
const FLAG_WITH_SKBINFO: u32 = 1 << 6;

/// The protocol that ipset 7 speaks; kernels since 4.19 know it.
const PROTOCOL: u8 = 7;
const TYPE: &str = "hash:ip";
/// The newest revision of `hash:ip` that we know, and the first with skbinfo (kernel 3.19).
const NEWEST_REVISION: u8 = 6;
const OLDEST_REVISION: u8 = 4;
/// From revision 5 on the size of a bucket is said; ipset(8) says 12.
const BUCKETSIZE_REVISION: u8 = 5;
const BUCKETSIZE: u8 = 12;

/// Entries a message: 28 bytes each, in an attribute whose length has 16 bits.
const BATCH: usize = 2000;

/// The set with all its members.
pub fn list(netfilter: &NetlinkSocket) -> Result<FoundSet> {
    let listed = netfilter.dump_into(named().into_message(SUBSYSTEM | CMD_LIST), parse);
    let Listing { mut set, mismatch, .. } = match listed {
        Err(error) if errno(&error) == Some(ENOENT) => return Ok(FoundSet::Absent),
        listed => listed?,
    };
    if let Some(mismatch) = mismatch {
        return Ok(FoundSet::Unusable(mismatch));
    }
    set.entries.sort_unstable_by_key(|&(client, _)| client);
    Ok(FoundSet::Usable(set))
}

/// How many members the set has and has room for, by its header alone. `None` where there is no set
/// that could be ours.
pub fn count(netfilter: &NetlinkSocket) -> Result<Option<(u32, u32)>> {
    let request = named().put(ATTR_FLAGS | NET_BYTEORDER, &FLAG_LIST_HEADER.to_be_bytes());
    match netfilter.dump_into(request.into_message(SUBSYSTEM | CMD_LIST), parse) {
        Err(error) if errno(&error) == Some(ENOENT) => Ok(None),
        listed => {
            let Listing { set, count, mismatch } = listed?;
            Ok(count.filter(|_| mismatch.is_none()).map(|count| (count, set.max)))
        }
    }
}

/// What a listing has told so far.
#[derive(Default)]
pub(super) struct Listing {
    set: ClientSet,
    count: Option<u32>,
    /// What the set is, if none of ours.
    mismatch: Option<String>,
}

/// Reads one message of a listing: the first has the header, all have members.
pub(super) fn parse(listing: &mut Listing, message: &Message<&[u8]>) -> Result<()> {
    for attribute in message.each_attribute(NFGENMSG)? {
        let (kind, value) = attribute?;
        match kind {
            ATTR_FAMILY if value != [AF_INET] => {
                listing.mismatch = Some("of another address family".into());
            }
            ATTR_TYPENAME => {
                let name = String::from_utf8_lossy(value);
                let name = name.trim_end_matches('\0');
                if name != TYPE {
                    listing.mismatch = Some(format!("of type {name}"));
                }
            }
            ATTR_DATA => parse_header(listing, &attributes(value)?),
            ATTR_ADT if listing.mismatch.is_none() => {
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
    let number = |wanted| find(header, wanted).and_then(big_endian_u32);
    let flags = number(ATTR_CADT_FLAGS).unwrap_or_default();
    if flags & FLAG_WITH_SKBINFO == 0 || flags & FLAG_WITH_COUNTERS == 0 {
        listing.mismatch.get_or_insert("without skbinfo and counters".into());
    }
    if find(header, ATTR_TIMEOUT).is_some() || find(header, ATTR_NETMASK).is_some() {
        listing.mismatch.get_or_insert("with a timeout or a netmask".into());
    }
    listing.set.max = number(ATTR_MAXELEM).unwrap_or_default();
    listing.count = number(ATTR_ELEMENTS);
}

/// How many packets of each client met the set: the first of each flow, so its connections.
pub fn counters(netfilter: &NetlinkSocket) -> Result<HashMap<Ipv4Addr, u64>> {
    let request = named().into_message(SUBSYSTEM | CMD_LIST);
    let take = |counters: &mut HashMap<Ipv4Addr, u64>, answer: &Message<&[u8]>| {
        let members = find(&answer.attributes(NFGENMSG)?, ATTR_ADT).unwrap_or_default();
        for member in each_attribute(members) {
            let (_, member) = member?;
            let packets = find(&attributes(member)?, ATTR_PACKETS);
            let packets = packets.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
            let address = parse_member(member)?.map(|(address, _)| address);
            counters.extend(address.zip(packets));
        }
        Ok(())
    };
    netfilter.dump_into(request, take).context("listing the set wanpool")
}

pub(super) fn parse_member(member: &[u8]) -> Result<Option<(Ipv4Addr, Mark)>> {
    let (mut client, mut mark) = (None, Mark { value: 0, mask: 0 });
    for attribute in each_attribute(member) {
        let (kind, value) = attribute?;
        match kind {
            ATTR_IP => {
                client = each_attribute(value)
                    .next()
                    .transpose()?
                    .and_then(|(_, address)| <[u8; 4]>::try_from(address).ok())
                    .map(Ipv4Addr::from);
            }
            // Mark and mask in one number, the mark in its upper half.
            ATTR_SKBMARK => {
                if let Ok([v0, v1, v2, v3, m0, m1, m2, m3]) = <[u8; 8]>::try_from(value) {
                    mark = Mark {
                        value: u32::from_be_bytes([v0, v1, v2, v3]),
                        mask: u32::from_be_bytes([m0, m1, m2, m3]),
                    };
                }
            }
            _ => {}
        }
    }
    Ok(client.map(|client| (client, mark)))
}

/// Makes the set as `ipset create` would: of the newest revision that the kernel has.
pub fn create(netfilter: &NetlinkSocket, max: u32, buckets: u32) -> Result<()> {
    let revision = newest_revision(netfilter)?;
    let flags = FLAG_WITH_COUNTERS | FLAG_WITH_SKBINFO;
    let data = |data: MessageBuilder| {
        let data = data
            .put(ATTR_HASHSIZE | NET_BYTEORDER, &buckets.to_be_bytes())
            .put(ATTR_MAXELEM | NET_BYTEORDER, &max.to_be_bytes())
            .put(ATTR_CADT_FLAGS | NET_BYTEORDER, &flags.to_be_bytes());
        match revision {
            BUCKETSIZE_REVISION.. => data.put(ATTR_BUCKETSIZE, &[BUCKETSIZE]),
            _ => data,
        }
    };
    let message = begin()
        .put_str(ATTR_SETNAME, SET_NAME)
        .put_str(ATTR_TYPENAME, TYPE)
        .put(ATTR_REVISION, &[revision])
        .put(ATTR_FAMILY, &[AF_INET])
        .nest(ATTR_DATA, data);
    netfilter.request(message.into_message(SUBSYSTEM | CMD_CREATE), 0)?;
    Ok(())
}

fn newest_revision(netfilter: &NetlinkSocket) -> Result<u8> {
    let message = begin().put_str(ATTR_TYPENAME, TYPE).put(ATTR_FAMILY, &[AF_INET]);
    let answers = netfilter.request(message.into_message(SUBSYSTEM | CMD_TYPE), 0)?;
    let mut revision = OLDEST_REVISION;
    for answer in &answers {
        for (kind, value) in answer.attributes(NFGENMSG)? {
            if let (ATTR_REVISION, [newest]) = (kind, value) {
                revision = *newest;
            }
        }
    }
    Ok(revision.clamp(OLDEST_REVISION, NEWEST_REVISION))
}

pub fn destroy(netfilter: &NetlinkSocket) -> Result<()> {
    netfilter.request(named().into_message(SUBSYSTEM | CMD_DESTROY), 0)?;
    Ok(())
}

/// Adds entries; one that is there gets the new mark.
pub fn add(netfilter: &NetlinkSocket, entries: &[(Ipv4Addr, Mark)]) -> Result<()> {
    let member = |member: MessageBuilder, &(client, mark): &(Ipv4Addr, Mark)| {
        let skbmark = (u64::from(mark.value) << 32) | u64::from(mark.mask);
        put_address(member, client).put(ATTR_SKBMARK | NET_BYTEORDER, &skbmark.to_be_bytes())
    };
    change(netfilter, CMD_ADD, entries, member)
}

/// Deletes entries; one that is not there is no error.
pub fn delete(netfilter: &NetlinkSocket, clients: &[Ipv4Addr]) -> Result<()> {
    change(netfilter, CMD_DEL, clients, |member, &client| put_address(member, client))
}

fn put_address(member: MessageBuilder, client: Ipv4Addr) -> MessageBuilder {
    member.nest(ATTR_IP, |inner| inner.put(ATTR_IPADDR_IPV4 | NET_BYTEORDER, &client.octets()))
}

/// Without `NLM_F_EXCL` what is done already is no error.
fn change<T>(
    netfilter: &NetlinkSocket,
    command: u16,
    members: &[T],
    put: impl Fn(MessageBuilder, &T) -> MessageBuilder,
) -> Result<()> {
    for batch in members.chunks(BATCH) {
        let all = |all: MessageBuilder| {
            batch.iter().fold(all, |all, one| all.nest(ATTR_DATA, |member| put(member, one)))
        };
        let message = begin()
            .put_str(ATTR_SETNAME, SET_NAME)
            .put(ATTR_LINENO, &0u32.to_ne_bytes())
            .nest(ATTR_ADT, all);
        netfilter.request(message.into_message(SUBSYSTEM | command), 0).context("the set")?;
    }
    Ok(())
}

/// A message about our set, of whatever family.
fn named() -> MessageBuilder {
    begin().put_str(ATTR_SETNAME, SET_NAME)
}

fn begin() -> MessageBuilder {
    MessageBuilder::new(&[AF_INET, 0, 0, 0]).put(ATTR_PROTOCOL, &[PROTOCOL])
}
