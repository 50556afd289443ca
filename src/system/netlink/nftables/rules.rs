//! The chains and rules of nftables that packets of clients pass (`linux/netfilter/nf_tables.h`).
//!
//! A rule is a sequence of expressions that load values into registers, compare them and end in a
//! verdict. [`expressions`] reads one rule; this file finds the chains, rules and sets.

use std::collections::BTreeMap;

use anyhow::Result;

use super::expressions::{self, Element};
use super::{SUBSYSTEM, build};
use crate::model::foreign_filter::{ForeignTable, Hook, HookedChain};
use crate::system::netlink::message::{
    Message, MessageBuilder, NFGENMSG, attributes, big_endian_u32, big_endian_u64, find, text,
};
use crate::system::netlink::{DeviceIndex, NetlinkSocket};

const MSG_GETCHAIN: u16 = 4;
const MSG_GETRULE: u16 = 7;
const MSG_GETSETELEM: u16 = 13;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;
/// `NF_IP_PRI_MANGLE`, the priority of wanpool's own chain. Of two chains with one priority, the one
/// that was registered later runs first.
const PRIORITY_OF_MANGLE: i32 = -150;

/// A table by its family and its name.
type TableId = (u8, String);

/// The tables that have a chain at such a hook, without those of iptables. A kernel without nftables
/// has none.
pub fn foreign_tables(socket: &NetlinkSocket, devices: &DeviceIndex) -> Result<Vec<ForeignTable>> {
    let chains = socket.dump(build(MSG_GETCHAIN)).unwrap_or_default();
    let mut tables: BTreeMap<TableId, ForeignTable> = BTreeMap::new();
    for chain in &chains {
        if let Some((id, hooked)) = parse_hooked_chain(chain)? {
            let table = tables.entry(id.clone()).or_default();
            table.nft = format!("{} {}", if id.0 == NFPROTO_IPV4 { "ip" } else { "inet" }, id.1);
            table.hooks.push(hooked);
        }
    }
    if tables.is_empty() {
        return Ok(vec![]);
    }
    for rule in socket.dump(build(MSG_GETRULE))? {
        let Some(found) = parse_rule(&rule)? else { continue };
        let Some(table) = tables.get_mut(&found.table) else { continue };
        let elements = |set: &str| elements_of(socket, &found.table, set);
        let title = format!("nft {} {} handle {}", table.nft, found.chain, found.handle);
        let read = expressions::read(&found.expressions, devices, &elements, &title);
        table.chains.entry(found.chain).or_default().extend(read);
    }
    Ok(tables.into_values().collect())
}

/// A chain that the kernel calls for packets of clients. Those of iptables are read as text.
pub(super) fn parse_hooked_chain(message: &Message) -> Result<Option<(TableId, HookedChain)>> {
    let [family, ..] = message.fixed::<NFGENMSG>()?;
    let found = message.attributes(NFGENMSG)?;
    let name = |kind| find(&found, kind).map(text).unwrap_or_default();
    let (table, chain) = (name(NFTA_CHAIN_TABLE), name(NFTA_CHAIN_NAME));
    let Some(hook) = find(&found, NFTA_CHAIN_HOOK) else { return Ok(None) };
    let hook = attributes(hook)?;
    let number = |kind| find(&hook, kind).and_then(big_endian_u32);
    let priority = number(NFTA_HOOK_PRIORITY).unwrap_or_default() as i32;
    let hook = match number(NFTA_HOOK_HOOKNUM) {
        Some(NF_INET_FORWARD) => Hook::Forward,
        Some(NF_INET_PRE_ROUTING) if priority >= PRIORITY_OF_MANGLE => Hook::Prerouting,
        _ => return Ok(None),
    };
    let is_of_iptables = matches!(
        (table.as_str(), chain.as_str()),
        ("filter", "FORWARD") | ("mangle" | "nat", "PREROUTING")
    );
    if !matches!(family, NFPROTO_INET | NFPROTO_IPV4) || family == NFPROTO_IPV4 && is_of_iptables {
        return Ok(None);
    }
    let drops = find(&found, NFTA_CHAIN_POLICY).and_then(big_endian_u32) == Some(NF_DROP);
    Ok(Some(((family, table), HookedChain { chain, hook, drops })))
}

pub(super) struct FoundRule {
    table: TableId,
    chain: String,
    handle: u64,
    expressions: Vec<u8>,
}

pub(super) fn parse_rule(message: &Message) -> Result<Option<FoundRule>> {
    let [family, ..] = message.fixed::<NFGENMSG>()?;
    let found = message.attributes(NFGENMSG)?;
    let name = |kind| find(&found, kind).map(text).unwrap_or_default();
    let Some(expressions) = find(&found, NFTA_RULE_EXPRESSIONS) else { return Ok(None) };
    Ok(Some(FoundRule {
        table: (family, name(NFTA_RULE_TABLE)),
        chain: name(NFTA_RULE_CHAIN),
        handle: find(&found, NFTA_RULE_HANDLE).and_then(big_endian_u64).unwrap_or_default(),
        expressions: expressions.to_vec(),
    }))
}

/// The elements of a set or a verdict map.
fn elements_of(socket: &NetlinkSocket, (family, table): &TableId, set: &str) -> Vec<Element> {
    let request = MessageBuilder::new(&[*family, 0, 0, 0])
        .put_str(NFTA_SET_ELEM_LIST_TABLE, table)
        .put_str(NFTA_SET_ELEM_LIST_SET, set)
        .into_message(SUBSYSTEM | MSG_GETSETELEM);
    let mut elements = Vec::new();
    for answer in socket.dump(request).unwrap_or_default() {
        let found = answer.attributes(NFGENMSG).unwrap_or_default();
        let list = find(&found, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
        for (_, element) in attributes(list).unwrap_or_default() {
            elements.extend(expressions::read_element(element));
        }
    }
    elements
}
