//! The routing rules that should exist.

use std::net::IpAddr;

use crate::config::{Config, Lan, Unassigned};
use crate::model::routing::{MAIN_TABLE, Rule, RuleAction};
use crate::model::{DevName, UplinkNo};
use crate::plan::priorities::*;
use crate::plan::uplinks::{GatewayStatus, UplinkStatus};

/// Packets that sockets of the gateway send have this input device.
const LOOPBACK: &str = "lo";

pub fn wanted(config: &Config, status: &GatewayStatus) -> Vec<Rule> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let shared = RuleAction::Lookup(ids.shared_table());
    let pref = |offset: u32| ids.rule_pref + offset;
    let mut rules = vec![
        Rule {
            iif: Some(DevName::from_kernel(LOOPBACK)),
            fwmark: Some(ids.uplink_mark_bit()),
            ..Rule::new(family, pref(OWN_FLOW_FALLBACK), RuleAction::Lookup(MAIN_TABLE))
        },
        Rule {
            fwmark: Some(ids.uplink_mark_bit()),
            ..Rule::new(family, pref(FLOW_FALLBACK), shared)
        },
        Rule {
            not: true,
            fwmark: Some(ids.unmarked()),
            ..Rule::main_without_default(family, pref(POOL_LOCAL))
        },
    ];
    for (&no, uplink) in &config.uplinks {
        rules.extend(uplink_rules(config, no, &uplink.dev));
        if let Some(uplink) = status.uplinks.get(&no) {
            rules.extend(bound_address_rules(config, no, uplink));
        }
    }
    let unassigned = match config.unassigned {
        Unassigned::Multipath => shared,
        // Without this rule the clients would use whatever default route the main table has.
        Unassigned::Unreachable => RuleAction::Unreachable,
    };
    for (not, dev) in lan_selectors(&config.lan) {
        let iif = Some(dev);
        let local = Rule::main_without_default(family, pref(UNASSIGNED_LOCAL));
        rules.push(Rule { not, iif: iif.clone(), ..local });
        rules.push(Rule { not, iif, ..Rule::new(family, pref(UNASSIGNED), unassigned) });
    }
    if status.multipath {
        rules.push(Rule::main_without_default(family, MULTIPATH_LOCAL));
        rules.push(Rule::new(family, MULTIPATH, shared));
    }
    rules.sort();
    // Two uplinks may have the same address, as two modems give it.
    rules.dedup();
    rules
}

/// The rule by which flows and probes use the table of their uplink.
pub fn flow_rule(config: &Config, no: UplinkNo) -> Rule {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = ids.rule_pref + FLOW + u32::from(no.get());
    let lookup = RuleAction::Lookup(ids.uplink_table(no));
    Rule { fwmark: Some(ids.uplink_mark(no)), ..Rule::new(family, pref, lookup) }
}

fn uplink_rules(config: &Config, no: UplinkNo, dev: &DevName) -> [Rule; 5] {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = |offset: u32| ids.rule_pref + offset;
    let (iif, number) = (Some(dev.clone()), u32::from(no.get()));
    let pool = Rule::new(family, pref(POOL + number), RuleAction::Lookup(ids.pool_table(no)));
    let uplink_table = RuleAction::Lookup(ids.uplink_table(no));
    [
        Rule {
            iif: iif.clone(),
            // Not to a VPN that takes everything, by 0.0.0.0/1 and 128.0.0.0/1 either.
            suppress_prefixlength: Some(1),
            ..Rule::new(family, pref(UPLINK_LOCAL), RuleAction::Lookup(MAIN_TABLE))
        },
        Rule { iif, ..Rule::new(family, pref(UPLINK_NO_TRANSIT), RuleAction::Blackhole) },
        flow_rule(config, no),
        Rule { fwmark: Some(ids.pool_mark(no)), ..pool },
        Rule { oif: Some(dev.clone()), ..Rule::new(family, pref(BOUND_DEVICE), uplink_table) },
    ]
}

/// The rules by which a socket of the gateway that is bound to an address of an uplink leaves by it.
///
/// What the gateway answers has that address, too. If the main table has a way, it is looked up first,
/// so that a packet which has found none is recognised by the realm of its route. The packet filter
/// then drops answers, restores the mark of the uplink in others, and gives the mark of bound sockets
/// to what begins a flow: by these marks, the way is looked up again.
fn bound_address_rules(config: &Config, no: UplinkNo, status: &UplinkStatus) -> Vec<Rule> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let pref = |offset: u32| ids.rule_pref + offset;
    let mut rules = Vec::new();
    for &address in &status.addresses {
        let from = |rule: Rule| Rule {
            from: Some(address.into()),
            iif: Some(DevName::from_kernel(LOOPBACK)),
            ..rule
        };
        let marked = |rule: Rule| from(Rule { fwmark: Some(ids.bound_mark()), ..rule });
        let own =
            |offset| Rule::new(family, pref(offset), RuleAction::Lookup(ids.uplink_table(no)));
        let main = Rule::new(family, pref(BOUND_ADDRESS_MAIN), RuleAction::Lookup(MAIN_TABLE));
        rules.extend([
            marked(Rule::main_without_default(family, pref(BOUND_FLOW_LOCAL))),
            marked(own(BOUND_FLOW)),
            from(main),
            from(own(BOUND_ADDRESS)),
        ]);
    }
    rules
}

/// The address of a rule for sockets that are bound to an address of this uplink.
pub fn bound_address(config: &Config, no: UplinkNo, rule: &Rule) -> Option<IpAddr> {
    let (family, ids) = (config.family, &config.kernel_ids);
    let is_ours = rule.pref == ids.rule_pref + BOUND_ADDRESS
        && rule.action == RuleAction::Lookup(ids.uplink_table(no));
    let from = rule.from.filter(|from| is_ours && from.prefix_len() == family.host_length())?;
    Some(from.addr())
}

/// What makes a rule match packets from the LAN: `not`, and `iif`. If every device but the uplinks is
/// LAN, that is whatever did not start on this machine: earlier rules have dealt with packets from
/// uplinks.
fn lan_selectors(lan: &Lan) -> Vec<(bool, DevName)> {
    match lan {
        Lan::Devices(devices) => devices.iter().map(|dev| (false, dev.clone())).collect(),
        Lan::AllButUplinks => vec![(true, DevName::from_kernel(LOOPBACK))],
    }
}

/// Whether a rule decides on packets that have no mark and did not come in by an uplink.
pub fn catches_unmarked(rule: &Rule) -> bool {
    let is_for_sockets = rule.oif.is_some() || rule.from.is_some();
    let is_for_all = rule.fwmark.is_none() && !is_for_sockets;
    is_for_all && !rule.ignores_defaults() && rule.action != RuleAction::Blackhole
}
