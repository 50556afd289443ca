//! Routing rules with our protocol number.

use std::net::IpAddr;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::{ENOENT, KernelError};
use super::netlink::Channel;
use super::watch::{self, Watch};
use crate::model::{DevName, Family, Mark};
use crate::state::{Action, Rule};

/// `suppress_prefixlength` of a rule that has none: −1.
const NO_SUPPRESSION: u32 = u32::MAX;

/// How often the rules are read until none changed meanwhile.
const READINGS: usize = 20;

pub fn list(route: &Channel, family: Family, protocol: u8) -> Result<Vec<Rule>> {
    Ok(ours(route, family, protocol)?.iter().map(parse).collect())
}

/// The rules of everybody else.
pub fn list_foreign(route: &Channel, family: Family, protocol: u8) -> Result<Vec<Rule>> {
    let all = dump(route, family)?;
    Ok(all.iter().filter(|message| !is_ours(message, protocol)).map(parse).collect())
}

/// The rules of our protocol, as dumped. The kernel cannot filter them for us.
fn ours(route: &Channel, family: Family, protocol: u8) -> Result<Vec<RuleMessage>> {
    let mut rules = dump(route, family)?;
    rules.retain(|message| is_ours(message, protocol));
    Ok(rules)
}

fn is_ours(message: &RuleMessage, protocol: u8) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::from(protocol)))
}

/// All rules. One that comes or goes while they are listed makes the kernel pass over another, or
/// list it twice; then they are read again.
fn dump(route: &Channel, family: Family) -> Result<Vec<RuleMessage>> {
    for _ in 0..READINGS {
        let watch = Watch::open(watch::IPV4_RULES)?;
        let rules = dump_once(route, family)?;
        if !watch.has_seen_change() {
            return Ok(rules);
        }
    }
    bail!("the rules change faster than they can be read; try again")
}

fn dump_once(route: &Channel, family: Family) -> Result<Vec<RuleMessage>> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::from(family.number());
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
        action: Action::Nop,
        but_defaults: false,
        odd: None,
    };
    let mut target = 0;
    let mut odd = Vec::new();
    if header.tos != 0 {
        odd.push(format!("tos {:#x}", header.tos));
    }
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(pref) => rule.pref = *pref,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Iifname(dev) => rule.iif = Some(DevName::from_kernel(dev)),
            RuleAttribute::SuppressPrefixLen(0) => rule.but_defaults = true,
            RuleAttribute::SuppressPrefixLen(NO_SUPPRESSION) | RuleAttribute::Protocol(_) => {}
            RuleAttribute::Source(IpAddr::V4(from)) => {
                rule.from = Ipv4Net::new(*from, header.src_len).ok();
            }
            RuleAttribute::Goto(pref) => target = *pref,
            RuleAttribute::Destination(to) => odd.push(format!("to {to}/{}", header.dst_len)),
            RuleAttribute::Oifname(dev) => odd.push(format!("oif {dev}")),
            other => odd.push(format!("{other:?}").to_lowercase()),
        }
    }
    rule.odd = (!odd.is_empty()).then(|| odd.join(" "));
    rule.fwmark = mask.map(|mask| Mark { value: mark, mask });
    rule.action = match header.action {
        RuleAction::ToTable => Action::Lookup(table),
        RuleAction::Blackhole => Action::Blackhole,
        RuleAction::Unreachable => Action::Unreachable,
        RuleAction::Prohibit => Action::Prohibit,
        RuleAction::Goto => Action::Goto(target),
        _ => Action::Nop,
    };
    rule
}

pub fn add(route: &Channel, family: Family, rule: &Rule, protocol: u8) -> Result<()> {
    let message = RouteNetlinkMessage::NewRule(build(family, rule, protocol));
    route.request(message.into(), NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(())
}

fn build(family: Family, rule: &Rule, protocol: u8) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::from(family.number());
    if rule.not {
        message.header.flags |= RuleFlags::Invert;
    }
    message.header.action = match rule.action {
        Action::Lookup(_) => RuleAction::ToTable,
        Action::Blackhole => RuleAction::Blackhole,
        Action::Unreachable => RuleAction::Unreachable,
        Action::Prohibit => RuleAction::Prohibit,
        Action::Goto(_) => RuleAction::Goto,
        Action::Nop => RuleAction::Nop,
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.pref),
        RuleAttribute::Protocol(RouteProtocol::from(protocol)),
    ];
    if let Action::Lookup(table) = rule.action {
        message.attributes.push(RuleAttribute::Table(table));
    }
    if let Some(Mark { value, mask }) = rule.fwmark {
        message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    }
    if let Some(dev) = &rule.iif {
        message.attributes.push(RuleAttribute::Iifname(dev.as_str().to_owned()));
    }
    if rule.but_defaults {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

/// Deletes a rule. One that was altered by hand is looked up again, to delete it by the message as
/// dumped, which no other rule matches.
pub fn delete(route: &Channel, family: Family, rule: &Rule, protocol: u8) -> Result<()> {
    let plain = rule.odd.is_none() && rule.from.is_none();
    let message = match rule.action {
        Action::Lookup(_) | Action::Blackhole | Action::Unreachable if plain => {
            build(family, rule, protocol)
        }
        _ => {
            let found = ours(route, family, protocol)?;
            let same = found.into_iter().find(|message| parse(message) == *rule);
            same.ok_or_else(|| KernelError::of_errno(ENOENT))?
        }
    };
    route.request(RouteNetlinkMessage::DelRule(message).into(), 0)?;
    Ok(())
}
