//! The client set, an ipset, over nfnetlink: `linux/netfilter/ipset/ip_set.h`.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::libc::EINVAL;

use super::message::{AF_INET, Message, MessageBuilder, NET_BYTEORDER, NFGENMSG, address_bytes};
use super::socket::if_exists;
use super::{NetlinkSocket, address_family};
use crate::error::errno;
use crate::model::client_set::{FoundSet, set_name};
use crate::model::{Family, Mark};

pub(super) mod listing;

use listing::{Listing, parse, parse_counters};

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
const ATTR_IPADDR_IPV6: u16 = 2;

const FLAG_LIST_HEADER: u32 = 1 << 2;
const FLAG_WITH_COUNTERS: u32 = 1 << 3;
const FLAG_WITH_SKBINFO: u32 = 1 << 6;

/// The protocol that ipset 7 speaks; kernels since 4.19 know it.
const PROTOCOL: u8 = 7;
const TYPE: &str = "hash:ip";
/// The newest revision of `hash:ip` that wanpool knows, and the first with skbinfo (kernel 3.19).
const NEWEST_REVISION: u8 = 6;
const OLDEST_REVISION: u8 = 4;
/// From revision 5 on a set has a bucket size; 12 is the default of ipset(8).
const BUCKETSIZE_REVISION: u8 = 5;
const BUCKETSIZE: u8 = 12;

/// The maximum number of members in one message: each has 28 bytes, inside an attribute whose
/// length has 16 bits.
const BATCH: usize = 2000;

/// The set with all its members.
pub fn list(socket: &NetlinkSocket, family: Family) -> Result<FoundSet> {
    let found = match if_exists(socket.dump_into(build_list(family), parse)) {
        // The kernel knows no such part of netfilter.
        Err(error) if errno(&error) == Some(EINVAL) => {
            return Err(error).context(
                "the kernel has no ipset: modprobe ip_set_hash_ip; in a container, on the host",
            );
        }
        found => found?,
    };
    Ok(found.map_or(FoundSet::Absent, |listing| conclude(listing, family)))
}

fn conclude(mut listing: Listing, family: Family) -> FoundSet {
    let is_other = listing.family.is_some_and(|found| found != address_family(family));
    match listing.unusable {
        Some(reason) => FoundSet::Unusable(reason),
        None if is_other => FoundSet::Unusable("of another address family".to_owned()),
        None => {
            listing.set.entries.sort_unstable_by_key(|&(address, _)| address);
            FoundSet::Usable(listing.set)
        }
    }
}

/// How many members the set has and how many it has room for, without listing them. `None` if there
/// is no usable set.
pub fn count(socket: &NetlinkSocket, family: Family) -> Result<Option<(u32, u32)>> {
    match if_exists(socket.dump_into(build_list_header(family), parse))? {
        Some(Listing { set, count: Some(count), unusable: None, .. }) => Ok(Some((count, set.max))),
        _ => Ok(None),
    }
}

/// How many packets of each address matched the set. Only the first packet of a flow is looked up,
/// so this is the number of flows that the address began.
pub fn counters(socket: &NetlinkSocket, family: Family) -> Result<HashMap<IpAddr, u64>> {
    socket.dump_into(build_list(family), parse_counters).context("listing the set wanpool")
}

fn build_list(family: Family) -> Message {
    begin_for_set(family).into_message(SUBSYSTEM | CMD_LIST)
}

fn build_list_header(family: Family) -> Message {
    begin_for_set(family)
        .put(ATTR_FLAGS | NET_BYTEORDER, &FLAG_LIST_HEADER.to_be_bytes())
        .into_message(SUBSYSTEM | CMD_LIST)
}

/// Creates the set as `ipset create` does: with the newest revision that the kernel supports.
pub fn create(socket: &NetlinkSocket, family: Family, max: u32, buckets: u32) -> Result<()> {
    let answers = socket.request(build_get_type(family), 0)?;
    let revision = parse_newest_revision(&answers)?;
    socket.change(build_create(family, max, buckets, revision), 0)
}

fn build_get_type(family: Family) -> Message {
    begin()
        .put_str(ATTR_TYPENAME, TYPE)
        .put(ATTR_FAMILY, &[address_family(family)])
        .into_message(SUBSYSTEM | CMD_TYPE)
}

