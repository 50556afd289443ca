//! What becomes of the flows that an uplink took over, once their own uplink is in service again:
//! by default they stay; a metered line may say otherwise.

use std::time::Duration;

use super::service::{Services, State};
use crate::config::{Config, Failback};
use crate::model::UplinkNo;
use crate::model::health::HealthRecords;

/// For each uplink that keeps no flows of others for ever: the pools whose clients' flows it is rid
/// of now. Who has no record has come back just now.
pub fn due(
    config: &Config,
    services: &Services,
    records: &HealthRecords,
    now: Duration,
) -> Vec<(UplinkNo, Vec<UplinkNo>)> {
    let for_as_long = |no| {
        let since = records.get(&no).map(|record| record.since);
        since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    };
    let pools = |stand_in: UplinkNo, patience: Duration| {
        let back = services.uplinks.iter().filter(|(_, service)| service.state == State::Up);
        let others = back.map(|(&no, _)| no).filter(|&no| no != stand_in);
        others.filter(|&no| for_as_long(no) >= patience).collect::<Vec<_>>()
    };
    let due = config.uplinks.iter().filter_map(|(&no, uplink)| match uplink.failback {
        Failback::Keep => None,
        Failback::Cut => Some((no, pools(no, Duration::ZERO))),
        Failback::Drain(seconds) => Some((no, pools(no, Duration::from_secs(seconds.into())))),
    });
    due.filter(|(_, pools)| !pools.is_empty()).collect()
}

/// Whether times must be remembered for [`due`].
pub fn needs_memory(config: &Config) -> bool {
    config.uplinks.values().any(|uplink| matches!(uplink.failback, Failback::Drain(_)))
}
