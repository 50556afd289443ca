//! The set `wanpool`, over nfnetlink: `linux/netfilter/ipset/ip_set.h`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::error::{ENOENT, is_errno};
use super::netlink::{
    Channel, NET_BYTEORDER, Raw, Writer, attributes, big_endian_u32, each_attribute, find,
};
use crate::model::{Client, Family, Mark};
use crate::state::{SET_NAME, Set};

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
const ATTR_DATA: u16 = 7;
const ATTR_ADT: u16 = 8;
const ATTR_LINENO: u16 = 9;

/// Inside `ATTR_DATA`.
const ATTR_IP: u16 = 1;
const ATTR_TIMEOUT: u16 = 6;
const ATTR_CADT_FLAGS: u16 = 8;
const ATTR_MAXELEM: u16 = 19;
const ATTR_NETMASK: u16 = 20;
const ATTR_BUCKETSIZE: u16 = 21;
const ATTR_PACKETS: u16 = 25;
const ATTR_SKBMARK: u16 = 27;
const ATTR_IPADDR_IPV4: u16 = 1;

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

/// What was found under our name.
pub enum Found {
    Nothing,
    Ours(Set),
    /// A set that cannot hold our marks: what it is instead.
    Foreign(String),
}

pub async fn list(netfilter: &Channel) -> Result<Found> {
    let request =
        begin(Family::Inet).put_str(ATTR_SETNAME, SET_NAME).into_message(SUBSYSTEM | CMD_LIST);
    let answers = match netfilter.dump(request).await {
        Err(error) if is_errno(&error, ENOENT) => return Ok(Found::Nothing),
        answers => answers?,
    };
    let mut set = Set::default();
    for answer in &answers {
        if let Some(odd) = parse(answer, &mut set)? {
            return Ok(Found::Foreign(odd));
        }
    }
    set.entries.sort_unstable_by_key(|&(client, _)| client);
    Ok(Found::Ours(set))
}

