//! The kernel: [`Kernel::observe`] tells what is there, [`Kernel::apply`] does one step.
//!
//! The only place with netlink, iptables and async. It knows what things are, never what
//! they ought to be: it reaches neither `plan` nor `store`.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::model::{Client, DevName, Family, Mark, Numbers};
use crate::state::{Health, Link, Neighbour, Observed, Slice};
use crate::step::Step;

mod conntrack;
mod error;
mod health;
mod ipset;
mod iptables;
mod link;
mod neighbour;
mod netlink;
mod nexthop;
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
#[derive(Clone, Default)]
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
        index.ok_or_else(|| KernelError::of_errno(ENODEV)).with_context(|| name.to_string())
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

    pub fn observe(&self, query: &Query) -> Result<Observed> {
        self.runtime.block_on(self.observe_async(query)).context("looking at the kernel")
    }

    async fn observe_async(&self, query: &Query) -> Result<Observed> {
        let Query { family, numbers, .. } = *query;
        let links = link::links(&self.route).await?;
        let addresses = link::addresses(&self.route, family, &links).await?;
        let devices = Devices::new(&links);
        let mut found = Observed {
            addresses,
            sysctls: sysctl::read(&query.sysctls),
            unloaded: unloaded(&query.modules),
            slice: Slice { family, ..Slice::default() },
            ..Observed::default()
        };
        self.observe_nexthops(query, &devices, &mut found).await?;
        found.slice.routes = route::list(&self.route, family, numbers.protocol, &devices).await?;
        self.observe_tables(query, &mut found).await?;
        found.slice.rules = rule::list(&self.route, family, numbers.protocol).await?;
        let needs_gateway =
            |link: &&Link| !link.point_to_point && query.gateways_of.contains(&link.name);
        for link in links.iter().filter(needs_gateway) {
            if let Some(via) = route::gateway(&self.route, family, link, numbers.protocol).await? {
                found.gateways.insert(link.name.clone(), via);
            }
        }
        found.links = links;
        self.devices.replace(devices);
        if query.set {
            self.observe_set(&mut found).await?;
        }
        if query.chains {
            self.iptables()?.read(&mut found.slice)?;
        }
        Ok(found)
    }

    /// Ours are those with our protocol; one of our numbers with another protocol is in our way.
    async fn observe_nexthops(
        &self,
        query: &Query,
        devices: &Devices,
        found: &mut Observed,
    ) -> Result<()> {
        for nexthop in nexthop::list(&self.route, devices).await? {
            if nexthop.protocol == query.numbers.protocol {
                found.slice.nexthops.insert(nexthop.id, nexthop.nexthop);
            } else if query.nexthops.contains(&nexthop.id) {
                found.taken.push(format!(
                    "nexthop {} belongs to protocol {}; set nexthop-base to a free range",
                    nexthop.id, nexthop.protocol
                ));
            }
        }
        Ok(())
    }

    /// A table of ours that holds nothing of ours yet should hold no default route of others.
    async fn observe_tables(&self, query: &Query, found: &mut Observed) -> Result<()> {
        for &table in &query.tables {
            let settled = found.slice.routes.iter().any(|route| route.table == table);
            let protocol = query.numbers.protocol;
            if !settled
                && !route::foreign_defaults(&self.route, query.family, table, protocol)
                    .await?
                    .is_empty()
            {
                found.taken.push(format!(
                    "table {table} holds a default route that is not ours; \
                     set table-base or uplink-table-base to a free range"
                ));
            }
        }
        Ok(())
    }

    fn iptables(&self) -> Result<&Iptables> {
        if let Some(found) = self.iptables.get() {
            return Ok(found);
        }
        let found = Iptables::find()?;
        Ok(self.iptables.get_or_init(|| found))
    }

    async fn observe_set(&self, found: &mut Observed) -> Result<()> {
        match ipset::list(&self.netfilter).await.context("listing the set wanpool")? {
            ipset::Found::Nothing => {}
            ipset::Found::Ours(set) => found.slice.set = Some(set),
            ipset::Found::Foreign(odd) => found.taken.push(format!(
                "there is a set wanpool {odd}; rename it: ipset rename wanpool OTHER"
            )),
        }
        Ok(())
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

    /// Does one step. Taking away what is gone already, or adding what is there, is done.
    pub fn apply(&self, family: Family, step: &Step) -> Result<()> {
        let done = self.runtime.block_on(self.apply_async(family, step));
        match done {
            Err(error) if is_done_already(step, &error) => Ok(()),
            done => done.with_context(|| step.to_string()),
        }
    }

    async fn apply_async(&self, family: Family, step: &Step) -> Result<()> {
        let route = &self.route;
        let devices = self.devices.borrow().clone();
        match step {
            Step::LoadModule(module) => sysctl::load_module(module),
            Step::Sysctl { key, value } => sysctl::write(key, value),
            Step::NexthopSet { id, nexthop, protocol } => {
                nexthop::set(route, family, *id, nexthop, *protocol, &devices).await
            }
            Step::NexthopDelete { id } => nexthop::delete(route, *id).await,
            Step::RouteAdd { route: wanted, protocol } => {
                route::add(route, wanted, *protocol, &devices).await
            }
            Step::RouteReplace { route: wanted, protocol } => {
                route::replace(route, wanted, *protocol, &devices).await
            }
            Step::RouteDelete { route: found, protocol } => {
                route::delete(route, found, *protocol, &devices).await
            }
            Step::RuleAdd { rule, protocol } => rule::add(route, family, rule, *protocol).await,
            Step::RuleDelete { rule, protocol } => {
                rule::delete(route, family, rule, *protocol).await
            }
            Step::SetCreate { max } => ipset::create(&self.netfilter, family, *max).await,
            Step::SetDestroy => ipset::destroy(&self.netfilter).await,
            Step::EntriesSet(entries) => ipset::add(&self.netfilter, family, entries).await,
            Step::EntriesDelete(clients) => ipset::delete(&self.netfilter, family, clients).await,
            Step::ChainsSet(chains) => self.iptables()?.set_chains(chains),
            Step::ChainDelete(chain) => self.iptables()?.delete_chain(*chain),
            Step::JumpAdd(jump) => self.iptables()?.add_jump(jump),
            Step::JumpDelete(jump) => self.iptables()?.delete_jump(jump),
            Step::FlowsEnd { mark } => conntrack::end(&self.netfilter, *mark).await,
            Step::ClientFlowsEnd { mark, clients } => {
                conntrack::end_of(&self.netfilter, family, *mark, clients).await
            }
        }
    }
}

fn unloaded(modules: &[&'static str]) -> BTreeSet<&'static str> {
    modules.iter().copied().filter(|module| sysctl::is_unloaded(module)).collect()
}

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

fn is_done_already(step: &Step, error: &anyhow::Error) -> bool {
    let Some(KernelError { errno, .. }) = error.downcast_ref() else { return false };
    match step {
        Step::RuleAdd { .. } => *errno == EEXIST,
        // What stood on a device goes with it.
        Step::NexthopDelete { .. }
        | Step::RouteDelete { .. }
        | Step::RuleDelete { .. }
        | Step::SetDestroy => [ENOENT, ESRCH, ENODEV].contains(errno),
        _ => false,
    }
}
