//! The configuration: the text of `wanpool.toml` in, a checked [`Config`] out.
//!
//! Code that has a `Config` need not check again whether two uplinks have the same device or whether
//! a routing table is reserved. This layer reads no files and knows nothing of the kernel: a device
//! that does not exist now is no error, because an uplink can be down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::Ipv6Net;
use serde::Deserialize;

use crate::error::Error;
use crate::model::probe::ProbeSettings;
use crate::model::{Client, DevName, Family, KernelIds, UplinkNo};

mod address_table;
mod file;
mod kernel_ids;
mod name_servers;
mod pins;
mod probe;
mod source;
mod targets;
mod uplinks;

pub use address_table::AddressTable;

#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    /// Whether clients are served over IPv6, too.
    pub ipv6: bool,
    /// What a pool gets over IPv6 while its uplink is in service over IPv4 alone.
    pub ipv6_missing: Ipv6Missing,
    /// The family of the slice that this describes.
    pub family: Family,
    pub lan: Lan,
    /// Addresses that are never in a pool.
    pub exclude: AddressTable<()>,
    pub unassigned: Unassigned,
    /// In order, each once.
    pub helpers: Vec<Helper>,
    pub uplinks: BTreeMap<UplinkNo, Uplink>,
    pub pins: AddressTable<UplinkNo>,
    pub multipath: Multipath,
    /// The command to run when the state of an uplink changes: an absolute path.
    pub hook: Option<PathBuf>,
    pub kernel_ids: KernelIds,
}

/// What a pool gets over IPv6 while its uplink is in service over IPv4 alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6Missing {
    /// Its packets are refused, so that a client leaves by one uplink.
    #[default]
    Unreachable,
    /// Other uplinks carry it.
    Carry,
}

/// The devices that clients are behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lan {
    Devices(Vec<DevName>),
    /// Every device that is neither `lo` nor an uplink.
    AllButUplinks,
}

/// Where the packets of a LAN client go until the client is in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unassigned {
    #[default]
    Multipath,
    Unreachable,
}

/// A conntrack helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Helper {
    Ftp,
    Irc,
}

impl Helper {
    /// The name by which the kernel knows the helper.
    pub fn name(self) -> &'static str {
        match self {
            Helper::Ftp => "ftp",
            Helper::Irc => "irc",
        }
    }

    /// The TCP port of the control connection: `FTP_PORT`, `IRC_PORT` of the kernel's helpers.
    pub fn port(self) -> u16 {
        match self {
            Helper::Ftp => 21,
            Helper::Irc => 6667,
        }
    }

    /// The kernel module that translates addresses inside the protocol. It needs, and so loads,
    /// `nf_conntrack_*`.
    pub fn nat_module(self) -> &'static str {
        match self {
            Helper::Ftp => "nf_nat_ftp",
            Helper::Irc => "nf_nat_irc",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    pub no: UplinkNo,
    pub dev: DevName,
    /// Share of clients and of multipath flows.
    pub weight: u8,
    /// Whether it is used over the family of this configuration.
    pub is_used: bool,
    /// The gateway, if it is configured.
    pub via: Option<IpAddr>,
    pub nat: bool,
    /// The same of IPv6.
    pub inet6: Uplink6,
    pub clamp_mss: bool,
    pub role: Role,
    pub failback: Failback,
    pub dns: NameServers,
    pub probe: ProbeSettings,
}

/// What is configured of an uplink for IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink6 {
    pub is_used: bool,
    pub via: Option<IpAddr>,
    pub nat: bool,
    /// Prefixes that the provider routes to this gateway. They leave by this uplink untranslated.
    pub prefixes: Vec<Ipv6Net>,
}

/// Where the name servers of an uplink come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameServers {
    /// A hook told them when the uplink came up.
    #[default]
    FromHook,
    /// The other end of the uplink is one.
    Peer,
    Configured(Vec<IpAddr>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Primary,
    /// Carries only the clients that are pinned to it while a primary is in service.
    Backup,
}

/// What happens to the flows that this uplink took over, once their own uplink is in service again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    Keep,
    Cut,
    /// They are ended when their own uplink has been in service for this many seconds.
    Drain(u32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multipath {
    #[serde(default)]
    pub enable: bool,
    pub hash: Option<Hash>,
}

/// The policies of `net.ipv4.fib_multipath_hash_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    L3,
    L4,
    Source,
}

/// The nexthops of IPv6 follow those of IPv4: the kernel has one range of ids for both.
const INET6_NEXTHOPS: u32 = 100;

impl Config {
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        file::parse(&source::Source { text, path })
    }

    /// The same configuration for the slice of IPv6.
    pub fn for_inet6(&self) -> Self {
        let mut config = self.clone();
        config.family = Family::Inet6;
        config.kernel_ids.nexthop_base += INET6_NEXTHOPS;
        // The kernel has no IRC helper for IPv6.
        config.helpers.retain(|helper| *helper != Helper::Irc);
        config.multipath.hash = config.multipath.hash.or(Some(Hash::Source));
        for uplink in config.uplinks.values_mut() {
            uplink.is_used = uplink.inet6.is_used;
            uplink.via = uplink.inet6.via;
            uplink.nat = uplink.inet6.nat;
        }
        config
    }

    pub fn is_excluded(&self, client: Client) -> bool {
        self.exclude.find(client.address()).is_some()
    }

    /// The uplink that a client is pinned to: that of the longest prefix that contains the client.
    pub fn pin(&self, client: Client) -> Option<UplinkNo> {
        self.pins.find(client.address()).copied()
    }

    /// The uplink that a person named by number or by device. The error lists the uplinks.
    pub fn uplink(&self, name: &str) -> Result<UplinkNo, Error> {
        let by_number = UplinkNo::from_str(name).ok().filter(|no| self.uplinks.contains_key(no));
        if let Some(no) = by_number.or_else(|| self.uplink_of(name)) {
            return Ok(no);
        }
        let uplinks = self.uplinks.values().map(|uplink| format!("{} ({})", uplink.no, uplink.dev));
        let uplinks = uplinks.collect::<Vec<_>>().join(", ");
        let reason = format!("there is no uplink {name:?}; the configuration has {uplinks}");
        Err(Error::usage(self.path.display(), reason))
    }

    /// The uplink whose device has this name.
    pub fn uplink_of(&self, dev: &str) -> Option<UplinkNo> {
        let uplink = self.uplinks.values().find(|uplink| uplink.dev.as_str() == dev)?;
        Some(uplink.no)
    }

    /// Whether clients are behind this device.
    pub fn is_lan(&self, dev: &str) -> bool {
        match &self.lan {
            Lan::Devices(devices) => devices.iter().any(|lan| lan.as_str() == dev),
            Lan::AllButUplinks => dev != "lo" && self.uplink_of(dev).is_none(),
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
