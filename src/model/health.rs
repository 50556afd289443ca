//! The health of an uplink: what one run's probes found, and what is remembered between runs.
//!
//! Times are counted from boot, so that a change of the wall clock cannot end a waiting period.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::uplink::State;
use super::{DevName, UplinkNo};

pub type HealthRecords = BTreeMap<UplinkNo, UplinkHealth>;

/// What is remembered of one uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkHealth {
    pub dev: DevName,
    /// The index of the device. A line that was dialled again has another one, and a new record.
    pub index: u32,
    pub state: State,
    /// When the state began.
    pub since: Duration,
    /// How many of the last runs in a row found the uplink healthy; 0 if the last one did not.
    pub healthy_runs: u32,
    /// How many of the last runs in a row found it unhealthy.
    pub unhealthy_runs: u32,
    pub last: Option<ProbeResult>,
}

/// What the probes of one run found about an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When the run had its answers.
    pub at: Duration,
    /// Percent of the probes.
    pub loss: u8,
    /// The shortest round trip, if there was an answer.
    pub rtt: Option<Duration>,
}

impl ProbeResult {
    /// The round trip in milliseconds, to the microsecond.
    pub fn rtt_ms(&self) -> Option<f64> {
        self.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0)
    }
}

/// The answers of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetResult {
    pub sent: u32,
    pub received: u32,
    /// The shortest round trip.
    pub rtt: Option<Duration>,
}

impl TargetResult {
    /// Counts an answer that took this long.
    pub fn add(&mut self, rtt: Duration) {
        self.received += 1;
        self.rtt = Some(self.rtt.map_or(rtt, |shortest| shortest.min(rtt)));
    }
}
