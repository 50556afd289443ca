//! One change to the kernel. Its [`Step::commands`] are what a person would type to do the very
//! same; `--dry-run` prints them, and what is printed can be pasted into a root shell.
//!
//! A step says what to do; `kernel` does it.

use std::fmt::{self, Write};
use std::net::Ipv4Addr;

use crate::model::Mark;
use crate::state::{Action, Chain, Jump, MAIN_TABLE, Nexthop, Route, Rule, SET_NAME, Way};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    LoadModule(&'static str),
    Sysctl {
        key: String,
        value: String,
    },
    /// Makes the nexthop or changes it in place.
    NexthopSet {
        id: u32,
        nexthop: Nexthop,
        protocol: u8,
    },
    /// The kernel takes the routes that use it, and its places in groups, along.
    NexthopDelete {
        id: u32,
    },
    RouteAdd {
        route: Route,
        protocol: u8,
    },
    /// Changes what is at the route's table, destination and metric in place.
    RouteReplace {
        route: Route,
        protocol: u8,
    },
    RouteDelete {
        route: Route,
        protocol: u8,
    },
    RuleAdd {
        rule: Rule,
        protocol: u8,
    },
    RuleDelete {
        rule: Rule,
        protocol: u8,
    },
    SetCreate {
        max: u32,
        /// Where it begins to grow from: `hashsize`.
        buckets: u32,
    },
    SetDestroy,
    /// Makes the entries or changes their marks in place.
    EntriesSet(Vec<(Ipv4Addr, Mark)>),
    EntriesDelete(Vec<Ipv4Addr>),
    /// Makes the chains or replaces their rules, each table in one go.
    ChainsSet(Vec<(Chain, Vec<String>)>),
    ChainDelete(Chain),
    JumpAdd(Jump),
    JumpDelete(Jump),
    /// Ends the conntrack entries with this connmark, and no others.
    FlowsEnd {
        mark: Mark,
    },
    /// Of these, only those that one of the clients began.
    ClientFlowsEnd {
        mark: Mark,
        clients: Vec<Ipv4Addr>,
    },
}

impl Step {
    /// The shell commands that do this step.
    pub fn commands(&self) -> Vec<String> {
        match self {
            Step::EntriesSet(entries) => entries
                .iter()
                .map(|(client, mark)| {
                    format!("ipset -exist add {SET_NAME} {client} skbmark {mark}")
                })
                .collect(),
            Step::EntriesDelete(clients) => clients
                .iter()
                .map(|client| format!("ipset -exist del {SET_NAME} {client}"))
                .collect(),
            Step::ClientFlowsEnd { mark, clients } => clients
                .iter()
                .map(|client| format!("conntrack -D -s {client} -m {mark} || :"))
                .collect(),
            Step::ChainDelete(Chain { table, name }) => {
                vec![
                    format!("iptables -w -t {table} -F {name}"),
                    format!("iptables -w -t {table} -X {name}"),
                ]
            }
            other => vec![other.command()],
        }
    }

    /// How many commands that are.
    pub fn count(&self) -> usize {
        match self {
            Step::EntriesSet(entries) => entries.len(),
            Step::EntriesDelete(clients) | Step::ClientFlowsEnd { clients, .. } => clients.len(),
            Step::ChainDelete(_) => 2,
            _ => 1,
        }
    }

    fn command(&self) -> String {
        match self {
            Step::LoadModule(module) => format!("modprobe {module}"),
            Step::Sysctl { key, value } => format!("sysctl -qw {}={value}", key.replace('/', ".")),
            Step::NexthopSet { id, nexthop, protocol } => {
                format!("ip nexthop replace id {id} {} protocol {protocol}", NexthopText(nexthop))
            }
            Step::NexthopDelete { id } => format!("ip nexthop del id {id}"),
            Step::RouteAdd { route, protocol } => {
                format!("ip route add {} protocol {protocol}", RouteText(route))
            }
            Step::RouteReplace { route, protocol } => {
                format!("ip route replace {} protocol {protocol}", RouteText(route))
            }
            Step::RouteDelete { route, protocol } => {
                format!("ip route del {} protocol {protocol}", RouteText(route))
            }
            Step::RuleAdd { rule, protocol } => {
                format!("ip rule add {} protocol {protocol}", RuleText(rule))
            }
            Step::RuleDelete { rule, protocol } => {
                format!("ip rule del {} protocol {protocol}", RuleText(rule))
            }
            Step::SetCreate { max, buckets } => format!(
                "ipset create {SET_NAME} hash:ip family inet hashsize {buckets} maxelem {max} \
                 counters skbinfo"
            ),
            Step::SetDestroy => format!("ipset destroy {SET_NAME}"),
            Step::ChainsSet(chains) => {
                format!("iptables-restore -w --noflush <<'END'\n{}END", restore_text(chains))
            }
            Step::JumpAdd(Jump { to, from, rule }) => {
                format!("iptables -w -t {} -A {from} {rule}", to.table)
            }
            // A shell reads quotes in its own way.
            Step::JumpDelete(jump) if jump.rule.contains(['"', '\\']) => {
                format!("iptables-restore -w --noflush <<'END'\n{}END", delete_text(jump))
            }
            Step::JumpDelete(Jump { to, from, rule }) => {
                format!("iptables -w -t {} -D {from} {rule}", to.table)
            }
            // conntrack(8) fails where there is none to delete, which is fine with us.
            Step::FlowsEnd { mark } => format!("conntrack -D -m {mark} || :"),
            Step::EntriesSet(_)
            | Step::EntriesDelete(_)
            | Step::ClientFlowsEnd { .. }
            | Step::ChainDelete(_) => self.commands().join("\n"),
        }
    }
}

