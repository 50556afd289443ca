//! Routing rules: those with the protocol number of wanpool, and those of other programs.

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::libc::ENOENT;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{
    RuleAction as KernelAction, RuleAttribute, RuleFlags, RuleMessage,
};

use super::message::{Message, decode_known};
use super::rule_watch::RuleWatch;
use super::socket::MAX_DUMPS;
use super::{NetlinkSocket, family_of};
use crate::error::{Error, KernelError};
use crate::model::routing::{Rule, RuleAction};
use crate::model::{DevName, Family, Mark};

mod selectors;

// linux/rtnetlink.h
pub(super) const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

/// `suppress_prefixlength` of a rule that has none: −1.
const NO_SUPPRESSION: u32 = u32::MAX;

/// The rules with this protocol number.
pub fn list(socket: &NetlinkSocket, family: Family, protocol: u8) -> Result<Vec<Rule>> {
    let mut rules = dump(socket, family)?;
    rules.retain(|message| has_protocol(message, protocol));
    Ok(rules.iter().map(parse).collect())
}

/// The rules with any other protocol number.
pub fn list_foreign(socket: &NetlinkSocket, family: Family, protocol: u8) -> Result<Vec<Rule>> {
    let mut rules = dump(socket, family)?;
    rules.retain(|message| !has_protocol(message, protocol));
    Ok(rules.iter().map(parse).collect())
}

/// The kernel does not filter rules by protocol.
fn has_protocol(message: &RuleMessage, protocol: u8) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::from(protocol)))
}

/// Lists all rules. If a rule is added or deleted meanwhile, the kernel may list another one twice or
/// not at all, so the rules are listed again.
fn dump(socket: &NetlinkSocket, family: Family) -> Result<Vec<RuleMessage>> {
    for _ in 0..MAX_DUMPS {
        let watch = RuleWatch::open(family).context("subscribing to changes of routing rules")?;
        let answers = socket.dump(build_list(family))?;
        if !watch.has_seen_change() {
            return Ok(decode_known(&answers, RTM_NEWRULE));
        }
    }
    bail!("the rules change faster than they can be read; try again")
}

fn build_list(family: Family) -> Message {
    let mut request = RuleMessage::default();
    request.header.family = family.into();
    Message::encode(RTM_GETRULE, &request)
}

pub(super) fn parse(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let (mut table, mut goto) = (u32::from(header.table), 0);
    let (mut mark, mut mask) = (0, None);
    let mut rule = Rule::new(family_of(header.family), 0, RuleAction::Nop);
    rule.not = header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(pref) => rule.pref = *pref,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(pref) => goto = *pref,
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Iifname(dev) => rule.iif = Some(DevName::from_kernel(dev)),
            RuleAttribute::Oifname(dev) => rule.oif = Some(DevName::from_kernel(dev)),
            RuleAttribute::SuppressPrefixLen(NO_SUPPRESSION) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefixlength = Some(*length),
            RuleAttribute::Source(from) => {
                rule.from = IpNet::new(*from, header.src_len).ok();
            }
            _ => {}
        }
    }
    // The kernel leaves out a mark of 0, but not its mask.
    rule.fwmark = mask.map(|mask| Mark { value: mark, mask });
    rule.action = match header.action {
        KernelAction::ToTable => RuleAction::Lookup(table),
        KernelAction::Blackhole => RuleAction::Blackhole,
        KernelAction::Unreachable => RuleAction::Unreachable,
        KernelAction::Prohibit => RuleAction::Prohibit,
        KernelAction::Goto => RuleAction::Goto(goto),
        _ => RuleAction::Nop,
    };
    rule.unsupported_selectors = selectors::unsupported(message);
    rule
}

pub fn add(socket: &NetlinkSocket, rule: &Rule, protocol: u8) -> Result<()> {
    let message = Message::encode(RTM_NEWRULE, &build(rule, protocol));
    socket.change(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// Builds everything but unsupported selectors.
fn build(rule: &Rule, protocol: u8) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = rule.family.into();
    if rule.not {
        message.header.flags |= RuleFlags::Invert;
    }
    message.attributes = vec![
        RuleAttribute::Priority(rule.pref),
        RuleAttribute::Protocol(RouteProtocol::from(protocol)),
    ];
    message.header.action = match rule.action {
        RuleAction::Lookup(table) => {
            message.attributes.push(RuleAttribute::Table(table));
            KernelAction::ToTable
        }
        RuleAction::Goto(pref) => {
            message.attributes.push(RuleAttribute::Goto(pref));
            KernelAction::Goto
        }
        RuleAction::Blackhole => KernelAction::Blackhole,
        RuleAction::Unreachable => KernelAction::Unreachable,
        RuleAction::Prohibit => KernelAction::Prohibit,
        RuleAction::Nop => KernelAction::Nop,
    };
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix_len();
        message.attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(Mark { value, mask }) = rule.fwmark {
        message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    }
    if let Some(dev) = &rule.iif {
        message.attributes.push(RuleAttribute::Iifname(dev.as_str().to_owned()));
    }
    if let Some(dev) = &rule.oif {
        message.attributes.push(RuleAttribute::Oifname(dev.as_str().to_owned()));
    }
    if let Some(length) = rule.suppress_prefixlength {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(length));
    }
    message
}

/// Deletes a rule. The kernel deletes the first rule that has all attributes of the request. A rule
/// with unsupported selectors is looked up and deleted with all attributes that it has, so that no
/// other rule is deleted instead.
pub fn delete(socket: &NetlinkSocket, rule: &Rule, protocol: u8) -> Result<()> {
    let message = match rule.unsupported_selectors {
        None => build(rule, protocol),
        Some(_) => find(socket, rule, protocol)?,
    };
    socket.change(Message::encode(RTM_DELRULE, &message), 0)
}

fn find(socket: &NetlinkSocket, rule: &Rule, protocol: u8) -> Result<RuleMessage> {
    for message in dump(socket, rule.family)? {
        if has_protocol(&message, protocol) && parse(&message) == *rule {
            return Ok(message);
        }
    }
    Err(Error::Kernel(KernelError { errno: ENOENT, words: None }).into())
}

#[cfg(test)]
mod tests;
