//! The kernel: [`Kernel::observe`] tells what is there, [`Kernel::apply`] does one step.
//!
//! The only place with netlink, iptables and async. It knows what things are, never what
//! they ought to be: it reaches neither `plan` nor `store`.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::model::{Client, DevName, Family, Mark, Numbers};
use crate::state::{Health, Link, Neighbour, Observed};

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
mod sysctl;

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
    runtime: Runtime,
    route: Channel,
    netfilter: Channel,
    /// As of the last look. A step for a device that has another index by now fails, and is
    /// planned anew.
    devices: RefCell<Devices>,
    iptables: OnceCell<Iptables>,
}

/// Device names and indexes, as of one moment.
#[derive(Default)]
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("starting the netlink runtime")?;
        let (route, netfilter) = runtime.block_on(async {
            anyhow::Ok((Channel::open(netlink::ROUTE)?, Channel::open(netlink::NETFILTER)?))
        })?;
        Ok(Self {
            runtime,
            route,
            netfilter,
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

    /// The clients in the neighbour table behind these devices.
    pub fn neighbours(&self, family: Family, links: &[&Link]) -> Result<Vec<Neighbour>> {
        self.runtime.block_on(async {
            let mut neighbours = Vec::new();
            for link in links {
                neighbours.extend(neighbour::behind(&self.route, family, link).await?);
            }
            Ok(neighbours)
        })
    }

    /// The clients that have live flows over an uplink: flows whose connmark matches.
    pub fn busy_clients(&self, family: Family, mark: Mark) -> Result<HashSet<Client>> {
        Ok(self.flows_by_client(family, mark)?.into_keys().collect())
    }

    /// How many live flows with this connmark each client has.
    pub fn flows_by_client(&self, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
        self.runtime.block_on(conntrack::by_client(&self.netfilter, family, mark))
    }

    /// How many of them each began: what came in from outside is its sender's.
    pub fn flows_begun_by(&self, family: Family, mark: Mark) -> Result<HashMap<Client, u64>> {
        self.runtime.block_on(conntrack::begun_by(&self.netfilter, family, mark))
    }

    /// How many connections each client has begun, by the counters of the set.
    pub fn connections_begun(&self) -> Result<HashMap<Client, u64>> {
        self.runtime.block_on(ipset::counters(&self.netfilter))
    }

    /// Bytes received and sent by each device.
    pub fn traffic(&self) -> Result<HashMap<DevName, (u64, u64)>> {
        self.runtime.block_on(link::traffic(&self.route))
    }

    /// How many flows have this connmark.
    pub fn flows(&self, family: Family, mark: Mark) -> Result<usize> {
        self.runtime.block_on(conntrack::count(&self.netfilter, family, mark))
    }

    /// What could keep a slice from working that is itself as it should be.
    pub fn health(&self, query: &Query) -> Result<Health> {
        let Query { family, numbers, tables, .. } = query;
        self.runtime.block_on(health::look(
            &self.route,
            &self.netfilter,
            self.iptables()?,
            *family,
            numbers.protocol,
            tables,
        ))
    }

    /// The devices and the gateway's own addresses, nothing else.
    pub fn devices(&self, family: Family) -> Result<Observed> {
        self.runtime.block_on(async {
            let links = link::links(&self.route).await?;
            let addresses = link::addresses(&self.route, family, &links).await?;
            Ok(Observed { links, addresses, ..Observed::default() })
        })
    }

    /// The device by which a client's packet with this mark would leave for somewhere in
    /// the wider Internet. The error is the kernel's, where it would not forward the packet.
    pub fn lookup(
        &self,
        client: Ipv4Addr,
        mark: u32,
        from: Option<&Link>,
        links: &[Link],
    ) -> Result<Option<DevName>> {
        let devices = Devices::new(links);
        self.runtime.block_on(route::lookup(&self.route, client, mark, from, &devices))
    }
}