/// What is tried, in one line, for errors.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Step::ChainsSet(chains) = self {
            let names = chains.iter().map(|(chain, _)| format!("{}/{}", chain.table, chain.name));
            return write!(f, "replacing the chains {}", names.collect::<Vec<_>>().join(", "));
        }
        let commands = self.commands();
        f.write_str(commands.first().map_or("", String::as_str))?;
        match commands.len() {
            0 | 1 => Ok(()),
            many => write!(f, " (and {} more)", many - 1),
        }
    }
}

/// What `iptables-restore --noflush` reads: a block a table, in which declaring a chain empties it.
pub fn restore_text(chains: &[(Chain, Vec<String>)]) -> String {
    let mut text = String::new();
    for block in chains.chunk_by(|(one, _), (next, _)| one.table == next.table) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "*{}", block[0].0.table);
        for (chain, _) in block {
            let _ = writeln!(text, ":{} - [0:0]", chain.name);
        }
        for (chain, rules) in block {
            for rule in rules {
                let _ = writeln!(text, "-A {} {rule}", chain.name);
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The deletion of a single rule, in the same form: there it may hold quotes.
pub fn delete_text(Jump { to, from, rule }: &Jump) -> String {
    format!("*{}\n-D {from} {rule}\nCOMMIT\n", to.table)
}

/// A nexthop as `ip nexthop` takes it, without its id and protocol.
pub struct NexthopText<'a>(pub &'a Nexthop);

impl fmt::Display for NexthopText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Nexthop::Device { dev, via: None } => write!(f, "dev {dev}"),
            Nexthop::Device { dev, via: Some(via) } => write!(f, "via {via} dev {dev} onlink"),
            Nexthop::Group(members) => {
                let member = |&(id, weight): &(u32, u16)| match weight {
                    1 => id.to_string(),
                    _ => format!("{id},{weight}"),
                };
                write!(f, "group {}", members.iter().map(member).collect::<Vec<_>>().join("/"))
            }
            Nexthop::Other => f.write_str("blackhole"),
        }
    }
}

/// A route as `ip route` takes it, without its protocol.
pub struct RouteText<'a>(pub &'a Route);

impl fmt::Display for RouteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { table, dst, tos, metric, way } = self.0;
        let dst = if dst.prefix_len() == 0 { "default".to_owned() } else { dst.to_string() };
        match way {
            Way::Nexthop(id) => write!(f, "{dst} nhid {id}")?,
            Way::Device { dev, via: None } => write!(f, "{dst} dev {dev}")?,
            Way::Device { dev, via: Some(via) } => write!(f, "{dst} via {via} dev {dev} onlink")?,
            Way::Unreachable => write!(f, "unreachable {dst}")?,
            Way::Other => write!(f, "{dst}")?,
        }
        if *tos != 0 {
            write!(f, " tos {tos:#x}")?;
        }
        write!(f, " table {table}")?;
        match metric {
            0 => Ok(()),
            metric => write!(f, " metric {metric}"),
        }
    }
}

/// A rule as `ip rule` takes it, without its protocol.
pub struct RuleText<'a>(pub &'a Rule);

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.0;
        write!(f, "pref {}", rule.pref)?;
        if rule.not {
            f.write_str(" not")?;
        }
        if let Some(from) = rule.from {
            write!(f, " from {from}")?;
        }
        if let Some(odd) = &rule.odd {
            write!(f, " {odd}")?;
        }
        if let Some(mark) = rule.fwmark {
            write!(f, " fwmark {mark}")?;
        }
        if let Some(dev) = &rule.iif {
            write!(f, " iif {dev}")?;
        }
        match rule.action {
            Action::Lookup(MAIN_TABLE) => f.write_str(" lookup main")?,
            Action::Lookup(table) => write!(f, " lookup {table}")?,
            Action::Blackhole => f.write_str(" blackhole")?,
            Action::Unreachable => f.write_str(" unreachable")?,
            Action::Prohibit => f.write_str(" prohibit")?,
            Action::Goto(pref) => write!(f, " goto {pref}")?,
            Action::Nop => f.write_str(" nop")?,
        }
        if rule.but_defaults {
            f.write_str(" suppress_prefixlength 0")?;
        }
        Ok(())
    }
}
