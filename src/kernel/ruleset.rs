//! The generation of the ruleset: a number that nftables counts up with every change to it, of
//! whatever program (`linux/netfilter/nf_tables.h`).

use anyhow::Result;

use super::netlink::{Channel, NFGENMSG, Writer, big_endian_u32, find};

/// `NFT_MSG_GETGEN` of `NFNL_SUBSYS_NFTABLES`; `NFTA_GEN_ID`.
const GETGEN: u16 = (10 << 8) | 16;
const NFTA_GEN_ID: u16 = 1;

pub fn generation(netfilter: &Channel) -> Result<Option<u32>> {
    let answers = netfilter.request(Writer::new(&[0; NFGENMSG]).into_message(GETGEN), 0)?;
    let Some(answer) = answers.first() else { return Ok(None) };
    Ok(find(&answer.attributes(NFGENMSG)?, NFTA_GEN_ID).and_then(big_endian_u32))
}
