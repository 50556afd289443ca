//! When clients were last heard, for `assign --prune AGE`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::RuntimeState;
use crate::model::Client;
use crate::model::link::LastHeard;
use crate::system::clock;

const LAST_HEARD: &str = "last-heard";
const RELEASED: &str = "released";

impl RuntimeState {
    /// When the clients in pools were last heard.
    pub fn last_heard(&self) -> LastHeard {
        self.read_times(LAST_HEARD)
    }

    pub fn write_last_heard(&self, heard: &LastHeard) -> Result<()> {
        self.write_times(LAST_HEARD, heard)
    }

    /// When the clients were last heard that were released because they were silent, and that the
    /// kernel still knows.
    pub fn released(&self) -> LastHeard {
        self.read_times(RELEASED)
    }

    pub fn write_released(&self, released: &LastHeard) -> Result<()> {
        if released.is_empty() && self.read(RELEASED).is_none() {
            return Ok(());
        }
        self.write_times(RELEASED, released)
    }

    fn read_times(&self, name: &str) -> LastHeard {
        let text = self.read(name).unwrap_or_default();
        parse_times(&text, clock::since_boot())
    }

    fn write_times(&self, name: &str, times: &LastHeard) -> Result<()> {
        let times: BTreeMap<IpAddr, f64> =
            times.iter().map(|(client, time)| (client.address(), time.as_secs_f64())).collect();
        self.replace(name, &format!("{}\n", serde_json::to_string(&times)?))
    }
}

/// The times in a text. Those from before a reboot are dropped.
fn parse_times(text: &str, now: Duration) -> LastHeard {
    let times: BTreeMap<IpAddr, f64> = serde_json::from_str(text).unwrap_or_default();
    let mut heard = LastHeard::new();
    for (address, seconds) in times {
        if let (Ok(client), Ok(time)) = (Client::new(address), Duration::try_from_secs_f64(seconds))
        {
            if time <= now {
                heard.insert(client, time);
            }
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::super::LazyDir;
    use super::*;

    #[test]
    fn times_are_read_back_and_a_damaged_file_counts_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let state = RuntimeState { dir: LazyDir::new(dir.path().to_owned()) };
        let client = |last: u8| Client::new([10, 0, 0, last].into()).unwrap();
        let times = LastHeard::from([
            (client(1), Duration::from_millis(10)),
            (client(2), Duration::from_millis(1_250)),
        ]);
        state.write_last_heard(&times).unwrap();
        assert_eq!(state.last_heard(), times);
        // Nothing is written if nothing is to be remembered.
        state.write_released(&LastHeard::new()).unwrap();
        assert!(!dir.path().join(RELEASED).exists());
        state.write_released(&times).unwrap();
        state.write_released(&LastHeard::new()).unwrap();
        assert_eq!(state.released(), LastHeard::new());

        let now = Duration::from_secs(100);
        let text = r#"{"10.0.0.1":99.5,"10.0.0.2":100.5,"224.0.0.1":1,"10.0.0.3":-1}"#;
        assert_eq!(parse_times(text, now).into_keys().collect::<Vec<_>>(), [client(1)]);
        for text in ["", "{", "[]", r#"{"host":1}"#, r#"{"10.0.0.1":"x"}"#] {
            assert_eq!(parse_times(text, now), LastHeard::new(), "{text}");
        }
    }
}
