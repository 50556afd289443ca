//! What is and what should be, in one shape: plain structs of model types.
//!
//! [`Slice`] describes every kernel object of ours. `kernel` fills one with what it finds, `plan`
//! builds one of what is wanted, and the difference is the work to do. No logic but what reads a
//! value out; no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{Client, DevName, Family, LinkAddress, Mark};

/// What a run found in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub links: Vec<Link>,
    /// A device is there that was not, or was another, when this run last looked; or one is gone.
    pub links_moved: bool,
    pub addresses: Vec<Address>,
    /// Gateways of default routes in the main table that are not ours, by device.
    pub gateways: BTreeMap<DevName, Ipv4Addr>,
    /// Values under `/proc/sys`, by dotted key.
    pub sysctls: BTreeMap<String, String>,
    /// Modules that exist for this kernel and are not loaded.
    pub unloaded: BTreeSet<&'static str>,
    /// Objects that bear our names or numbers and are not ours: each a sentence.
    pub taken: Vec<String>,
    pub slice: Slice,
}

impl Observed {
    pub fn link(&self, dev: &DevName) -> Option<&Link> {
        self.links.iter().find(|link| link.name == *dev)
    }

    pub fn addresses_of<'a>(&'a self, dev: &'a DevName) -> impl Iterator<Item = &'a Address> {
        self.addresses.iter().filter(move |address| address.dev == *dev)
    }
}

/// What surrounds the slice and can keep it from working.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The rules of others.
    pub foreign_rules: Vec<Rule>,
    /// Rules of others in front of a jump of ours that accept packets: table, chain and rule.
    pub accepted_before: Vec<String>,
    /// The other kind of iptables, if both hold rules.
    pub other_iptables: Option<&'static str>,
    /// Default routes of others in tables of ours: table and metric.
    pub foreign_defaults: Vec<(u32, u32)>,
    /// Names of nftables flowtables, whose flows meet no mark.
    pub flowtables: Vec<String>,
    /// `nf_conntrack_count` and `nf_conntrack_max`.
    pub conntrack: Option<(u64, u64)>,
    /// `gc_thresh3`: the most neighbours there can be.
    pub neighbour_limit: Option<u32>,
    /// systemd-networkd runs, and deletes rules or routes that it does not know.
    pub networkd_deletes: bool,
}

/// Signs by which a change of the set or of the chains shows, cheap to read however many clients
/// there are. `None` where there is no such sign.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// How many members the set has, and how many it has room for.
    pub entries: Option<u32>,
    pub room: Option<u32>,
    /// Counts the changes to the ruleset of nftables.
    pub generation: Option<u32>,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: DevName,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The line below carries (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Needs no gateway: `IFF_POINTOPOINT` or `IFF_NOARP`.
    pub point_to_point: bool,
}

/// An address of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub dev: DevName,
    pub local: Ipv4Addr,
    /// The other end, where the address was set with one.
    pub peer: Option<Ipv4Addr>,
    pub broadcast: Option<Ipv4Addr>,
    /// Of the network that the address is in.
    pub prefix: u8,
}

impl Address {
    /// The first and the last address of the network, which no host of it has (RFC 3021 aside).
    pub fn edges(&self) -> Option<[Ipv4Addr; 2]> {
        let net = Ipv4Net::new(self.local, self.prefix).ok()?;
        (self.prefix <= 30).then(|| [net.network(), net.broadcast()])
    }
}

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub client: Client,
    pub lladdr: LinkAddress,
    pub dev: DevName,
    /// `reachable`, `stale` …: the words of `ip neigh`.
    pub state: &'static str,
}

/// Every kernel object of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub family: Family,
    pub nexthops: BTreeMap<u32, Nexthop>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    pub set: Option<Set>,
    pub chains: BTreeMap<Chain, Vec<String>>,
    pub jumps: Vec<Jump>,
}

/// What a nexthop id stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nexthop {
    Device {
        dev: DevName,
        via: Option<Ipv4Addr>,
    },
    /// Member ids with their weights, by id.
    Group(Vec<(u32, u16)>),
    /// A kind that we never make.
    Other,
}

/// A route with our protocol number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub table: u32,
    pub dst: Ipv4Net,
    /// The type of service that it is for; ours are for all: 0.
    pub tos: u8,
    pub metric: u32,
    pub way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Nexthop(u32),
    Device {
        dev: DevName,
        via: Option<Ipv4Addr>,
    },
    Unreachable,
    /// A kind that we never make.
    Other,
}

/// A routing rule with our protocol number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub pref: u32,
    pub not: bool,
    pub fwmark: Option<Mark>,
    pub iif: Option<DevName>,
    pub action: Action,
    /// `suppress_prefixlength 0`: the table's default routes do not count.
    pub but_defaults: bool,
    /// The source prefix; ours have none.
    pub from: Option<Ipv4Net>,
    /// What else our rules never have, as a destination prefix, in the words of `ip rule`.
    pub odd: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Lookup(u32),
    Blackhole,
    Unreachable,
    /// Kinds that we never make.
    Prohibit,
    Goto(u32),
    Nop,
}

/// `RT_TABLE_MAIN`.
pub const MAIN_TABLE: u32 = 254;

/// The set that maps a client to its pool's mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub max: u32,
    /// By address.
    pub entries: Vec<(Ipv4Addr, Mark)>,
}

impl Set {
    /// The mark that a client's packets get, if it is in the set.
    pub fn entry(&self, client: Ipv4Addr) -> Option<Mark> {
        let at = self.entries.binary_search_by_key(&client, |&(entry, _)| entry);
        at.ok().map(|at| self.entries[at].1)
    }
}

/// The name of our set, and the prefix of our chains in lower case.
pub const SET_NAME: &str = "wanpool";

/// An iptables table that we have chains in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Nat,
    Raw,
    Mangle,
}

impl Table {
    pub const ALL: [Table; 3] = [Table::Nat, Table::Raw, Table::Mangle];

    pub fn name(self) -> &'static str {
        match self {
            Table::Nat => "nat",
            Table::Raw => "raw",
            Table::Mangle => "mangle",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A chain of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub table: Table,
    pub name: &'static str,
}

impl Chain {
    pub const MASQUERADE: Chain = Chain { table: Table::Nat, name: "WANPOOL" };
    pub const HELPERS: Chain = Chain { table: Table::Raw, name: "WANPOOL" };
    pub const CLASSIFY: Chain = Chain { table: Table::Mangle, name: "WANPOOL" };
    pub const OUTPUT: Chain = Chain { table: Table::Mangle, name: "WANPOOL-OUT" };
    pub const REMEMBER: Chain = Chain { table: Table::Mangle, name: "WANPOOL-POST" };
    pub const CLAMP: Chain = Chain { table: Table::Mangle, name: "WANPOOL-MSS" };

    /// All our chains, in the order in which they are hooked in: marks last.
    pub const ALL: [Chain; 6] = [
        Self::MASQUERADE,
        Self::HELPERS,
        Self::REMEMBER,
        Self::OUTPUT,
        Self::CLAMP,
        Self::CLASSIFY,
    ];
}

/// A rule of a chain that is not ours which leads to one that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    pub to: Chain,
    pub from: String,
    /// The rule as `iptables -S` has it, without `-A CHAIN`.
    pub rule: String,
}
