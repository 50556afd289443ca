//! Flows by their connmark, over nfnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use anyhow::{Context, Result};

use super::message::{
    Message, MessageBuilder, NESTED, NET_BYTEORDER, NFGENMSG, attributes, big_endian_u32, find,
    ip_address,
};
use super::socket::if_exists;
use super::{NetlinkSocket, address_family};
use crate::model::{Family, Mark};

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
const CTA_IP_V6_SRC: u16 = 3;
/// Inside `CTA_PROTOINFO`, and inside that.
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// `TCP_CONNTRACK_TIME_WAIT` and `TCP_CONNTRACK_CLOSE`: the connection has ended, but its entry
/// remains for a while.
const ENDED: [u8; 2] = [7, 8];

/// How many flows have this connmark.
pub fn count(socket: &NetlinkSocket, family: Family, mark: Mark) -> Result<usize> {
    let count_one = |flows: &mut usize, _: &Message<&[u8]>| {
        *flows += 1;
        Ok(())
    };
    socket.dump_into(build_list(family, mark), count_one).context("listing the flows")
}

/// How many of the flows with this connmark have each value of the connmark, of which only the bits of
/// the mask are compared.
pub fn count_by_mark(
    socket: &NetlinkSocket,
    family: Family,
    mark: Mark,
    mask: u32,
) -> Result<HashMap<u32, usize>> {
    let take = |flows: &mut HashMap<u32, usize>, flow: &Message<&[u8]>| {
        let value = find(&flow.attributes(NFGENMSG)?, CTA_MARK).and_then(big_endian_u32);
        *flows.entry(value.unwrap_or_default() & mask).or_default() += 1;
        Ok(())
    };
    socket.dump_into(build_list(family, mark), take).context("listing the flows")
}

/// How many live flows with this connmark each address has, at either end: for a client, the flows
/// that it began and those that a port forward sends to it.
pub fn by_address(
    socket: &NetlinkSocket,
    family: Family,
    mark: Mark,
) -> Result<HashMap<IpAddr, u64>> {
    count_live(socket, family, mark, &[CTA_TUPLE_ORIG, CTA_TUPLE_REPLY])
}

/// How many live flows with this connmark each address began.
pub fn begun_by(
    socket: &NetlinkSocket,
    family: Family,
    mark: Mark,
) -> Result<HashMap<IpAddr, u64>> {
    count_live(socket, family, mark, &[CTA_TUPLE_ORIG])
}

/// Counts live flows by the source address of these tuples: `CTA_TUPLE_ORIG` has the address that
/// began the flow, `CTA_TUPLE_REPLY` the one that answers.
fn count_live(
    socket: &NetlinkSocket,
    family: Family,
    mark: Mark,
    tuples: &[u16],
) -> Result<HashMap<IpAddr, u64>> {
    let take = |flows: &mut HashMap<IpAddr, u64>, flow: &Message<&[u8]>| {
        if !has_ended(flow)? {
            for &tuple in tuples {
                if let Some(address) = source(flow, tuple)? {
                    *flows.entry(address).or_default() += 1;
                }
            }
        }
        Ok(())
    };
    socket.dump_into(build_list(family, mark), take).context("listing the flows")
}

pub(super) fn has_ended<B: AsRef<[u8]>>(flow: &Message<B>) -> Result<bool> {
    let path = [CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE];
    let state = find_at_path(flow, path)?;
    Ok(matches!(state, Some([state]) if ENDED.contains(state)))
}

pub(super) fn source<B: AsRef<[u8]>>(flow: &Message<B>, tuple: u16) -> Result<Option<IpAddr>> {
    for kind in [CTA_IP_V4_SRC, CTA_IP_V6_SRC] {
        if let Some(address) = find_at_path(flow, [tuple, CTA_TUPLE_IP, kind])? {
            return Ok(ip_address(address));
        }
    }
    Ok(None)
}

/// The value of an attribute inside an attribute inside an attribute.
fn find_at_path<B: AsRef<[u8]>>(flow: &Message<B>, path: [u16; 3]) -> Result<Option<&[u8]>> {
    let [outer, middle, inner] = path;
    let Some(outer) = find(&flow.attributes(NFGENMSG)?, outer) else { return Ok(None) };
    let Some(middle) = find(&attributes(outer)?, middle) else { return Ok(None) };
    Ok(find(&attributes(middle)?, inner))
}

/// Ends all flows with this connmark. There is no variant without a mark: the kernel takes a
/// deletion without one as the deletion of all flows.
pub fn end(socket: &NetlinkSocket, family: Family, mark: Mark) -> Result<()> {
    socket.change(build_end(family, mark), 0)
}

