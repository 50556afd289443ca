//! What would make a correct slice fail, and the remedy for each. Pure.

use std::collections::BTreeMap;

use crate::config::{Config, Lan};
use crate::model::Mark;
use crate::model::pools::Pools;
use crate::model::STATE::{Action, Health, Rule};
use crate::model::change::RuleText;

/// One thing that is wrong, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub remedy: String,
}

impl Finding {
    /// Something that bears a name or number of ours and is not ours.
    pub fn taken(taken: &str) -> Self {
        let (what, remedy) = taken.split_once("; ").unwrap_or((taken, "take it away"));
        Self::new(what, remedy)
    }

    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// `conntrack` is nearly full from this part of its limit on, in percent.
const NEARLY_FULL: u64 = 90;

pub fn find(
    config: &Config,
    pools: &Pools,
    health: &Health,
    sysctls: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = forwarding(sysctls).into_iter().collect();
    findings.extend(rp_filter(sysctls));
    findings.extend(health.foreign_rules.iter().filter_map(|rule| thief(config, pools, rule)));
    let accepting = health.accepted_before.iter().filter(|rule| meets_clients(config, rule));
    findings.extend(accepting.map(|rule| {
        Finding::new(
            format!("a rule accepts packets before ours sees them: {rule}"),
            "move it behind the jump to WANPOOL",
        )
    }));
    findings.extend(health.foreign_defaults.iter().map(|(table, metric)| {
        Finding::new(
            format!("table {table} holds a default route of others, metric {metric}"),
            format!("ip route del default table {table} metric {metric}"),
        )
    }));
    if let Some(other) = health.other_iptables {
        findings.push(Finding::new(
            format!("{other} holds rules too: packets pass both"),
            format!("move them to one kind and empty the other: {other}-save shows them"),
        ));
    }
    findings.extend(health.flowtables.iter().map(|name| {
        Finding::new(
            format!("flowtable {name} forwards flows past marks and rules"),
            "take it out of the nftables rule set, or keep the uplinks out of it",
        )
    }));
    findings.extend(full_conntrack_table(health));
    findings.extend(small_neighbour_table(pools, health));
    if health.networkd_deletes {
        findings.push(Finding::new(
            "systemd-networkd deletes rules and routes that it does not know",
            "set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in networkd.conf",
        ));
    }
    findings
}

fn forwarding(sysctls: &BTreeMap<String, String>) -> Option<Finding> {
    let off = sysctls.get("net/ipv4/ip_forward").is_some_and(|value| value == "0");
    off.then(|| Finding::new("forwarding is off", "sysctl -w net.ipv4.ip_forward=1"))
}

/// rp_filter is harmless with `src_valid_mark`: the reverse check then knows the flow's uplink.
fn rp_filter(sysctls: &BTreeMap<String, String>) -> Vec<Finding> {
    let with_mark =
        sysctls.get("net/ipv4/conf/all/src_valid_mark").is_some_and(|value| value != "0");
    let on = sysctls.iter().filter(|(key, value)| key.ends_with("/rp_filter") && *value != "0");
    on.filter(|_| !with_mark)
        .map(|(key, value)| {
            Finding::new(
                format!("{}={value} drops answers", key.replace('/', ".")),
                "sysctl -w net.ipv4.conf.all.src_valid_mark=1",
            )
        })
        .collect()
}

/// Whether a rule of the form `table CHAIN rule` can meet what clients send or get.
fn meets_clients(config: &Config, rule: &str) -> bool {
    let named = |option: &str| {
        let mut words = rule.split(' ').skip_while(|word| *word != option);
        words.nth(1).filter(|_| !rule.contains(&format!("! {option} ")))
    };
    let is = |pattern: &str, dev: &str| match pattern.strip_suffix('+') {
        Some(start) => dev.starts_with(start),
        None => dev == pattern,
    };
    let is_uplink = |name: &str| config.uplinks.values().any(|it| is(name, it.dev.as_str()));
    let is_lan = |name: &str| match &config.lan {
        Lan::Devices(devices) => devices.iter().any(|dev| is(name, dev.as_str())),
        Lan::AllButUplinks => config.is_lan(name),
    };
    named("-i").is_none_or(|name| is_lan(name) || is_uplink(name))
        && named("-o").is_none_or(is_uplink)
}

/// A rule of somebody else's, in front of our last one, that decides on a client's packets.
fn thief(config: &Config, pools: &Pools, rule: &Rule) -> Option<Finding> {
    let numbers = &config.kernel_ids;
    let last = ids.rule_pref + super::layout::LAN_REST;
    let in_front = (1..=last).contains(&rule.pref);
    let decides = rule.action != Action::Nop && !rule.suppress_prefixlength_0;
    let from_lan = rule.iif.as_ref().is_none_or(|iif| config.is_lan(iif.as_str()));
    let from_client = rule.from.is_none_or(|net| {
        let mut clients = pools.iter().flat_map(|(_, members)| members);
        clients.any(|client| net.contains(&client.address()))
    });
    // To somewhere only, or of sockets bound to a device: not what a client sends to the world.
    let elsewhere = |odd: &String| ["to ", "oif "].iter().any(|start| odd.starts_with(start));
    let anywhere = !rule.odd.as_ref().is_some_and(elsewhere);
    let ours = config
        .uplinks
        .keys()
        .flat_map(|&no| [ids.pool_mark(no).value, ids.uplink_mark(no).value]);
    let matches = |mark: u32| match rule.fwmark {
        Some(Mark { value, mask }) => mark & mask == value,
        None => true,
    };
    let selects = |mark: u32| matches(mark) && from_lan && from_client && anywhere;
    let takes = ours.into_iter().any(|mark| selects(mark) != rule.not);
    (in_front && decides && takes).then(|| {
        Finding::new(
            format!("a rule takes our packets first: {}", RuleText(rule)),
            format!("give it a preference above {last}"),
        )
    })
}

fn full_conntrack_table(health: &Health) -> Option<Finding> {
    let (count, max) = health.conntrack?;
    if count * 100 < max * NEARLY_FULL {
        return None;
    }
    Some(Finding::new(
        format!("the conntrack table is nearly full: {count} of {max}"),
        format!("sysctl -w net.netfilter.nf_conntrack_max={}", max * 2),
    ))
}

fn small_neighbour_table(pools: &Pools, health: &Health) -> Option<Finding> {
    let limit = health.neighbour_limit?;
    let clients = pools.len();
    if limit as usize >= clients {
        return None;
    }
    let next = clients.next_power_of_two() * 2;
    Some(Finding::new(
        format!("{clients} clients, but room for {limit} neighbours"),
        format!(
            "sysctl -w net.ipv4.neigh.default.gc_thresh3={next} \
             net.ipv4.neigh.default.gc_thresh2={}",
            next / 2
        ),
    ))
}
