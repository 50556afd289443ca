//! What is remembered of the uplinks, as columns: since when each is as it is, and what the last
//! probes found. Without a memory there are no such columns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::commands::Context;
use crate::memory;
use crate::model::UplinkNo;
use crate::plan::service::Services;
use crate::model::health::{Outcome, UplinkHealth, HealthRecords};

pub const COLUMNS: [&str; 3] = ["since", "loss", "rtt"];

/// The records that are about the devices of this configuration; others are of no use.
pub fn read(context: &Context) -> HealthRecords {
    let mut records = context.memory.read();
    let uplinks = &context.config.uplinks;
    records.retain(|no, record| uplinks.get(no).is_some_and(|uplink| uplink.dev == record.dev));
    records
}

/// The cells of an uplink's row.
pub fn cells(services: &Services, records: &HealthRecords, no: UplinkNo) -> [Value; 3] {
    let record = records.get(&no);
    let last = record.and_then(|record| record.last);
    let since = record.and_then(|record| since(services, record, no));
    [
        since.map_or(Value::Null, |since| utc(since).into()),
        last.map_or(Value::Null, |last| last.loss.into()),
        rtt(last),
    ]
}

/// In milliseconds, to the microsecond.
pub fn rtt(last: Option<Outcome>) -> Value {
    let rtt = last.and_then(|last| last.rtt);
    rtt.map_or(Value::Null, |rtt| (rtt.as_micros() as f64 / 1000.0).into())
}

/// When its state began, after 1970. What no run has seen yet has no time.
pub fn since(services: &Services, record: &UplinkHealth, no: UplinkNo) -> Option<Duration> {
    let known = record.state == services.uplinks[&no].state.word();
    let ago = memory::now().saturating_sub(record.since);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    known.then(|| now.saturating_sub(ago))
}

/// `2003-11-22T16:14:22Z` (RFC 3339).
fn utc(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// The date so many days after 1970-01-01: the proleptic Gregorian calendar in years that begin
/// with March, whose leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let from_march_of_0 = days + 719_468;
    let (era, day) = (from_march_of_0 / ERA, from_march_of_0 % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_069_517_662, "2003-11-22T16:14:22Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
        }
    }
}
