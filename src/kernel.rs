//! The kernel: [`Kernel::observe`] tells what is there, [`Kernel::apply`] does one step.
//!
//! The only place with netlink and iptables. It knows what things are, never what
//! they ought to be: it reaches neither `plan` nor `store`.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::model::{Client, DevName, Family, Mark, Numbers};
use crate::state::{Health, Link, Neighbour, Observed, Route, Rule, Signs};

mod apply;
mod conntrack;
mod error;
mod health;
#[cfg(test)]
mod hostile;
mod ipset;
mod iptables;
mod link;
mod neighbour;
mod netlink;
mod nexthop;
mod observe;
pub mod privileges;
mod route;
mod rule;
mod ruleset;
mod sysctl;
mod watch;

use error::KernelError;
use iptables::Iptables;
use netlink::Channel;

/// What [`Kernel::observe`] is to look at.
#[derive(Clone)]
pub struct Query {
    pub family: Family,
    pub numbers: Numbers,
    /// Paths below `/proc/sys`.
    pub sysctls: Vec<String>,
    /// Devices whose gateway the main table may know.
    pub gateways_of: Vec<DevName>,
    pub modules: Vec<&'static str>,
    /// Nexthop ids and tables that we want for ourselves.
    pub nexthops: Vec<u32>,
    pub tables: Vec<u32>,
    /// The set too, for which CAP_NET_ADMIN is needed.
    pub set: bool,
    /// The chains too, for which iptables needs CAP_NET_RAW besides.
    pub chains: bool,
}

pub struct Kernel {
    route: Channel,
    netfilter: Channel,
    /// As of the last look. A step for a device that has another index by now fails, and is
    /// planned anew.
    devices: RefCell<Devices>,
    iptables: OnceCell<Iptables>,
}

/// Device names and indexes, as of one moment.
#[derive(Clone, Default, PartialEq)]
pub struct Devices(BTreeMap<u32, DevName>);

impl Devices {
    fn new(links: &[Link]) -> Self {
        Self(links.iter().map(|link| (link.index, link.name.clone())).collect())
    }

    pub fn name(&self, index: u32) -> Option<DevName> {
        self.0.get(&index).cloned()
    }

    pub fn index(&self, name: &DevName) -> Result<u32> {
        let found = self.0.iter().find(|(_, known)| *known == name);
        let index = found.map(|(&index, _)| index);
        index.ok_or_else(|| KernelError::of_errno(error::ENODEV)).with_context(|| name.to_string())
    }
}

impl Kernel {
    pub fn open() -> Result<Self> {
        Ok(Self {
            route: Channel::open(netlink::ROUTE)?,
            netfilter: Channel::open(netlink::NETFILTER)?,
            devices: RefCell::default(),
            iptables: OnceCell::new(),
        })
    }

    fn iptables(&self) -> Result<&Iptables> {
        if let Some(found) = self.iptables.get() {
            return Ok(found);
        }
        let found = Iptables::find()?;
        Ok(self.iptables.get_or_init(|| found))
    }

    /// What tells cheaply whether the set and the chains have changed. Rules of iptables-legacy give
    /// no sign.
    pub fn signs(&self) -> Signs {
        let is_nft = self.iptables().is_ok_and(Iptables::is_nft);
        let generation = || ruleset::generation(&self.netfilter).ok().flatten();
        let (entries, room) = ipset::count(&self.netfilter).ok().flatten().unzip();
        Signs { entries, room, generation: is_nft.then(generation).flatten() }
    }

    /// What `keep` makes of the clients in the neighbour table behind these devices.
    pub fn neighbours<T>(
        &self,
        family: Family,
        links: &[&Link],
        keep: impl Fn(Neighbour) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut neighbours = Vec::new();
        for link in links {
            neighbours.extend(neighbour::behind(&self.route, family, link, &keep)?);
        }
        Ok(neighbours)
    }

    /// Whether one client is behind any of these devices, asked for by itself.
    pub fn is_neighbour(&self, family: Family, links: &[&Link], client: Client) -> Result<bool> {
        for link in links {
            if neighbour::is_behind(&self.route, family, link, client)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The clients that have live flows over an uplink: flows whose connmark matches.
    pub fn busy_clients(&self, family: Family, mark: Mark) -> Result<HashSet<Client>> {
        Ok(self.flows_by_client(family, mark)?.into_keys().collect())
    }

    /// How many live flows with this connmark each client has.
    pub fn flows_by_client(&self, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
        conntrack::by_client(&self.netfilter, family, mark)
    }

    /// How many of them each began: what came in from outside is its sender's.
    pub fn flows_begun_by(&self, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
        conntrack::begun_by(&self.netfilter, family, mark)
    }

    /// How many connections each client has begun, by the counters of the set.
    pub fn connections_begun(&self) -> Result<HashMap<Client, u64>> {
        ipset::counters(&self.netfilter)
    }

    /// Bytes received and sent by each device.
    pub fn traffic(&self) -> Result<HashMap<DevName, (u64, u64)>> {
        link::traffic(&self.route)
    }

    /// How many flows have this connmark.
    pub fn flows(&self, family: Family, mark: Mark) -> Result<usize> {
        conntrack::count(&self.netfilter, family, mark)
    }

    /// What could keep a slice from working that is itself as it should be.
    pub fn health(&self, query: &Query) -> Result<Health> {
        let Query { family, numbers, tables, .. } = query;
        health::look(
            &self.route,
            &self.netfilter,
            self.iptables()?,
            *family,
            numbers.protocol,
            tables,
        )
    }

    /// The devices and the gateway's own addresses, nothing else.
    pub fn devices(&self, family: Family) -> Result<Observed> {
        let links = link::links(&self.route)?;
        let addresses = link::addresses(&self.route, family, &links)?;
        Ok(Observed { links, addresses, ..Observed::default() })
    }

    /// The rules of everybody else.
    pub fn foreign_rules(&self, family: Family, our_protocol: u8) -> Result<Vec<Rule>> {
        rule::list_foreign(&self.route, family, our_protocol)
    }

    /// The route, whosever it is, that a client's packet with this mark takes to somewhere in the
    /// wider Internet. The error is the kernel's where it would not forward the packet.
    pub fn lookup(
        &self,
        client: Ipv4Addr,
        mark: u32,
        from: Option<&Link>,
        links: &[Link],
    ) -> Result<Option<Route>> {
        let devices = Devices::new(links);
        route::lookup(&self.route, client, mark, from, &devices)
    }
}
