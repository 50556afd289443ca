//! Flows by their connmark, over nfnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use nix::libc::ENOENT;

use super::NetlinkSocket;
use super::message::{
    AF_INET, Message, MessageBuilder, NESTED, NET_BYTEORDER, NFGENMSG, attributes, find,
};
use crate::error::errno;
use crate::model::Mark;

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
pub fn count(netfilter: &NetlinkSocket, mark: Mark) -> Result<usize> {
    Ok(list(netfilter, mark)?.len())
}

/// How many live flows with this connmark each client has: those it began, and those that came in
/// to it by a port forward. Strangers at the other end are counted too; nobody asks for them.
pub fn by_address(netfilter: &NetlinkSocket, mark: Mark) -> Result<HashMap<Ipv4Addr, u64>> {
    let ends = [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY];
    live(netfilter, mark, &ends)
}

/// How many live flows with this connmark each client, or stranger, began.
pub fn begun_by(netfilter: &NetlinkSocket, mark: Mark) -> Result<HashMap<Ipv4Addr, u64>> {
    live(netfilter, mark, &[CTA_TUPLE_ORIG])
}

/// Counts live flows by the senders of these directions: of the original one who began the flow, of
/// the other who answers.
fn live(
    netfilter: &NetlinkSocket,
    mark: Mark,
    directions: &[u16],
) -> Result<HashMap<Ipv4Addr, u64>> {
    let mut flows = HashMap::new();
    for flow in list(netfilter, mark)? {
        if is_over(&flow)? {
            continue;
        }
        for &direction in directions {
            if let Some(address) = sender(&flow, direction)? {
                *flows.entry(address).or_default() += 1;
            }
        }
    }
    Ok(flows)
}

fn list(netfilter: &NetlinkSocket, mark: Mark) -> Result<Vec<Message>> {
    netfilter.dump(message(MSG_GET, AF_INET, mark)).context("listing the flows")
}

pub(super) fn is_over(flow: &Message) -> Result<bool> {
    let state = deep(flow, [CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE])?;
    Ok(matches!(state, Some([state]) if OVER.contains(state)))
}

pub(super) fn sender(flow: &Message, direction: u16) -> Result<Option<Ipv4Addr>> {
    let source = deep(flow, [direction, CTA_TUPLE_IP, CTA_IP_V4_SRC])?;
    Ok(source.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from))
}

/// An attribute inside an attribute inside an attribute.
fn deep(flow: &Message, path: [u16; 3]) -> Result<Option<&[u8]>> {
    let Some(first) = find(&flow.attributes(NFGENMSG)?, path[0]) else { return Ok(None) };
    let Some(second) = find(&attributes(first)?, path[1]) else { return Ok(None) };
    Ok(find(&attributes(second)?, path[2]))
}

/// Ends all flows with this connmark in one message. The kernel takes a deletion without a mark
/// for one of everything, so there is no way to call this without one.
pub fn end(netfilter: &NetlinkSocket, mark: Mark) -> Result<()> {
    netfilter.request(message(MSG_DELETE, 0, mark), 0)?;
    Ok(())
}

/// Ends the flows with this connmark that these addresses began, each by its own tuple and id.
pub fn end_from(netfilter: &NetlinkSocket, mark: Mark, sources: &[Ipv4Addr]) -> Result<()> {
    let sources: HashSet<Ipv4Addr> = sources.iter().copied().collect();
    for flow in list(netfilter, mark)? {
        if !sender(&flow, CTA_TUPLE_ORIG)?.is_some_and(|sender| sources.contains(&sender)) {
            continue;
        }
        let all = flow.attributes(NFGENMSG)?;
        let mut message = MessageBuilder::new(&[AF_INET, 0, 0, 0]);
        for (kind, value) in all {
            match kind {
                CTA_TUPLE_ORIG => message = message.put(CTA_TUPLE_ORIG | NESTED, value),
                CTA_ID | CTA_ZONE => message = message.put(kind | NET_BYTEORDER, value),
                _ => {}
            }
        }
        match netfilter.request(message.into_message(SUBSYSTEM | MSG_DELETE), 0) {
            Err(error) if errno(&error) == Some(ENOENT) => {}
            done => drop(done?),
        }
    }
    Ok(())
}

fn message(command: u16, family: u8, mark: Mark) -> Message {
    MessageBuilder::new(&[family, 0, 0, 0])
        .put(CTA_MARK | NET_BYTEORDER, &mark.value.to_be_bytes())
        .put(CTA_MARK_MASK | NET_BYTEORDER, &mark.mask.to_be_bytes())
        .into_message(SUBSYSTEM | command)
}
