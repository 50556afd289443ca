//! Nexthops, routes and routing rules, each with its text as `ip nexthop`, `ip route` and `ip rule`
//! write it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{DevName, Mark};

/// `RT_TABLE_MAIN`.
pub const MAIN_TABLE: u32 = 254;

/// The nexthops, routes and rules with wanpool's protocol number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// By id.
    pub nexthops: BTreeMap<u32, Nexthop>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nexthop {
    Device {
        dev: DevName,
        via: Option<Ipv4Addr>,
    },
    /// The ids of the members with their weights, in order of id.
    Group(Vec<(u32, u16)>),
    /// A kind that wanpool never makes.
    Other,
}

/// As `ip nexthop` takes it, without id and protocol.
impl fmt::Display for Nexthop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nexthop::Device { dev, via: None } => write!(f, "dev {dev}"),
            Nexthop::Device { dev, via: Some(via) } => write!(f, "via {via} dev {dev} onlink"),
            Nexthop::Group(members) => {
                f.write_str("group ")?;
                for (at, (id, weight)) in members.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "/" };
                    write!(f, "{separator}{id}")?;
                    if *weight != 1 {
                        write!(f, ",{weight}")?;
                    }
                }
                Ok(())
            }
            Nexthop::Other => f.write_str("blackhole"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub table: u32,
    pub dst: Ipv4Net,
    /// The type of service; wanpool's own routes have none: 0.
    pub tos: u8,
    pub metric: u32,
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// The id of a nexthop.
    Nexthop(u32),
    Device {
        dev: DevName,
        via: Option<Ipv4Addr>,
    },
    Unreachable,
    /// The look-up goes on with the next rule.
    Throw,
    /// A kind that wanpool never makes.
    Other,
}

impl Route {
    /// What the kernel identifies a route by.
    pub fn key(&self) -> (u32, Ipv4Net, u8, u32) {
        (self.table, self.dst, self.tos, self.metric)
    }

    /// The device that the route itself names.
    pub fn dev(&self) -> Option<&DevName> {
        match &self.target {
            RouteTarget::Device { dev, .. } => Some(dev),
            _ => None,
        }
    }
}

/// As `ip route` takes it, without its protocol.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { table, dst, tos, metric, target } = self;
        let dst = if dst.prefix_len() == 0 { "default".to_owned() } else { dst.to_string() };
        match target {
            RouteTarget::Nexthop(id) => write!(f, "{dst} nhid {id}")?,
            RouteTarget::Device { dev, via: None } => write!(f, "{dst} dev {dev}")?,
            RouteTarget::Device { dev, via: Some(via) } => {
                write!(f, "{dst} via {via} dev {dev} onlink")?;
            }
            RouteTarget::Unreachable => write!(f, "unreachable {dst}")?,
            RouteTarget::Throw => write!(f, "throw {dst}")?,
            RouteTarget::Other => write!(f, "{dst}")?,
        }
        if *tos != 0 {
            write!(f, " tos {tos:#x}")?;
        }
        write!(f, " table {table}")?;
        if *metric != 0 {
            write!(f, " metric {metric}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub pref: u32,
    pub not: bool,
    pub fwmark: Option<Mark>,
    pub iif: Option<DevName>,
    pub action: RuleAction,
    /// `suppress_prefixlength 0`: default routes of the table are ignored.
    pub suppress_prefixlength_0: bool,
    /// The source prefix; wanpool's own rules have none.
    pub from: Option<Ipv4Net>,
    /// Selectors that wanpool's own rules never have, in the words of `ip rule`.
    pub unsupported_selectors: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleAction {
    Lookup(u32),
    Blackhole,
    Unreachable,
    /// The kinds from here on are ones that wanpool never makes.
    Prohibit,
    Goto(u32),
    Nop,
}

impl Rule {
    /// A rule that matches every packet.
    pub fn new(pref: u32, action: RuleAction) -> Self {
        Self {
            pref,
            not: false,
            fwmark: None,
            iif: None,
            action,
            suppress_prefixlength_0: false,
            from: None,
            unsupported_selectors: None,
        }
    }

    /// A rule that looks up the main table without its default routes.
    pub fn main_without_default(pref: u32) -> Self {
        Self { suppress_prefixlength_0: true, ..Self::new(pref, RuleAction::Lookup(MAIN_TABLE)) }
    }
}

/// As `ip rule` takes it, without its protocol.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pref {}", self.pref)?;
        if self.not {
            f.write_str(" not")?;
        }
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(selectors) = &self.unsupported_selectors {
            write!(f, " {selectors}")?;
        }
        if let Some(mark) = self.fwmark {
            write!(f, " fwmark {mark}")?;
        }
        if let Some(dev) = &self.iif {
            write!(f, " iif {dev}")?;
        }
        match self.action {
            RuleAction::Lookup(MAIN_TABLE) => f.write_str(" lookup main")?,
            RuleAction::Lookup(table) => write!(f, " lookup {table}")?,
            RuleAction::Blackhole => f.write_str(" blackhole")?,
            RuleAction::Unreachable => f.write_str(" unreachable")?,
            RuleAction::Prohibit => f.write_str(" prohibit")?,
            RuleAction::Goto(pref) => write!(f, " goto {pref}")?,
            RuleAction::Nop => f.write_str(" nop")?,
        }
        if self.suppress_prefixlength_0 {
            f.write_str(" suppress_prefixlength 0")?;
        }
        Ok(())
    }
}