fn parse_newest_revision(answers: &[Message]) -> Result<u8> {
    let mut revision = OLDEST_REVISION;
    for answer in answers {
        for (kind, value) in answer.attributes(NFGENMSG)? {
            if let (ATTR_REVISION, [newest]) = (kind, value) {
                revision = *newest;
            }
        }
    }
    Ok(revision.clamp(OLDEST_REVISION, NEWEST_REVISION))
}

fn build_create(family: Family, max: u32, buckets: u32, revision: u8) -> Message {
    begin()
        .put_str(ATTR_SETNAME, set_name(family))
        .put_str(ATTR_TYPENAME, TYPE)
        .put(ATTR_REVISION, &[revision])
        .put(ATTR_FAMILY, &[address_family(family)])
        .nest(ATTR_DATA, |data| put_create_data(data, max, buckets, revision))
        .into_message(SUBSYSTEM | CMD_CREATE)
}

fn put_create_data(data: MessageBuilder, max: u32, buckets: u32, revision: u8) -> MessageBuilder {
    let flags = FLAG_WITH_COUNTERS | FLAG_WITH_SKBINFO;
    let data = data
        .put(ATTR_HASHSIZE | NET_BYTEORDER, &buckets.to_be_bytes())
        .put(ATTR_MAXELEM | NET_BYTEORDER, &max.to_be_bytes())
        .put(ATTR_CADT_FLAGS | NET_BYTEORDER, &flags.to_be_bytes());
    if revision >= BUCKETSIZE_REVISION { data.put(ATTR_BUCKETSIZE, &[BUCKETSIZE]) } else { data }
}

pub fn destroy(socket: &NetlinkSocket, family: Family) -> Result<()> {
    socket.change(build_destroy(family), 0)
}

fn build_destroy(family: Family) -> Message {
    begin_for_set(family).into_message(SUBSYSTEM | CMD_DESTROY)
}

/// Adds members. A member that exists gets the new mark.
pub fn add(socket: &NetlinkSocket, family: Family, entries: &[(IpAddr, Mark)]) -> Result<()> {
    for batch in entries.chunks(BATCH) {
        socket.change(build_add(family, batch), 0)?;
    }
    Ok(())
}

/// Deletes members. A member that does not exist is no error.
pub fn delete(socket: &NetlinkSocket, family: Family, addresses: &[IpAddr]) -> Result<()> {
    for batch in addresses.chunks(BATCH) {
        socket.change(build_delete(family, batch), 0)?;
    }
    Ok(())
}

fn build_add(family: Family, entries: &[(IpAddr, Mark)]) -> Message {
    begin_change(family)
        .nest(ATTR_ADT, |mut members| {
            for &(address, mark) in entries {
                members = members.nest(ATTR_DATA, |member| put_mark(put_ip(member, address), mark));
            }
            members
        })
        .into_message(SUBSYSTEM | CMD_ADD)
}

fn build_delete(family: Family, addresses: &[IpAddr]) -> Message {
    begin_change(family)
        .nest(ATTR_ADT, |mut members| {
            for &address in addresses {
                members = members.nest(ATTR_DATA, |member| put_ip(member, address));
            }
            members
        })
        .into_message(SUBSYSTEM | CMD_DEL)
}

fn put_ip(member: MessageBuilder, address: IpAddr) -> MessageBuilder {
    let kind = if address.is_ipv4() { ATTR_IPADDR_IPV4 } else { ATTR_IPADDR_IPV6 };
    member.nest(ATTR_IP, |ip| ip.put(kind | NET_BYTEORDER, &address_bytes(address)))
}

/// Mark and mask are one number of 64 bits, with the mark in the upper half.
fn put_mark(member: MessageBuilder, mark: Mark) -> MessageBuilder {
    let skbmark = (u64::from(mark.value) << 32) | u64::from(mark.mask);
    member.put(ATTR_SKBMARK | NET_BYTEORDER, &skbmark.to_be_bytes())
}

/// A change to the members. Without `NLM_F_EXCL`, it is no error to add a member that exists or to
/// delete one that does not. The kernel demands a line number, for error messages.
fn begin_change(family: Family) -> MessageBuilder {
    begin_for_set(family).put(ATTR_LINENO, &0u32.to_ne_bytes())
}

/// A message about the set with our name, which may be of any type.
fn begin_for_set(family: Family) -> MessageBuilder {
    begin().put_str(ATTR_SETNAME, set_name(family))
}

fn begin() -> MessageBuilder {
    MessageBuilder::new(&[AF_INET, 0, 0, 0]).put(ATTR_PROTOCOL, &[PROTOCOL])
}

#[cfg(test)]
mod tests;
