//! Flows by their connmark, over nfnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::error::{ENOENT, is_errno};
use super::netlink::{Channel, NESTED, NET_BYTEORDER, NFGENMSG, Raw, Writer, attributes, find};
use crate::model::{Client, Family, Mark};

/// `NFNL_SUBSYS_CTNETLINK`, the upper byte of the message type.
const SUBSYSTEM: u16 = 1 << 8;
const MSG_GET: u16 = 1;
const MSG_DELETE: u16 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_MARK_MASK: u16 = 21;
/// Inside a tuple, and inside that.
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
/// Inside `CTA_PROTOINFO`, and inside that.
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// `TCP_CONNTRACK_TIME_WAIT` and `TCP_CONNTRACK_CLOSE`: the connection is over, its entry lingers.
const OVER: [u8; 2] = [7, 8];

/// How many flows have this connmark.
pub fn count(netfilter: &Channel, family: Family, mark: Mark) -> Result<usize> {
    Ok(list(netfilter, family, mark)?.len())
}

/// How many live flows with this connmark each client has: those it began, and those that came in
/// to it by a port forward. Strangers at the other end are counted too; nobody asks for them.
pub fn by_client(netfilter: &Channel, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
    let ends = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY];
    live(netfilter, family, mark, &ends)
}

/// How many live flows with this connmark each client, or stranger, began.
pub fn begun_by(netfilter: &Channel, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
    live(netfilter, family, mark, &[CTA_TUPLE_ORIG])
}

/// Counts live flows by the senders of these directions: of the original one who began the flow, of
/// the other who answers.
fn live(
    netfilter: &Channel,
    family: Family,
    mark: Mark,
    directions: &[u16],
) -> Result<HashMap<Client, u64>> {
    let mut flows = HashMap::new();
    for flow in list(netfilter, family, mark)? {
        if is_over(&flow)? {
            continue;
        }
        for &direction in directions {
            let client = sender(&flow, direction)?.and_then(|address| Client::new(address).ok());
            if let Some(client) = client {
                *flows.entry(client).or_default() += 1;
            }
        }
    }
    Ok(flows)
}

fn list(netfilter: &Channel, family: Family, mark: Mark) -> Result<Vec<Raw>> {
    netfilter.dump(message(MSG_GET, family.number(), mark)).context("listing the flows")
}

pub(super) fn is_over(flow: &Raw) -> Result<bool> {
    let state = deep(flow, [CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE])?;
    Ok(matches!(state, Some([state]) if OVER.contains(state)))
}

pub(super) fn sender(flow: &Raw, direction: u16) -> Result<Option<Ipv4Addr>> {
    let source = deep(flow, [direction, CTA_TUPLE_IP, CTA_IP_V4_SRC])?;
    Ok(source.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from))
}

/// An attribute inside an attribute inside an attribute.
fn deep(flow: &Raw, path: [u16; 3]) -> Result<Option<&[u8]>> {
    let Some(first) = find(&flow.attributes(NFGENMSG)?, path[0]) else { return Ok(None) };
    let Some(second) = find(&attributes(first)?, path[1]) else { return Ok(None) };
    Ok(find(&attributes(second)?, path[2]))
}

/// Ends all flows with this connmark in one message. The kernel takes a deletion without a mark
/// for one of everything, so there is no way to call this without one.
pub fn end(netfilter: &Channel, mark: Mark) -> Result<()> {
    netfilter.request(message(MSG_DELETE, 0, mark), 0)?;
    Ok(())
}

/// Ends the flows with this connmark that these addresses began, each by its own tuple and id.
pub fn end_of(netfilter: &Channel, family: Family, mark: Mark, clients: &[Ipv4Addr]) -> Result<()> {
    let clients: HashSet<Ipv4Addr> = clients.iter().copied().collect();
    for flow in list(netfilter, family, mark)? {
        if !sender(&flow, CTA_TUPLE_ORIG)?.is_some_and(|sender| clients.contains(&sender)) {
            continue;
        }
        let all = flow.attributes(NFGENMSG)?;
        let mut message = Writer::new(&[family.number(), 0, 0, 0]);
        for (kind, value) in all {
            match kind {
                CTA_TUPLE_ORIG => message = message.put(CTA_TUPLE_ORIG | NESTED, value),
                CTA_ID | CTA_ZONE => message = message.put(kind | NET_BYTEORDER, value),
                _ => {}
            }
        }
        match netfilter.request(message.into_message(SUBSYSTEM | MSG_DELETE), 0) {
            Err(error) if is_errno(&error, ENOENT) => {}
            done => drop(done?),
        }
    }
    Ok(())
}

fn message(command: u16, family: u8, mark: Mark) -> Raw {
    Writer::new(&[family, 0, 0, 0])
        .put(CTA_MARK | NET_BYTEORDER, &mark.value.to_be_bytes())
        .put(CTA_MARK_MASK | NET_BYTEORDER, &mark.mask.to_be_bytes())
        .into_message(SUBSYSTEM | command)
}
