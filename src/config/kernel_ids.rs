//! `[kernel]`: the ids of wanpool's kernel objects, each in its range, and no routing table that is
//! reserved or used twice.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use toml::Spanned;

use super::Uplink;
use super::source::Source;
use crate::error::Error;
use crate::model::kernel_ids::is_mark_mask;
use crate::model::{KernelIds, UplinkNo};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct KernelSection {
    mark_mask: Option<Spanned<i64>>,
    table_base: Option<Spanned<i64>>,
    uplink_table_base: Option<Spanned<i64>>,
    rule_pref: Option<Spanned<i64>>,
    protocol: Option<Spanned<i64>>,
    nexthop_base: Option<Spanned<i64>>,
}

/// The highest base to which every uplink number can be added.
const MAX_BASE: u32 = u32::MAX - UplinkNo::MAX as u32;
/// The id of the backup group follows that of the last uplink, and the ids of IPv6 are 100 higher.
const MAX_NEXTHOP_BASE: u32 = MAX_BASE - 101;
/// The last rule has the priority `rule-pref` + 301. Those of multipath begin at 32000.
const MAX_RULE_PREF: u32 = 31698;

/// Ids that belong to routing daemons: `RTPROT_*` of `linux/rtnetlink.h`. wanpool deletes routes and
/// rules that have its own id, so it must not use one of these.
const RESERVED_PROTOCOLS: [u8; 17] =
    [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 42, 99, 186, 187, 188, 189];

pub(super) fn check_kernel_ids(
    section: &KernelSection,
    source: &Source,
) -> Result<KernelIds, Error> {
    let default = KernelIds::default();
    let ids = KernelIds {
        mark_mask: source.number(&section.mark_mask, default.mark_mask, 1..=u32::MAX)?,
        table_base: source.number(&section.table_base, default.table_base, 0..=MAX_BASE)?,
        uplink_table_base: source.number(
            &section.uplink_table_base,
            default.uplink_table_base,
            0..=MAX_BASE,
        )?,
        rule_pref: source.number(&section.rule_pref, default.rule_pref, 1..=MAX_RULE_PREF)?,
        protocol: source.number(&section.protocol, default.protocol, 5..=255)?,
        nexthop_base: source.number(
            &section.nexthop_base,
            default.nexthop_base,
            1..=MAX_NEXTHOP_BASE,
        )?,
    };
    if RESERVED_PROTOCOLS.contains(&ids.protocol) {
        let reason = format!(
            "protocol {} belongs to a routing daemon; see /etc/iproute2/rt_protos",
            ids.protocol
        );
        return Err(source.error_at(section.protocol.as_ref(), reason));
    }
    if !is_mark_mask(ids.mark_mask) {
        let reason = "must be 8 adjacent bits, such as 0xff or 0xff0000";
        return Err(source.error_at(section.mark_mask.as_ref(), reason));
    }
    Ok(ids)
}

/// Checks the routing tables that this configuration uses: none is reserved, none is used twice.
pub(super) fn check_tables(
    section: &KernelSection,
    ids: &KernelIds,
    uplinks: &BTreeMap<UplinkNo, Uplink>,
    source: &Source,
) -> Result<(), Error> {
    // The error is about whichever base was given.
    let (pool_base, uplink_base) =
        (section.table_base.as_ref(), section.uplink_table_base.as_ref());
    let mut tables = vec![(ids.shared_table(), pool_base.or(uplink_base))];
    for &no in uplinks.keys() {
        tables.push((ids.pool_table(no), pool_base.or(uplink_base)));
    }
    for &no in uplinks.keys() {
        tables.push((ids.uplink_table(no), uplink_base.or(pool_base)));
    }
    let mut seen = HashSet::new();
    for (table, base) in tables {
        if table == 0 || (253..=255).contains(&table) {
            let reason = format!("would use routing table {table}, which the kernel reserves");
            return Err(source.error_at(base, reason));
        }
        if !seen.insert(table) {
            let reason = format!("would use routing table {table} twice; change one of the bases");
            return Err(source.error_at(base, reason));
        }
    }
    Ok(())
}
