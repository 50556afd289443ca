//! nftables: the generation of the ruleset, and flowtables (`linux/netfilter/nf_tables.h`).

use anyhow::Result;

use super::NetlinkSocket;
use super::message::{Message, MessageBuilder, NFGENMSG, big_endian_u32, find};

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of the message type.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_GETGEN`, `NFT_MSG_GETFLOWTABLE`.
const MSG_GETGEN: u16 = 16;
const MSG_GETFLOWTABLE: u16 = 23;
const NFTA_GEN_ID: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;

/// The generation of the ruleset: nftables increments it with every change, whichever program makes
/// it.
pub fn generation(netfilter: &NetlinkSocket) -> Result<Option<u32>> {
    let request = MessageBuilder::new(&[0; NFGENMSG]).into_message(SUBSYSTEM | MSG_GETGEN);
    let answers = netfilter.request(request, 0)?;
    let Some(answer) = answers.first() else { return Ok(None) };
    Ok(find(&answer.attributes(NFGENMSG)?, NFTA_GEN_ID).and_then(big_endian_u32))
}

/// The names of all flowtables. A kernel without nftables has none.
pub fn flowtables(netfilter: &NetlinkSocket) -> Vec<String> {
    let request = MessageBuilder::new(&[0; NFGENMSG]).into_message(SUBSYSTEM | MSG_GETFLOWTABLE);
    let answers = netfilter.dump(request).unwrap_or_default();
    answers.iter().filter_map(flowtable_name).collect()
}

pub(super) fn flowtable_name(answer: &Message) -> Option<String> {
    let name = find(&answer.attributes(NFGENMSG).ok()?, NFTA_FLOWTABLE_NAME)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}
