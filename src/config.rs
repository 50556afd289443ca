//! `wanpool.toml` → [`Config`], checked: whoever holds a `Config` need not ask again whether two
//! uplinks share a device or a table number is reserved.
//!
//! Every fault is reported as `file:line:column: reason`. Knows nothing of the kernel: a device
//! that is not there now is no fault, a line may be down.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::Ipv4Net;

use crate::error::Error;
use crate::model::probe::ProbeSettings;
use crate::model::{Client, DevName, KernelIds, UplinkNo};

mod file;
mod kernel_ids;
mod probe;

#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    pub lan: Lan,
    pub exclude: Vec<Ipv4Net>,
    pub unassigned: Unassigned,
    pub helpers: Vec<Helper>,
    pub uplinks: BTreeMap<UplinkNo, Uplink>,
    /// Longest prefix first, so that the first that holds a client is its pin.
    pub pins: Vec<(Ipv4Net, UplinkNo)>,
    pub multipath: Multipath,
    /// The command to run when an uplink goes out or comes back: an absolute path.
    pub hook: Option<PathBuf>,
    pub kernel_ids: KernelIds,
}

/// The devices that clients are behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lan {
    Devices(Vec<DevName>),
    /// Every device that is neither `lo` nor an uplink.
    AllButUplinks,
}

/// What a LAN client gets until it is in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unassigned {
    Multipath,
    Unreachable,
}

/// A conntrack helper, and the port on which its protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    Ftp,
    Irc,
}

impl Helper {
    /// The helper's name, as the kernel registers it.
    pub fn name(self) -> &'static str {
        match self {
            Helper::Ftp => "ftp",
            Helper::Irc => "irc",
        }
    }

    /// The control connection's TCP port: `FTP_PORT`, `IRC_PORT` of the kernel's helpers.
    pub fn port(self) -> u16 {
        match self {
            Helper::Ftp => 21,
            Helper::Irc => 6667,
        }
    }

    /// The module that rewrites the addresses inside the protocol; it pulls in `nf_conntrack_*`.
    pub fn nat_module(self) -> &'static str {
        match self {
            Helper::Ftp => "nf_nat_ftp",
            Helper::Irc => "nf_nat_irc",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    pub dev: DevName,
    /// Share of clients and of multipath flows.
    pub weight: u8,
    pub via: Option<std::net::Ipv4Addr>,
    pub nat: bool,
    pub clamp_mss: bool,
    pub role: Role,
    pub failback: Failback,
    pub probe: ProbeSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// Carries nothing, but for clients pinned to it, while a primary is in service.
    Backup,
}

/// What becomes of the flows that an uplink took over, once their own uplink is in service again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    Keep,
    Cut,
    /// They are ended when their own uplink has been in service for so many seconds.
    Drain(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multipath {
    pub enable: bool,
    pub hash: Option<Hash>,
}

/// `net.ipv4.fib_multipath_hash_policy`, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    L3,
    L4,
    Source,
}

impl Config {
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let source = Source { text, path };
        let raw: file::File = toml::from_str(text)
            .map_err(|error| source.fault(error.span().unwrap_or(0..0), error.message()))?;
        file::check(raw, &source)
    }

    pub fn is_excluded(&self, client: Client) -> bool {
        self.exclude.iter().any(|net| net.contains(&client.address()))
    }

    /// The fixed place of a client: that of the longest prefix that holds it.
    pub fn pin(&self, client: Client) -> Option<UplinkNo> {
        self.pins.iter().find(|(net, _)| net.contains(&client.address())).map(|&(_, to)| to)
    }

    /// The uplink that a person named by number or by device; the error says which there are.
    pub fn uplink(&self, name: &str) -> Result<UplinkNo, Error> {
        let by_number = UplinkNo::from_str(name).ok().filter(|no| self.uplinks.contains_key(no));
        let by_device = || self.uplink_of(name);
        by_number.or_else(by_device).ok_or_else(|| {
            let reason = format!("no uplink {name:?}; there is {}", self.names());
            Error::usage(self.path.display(), reason)
        })
    }

    /// The uplink whose device has this name.
    pub fn uplink_of(&self, dev: &str) -> Option<UplinkNo> {
        self.uplinks.iter().find(|(_, uplink)| uplink.dev.as_str() == dev).map(|(&no, _)| no)
    }

    /// Whether clients are behind this device.
    pub fn is_lan(&self, dev: &str) -> bool {
        match &self.lan {
            Lan::Devices(devices) => devices.iter().any(|lan| lan.as_str() == dev),
            Lan::AllButUplinks => dev != "lo" && self.uplink_of(dev).is_none(),
        }
    }

    fn names(&self) -> String {
        let names: Vec<String> =
            self.uplinks.iter().map(|(no, uplink)| format!("{no} ({})", uplink.dev)).collect();
        names.join(", ")
    }
}

/// The text that spans point into.
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    fn fault(&self, span: Range<usize>, reason: impl fmt::Display) -> Error {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        let shown = self.text[start..].lines().next().unwrap_or_default().trim();
        let shown: String = shown.chars().take(80).map(printable).collect();
        let reason = reason.to_string().replace('\n', ", ");
        let reason: String = reason.chars().take(LONGEST_REASON).map(printable).collect();
        let place = format!("{}:{line}:{column}", self.path.display());
        Error::usage(place, if shown.is_empty() { reason } else { format!("{reason}: {shown}") })
    }
}

/// What a parser says may quote a line, and a line may be a megabyte long.
const LONGEST_REASON: usize = 500;

/// Nothing that a terminal would obey.
fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
