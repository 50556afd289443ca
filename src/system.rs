//! Everything that touches the machine: netlink, iptables, sysctls, files, probes, hooks.
//!
//! This layer reads the state of the machine and carries out changes. It decides nothing and does not
//! know `plan`.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;

use crate::model::link::{Devices, Link, Neighbour};
use crate::model::routing::{Route, Rule};
use crate::model::snapshot::ChangeCounters;
use crate::model::{Client, DevName, Family, Mark};

mod apply;
pub mod capabilities;
pub mod clock;
pub mod files;
mod modules;
mod netfilter;
mod netlink;
mod networkd;
pub mod notify_hook;
mod observe;
pub mod probe;
pub mod shell;
mod surroundings;
mod sysctl;
pub mod syslog;

pub use observe::{Need, Query};

use netfilter::iptables::Iptables;
use netlink::{
    DeviceIndex, NetlinkSocket, conntrack, ipset, link, neighbour, nftables, route, rule,
};

/// The kernel, by its netlink sockets and the programs of iptables.
pub struct Kernel {
    route: NetlinkSocket,
    netfilter: NetlinkSocket,
    /// The family whose slice this kernel is asked about.
    family: Family,
    /// The protocol number of wanpool's routing objects.
    protocol: u8,
    /// The devices of the last snapshot. If a device has another index by now, a change to it fails,
    /// and the run plans again.
    devices: RefCell<DeviceIndex>,
    iptables: OnceCell<Iptables>,
}

impl Kernel {
    pub fn open(family: Family, protocol: u8) -> Result<Self> {
        Ok(Self {
            route: NetlinkSocket::open(netlink::ROUTE)?,
            netfilter: NetlinkSocket::open(netlink::NETFILTER)?,
            family,
            protocol,
            devices: RefCell::default(),
            iptables: OnceCell::new(),
        })
    }

    fn iptables(&self) -> Result<&Iptables> {
        if let Some(found) = self.iptables.get() {
            return Ok(found);
        }
        let found = Iptables::find(self.family)?;
        Ok(self.iptables.get_or_init(|| found))
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// Counters that tell whether the client set or the packet filter changed. iptables-legacy has
    /// no such counter.
    pub fn change_counters(&self) -> ChangeCounters {
        let (entries, room) = ipset::count(&self.netfilter, self.family).ok().flatten().unzip();
        let mut generation = None;
        if self.iptables().is_ok_and(Iptables::is_nft) {
            generation = nftables::generation(&self.netfilter).ok().flatten();
        }
        ChangeCounters { entries, room, generation }
    }

    /// The other kind of iptables (nft or legacy), if it has rules too.
    pub fn other_iptables(&self) -> Option<&'static str> {
        self.iptables().ok()?.other_with_rules()
    }

    /// The devices and the addresses of the gateway.
    pub fn devices(&self) -> Result<Devices> {
        let links = link::links(&self.route)?;
        let addresses = link::addresses(&self.route, self.family, &links)?;
        Ok(Devices { links, addresses })
    }

    /// What `keep` returns for the neighbours on these devices.
    pub fn neighbours<T>(
        &self,
        links: &[&Link],
        keep: impl Fn(Neighbour) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut neighbours = Vec::new();
        for link in links {
            neighbours.extend(neighbour::on_device(&self.route, link, &keep)?);
        }
        Ok(neighbours)
    }

    /// Whether a client is a neighbour on any of these devices. The kernel is asked for it alone.
    pub fn is_neighbour(&self, links: &[&Link], client: Client) -> Result<bool> {
        for link in links {
            if neighbour::is_on_device(&self.route, link, client)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many live flows with this connmark each address has, at either end.
    pub fn flows_by_address(&self, mark: Mark) -> Result<HashMap<IpAddr, u64>> {
        conntrack::by_address(&self.netfilter, self.family, mark)
    }

    /// How many live flows with this connmark each address began.
    pub fn flows_begun_by(&self, mark: Mark) -> Result<HashMap<IpAddr, u64>> {
        conntrack::begun_by(&self.netfilter, self.family, mark)
    }

    /// How many flows have this connmark.
    pub fn flows(&self, mark: Mark) -> Result<usize> {
        conntrack::count(&self.netfilter, self.family, mark)
    }

    /// How many of the flows with this connmark have each value of the bits in the mask.
    pub fn flows_by_mark(&self, mark: Mark, mask: u32) -> Result<HashMap<u32, usize>> {
        conntrack::count_by_mark(&self.netfilter, self.family, mark, mask)
    }

    /// How many connections each address in the client set has begun, by the counters of the set.
    pub fn connections_begun(&self) -> Result<HashMap<IpAddr, u64>> {
        ipset::counters(&self.netfilter, self.family)
    }

    /// How many bytes each device has received and sent.
    pub fn traffic(&self) -> Result<HashMap<DevName, (u64, u64)>> {
        link::traffic(&self.route)
    }

    /// The routing rules of other programs.
    pub fn foreign_rules(&self) -> Result<Vec<Rule>> {
        rule::list_foreign(&self.route, self.family, self.protocol)
    }

    /// The route, of any program, that a packet of this client with this mark takes to the Internet.
    /// Returns the error of the kernel if it would not forward the packet.
    pub fn lookup(
        &self,
        client: IpAddr,
        mark: u32,
        from: Option<&Link>,
        links: &[Link],
    ) -> Result<Option<Route>> {
        route::lookup(&self.route, client, mark, from, &DeviceIndex::new(links))
    }
}
