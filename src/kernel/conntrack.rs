//! Flows by their connmark, over nfnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::netlink::{Channel, NET_BYTEORDER, Raw, Writer, attributes, find};
use crate::model::{Client, Family, Mark};

/// `NFNL_SUBSYS_CTNETLINK`, the upper byte of the message type.
const SUBSYSTEM: u16 = 1 << 8;
const MSG_GET: u16 = 1;
const MSG_DELETE: u16 = 2;

/// `struct nfgenmsg`: family, version, resource id.
const NFGENMSG: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_MARK: u16 = 8;
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
pub async fn count(netfilter: &Channel, family: Family, mark: Mark) -> Result<usize> {
    Ok(list(netfilter, family, mark).await?.len())
}

/// How many live flows with this connmark each client has: those it began, and those that came in
/// to it by a port forward. Strangers at the other end are counted too; nobody asks for them.
pub async fn by_client(
    netfilter: &Channel,
    family: Family,
    mark: Mark,
) -> Result<HashMap<Client, u64>> {
    let mut flows = HashMap::new();
    for flow in list(netfilter, family, mark).await? {
        for client in live_ends(&flow)? {
            *flows.entry(client).or_default() += 1;
        }
    }
    Ok(flows)
}

async fn list(netfilter: &Channel, family: Family, mark: Mark) -> Result<Vec<Raw>> {
    netfilter.dump(message(MSG_GET, family.number(), mark)).await.context("listing the flows")
}

/// Who began a flow, and who answers; nobody for one that is over.
fn live_ends(flow: &Raw) -> Result<Vec<Client>> {
    let all = flow.attributes(NFGENMSG)?;
    let deep = |path: [u16; 3]| -> Result<Option<&[u8]>> {
        let Some(first) = find(&all, path[0]) else { return Ok(None) };
        let Some(second) = find(&attributes(first)?, path[1]) else { return Ok(None) };
        Ok(find(&attributes(second)?, path[2]))
    };
    if let Some([state]) = deep([CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE])?
        && OVER.contains(state)
    {
        return Ok(vec![]);
    }
    let mut ends = Vec::new();
    for tuple in [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] {
        let source = deep([tuple, CTA_TUPLE_IP, CTA_IP_V4_SRC])?;
        let source = source.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from);
        ends.extend(source.and_then(|address| Client::new(address).ok()));
    }
    Ok(ends)
}

/// Ends all flows with this connmark in one message. The kernel takes a deletion without a mark
/// for one of everything, so there is no way to call this without one.
pub async fn end(netfilter: &Channel, mark: Mark) -> Result<()> {
    netfilter.request(message(MSG_DELETE, 0, mark), 0).await?;
    Ok(())
}

fn message(command: u16, family: u8, mark: Mark) -> Raw {
    Writer::new(&[family, 0, 0, 0])
        .put(CTA_MARK | NET_BYTEORDER, &mark.value.to_be_bytes())
        .put(CTA_MARK_MASK | NET_BYTEORDER, &mark.mask.to_be_bytes())
        .into_message(SUBSYSTEM | command)
}
