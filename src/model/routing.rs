//! Nexthops, routes and routing rules, each with its text as `ip nexthop`, `ip route` and `ip rule`
//! write it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{DevName, Family, Mark};

/// `RT_TABLE_MAIN`.
pub const MAIN_TABLE: u32 = 254;

/// The realm of the default routes in the tables of uplinks. A rule of the packet filter recognises by
/// it that a packet of the gateway found no other way.
pub const UPLINK_REALM: u16 = 87;

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
        family: Family,
        dev: DevName,
        via: Option<IpAddr>,
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
            Nexthop::Device { dev, via: None, .. } => write!(f, "dev {dev}"),
            Nexthop::Device { dev, via: Some(via), .. } => write!(f, "via {via} dev {dev} onlink"),
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
    pub dst: IpNet,
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
        via: Option<IpAddr>,
    },
    /// The same with the realm of uplinks: by this route, traffic leaves by a certain uplink.
    Uplink {
        dev: DevName,
        via: Option<IpAddr>,
    },
    Unreachable,
    /// The look-up goes on with the next rule.
    Throw,
    /// A kind that wanpool never makes.
    Other,
}

impl Route {
    /// What the kernel identifies a route by.
    pub fn key(&self) -> (u32, IpNet, u8, u32) {
        (self.table, self.dst, self.tos, self.metric)
    }

    /// The device that the route itself names.
    pub fn dev(&self) -> Option<&DevName> {
        match &self.target {
            RouteTarget::Device { dev, .. } | RouteTarget::Uplink { dev, .. } => Some(dev),
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
            RouteTarget::Device { dev, via } | RouteTarget::Uplink { dev, via } => match via {
                None => write!(f, "{dst} dev {dev}")?,
                Some(via) => write!(f, "{dst} via {via} dev {dev} onlink")?,
            },
            RouteTarget::Unreachable => write!(f, "unreachable {dst}")?,
            RouteTarget::Throw => write!(f, "throw {dst}")?,
            RouteTarget::Other => write!(f, "{dst}")?,
        }
        if matches!(target, RouteTarget::Uplink { .. }) {
            write!(f, " realm {UPLINK_REALM}")?;
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

/// A route that another program has in the main table by a certain device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainRoute {
    pub dst: IpNet,
    pub via: Option<IpAddr>,
}

/// A route that another program has in the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRoute {
    pub dst: IpNet,
    /// Of a multipath route, there are several.
    pub devs: Vec<DevName>,
    pub via: Option<IpAddr>,
    pub metric: u32,
    /// `rtm_protocol`: the program that made it.
    pub protocol: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub family: Family,
    pub pref: u32,
    pub not: bool,
    pub fwmark: Option<Mark>,
    pub iif: Option<DevName>,
    pub oif: Option<DevName>,
    /// The source prefix.
    pub from: Option<IpNet>,
    pub action: RuleAction,
    /// Routes of the table whose prefix is not longer than this are ignored; 0: its default routes.
    pub suppress_prefixlength: Option<u32>,
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
    /// A rule that matches every packet of a family.
    pub fn new(family: Family, pref: u32, action: RuleAction) -> Self {
        Self {
            family,
            pref,
            not: false,
            fwmark: None,
            iif: None,
            oif: None,
            from: None,
            action,
            suppress_prefixlength: None,
            unsupported_selectors: None,
        }
    }

    /// A rule that looks up the main table without its default routes.
    pub fn main_without_default(family: Family, pref: u32) -> Self {
        let lookup = Self::new(family, pref, RuleAction::Lookup(MAIN_TABLE));
        Self { suppress_prefixlength: Some(0), ..lookup }
    }

    /// Whether the default routes of the table are ignored.
    pub fn ignores_defaults(&self) -> bool {
        self.suppress_prefixlength.is_some()
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
            // `ip rule` writes a single address without its length.
            if from.prefix_len() == self.family.host_length() {
                write!(f, " from {}", from.addr())?;
            } else {
                write!(f, " from {from}")?;
            }
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
        if let Some(dev) = &self.oif {
            write!(f, " oif {dev}")?;
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
        if let Some(length) = self.suppress_prefixlength {
            write!(f, " suppress_prefixlength {length}")?;
        }
        Ok(())
    }
}
