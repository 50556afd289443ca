//! Routing rules with our protocol number.

use std::net::IpAddr;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;
use nix::libc::ENOENT;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{
    RuleAction as KernelAction, RuleAttribute, RuleFlags, RuleMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::NetlinkSocket;
use super::rule_watch::RuleWatch;
use crate::error::{Error, KernelError};
use crate::model::routing::{Rule, RuleAction};
use crate::model::{DevName, Mark};

/// `suppress_prefixlength` of a rule that has none: −1.
const NO_SUPPRESSION: u32 = u32::MAX;

/// How often the rules are read until none changed meanwhile.
const READINGS: usize = 20;

pub fn list(route: &NetlinkSocket, protocol: u8) -> Result<Vec<Rule>> {
    Ok(ours(route, protocol)?.iter().map(parse).collect())
}

/// The rules of everybody else.
pub fn list_foreign(route: &NetlinkSocket, protocol: u8) -> Result<Vec<Rule>> {
    let all = dump(route)?;
    Ok(all.iter().filter(|message| !is_ours(message, protocol)).map(parse).collect())
}

/// The rules of our protocol, as dumped. The kernel cannot filter them for us.
fn ours(route: &NetlinkSocket, protocol: u8) -> Result<Vec<RuleMessage>> {
    let mut rules = dump(route)?;
    rules.retain(|message| is_ours(message, protocol));
    Ok(rules)
}

fn is_ours(message: &RuleMessage, protocol: u8) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::from(protocol)))
}

/// All rules. One that comes or goes while they are listed makes the kernel pass over another, or
/// list it twice; then they are read again.
fn dump(route: &NetlinkSocket) -> Result<Vec<RuleMessage>> {
    for _ in 0..READINGS {
        let watch = RuleWatch::open()?;
        let rules = dump_once(route)?;
        if !watch.has_seen_change() {
            return Ok(rules);
        }
    }
    bail!("the rules change faster than they can be read; try again")
}

fn dump_once(route: &NetlinkSocket) -> Result<Vec<RuleMessage>> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet;
    let answers = route.dump(RouteNetlinkMessage::GetRule(request).into())?;
    let mut rules = Vec::new();
    for answer in answers {
        // A rule with attributes newer than we know is somebody else's.
        if let Ok(RouteNetlinkMessage::NewRule(message)) = answer.decode() {
            rules.push(message);
        }
    }
    Ok(rules)
}

pub(super) fn parse(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let (mut table, mut mark, mut mask) = (u32::from(header.table), 0, None);
    let mut rule = Rule {
        pref: 0,
        not: header.flags.contains(RuleFlags::Invert),
        fwmark: None,
        iif: None,
        from: None,
        action: RuleAction::Nop,
        suppress_prefixlength_0: false,
        unsupported_selectors: None,
    };
    let mut target = 0;
    let mut unsupported = Vec::new();
    if header.tos != 0 {
        unsupported.push(format!("tos {:#x}", header.tos));
    }
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(pref) => rule.pref = *pref,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Iifname(dev) => rule.iif = Some(DevName::from_kernel(dev)),
            RuleAttribute::SuppressPrefixLen(0) => rule.suppress_prefixlength_0 = true,
            RuleAttribute::SuppressPrefixLen(NO_SUPPRESSION) | RuleAttribute::Protocol(_) => {}
            RuleAttribute::Source(IpAddr::V4(from)) => {
                rule.from = Ipv4Net::new(*from, header.src_len).ok();
            }
            RuleAttribute::Goto(pref) => target = *pref,
            RuleAttribute::Destination(to) => {
                unsupported.push(format!("to {to}/{}", header.dst_len))
            }
            RuleAttribute::Oifname(dev) => unsupported.push(format!("oif {dev}")),
            other => unsupported.push(format!("{other:?}").to_lowercase()),
        }
    }
    rule.unsupported_selectors = (!unsupported.is_empty()).then(|| unsupported.join(" "));
    rule.fwmark = mask.map(|mask| Mark { value: mark, mask });
    rule.action = match header.action {
        KernelAction::ToTable => RuleAction::Lookup(table),
        KernelAction::Blackhole => RuleAction::Blackhole,
        KernelAction::Unreachable => RuleAction::Unreachable,
        KernelAction::Prohibit => RuleAction::Prohibit,
        KernelAction::Goto => RuleAction::Goto(target),
        _ => RuleAction::Nop,
    };
    rule
}

pub fn add(route: &NetlinkSocket, rule: &Rule, protocol: u8) -> Result<()> {
    let message = RouteNetlinkMessage::NewRule(build(rule, protocol));
    route.request(message.into(), NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(())
}

fn build(rule: &Rule, protocol: u8) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    if rule.not {
        message.header.flags |= RuleFlags::Invert;
    }
    message.header.action = match rule.action {
        RuleAction::Lookup(_) => KernelAction::ToTable,
        RuleAction::Blackhole => KernelAction::Blackhole,
        RuleAction::Unreachable => KernelAction::Unreachable,
        RuleAction::Prohibit => KernelAction::Prohibit,
        RuleAction::Goto(_) => KernelAction::Goto,
        RuleAction::Nop => KernelAction::Nop,
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.pref),
        RuleAttribute::Protocol(RouteProtocol::from(protocol)),
    ];
    if let RuleAction::Lookup(table) = rule.action {
        message.attributes.push(RuleAttribute::Table(table));
    }
    if let Some(Mark { value, mask }) = rule.fwmark {
        message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    }
    if let Some(dev) = &rule.iif {
        message.attributes.push(RuleAttribute::Iifname(dev.as_str().to_owned()));
    }
    if rule.suppress_prefixlength_0 {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

/// Deletes a rule. One that was altered by hand is looked up again, to delete it by the message as
/// dumped, which no other rule matches.
pub fn delete(route: &NetlinkSocket, rule: &Rule, protocol: u8) -> Result<()> {
    let plain = rule.unsupported_selectors.is_none() && rule.from.is_none();
    let message = match rule.action {
        RuleAction::Lookup(_) | RuleAction::Blackhole | RuleAction::Unreachable if plain => {
            build(rule, protocol)
        }
        _ => {
            let found = ours(route, protocol)?;
            let same = found.into_iter().find(|message| parse(message) == *rule);
            same.ok_or_else(|| Error::Kernel(KernelError { errno: ENOENT, words: None }))?
        }
    };
    route.request(RouteNetlinkMessage::DelRule(message).into(), 0)?;
    Ok(())
}
