//! What is remembered of the uplinks, as columns of `pools`: since when each has its state, and what
//! the last probes found. Without records these columns do not exist.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Context;
use crate::model::UplinkNo;
use crate::model::health::{HealthRecords, UplinkHealth};
use crate::plan::uplinks::GatewayStatus;
use crate::system::clock;

#[derive(Serialize)]
pub struct HealthColumns {
    since: Option<String>,
    loss: Option<u8>,
    rtt: Option<f64>,
}

/// The records of the devices in this configuration.
pub fn read(context: &Context) -> HealthRecords {
    let mut records = context.runtime.health();
    let uplinks = &context.config.uplinks;
    records.retain(|no, record| uplinks.get(no).is_some_and(|uplink| uplink.dev == record.dev));
    records
}

pub fn columns(
    status: &GatewayStatus,
    records: &HealthRecords,
    no: UplinkNo,
) -> Option<HealthColumns> {
    if records.is_empty() {
        return None;
    }
    let record = records.get(&no);
    let last = record.and_then(|record| record.last);
    let since = record.and_then(|record| since(status, record, no));
    Some(HealthColumns {
        since: since.map(|since| clock::rfc3339(UNIX_EPOCH + since)),
        loss: last.map(|last| last.loss),
        rtt: last.and_then(|last| last.rtt_ms()),
    })
}

/// When the state of an uplink began, counted from 1970. A state that no run has recorded has no
/// time.
pub fn since(status: &GatewayStatus, record: &UplinkHealth, no: UplinkNo) -> Option<Duration> {
    if status.state(no) != Some(record.state) {
        return None;
    }
    let age = clock::since_boot().saturating_sub(record.since);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(now.saturating_sub(age))
}