/// Ends the flows with this connmark that these addresses began.
pub fn end_from(
    socket: &NetlinkSocket,
    family: Family,
    mark: Mark,
    sources: &[IpAddr],
) -> Result<()> {
    let sources: HashSet<IpAddr> = sources.iter().copied().collect();
    let take = |deletions: &mut Vec<Message>, flow: &Message<&[u8]>| {
        if source(flow, CTA_TUPLE_ORIG)?.is_some_and(|source| sources.contains(&source)) {
            deletions.push(build_end_one(family, flow)?);
        }
        Ok(())
    };
    let deletions =
        socket.dump_into(build_list(family, mark), take).context("listing the flows")?;
    for deletion in deletions {
        // A flow may have ended since it was listed.
        if_exists(socket.change(deletion, 0))?;
    }
    Ok(())
}

fn build_list(family: Family, mark: Mark) -> Message {
    build_by_mark(MSG_GET, family, mark)
}

fn build_end(family: Family, mark: Mark) -> Message {
    build_by_mark(MSG_DELETE, family, mark)
}

/// The kernel heeds the family of a deletion only in version 1 of a message.
fn build_by_mark(command: u16, family: Family, mark: Mark) -> Message {
    let version = u8::from(command == MSG_DELETE);
    MessageBuilder::new(&[address_family(family), version, 0, 0])
        .put(CTA_MARK | NET_BYTEORDER, &mark.value.to_be_bytes())
        .put(CTA_MARK_MASK | NET_BYTEORDER, &mark.mask.to_be_bytes())
        .into_message(SUBSYSTEM | command)
}

/// The deletion of a flow as found, by its tuple, zone and id.
pub(super) fn build_end_one<B: AsRef<[u8]>>(family: Family, flow: &Message<B>) -> Result<Message> {
    let mut message = MessageBuilder::new(&[address_family(family), 0, 0, 0]);
    for (kind, value) in flow.attributes(NFGENMSG)? {
        match kind {
            CTA_TUPLE_ORIG => message = message.put(CTA_TUPLE_ORIG | NESTED, value),
            CTA_ID | CTA_ZONE => message = message.put(kind | NET_BYTEORDER, value),
            _ => {}
        }
    }
    Ok(message.into_message(SUBSYSTEM | MSG_DELETE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::golden::{answer, assert_request};

    /// From 192.168.7.12 to 1.2.3.4, in zone 5.
    const UDP: &str = "02000000
        3400 0180  1400 0180 0800 0100 c0a8070c 0800 0200 01020304
                   1c00 0280 0500 0100 11000000 0600 0200 03e80000 0600 0300 00350000
        3400 0280  1400 0180 0800 0100 01020304 0800 0200 c0a8070c
                   1c00 0280 0500 0100 11000000 0600 0200 00350000 0600 0300 03e80000
        0600 1200 00050000  0800 0300 00000808  0800 0800 00000081  0800 0c00 e02abf33";

    fn tcp(state: &str) -> Message {
        let info = format!(
            "3000 0480  2c00 0180 0500 0100 {state}000000 0500 0200 00000000 0500 0300 00000000
                        0600 0400 0e000000 0600 0500 0e000000"
        );
        answer(0x100, &format!("{UDP} {info}"))
    }

    #[test]
    fn a_request_always_names_a_mark() {
        let mark = Mark { value: 0x81, mask: 0xff };
        let attributes = "0800 0840 00000081  0800 1540 000000ff";
        assert_request(&build_list(Family::Inet, mark), 0x101, &format!("02000000 {attributes}"));
        let end = |family| build_end(family, mark);
        assert_request(&end(Family::Inet), 0x102, &format!("02010000 {attributes}"));
        assert_request(&end(Family::Inet6), 0x102, &format!("0a010000 {attributes}"));
    }

    #[test]
    fn a_flow_is_ended_by_its_tuple_zone_and_id() {
        assert_request(
            &build_end_one(Family::Inet, &answer(0x100, UDP)).unwrap(),
            0x102,
            "02000000
             3400 0180  1400 0180 0800 0100 c0a8070c 0800 0200 01020304
                        1c00 0280 0500 0100 11000000 0600 0200 03e80000 0600 0300 00350000
             0600 1240 00050000  0800 0c40 e02abf33",
        );
    }

    #[test]
    fn a_flow_has_the_address_that_began_it_and_the_one_that_answers() {
        let flow = answer(0x100, UDP);
        let began = IpAddr::from([192, 168, 7, 12]);
        assert_eq!(source(&flow, CTA_TUPLE_ORIG).unwrap(), Some(began));
        assert_eq!(source(&flow, CTA_TUPLE_REPLY).unwrap(), Some(IpAddr::from([1, 2, 3, 4])));
        assert_eq!(source(&answer(0x100, "02000000"), CTA_TUPLE_ORIG).unwrap(), None);
    }

    #[test]
    fn only_a_tcp_connection_in_time_wait_or_close_has_ended() {
        assert!(!has_ended(&answer(0x100, UDP)).unwrap());
        for (state, ended) in [("01", false), ("03", false), ("07", true), ("08", true)] {
            assert_eq!(has_ended(&tcp(state)).unwrap(), ended, "{state}");
        }
    }
}
