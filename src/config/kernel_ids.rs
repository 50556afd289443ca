//! `[kernel]`: the numbers of our objects, each in its range, and no table reserved or used twice.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Source, Uplink};
use crate::error::Error;
use crate::model::{KernelIds, UplinkNo};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawKernel {
    mark_mask: Option<Spanned<i64>>,
    table_base: Option<Spanned<i64>>,
    uplink_table_base: Option<Spanned<i64>>,
    rule_pref: Option<Spanned<i64>>,
    protocol: Option<Spanned<i64>>,
    nexthop_base: Option<Spanned<i64>>,
}

pub(super) fn check_numbers(raw: &RawKernel, source: &Source) -> Result<KernelIds, Error> {
    let defaults = KernelIds::default();
    let number =
        |given: &Option<Spanned<i64>>, default: u32, range: std::ops::RangeInclusive<u32>| {
            let Some(given) = given else { return Ok(default) };
            u32::try_from(*given.get_ref()).ok().filter(|value| range.contains(value)).ok_or_else(
                || {
                    let why = format!("must be in {}..={}", range.start(), range.end());
                    source.fault(given.span(), why)
                },
            )
        };
    let most = u32::from(UplinkNo::MAX);
    let numbers = KernelIds {
        mark_mask: number(&raw.mark_mask, defaults.mark_mask, 1..=u32::MAX)?,
        table_base: number(&raw.table_base, defaults.table_base, 0..=u32::MAX - most)?,
        uplink_table_base: number(
            &raw.uplink_table_base,
            defaults.uplink_table_base,
            0..=u32::MAX - most,
        )?,
        // Room for the last of our rules, rule-pref + 301, before multipath's 32000.
        rule_pref: number(&raw.rule_pref, defaults.rule_pref, 1..=31698)?,
        protocol: check_protocol(number(&raw.protocol, defaults.protocol.into(), 5..=255)?)
            .map_err(|why| source.fault(raw.protocol.as_ref().map_or(0..0, Spanned::span), why))?,
        // One more for the group of the backups.
        nexthop_base: number(&raw.nexthop_base, defaults.nexthop_base, 1..=u32::MAX - most - 1)?,
    };
    let low = numbers.mark_mask.trailing_zeros();
    if numbers.mark_mask >> low != 0xff {
        let span = raw.mark_mask.as_ref().map_or(0..0, Spanned::span);
        return Err(source.fault(span, "must be 8 adjacent bits, as 0xff or 0xff0000"));
    }
    Ok(numbers)
}

/// KernelIds that routing daemons have for themselves: `RTPROT_*` of `linux/rtnetlink.h`. What bears
/// our number is ours to delete.
const OTHERS_PROTOCOLS: [u32; 17] =
    [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 42, 99, 186, 187, 188, 189];

fn check_protocol(number: u32) -> Result<u8, String> {
    match u8::try_from(number) {
        Ok(protocol) if !OTHERS_PROTOCOLS.contains(&number) => Ok(protocol),
        _ => Err(format!("protocol {number} is a routing daemon's; see /etc/iproute2/rt_protos")),
    }
}

/// The tables that this configuration will use: none reserved, none twice.
pub(super) fn check_tables(
    raw: &RawKernel,
    numbers: &KernelIds,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    source: &Source,
) -> Result<(), Error> {
    // The line to correct is that of whichever base was given.
    let span = |given: &Option<Spanned<i64>>| {
        let any = given.as_ref().or(raw.table_base.as_ref()).or(raw.uplink_table_base.as_ref());
        any.map_or(0..0, Spanned::span)
    };
    let pool_tables = std::iter::once(numbers.shared_table())
        .chain(uplinks.keys().map(|&no| numbers.pool_table(no)))
        .map(|table| (table, span(&raw.table_base)));
    let uplink_tables =
        uplinks.keys().map(|&no| (numbers.uplink_table(no), span(&raw.uplink_table_base)));
    let mut seen = BTreeMap::new();
    for (table, span) in pool_tables.chain(uplink_tables) {
        if table == 0 || (253..=255).contains(&table) {
            let why = format!("would use routing table {table}, which is the kernel's own");
            return Err(source.fault(span, why));
        }
        if seen.insert(table, ()).is_some() {
            let why = format!("would use routing table {table} twice; move one of the bases");
            return Err(source.fault(span, why));
        }
    }
    Ok(())
}
