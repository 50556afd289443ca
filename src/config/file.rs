//! The shape of the TOML file, and the checks that turn it into a [`Config`].
//!
//! Every value that can be wrong in a way the TOML parser does not see carries its span, so that
//! the fault names the line.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use toml::Spanned;

use super::kernel_ids::{RawKernel, check_numbers, check_tables};
use super::probe::{self, RawFailback, RawHook, RawProbe};
use super::{Config, Hash, Helper, Lan, Multipath, Role, Source, Unassigned, Uplink};
use crate::error::Error;
use crate::model::probe::ProbeSettings;
use crate::model::{Client, DevName, UplinkNo};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    lan: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    #[serde(default)]
    unassigned: RawUnassigned,
    #[serde(default)]
    helpers: Vec<RawHelper>,
    #[serde(default)]
    uplink: BTreeMap<Spanned<String>, RawUplink>,
    #[serde(default)]
    pin: BTreeMap<Spanned<String>, Spanned<i64>>,
    #[serde(default)]
    multipath: RawMultipath,
    #[serde(default)]
    probe: RawProbe,
    #[serde(default)]
    hook: RawHook,
    #[serde(default)]
    kernel: RawKernel,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RawUnassigned {
    #[default]
    Multipath,
    Unreachable,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawHelper {
    Ftp,
    Irc,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUplink {
    dev: Spanned<String>,
    weight: Option<Spanned<i64>>,
    via: Option<Spanned<String>>,
    #[serde(default = "yes")]
    nat: bool,
    #[serde(default = "yes")]
    clamp_mss: bool,
    #[serde(default)]
    role: RawRole,
    failback: Option<RawFailback>,
    #[serde(default)]
    probe: RawProbe,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawRole {
    #[default]
    Primary,
    Backup,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawMultipath {
    #[serde(default)]
    enable: bool,
    hash: Option<RawHash>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawHash {
    L3,
    L4,
    Source,
}

pub(super) fn check(file: File, source: &Source) -> Result<Config, Error> {
    let numbers = check_numbers(&file.kernel, source)?;
    let uplinks = check_uplinks(&file.uplink, &file.probe, source)?;
    check_tables(&file.kernel, &numbers, &uplinks, source)?;
    let lan = check_lan(file.lan, &uplinks, source)?;
    let exclude: Vec<_> =
        file.exclude.iter().map(|net| parse_net(net, source)).collect::<Result<_, _>>()?;
    let pins = check_pins(&file.pin, &uplinks, &exclude, source)?;
    let mut helpers: Vec<_> = file
        .helpers
        .iter()
        .map(|helper| match helper {
            RawHelper::Ftp => Helper::Ftp,
            RawHelper::Irc => Helper::Irc,
        })
        .collect();
    helpers.sort();
    helpers.dedup();
    Ok(Config {
        path: source.path.to_owned(),
        lan,
        exclude,
        unassigned: match file.unassigned {
            RawUnassigned::Multipath => Unassigned::Multipath,
            RawUnassigned::Unreachable => Unassigned::Unreachable,
        },
        helpers,
        uplinks,
        pins,
        multipath: Multipath {
            enable: file.multipath.enable,
            hash: file.multipath.hash.map(|hash| match hash {
                RawHash::L3 => Hash::L3,
                RawHash::L4 => Hash::L4,
                RawHash::Source => Hash::Source,
            }),
        },
        hook: probe::check_hook(&file.hook, source)?,
        kernel_ids: numbers,
    })
}

fn check_uplinks(
    raw: &BTreeMap<Spanned<String>, RawUplink>,
    probe: &RawProbe,
    source: &Source,
) -> Result<BTreeMap<UplinkNo, Uplink>, Error> {
    let mut uplinks: BTreeMap<UplinkNo, Uplink> = BTreeMap::new();
    for (key, raw) in raw {
        let number: UplinkNo =
            key.get_ref().parse().map_err(|why: String| source.fault(key.span(), why))?;
        let uplink = check_uplink(raw, probe, source)?;
        if uplink.dev.as_str() == "lo" {
            return Err(source.fault(raw.dev.span(), "lo is no uplink"));
        }
        if let Some((other, _)) = uplinks.iter().find(|(_, other)| other.dev == uplink.dev) {
            let why = format!("{} is uplink {other} already", uplink.dev);
            return Err(source.fault(raw.dev.span(), why));
        }
        uplinks.insert(number, uplink);
    }
    if uplinks.is_empty() {
        return Err(source.fault(0..0, "no uplink; the smallest file is [uplink.1] with its dev"));
    }
    if uplinks.values().all(|uplink| uplink.role == Role::Backup) {
        return Err(source.fault(0..0, "every uplink is a backup; leave role out of one at least"));
    }
    Ok(uplinks)
}

fn check_uplink(raw: &RawUplink, probe: &RawProbe, source: &Source) -> Result<Uplink, Error> {
    let weight = match &raw.weight {
        None => 1,
        Some(weight) => u8::try_from(*weight.get_ref())
            .ok()
            .filter(|&weight| weight > 0)
            .ok_or_else(|| source.fault(weight.span(), "a weight is a number in 1..=255"))?,
    };
    let via = raw.via.as_ref().map(|via| parse_gateway(via, source)).transpose()?;
    Ok(Uplink {
        dev: parse_dev(&raw.dev, source)?,
        weight,
        via,
        nat: raw.nat,
        clamp_mss: raw.clamp_mss,
        role: match raw.role {
            RawRole::Primary => Role::Primary,
            RawRole::Backup => Role::Backup,
        },
        failback: probe::check_failback(raw.failback.as_ref(), source)?,
        probe: probe::check(&raw.probe, probe, source)?,
    })
}

fn check_lan(
    raw: Option<Spanned<Vec<Spanned<String>>>>,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    source: &Source,
) -> Result<Lan, Error> {
    let Some(raw) = raw else { return Ok(Lan::AllButUplinks) };
    if raw.get_ref().is_empty() {
        let why = "an empty list leaves no client; leave lan out for every device but the uplinks";
        return Err(source.fault(raw.span(), why));
    }
    let mut devices: Vec<DevName> = Vec::new();
    for name in raw.get_ref() {
        let dev = parse_dev(name, source)?;
        if let Some((no, _)) = uplinks.iter().find(|(_, uplink)| uplink.dev == dev) {
            return Err(source.fault(name.span(), format!("{dev} is uplink {no}, not a LAN")));
        }
        if dev.as_str() == "lo" {
            return Err(source.fault(name.span(), "no client is behind lo"));
        }
        if devices.contains(&dev) {
            return Err(source.fault(name.span(), format!("{dev} is in the list already")));
        }
        devices.push(dev);
    }
    devices.sort();
    Ok(Lan::Devices(devices))
}

fn check_pins(
    raw: &BTreeMap<Spanned<String>, Spanned<i64>>,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    exclude: &[Ipv4Net],
    source: &Source,
) -> Result<Vec<(Ipv4Net, UplinkNo)>, Error> {
    let mut pins: Vec<(Ipv4Net, UplinkNo)> = Vec::new();
    let mut seen = HashSet::new();
    for (key, number) in raw {
        let net = parse_net(key, source)?;
        if net.prefix_len() == 32 {
            Client::new(net.addr()).map_err(|why| source.fault(key.span(), why))?;
        }
        let uplink = u8::try_from(*number.get_ref())
            .ok()
            .and_then(UplinkNo::new)
            .filter(|no| uplinks.contains_key(no))
            .ok_or_else(|| {
                let why = format!("a pin to uplink {}, which is not there", number.get_ref());
                source.fault(number.span(), why)
            })?;
        if let Some(other) = exclude.iter().find(|other| other.contains(&net)) {
            let why = format!("pinned, but exclude = [\"{}\"] keeps it out", short(*other));
            return Err(source.fault(key.span(), why));
        }
        if !seen.insert(net) {
            return Err(source.fault(key.span(), format!("{} is pinned already", short(net))));
        }
        pins.push((net, uplink));
    }
    pins.sort_by_key(|(net, _)| (std::cmp::Reverse(net.prefix_len()), net.addr()));
    Ok(pins)
}

fn parse_dev(name: &Spanned<String>, source: &Source) -> Result<DevName, Error> {
    name.get_ref().parse().map_err(|why: String| source.fault(name.span(), why))
}

fn parse_gateway(via: &Spanned<String>, source: &Source) -> Result<Ipv4Addr, Error> {
    let given = via.get_ref();
    let gateway: Option<Ipv4Addr> = given.parse().ok();
    gateway.filter(|&gateway| Client::new(gateway).is_ok()).ok_or_else(|| {
        source.fault(via.span(), format!("{given:?} is no IPv4 address of a gateway"))
    })
}

/// An address or a prefix; a prefix with host bits set is refused, it is a slip more often than not.
fn parse_net(text: &Spanned<String>, source: &Source) -> Result<Ipv4Net, Error> {
    let fault = |why: String| source.fault(text.span(), why);
    let given = text.get_ref();
    let net = match given.parse::<Ipv4Addr>() {
        Ok(address) => Ipv4Net::from(address),
        Err(_) => given
            .parse::<Ipv4Net>()
            .map_err(|_| fault(format!("{given:?} is neither an IPv4 address nor a prefix")))?,
    };
    if net.trunc() != net {
        return Err(fault(format!(
            "{given:?} has bits behind its prefix; {} has none",
            net.trunc()
        )));
    }
    Ok(net)
}

/// `192.168.7.2` rather than `192.168.7.2/32`.
fn short(net: Ipv4Net) -> String {
    if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() }
}
