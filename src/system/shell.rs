//! A change as the shell commands that do the same. `--dry-run` prints them, and they can be pasted
//! into a root shell.

use super::netfilter::iptables_text;
use crate::model::Family;
use crate::model::change::Change;
use crate::model::client_set::set_name;
use crate::model::filter::Chain;
use crate::model::routing::{Nexthop, Route, Rule};

/// The commands that make this change.
pub fn commands(change: &Change, family: Family, protocol: u8) -> Vec<String> {
    let (set, iptables) = (set_name(family), family.iptables());
    let ipv6 = if family == Family::Inet6 { " -f ipv6" } else { "" };
    let ip = |family: Family| format!("ip{}", family.ip_option());
    let route_command = |verb: &str, route: &Route| {
        let ip = ip(Family::of_net(route.dst));
        vec![format!("{ip} route {verb} {route} protocol {protocol}")]
    };
    let rule_command = |verb: &str, rule: &Rule| {
        vec![format!("{} rule {verb} {rule} protocol {protocol}", ip(rule.family))]
    };
    match change {
        Change::AddEntries(entries) => entries
            .iter()
            .map(|(address, mark)| format!("ipset -exist add {set} {address} skbmark {mark}"))
            .collect(),
        Change::DeleteEntries(addresses) => {
            addresses.iter().map(|it| format!("ipset -exist del {set} {it}")).collect()
        }
        // conntrack(8) fails where there is no entry to delete, which is no error here.
        Change::EndFlowsFrom { mark, sources } => sources
            .iter()
            .map(|source| format!("conntrack -D{ipv6} -s {source} -m {mark} || :"))
            .collect(),
        Change::EndFlows { mark } => vec![format!("conntrack -D{ipv6} -m {mark} || :")],
        Change::DeleteChain(Chain { table, name }) => vec![
            format!("{iptables} -w -t {table} -F {name}"),
            format!("{iptables} -w -t {table} -X {name}"),
        ],
        Change::LoadModule(module) => vec![format!("modprobe {module}")],
        Change::SetSysctl { key, value, .. } => {
            vec![format!("sysctl -qw {}={value}", key.replace('/', "."))]
        }
        Change::ReplaceNexthop { id, nexthop } => {
            let ip = ip(match nexthop {
                Nexthop::Device { family, .. } => *family,
                Nexthop::Group(_) | Nexthop::Other => Family::Inet,
            });
            vec![format!("{ip} nexthop replace id {id} {nexthop} protocol {protocol}")]
        }
        Change::DeleteNexthop { id } => vec![format!("ip nexthop del id {id}")],
        Change::AddRoute(route) => route_command("add", route),
        Change::ReplaceRoute(route) => route_command("replace", route),
        Change::DeleteRoute(route) => route_command("del", route),
        Change::AddRule(rule) => rule_command("add", rule),
        Change::DeleteRule(rule) => rule_command("del", rule),
        Change::CreateSet { max, buckets } => vec![format!(
            "ipset create {set} hash:ip family {family} hashsize {buckets} maxelem {max} \
             counters skbinfo"
        )],
        Change::DestroySet => vec![format!("ipset destroy {set}")],
        Change::ReplaceChains(chains) => {
            vec![restore_command(iptables, &iptables_text::restore(chains))]
        }
        Change::AddJump(jump) => vec![format!(
            "{iptables} -w -t {} -A {} {}",
            jump.to.table,
            jump.from,
            iptables_text::render(&jump.rule)
        )],
        Change::DeleteJump(jump) => {
            let rule = iptables_text::render(&jump.rule);
            // A shell and iptables read quotes in different ways.
            if rule.contains(['"', '\\']) {
                vec![restore_command(iptables, &iptables_text::delete(jump))]
            } else {
                vec![format!("{iptables} -w -t {} -D {} {rule}", jump.to.table, jump.from)]
            }
        }
    }
}

fn restore_command(iptables: &str, text: &str) -> String {
    format!("{iptables}-restore -w --noflush <<'END'\n{text}END")
}

/// What a change does, in one line, for errors.
pub fn summary(change: &Change, family: Family, protocol: u8) -> String {
    if let Change::ReplaceChains(chains) = change {
        let names: Vec<String> =
            chains.iter().map(|(chain, _)| format!("{}/{}", chain.table, chain.name)).collect();
        return format!("replacing the chains {}", names.join(", "));
    }
    let commands = commands(change, family, protocol);
    let first = commands.first().map_or("", String::as_str);
    match commands.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}