/// Reads one message of a listing: the first has the header, all have members.
pub(super) fn parse(message: &Raw, set: &mut Set) -> Result<Option<String>> {
    for attribute in message.each_attribute(NFGENMSG)? {
        let (kind, value) = attribute?;
        match kind {
            ATTR_FAMILY if value != [Family::Inet.number()] => {
                return Ok(Some("of another address family".into()));
            }
            ATTR_TYPENAME => {
                let name = String::from_utf8_lossy(value);
                let name = name.trim_end_matches('\0');
                if name != TYPE {
                    return Ok(Some(format!("of type {name}")));
                }
            }
            ATTR_DATA => {
                let header = attributes(value)?;
                let number = |wanted| find(&header, wanted).and_then(big_endian_u32);
                let flags = number(ATTR_CADT_FLAGS).unwrap_or_default();
                if flags & FLAG_WITH_SKBINFO == 0 || flags & FLAG_WITH_COUNTERS == 0 {
                    return Ok(Some("without skbinfo and counters".into()));
                }
                if find(&header, ATTR_TIMEOUT).is_some() || find(&header, ATTR_NETMASK).is_some() {
                    return Ok(Some("with a timeout or a netmask".into()));
                }
                set.max = number(ATTR_MAXELEM).unwrap_or_default();
            }
            ATTR_ADT => {
                for member in each_attribute(value) {
                    set.entries.extend(parse_member(member?.1)?);
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// How many packets of each client met the set: the first of each flow, so its connections.
pub async fn counters(netfilter: &Channel) -> Result<HashMap<Client, u64>> {
    let request =
        begin(Family::Inet).put_str(ATTR_SETNAME, SET_NAME).into_message(SUBSYSTEM | CMD_LIST);
    let mut counters = HashMap::new();
    for answer in netfilter.dump(request).await.context("listing the set wanpool")? {
        let members = find(&answer.attributes(NFGENMSG)?, ATTR_ADT).unwrap_or_default();
        for (_, member) in attributes(members)? {
            let packets = find(&attributes(member)?, ATTR_PACKETS);
            let packets = packets.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
            let client = parse_member(member)?.and_then(|(client, _)| Client::new(client).ok());
            counters.extend(client.zip(packets));
        }
    }
    Ok(counters)
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
pub async fn create(netfilter: &Channel, family: Family, max: u32) -> Result<()> {
    let revision = newest_revision(netfilter, family).await?;
    let flags = FLAG_WITH_COUNTERS | FLAG_WITH_SKBINFO;
    let data = Writer::default()
        .put(ATTR_MAXELEM | NET_BYTEORDER, &max.to_be_bytes())
        .put(ATTR_CADT_FLAGS | NET_BYTEORDER, &flags.to_be_bytes());
    let data = match revision {
        BUCKETSIZE_REVISION.. => data.put(ATTR_BUCKETSIZE, &[BUCKETSIZE]),
        _ => data,
    };
    let message = begin(family)
        .put_str(ATTR_SETNAME, SET_NAME)
        .put_str(ATTR_TYPENAME, TYPE)
        .put(ATTR_REVISION, &[revision])
        .put(ATTR_FAMILY, &[family.number()])
        .nest(ATTR_DATA, data);
    netfilter.request(message.into_message(SUBSYSTEM | CMD_CREATE), 0).await?;
    Ok(())
}

async fn newest_revision(netfilter: &Channel, family: Family) -> Result<u8> {
    let message = begin(family).put_str(ATTR_TYPENAME, TYPE).put(ATTR_FAMILY, &[family.number()]);
    let answers = netfilter.request(message.into_message(SUBSYSTEM | CMD_TYPE), 0).await?;
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

pub async fn destroy(netfilter: &Channel) -> Result<()> {
    let message = begin(Family::Inet).put_str(ATTR_SETNAME, SET_NAME);
    netfilter.request(message.into_message(SUBSYSTEM | CMD_DESTROY), 0).await?;
    Ok(())
}

/// Adds entries; one that is there gets the new mark.
pub async fn add(netfilter: &Channel, family: Family, entries: &[(Ipv4Addr, Mark)]) -> Result<()> {
    for batch in entries.chunks(BATCH) {
        let members = batch.iter().fold(Writer::default(), |members, (client, mark)| {
            let skbmark = [mark.value.to_be_bytes(), mark.mask.to_be_bytes()].concat();
            members.nest(ATTR_DATA, address(*client).put(ATTR_SKBMARK | NET_BYTEORDER, &skbmark))
        });
        change(netfilter, family, CMD_ADD, members).await?;
    }
    Ok(())
}

/// Deletes entries; one that is not there is no error.
pub async fn delete(netfilter: &Channel, family: Family, clients: &[Ipv4Addr]) -> Result<()> {
    for batch in clients.chunks(BATCH) {
        let members = batch
            .iter()
            .fold(Writer::default(), |members, client| members.nest(ATTR_DATA, address(*client)));
        change(netfilter, family, CMD_DEL, members).await?;
    }
    Ok(())
}

fn address(client: Ipv4Addr) -> Writer {
    let inner = Writer::default().put(ATTR_IPADDR_IPV4 | NET_BYTEORDER, &client.octets());
    Writer::default().nest(ATTR_IP, inner)
}

/// Without `NLM_F_EXCL` what is done already is no error.
async fn change(netfilter: &Channel, family: Family, command: u16, members: Writer) -> Result<()> {
    let message = begin(family)
        .put_str(ATTR_SETNAME, SET_NAME)
        .put(ATTR_LINENO, &0u32.to_ne_bytes())
        .nest(ATTR_ADT, members);
    netfilter.request(message.into_message(SUBSYSTEM | command), 0).await.context("the set")?;
    Ok(())
}

/// `struct nfgenmsg`: family, version, resource id.
const NFGENMSG: usize = 4;

fn begin(family: Family) -> Writer {
    Writer::new(&[family.number(), 0, 0, 0]).put(ATTR_PROTOCOL, &[PROTOCOL])
}
