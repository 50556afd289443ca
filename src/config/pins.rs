//! `[pin]` and `exclude`: addresses and prefixes, each checked and put into a table.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use toml::Spanned;
use toml::de::DeTable;

use super::source::Source;
use super::{AddressTable, Uplink};
use crate::error::Error;
use crate::model::{Client, UplinkNo};

/// An address or a prefix, or the reason why the text is neither. The text is not kept.
pub(super) struct Prefix(Result<IpNet, String>);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PrefixVisitor)
    }
}

struct PrefixVisitor;

impl Visitor<'_> for PrefixVisitor {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Prefix, E> {
        Ok(Prefix(parse_prefix(text)))
    }
}

pub(super) fn check_exclude(
    given: &[Spanned<Prefix>],
    source: &Source,
) -> Result<AddressTable<()>, Error> {
    let mut table = AddressTable::default();
    for prefix in given {
        table.insert(check_prefix(prefix, source)?, ());
    }
    Ok(table)
}

pub(super) fn check_pins(
    given: DeTable,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    exclude: &AddressTable<()>,
    source: &Source,
) -> Result<AddressTable<UplinkNo>, Error> {
    let mut pins = AddressTable::default();
    for (key, value) in given {
        let number_span = value.span();
        let number = i64::deserialize(value.into_deserializer())
            .map_err(|error| source.error(number_span.clone(), error.message()))?;
        let net = parse_prefix(key.get_ref()).map_err(|reason| source.error(key.span(), reason))?;
        if net.prefix_len() == net.max_prefix_len() {
            Client::new(net.addr()).map_err(|reason| source.error(key.span(), reason))?;
        }
        let uplink = u8::try_from(number).ok().and_then(UplinkNo::new);
        let uplink = uplink.filter(|no| uplinks.contains_key(no)).ok_or_else(|| {
            let reason = format!("the pin names uplink {number}, which does not exist");
            source.error(number_span, reason)
        })?;
        if let Some((excluded, ())) = exclude.find_covering(net) {
            let (net, excluded) = (short(net), short(excluded));
            let reason = format!("{net} is pinned and also excluded by exclude = [\"{excluded}\"]");
            return Err(source.error(key.span(), reason));
        }
        if pins.insert(net, uplink).is_some() {
            return Err(source.error(key.span(), format!("{} is already pinned", short(net))));
        }
    }
    Ok(pins)
}

fn check_prefix(given: &Spanned<Prefix>, source: &Source) -> Result<IpNet, Error> {
    match &given.get_ref().0 {
        Ok(net) => Ok(*net),
        Err(reason) => Err(source.error(given.span(), reason)),
    }
}

/// A prefix with host bits set is refused: it is most often a typing error.
fn parse_prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(format!("{text:?} is neither an address nor a prefix"));
    };
    if net.trunc() != net {
        return Err(format!("{text:?} has host bits set; the prefix is {}", net.trunc()));
    }
    Ok(net)
}

/// `192.168.7.2` rather than `192.168.7.2/32`.
fn short(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
