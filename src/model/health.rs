//! The health of an uplink: the result of one run's probes, and what is kept between runs.
//!
//! Times count from boot, so that a change of the wall clock cannot end a waiting period. In JSON
//! they are seconds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::uplink::State;
use super::{DevName, UplinkNo};

pub type HealthRecords = BTreeMap<UplinkNo, UplinkHealth>;

/// What is kept about one uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkHealth {
    pub dev: DevName,
    /// The index of the device. A redialled connection has a new index, and so a new record.
    pub index: u32,
    pub state: State,
    /// When the state began.
    #[serde(with = "seconds")]
    pub since: Duration,
    /// How many of the last runs in a row found the uplink healthy; 0 if the last one did not.
    pub healthy_runs: u32,
    /// How many of the last runs in a row found it unhealthy.
    pub unhealthy_runs: u32,
    pub last: Option<ProbeResult>,
    /// The peer or the gateway, if it has ever answered a probe. Many never do.
    #[serde(default)]
    pub heard: Option<Ipv4Addr>,
}

/// What the probes of one run found about an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When the run had all its answers.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// Percent of the probes.
    pub loss: u8,
    /// The shortest round trip, if there was an answer.
    #[serde(with = "optional_seconds")]
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
    /// Counts an answer with this round trip.
    pub fn add(&mut self, rtt: Duration) {
        self.received += 1;
        self.rtt = Some(self.rtt.map_or(rtt, |shortest| shortest.min(rtt)));
    }
}

/// A duration as a number of seconds. Other numbers, such as -1, are errors.
mod seconds {
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The same, or `null`.
mod optional_seconds {
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs_f64()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(from)? {
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).map(Some).map_err(D::Error::custom)
            }
            None => Ok(None),
        }
    }
}
