//! nftables: the generation of the ruleset, the flowtables, and the rules that packets of clients pass
//! (`linux/netfilter/nf_tables.h`).

use anyhow::Result;

#[cfg(test)]
use super::DeviceIndex;
use super::NetlinkSocket;
use super::message::{Message, MessageBuilder, NFGENMSG, big_endian_u32, find, text};

mod expressions;
mod rules;

pub use rules::foreign_tables;

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of the message type.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_GETGEN`, `NFT_MSG_GETFLOWTABLE`.
const MSG_GETGEN: u16 = 16;
const MSG_GETFLOWTABLE: u16 = 23;
const NFTA_GEN_ID: u16 = 1;
const NFTA_FLOWTABLE_NAME: u16 = 2;

/// The generation of the ruleset: nftables increments it with every change, whichever program makes
/// it.
pub fn generation(socket: &NetlinkSocket) -> Result<Option<u32>> {
    let answers = socket.request(build(MSG_GETGEN), 0)?;
    let Some(answer) = answers.first() else { return Ok(None) };
    parse_generation(answer)
}

/// The names of all flowtables. A kernel without nftables has none.
pub fn flowtables(socket: &NetlinkSocket) -> Vec<String> {
    let answers = socket.dump(build(MSG_GETFLOWTABLE)).unwrap_or_default();
    answers.iter().filter_map(parse_flowtable_name).collect()
}

/// For the objects of all address families.
fn build(command: u16) -> Message {
    MessageBuilder::new(&[0; NFGENMSG]).into_message(SUBSYSTEM | command)
}

pub(super) fn parse_generation(answer: &Message) -> Result<Option<u32>> {
    Ok(find(&answer.attributes(NFGENMSG)?, NFTA_GEN_ID).and_then(big_endian_u32))
}

pub(super) fn parse_flowtable_name(answer: &Message) -> Option<String> {
    find(&answer.attributes(NFGENMSG).ok()?, NFTA_FLOWTABLE_NAME).map(text)
}

/// All that reads chains, rules and elements, for tests with malformed messages.
#[cfg(test)]
pub(super) fn parse_foreign(message: &Message, devices: &DeviceIndex) {
    drop(rules::parse_hooked_chain(message));
    drop(rules::parse_rule(message));
    drop(expressions::read_element(&message.payload));
    drop(expressions::read(&message.payload, devices, &|_| vec![], ""));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::golden::{answer, assert_request};

    #[test]
    fn the_generation_is_a_number_in_network_byte_order() {
        assert_request(&build(MSG_GETGEN), 0x0a10, "00000000");
        let found =
            answer(0x0a0f, "00000002  0800 0100 00000102  0800 0200 000023a5  0800 0300 6e667400");
        assert_eq!(parse_generation(&found).unwrap(), Some(0x102));
    }

    #[test]
    fn a_flowtable_has_a_name() {
        assert_request(&build(MSG_GETFLOWTABLE), 0x0a17, "00000000");
        let found = answer(0x0a16, "02000002  0600 0100 74000000  0700 0200 66740000");
        assert_eq!(parse_flowtable_name(&found).as_deref(), Some("ft"));
    }
}
