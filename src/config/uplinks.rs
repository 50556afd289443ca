//! `[uplink.N]`: its shape in the file, and the checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::Ipv6Net;
use serde::Deserialize;
use toml::Spanned;

use super::name_servers::{DnsValue, check_dns};
use super::probe::{ProbeSection, check_probe};
use super::source::Source;
use super::{Failback, Role, Uplink, Uplink6};
use crate::error::Error;
use crate::model::{Client, DevName, UplinkNo};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UplinkSection {
    dev: Spanned<String>,
    weight: Option<Spanned<i64>>,
    via: Option<Spanned<String>>,
    #[serde(default = "yes")]
    nat: bool,
    #[serde(default = "yes")]
    ipv6: bool,
    via6: Option<Spanned<String>>,
    #[serde(default = "yes")]
    nat6: bool,
    #[serde(default)]
    prefix6: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    clamp_mss: bool,
    #[serde(default)]
    role: Role,
    failback: Option<Spanned<String>>,
    dns: Option<Spanned<DnsValue>>,
    #[serde(default)]
    probe: ProbeSection,
}

fn yes() -> bool {
    true
}

/// `probe` has the settings that apply to every uplink without its own.
pub(super) fn check_uplinks(
    sections: BTreeMap<Spanned<String>, UplinkSection>,
    probe: &ProbeSection,
    source: &Source,
) -> Result<BTreeMap<UplinkNo, Uplink>, Error> {
    let mut uplinks: BTreeMap<UplinkNo, Uplink> = BTreeMap::new();
    for (number, section) in sections {
        let no: UplinkNo = source.parse(&number)?;
        let dev_span = section.dev.span();
        let uplink = check_uplink(no, section, probe, source)?;
        if uplink.dev.as_str() == "lo" {
            return Err(source.error(dev_span, "lo cannot be an uplink"));
        }
        if let Some(other) = uplinks.values().find(|other| other.dev == uplink.dev) {
            let reason = format!("{} is already the device of uplink {}", other.dev, other.no);
            return Err(source.error(dev_span, reason));
        }
        uplinks.insert(no, uplink);
    }
    if uplinks.is_empty() {
        let reason = "no uplink is configured; the smallest file has [uplink.1] with dev";
        return Err(source.error(0..0, reason));
    }
    if uplinks.values().all(|uplink| uplink.role == Role::Backup) {
        let reason = "every uplink is a backup; remove role from at least one of them";
        return Err(source.error(0..0, reason));
    }
    Ok(uplinks)
}

fn check_uplink(
    no: UplinkNo,
    section: UplinkSection,
    probe: &ProbeSection,
    source: &Source,
) -> Result<Uplink, Error> {
    let weight = source.number(&section.weight, 1, 1..=255)?;
    let via = match &section.via {
        Some(via) => Some(check_gateway(via, source)?),
        None => None,
    };
    let via6 = match &section.via6 {
        Some(via) => Some(check_gateway6(via, source)?),
        None => None,
    };
    let mut prefixes = Vec::new();
    for prefix in &section.prefix6 {
        prefixes.push(check_prefix6(prefix, source)?);
    }
    let dev: DevName = source.parse(&section.dev)?;
    let failback = match &section.failback {
        Some(failback) => source.parse(failback)?,
        None => Failback::Keep,
    };
    Ok(Uplink {
        no,
        dev,
        weight,
        via,
        is_used: true,
        nat: section.nat,
        inet6: Uplink6 { is_used: section.ipv6, via: via6, nat: section.nat6, prefixes },
        clamp_mss: section.clamp_mss,
        role: section.role,
        failback,
        dns: check_dns(section.dns, source)?,
        probe: check_probe(&section.probe.or(probe), source)?,
    })
}

fn check_gateway(via: &Spanned<String>, source: &Source) -> Result<IpAddr, Error> {
    match via.get_ref().parse::<Ipv4Addr>().map(IpAddr::from) {
        // A gateway is a host, too.
        Ok(address) if Client::new(address).is_ok() => Ok(address),
        _ => {
            let reason = format!("{:?} is not the IPv4 address of a gateway", via.get_ref());
            Err(source.error(via.span(), reason))
        }
    }
}

fn check_gateway6(via: &Spanned<String>, source: &Source) -> Result<IpAddr, Error> {
    match via.get_ref().parse::<Ipv6Addr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address.into()),
        _ => {
            let reason = format!("{:?} is not the IPv6 address of a gateway", via.get_ref());
            Err(source.error(via.span(), reason))
        }
    }
}

fn check_prefix6(prefix: &Spanned<String>, source: &Source) -> Result<Ipv6Net, Error> {
    match prefix.get_ref().parse::<Ipv6Net>() {
        Ok(net) if net.trunc() == net => Ok(net),
        Ok(net) => {
            let reason = format!("{net} has host bits set; the prefix is {}", net.trunc());
            Err(source.error(prefix.span(), reason))
        }
        Err(_) => {
            let reason = format!("{:?} is not an IPv6 prefix", prefix.get_ref());
            Err(source.error(prefix.span(), reason))
        }
    }
}

impl FromStr for Failback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let drain = match words[..] {
            ["keep"] => return Ok(Failback::Keep),
            ["cut"] => return Ok(Failback::Cut),
            ["drain", seconds] if !seconds.starts_with('+') => seconds.parse().ok(),
            _ => None,
        };
        match drain {
            Some(seconds) => Ok(Failback::Drain(seconds)),
            None => Err("must be \"keep\", \"cut\" or \"drain SECONDS\"".to_owned()),
        }
    }
}
