//! What would keep a correct slice from working, and the remedy for each.

use std::collections::BTreeMap;

use super::priorities::{UNASSIGNED, UPLINK_LOCAL};
use super::uplinks::current;
use crate::config::{Config, Lan};
use crate::model::filter::{AcceptingRule, DeviceMatch};
use crate::model::link::Devices;
use crate::model::pools::Pools;
use crate::model::routing::{Rule, RuleAction};
use crate::model::snapshot::{Conflict, Snapshot, Surroundings};

mod filter;
mod filter_path;
mod main_table;
mod uplinks;

/// Something that is wrong, and what repairs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub remedy: String,
}

impl Finding {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What clients send over IPv6 while the configuration leaves it alone. `inet6` has the addresses of IPv6.
pub fn unserved_inet6(config: &Config, inet6: &Devices) -> Option<Finding> {
    let mut addresses = inet6.addresses.iter();
    let found = addresses.find(|address| config.is_lan(address.dev.as_str()))?;
    let file = config.path.display();
    Some(Finding::new(
        format!(
            "{} has the IPv6 address {}, and wanpool leaves IPv6 alone",
            found.dev, found.local
        ),
        format!("set ipv6 = true in {file}, or remove the address and advertise no prefix there"),
    ))
}

impl From<Conflict> for Finding {
    fn from(Conflict { what, remedy }: Conflict) -> Self {
        Self { what, remedy }
    }
}

/// The rule of the main table. That of the table `default` follows it.
const OF_THE_KERNEL: u32 = 32766;
/// From this percentage of its limit on, conntrack is reported as nearly full.
const NEARLY_FULL: u64 = 90;

pub fn find(
    config: &Config,
    pools: &Pools,
    found: &Snapshot,
    surroundings: &Surroundings,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(forwarding(&found.sysctls));
    findings.extend(rp_filter(&found.sysctls));
    findings.extend(uplinks::find(config, &found.devices));
    let status = current(config, found);
    findings.extend(main_table::find(config, &found.devices, &status, surroundings));
    findings.extend(filter::find(config, pools, &found.devices, &surroundings.filter_tables));
    for rule in &surroundings.foreign_rules {
        findings.extend(conflicting_rule(config, pools, surroundings, rule));
    }
    for rule in &surroundings.accepting_rules {
        if concerns_clients(config, rule) {
            findings.push(Finding::new(
                format!("a rule accepts packets before they reach wanpool's rules: {}", rule.text),
                "move it behind the jump to WANPOOL",
            ));
        }
    }
    for (table, metric) in &surroundings.foreign_defaults {
        findings.push(Finding::new(
            format!("table {table} has a default route of another program, metric {metric}"),
            format!("ip route del default table {table} metric {metric}"),
        ));
    }
    if let Some(other) = surroundings.other_iptables {
        findings.push(Finding::new(
            format!("{other} has rules too, and packets pass both"),
            format!("move the rules to one kind and empty the other; {other}-save shows them"),
        ));
    }
    for name in &surroundings.flowtables {
        findings.push(Finding::new(
            format!("flowtable {name} forwards flows without marks and rules"),
            "remove it from the nftables ruleset, or remove the uplinks from it",
        ));
    }
    if let Some(file) = surroundings.saved_rules {
        findings.push(Finding::new(
            format!("{file} holds wanpool's rules, and loads at boot only if the set exists"),
            "install wanpool-set.service and wanpool-set.conf, or save the rules after wanpool flush",
        ));
    }
    findings.extend(full_conntrack_table(surroundings));
    findings.extend(small_neighbour_table(pools, surroundings));
    if surroundings.networkd_deletes {
        findings.push(Finding::new(
            "systemd-networkd deletes rules and routes that it did not make",
            "set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in networkd.conf",
        ));
    }
    findings
}

fn forwarding(sysctls: &BTreeMap<String, String>) -> Option<Finding> {
    match sysctls.get("net/ipv4/ip_forward").map(String::as_str) {
        Some("0") => Some(Finding::new("forwarding is off", "sysctl -w net.ipv4.ip_forward=1")),
        _ => None,
    }
}

/// With `src_valid_mark`, rp_filter does no harm: the reverse path check then uses the mark and finds
/// the uplink of the flow.
fn rp_filter(sysctls: &BTreeMap<String, String>) -> Vec<Finding> {
    let uses_mark =
        sysctls.get("net/ipv4/conf/all/src_valid_mark").is_some_and(|value| value != "0");
    let mut findings = Vec::new();
    if uses_mark {
        return findings;
    }
    for (key, value) in sysctls {
        if key.ends_with("/rp_filter") && value != "0" {
            findings.push(Finding::new(
                format!("{}={value} drops answers", key.replace('/', ".")),
                "sysctl -w net.ipv4.conf.all.src_valid_mark=1",
            ));
        }
    }
    findings
}

/// Whether a rule can match packets that clients send or receive.
fn concerns_clients(config: &Config, rule: &AcceptingRule) -> bool {
    let covers_uplink = |device: &DeviceMatch| {
        config.uplinks.values().any(|uplink| device.covers(uplink.dev.as_str()))
    };
    let covers_lan = |device: &DeviceMatch| match &config.lan {
        Lan::Devices(devices) => devices.iter().any(|dev| device.covers(dev.as_str())),
        Lan::AllButUplinks => config.is_lan(&device.pattern),
    };
    let input = match &rule.input {
        Some(device) if !device.negated => covers_lan(device) || covers_uplink(device),
        _ => true,
    };
    let output = match &rule.output {
        Some(device) if !device.negated => covers_uplink(device),
        _ => true,
    };
    input && output
}

/// A rule of another program that decides on packets of clients instead of ours, or that would decide
/// if it did not stand behind ours.
fn conflicting_rule(
    config: &Config,
    pools: &Pools,
    surroundings: &Surroundings,
    rule: &Rule,
) -> Option<Finding> {
    let ids = &config.kernel_ids;
    let (first, last) = (ids.rule_pref + UPLINK_LOCAL, ids.rule_pref + UNASSIGNED);
    let is_in_front = (1..=last).contains(&rule.pref);
    let is_behind = (last + 1..OF_THE_KERNEL).contains(&rule.pref);
    let decides = match rule.action {
        RuleAction::Nop => false,
        _ if rule.ignores_defaults() => false,
        // The routes of a VPN to its own networks do no harm; they are there to be used.
        RuleAction::Lookup(table) if is_in_front => {
            surroundings.tables_to_internet.contains(&table)
        }
        RuleAction::Lookup(table) => surroundings.tables_with_routes.contains(&table),
        _ => is_in_front,
    };
    let mut marks = vec![0];
    for &no in config.uplinks.keys() {
        marks.extend([ids.pool_mark(no).value, ids.uplink_mark(no).value]);
    }
    let concerns_clients =
        || marks.into_iter().any(|mark| matches_client(config, pools, rule, mark));
    if !decides || !(is_in_front || is_behind) || !concerns_clients() {
        return None;
    }
    if is_behind {
        return Some(Finding::new(
            format!("a routing rule stands behind wanpool's, and clients never reach it: {rule}"),
            format!("give it a preference below {first}"),
        ));
    }
    Some(Finding::new(
        format!("a routing rule of higher precedence matches wanpool's traffic: {rule}"),
        format!("give it a preference above {last}"),
    ))
}

/// Whether a rule matches packets with this mark that a client sends to the Internet.
fn matches_client(config: &Config, pools: &Pools, rule: &Rule, mark: u32) -> bool {
    let is_from_lan = match &rule.iif {
        Some(dev) => config.is_lan(dev.as_str()),
        None => true,
    };
    let is_from_client = match rule.from {
        Some(net) => pools.clients().any(|client| net.contains(&client.address())),
        None => true,
    };
    // A rule for some destinations, or for sockets bound to a device, does not match what a client
    // sends to the Internet.
    let is_for_internet = match &rule.unsupported_selectors {
        // So does the rule of the kernel for devices in a VRF.
        Some(selectors) => !selectors.starts_with("to ") && selectors != "l3mdev",
        None => rule.oif.is_none(),
    };
    let has_mark = rule.fwmark.is_none_or(|fwmark| fwmark.matches(mark));
    (has_mark && is_from_lan && is_from_client && is_for_internet) != rule.not
}

fn full_conntrack_table(surroundings: &Surroundings) -> Option<Finding> {
    let (count, max) = surroundings.conntrack?;
    if count * 100 < max * NEARLY_FULL {
        return None;
    }
    Some(Finding::new(
        format!("the conntrack table is nearly full: {count} of {max}"),
        format!("sysctl -w net.netfilter.nf_conntrack_max={}", max * 2),
    ))
}

fn small_neighbour_table(pools: &Pools, surroundings: &Surroundings) -> Option<Finding> {
    let limit = surroundings.neighbour_limit?;
    let clients = pools.len();
    if limit as usize >= clients {
        return None;
    }
    let next = clients.next_power_of_two() * 2;
    Some(Finding::new(
        format!("{clients} clients, but the neighbour table has room for {limit}"),
        format!(
            "sysctl -w net.ipv4.neigh.default.gc_thresh3={next} \
             net.ipv4.neigh.default.gc_thresh2={}",
            next / 2
        ),
    ))
}

#[cfg(test)]
mod tests;
