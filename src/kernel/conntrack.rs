//! Flows by their connmark, over nfnetlink: `linux/netfilter/nfnetlink_conntrack.h`.

use anyhow::{Context, Result};

use super::netlink::{Channel, NET_BYTEORDER, Raw, Writer};
use crate::model::{Family, Mark};

/// `NFNL_SUBSYS_CTNETLINK`, the upper byte of the message type.
const SUBSYSTEM: u16 = 1 << 8;
const MSG_GET: u16 = 1;
const MSG_DELETE: u16 = 2;
const CTA_MARK: u16 = 8;
const CTA_MARK_MASK: u16 = 21;

/// How many flows have this connmark.
pub async fn count(netfilter: &Channel, family: Family, mark: Mark) -> Result<usize> {
    let flows = netfilter.dump(message(MSG_GET, family.number(), mark)).await;
    Ok(flows.context("counting the flows")?.len())
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
