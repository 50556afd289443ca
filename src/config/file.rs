//! The shape of the TOML file, and the walk through it that makes a [`Config`].
//!
//! A value that can be wrong in a way that the TOML parser does not see is `Spanned`, so that the
//! error names its line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kernel_ids::{KernelSection, check_kernel_ids, check_tables};
use super::pins::{Prefix, check_exclude, check_pins};
use super::probe::ProbeSection;
use super::source::Source;
use super::uplinks::{UplinkSection, check_uplinks};
use super::{Config, Helper, Ipv6Missing, Lan, Multipath, Unassigned, Uplink};
use crate::error::Error;
use crate::model::{DevName, Family, UplinkNo};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    lan: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    exclude: Vec<Spanned<Prefix>>,
    #[serde(default)]
    unassigned: Unassigned,
    #[serde(default)]
    ipv6: bool,
    #[serde(default, rename = "ipv6-missing")]
    ipv6_missing: Ipv6Missing,
    #[serde(default)]
    helpers: Vec<Helper>,
    #[serde(default)]
    uplink: BTreeMap<Spanned<String>, UplinkSection>,
    /// Empty: [`take_pins`] has taken the pins out.
    #[serde(default, rename = "pin")]
    _pin: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    multipath: Multipath,
    #[serde(default)]
    probe: ProbeSection,
    #[serde(default)]
    hook: HookSection,
    #[serde(default)]
    kernel: KernelSection,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct HookSection {
    exec: Option<Spanned<PathBuf>>,
}

pub(super) fn parse(source: &Source) -> Result<Config, Error> {
    let mut document = DeTable::parse(source.text).map_err(|error| source.toml_error(&error))?;
    let pins = take_pins(document.get_mut());
    let file = ConfigFile::deserialize(toml::Deserializer::from(document))
        .map_err(|error| source.toml_error(&error))?;
    let kernel_ids = check_kernel_ids(&file.kernel, source)?;
    let uplinks = check_uplinks(file.uplink, &file.probe, source)?;
    check_tables(&file.kernel, &kernel_ids, &uplinks, source)?;
    let lan = check_lan(file.lan.as_ref(), &uplinks, source)?;
    let exclude = check_exclude(&file.exclude, source)?;
    let pins = check_pins(pins, &uplinks, &exclude, source)?;
    let mut helpers = file.helpers;
    helpers.sort();
    helpers.dedup();
    Ok(Config {
        family: Family::Inet,
        ipv6: file.ipv6,
        ipv6_missing: file.ipv6_missing,
        path: source.path.to_owned(),
        lan,
        exclude,
        unassigned: file.unassigned,
        helpers,
        uplinks,
        pins,
        multipath: file.multipath,
        hook: check_hook(file.hook, source)?,
        kernel_ids,
    })
}

/// Takes the pins out of the document. There can be one for each of 65,536 clients, and to read them
/// from the document itself is faster than by serde. A `pin` that is no table is left for serde to
/// refuse.
fn take_pins<'a>(document: &mut DeTable<'a>) -> DeTable<'a> {
    if let Some(DeValue::Table(pins)) = document.get_mut("pin").map(Spanned::get_mut) {
        return std::mem::take(pins);
    }
    DeTable::new()
}

fn check_lan(
    given: Option<&Spanned<Vec<Spanned<String>>>>,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    source: &Source,
) -> Result<Lan, Error> {
    let Some(names) = given else { return Ok(Lan::AllButUplinks) };
    if names.get_ref().is_empty() {
        let reason = "an empty list means no clients; omit lan to use all devices but the uplinks";
        return Err(source.error(names.span(), reason));
    }
    let mut devices: Vec<DevName> = Vec::new();
    for name in names.get_ref() {
        let dev: DevName = source.parse(name)?;
        if let Some(uplink) = uplinks.values().find(|uplink| uplink.dev == dev) {
            let reason = format!("{dev} is the device of uplink {}, not a LAN device", uplink.no);
            return Err(source.error(name.span(), reason));
        }
        if dev.as_str() == "lo" {
            return Err(source.error(name.span(), "lo cannot be a LAN device"));
        }
        if devices.contains(&dev) {
            return Err(source.error(name.span(), format!("{dev} is already in the list")));
        }
        devices.push(dev);
    }
    devices.sort();
    Ok(Lan::Devices(devices))
}

fn check_hook(section: HookSection, source: &Source) -> Result<Option<PathBuf>, Error> {
    let Some(exec) = section.exec else { return Ok(None) };
    if exec.get_ref().is_absolute() {
        Ok(Some(exec.into_inner()))
    } else {
        Err(source.error(exec.span(), "must be the absolute path of an executable"))
    }
}
