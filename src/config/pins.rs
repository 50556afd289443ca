//! `[pin]` and `exclude`: addresses and prefixes, each checked and put into a table.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::source::Source;
use super::{AddressTable, Uplink};
use crate::error::Error;
use crate::model::{Client, UplinkNo};

pub(super) fn check_exclude(
    given: &[Spanned<String>],
    source: &Source,
) -> Result<AddressTable<()>, Error> {
    let mut table = AddressTable::default();
    for text in given {
        table.insert(check_net(text, source)?, ());
    }
    Ok(table)
}

pub(super) fn check_pins(
    given: &BTreeMap<Spanned<String>, Spanned<i64>>,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    exclude: &AddressTable<()>,
    source: &Source,
) -> Result<AddressTable<UplinkNo>, Error> {
    let mut pins = AddressTable::default();
    for (key, number) in given {
        let net = check_net(key, source)?;
        if net.prefix_len() == 32 {
            Client::new(net.addr()).map_err(|reason| source.error(key.span(), reason))?;
        }
        let uplink = u8::try_from(*number.get_ref()).ok().and_then(UplinkNo::new);
        let uplink = uplink.filter(|no| uplinks.contains_key(no)).ok_or_else(|| {
            let reason = format!("the pin names uplink {}, which does not exist", number.get_ref());
            source.error(number.span(), reason)
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

/// An address or a prefix. A prefix with host bits set is refused: it is most often a typing error.
fn check_net(given: &Spanned<String>, source: &Source) -> Result<Ipv4Net, Error> {
    let text = given.get_ref();
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Ipv4Net::from(address));
    }
    let Ok(net) = text.parse::<Ipv4Net>() else {
        let reason = format!("{text:?} is neither an IPv4 address nor an IPv4 prefix");
        return Err(source.error(given.span(), reason));
    };
    if net.trunc() != net {
        let reason = format!("{text:?} has host bits set; the prefix is {}", net.trunc());
        return Err(source.error(given.span(), reason));
    }
    Ok(net)
}

/// `192.168.7.2` rather than `192.168.7.2/32`.
fn short(net: Ipv4Net) -> String {
    if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() }
}
