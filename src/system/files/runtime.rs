//! The runtime state in `/run/wanpool`: what is kept between runs. Every file is written as a whole,
//! under the lock of the state folder. A file that is missing, damaged or of another version counts
//! as absent: then the counters start again, and the next run reads the whole slice.
//!
//! `uplinks` has the health of each uplink, as JSON. `flushed` exists while hooks and timers must not
//! create the slice again. `last-heard` and `released` have times of clients, as JSON, for
//! `assign --prune AGE`. `gateways` has the last gateway of each device whose gateway is not in the
//! configuration, as JSON. `dns` has the name servers of each device that a hook told. `fingerprint` is the text by which a run recognises that nothing has
//! changed since the client set and the chains were last verified.
//!
//! Another state folder belongs to another gateway (a network namespace, a test). Its runtime state
//! is in a folder below `/run/wanpool` with the path of the state folder. `WANPOOL_RUN_DIR` names a
//! folder instead.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::dir::{Dir, FILE_MODE, LazyDir};
use crate::model::health::HealthRecords;
use crate::system::clock;

mod last_gateways;
mod last_heard;
mod name_servers;

const RUN_DIR: &str = "/run/wanpool";
const UPLINKS: &str = "uplinks";
const FINGERPRINT: &str = "fingerprint";
const FLUSHED: &str = "flushed";

pub struct RuntimeState {
    pub(super) dir: LazyDir,
}

impl RuntimeState {
    /// The runtime state that belongs to a state folder.
    pub fn of(state_dir: &Path, default_state_dir: &Path) -> Self {
        Self { dir: LazyDir::new(runtime_dir(state_dir, default_state_dir)) }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The health of the uplinks, as far as it is known.
    pub fn health(&self) -> HealthRecords {
        let text = self.read(UPLINKS).unwrap_or_default();
        parse_health(&text, clock::since_boot())
    }

    pub fn write_health(&self, records: &HealthRecords) -> Result<()> {
        self.replace(UPLINKS, &format!("{}\n", serde_json::to_string(records)?))
    }

    pub fn fingerprint(&self) -> Option<String> {
        self.read(FINGERPRINT)
    }

    /// Failure is not an error: without the file, the next run reads everything.
    pub fn write_fingerprint(&self, fingerprint: &str) {
        let _ = self.replace(FINGERPRINT, fingerprint);
    }

    /// Failure is not an error: the fingerprint names the pool files as they were before the change.
    pub fn delete_fingerprint(&self) {
        if let Ok(Some(dir)) = self.dir.open() {
            let _ = dir.remove_file(FINGERPRINT);
        }
    }

    /// Whether the slice was removed and no run has created it since.
    pub fn is_flushed(&self) -> bool {
        let found = self.dir.open().ok().flatten().map(|dir| dir.metadata(FLUSHED));
        matches!(found, Some(Ok(Some(_))))
    }

    pub fn set_flushed(&self) -> Result<()> {
        if self.is_flushed() { Ok(()) } else { self.replace(FLUSHED, "") }
    }

    /// Failure is not an error: hooks and timers wait for the next run that can delete the file.
    pub fn clear_flushed(&self) {
        if let Ok(Some(dir)) = self.dir.open() {
            let _ = dir.remove_file(FLUSHED);
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let bytes = self.dir.open().ok()??.read(name).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Replaces a file in one step.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        self.dir
            .create()
            .and_then(|dir| {
                let next = format!(".{name}");
                write_new(dir, &next, text.as_bytes())?;
                dir.rename(&next, dir, name)
            })
            .with_context(|| format!("writing {}", self.path().join(name).display()))
    }
}

fn runtime_dir(state_dir: &Path, default_state_dir: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Some(dir) = std::env::var_os("WANPOOL_RUN_DIR") {
        if !dir.is_empty() {
            return absolute(dir.as_ref());
        }
    }
    if state_dir == default_state_dir {
        return RUN_DIR.into();
    }
    let path = absolute(state_dir);
    Path::new(RUN_DIR).join(path.strip_prefix("/").unwrap_or(&path))
}

/// The records in a text. Records from before a reboot are dropped: their times lie in the future
/// of this boot.
fn parse_health(text: &str, now: Duration) -> HealthRecords {
    let mut records: HealthRecords = serde_json::from_str(text).unwrap_or_default();
    records.retain(|_, it| it.since <= now && it.last.is_none_or(|last| last.at <= now));
    records
}

/// Writes a new file. Replaces the file that a killed run may have left.
fn write_new(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    match dir.remove_file(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    dir.create_file(name, FILE_MODE)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::model::UplinkNo;
    use crate::model::health::{ProbeResult, UplinkHealth};
    use crate::model::uplink::State;

    /// A text as the program writes it.
    const TEXT: &str = concat!(
        r#"{"1":{"dev":"ppp0","index":7,"state":"failed-over","since":12.5,"healthy_runs":0,"#,
        r#""unhealthy_runs":3,"last":{"at":99.25,"loss":100,"rtt":null},"heard":null},"#,
        r#""2":{"dev":"ppp1","index":8,"state":"up","since":350735.47,"healthy_runs":4,"#,
        r#""unhealthy_runs":0,"last":{"at":350735.47,"loss":0,"rtt":0.012345},"heard":"10.64.2.1"}}"#,
        "\n"
    );
    const VERSION_0_1_0: &str =
        "1 ppp0 index 7 up since 912.40 sound 3 dead 0 at 990.12 loss 0 rtt 1.250\n";
    const NOW: Duration = Duration::from_millis(350_735_470);

    fn records() -> HealthRecords {
        let first = UplinkHealth {
            dev: "ppp0".parse().unwrap(),
            index: 7,
            state: State::FailedOver,
            since: Duration::from_millis(12_500),
            healthy_runs: 0,
            unhealthy_runs: 3,
            last: Some(ProbeResult { at: Duration::from_millis(99_250), loss: 100, rtt: None }),
            heard: None,
        };
        let rtt = Some(Duration::from_micros(12_345));
        let second = UplinkHealth {
            dev: "ppp1".parse().unwrap(),
            index: 8,
            state: State::Up,
            since: NOW,
            healthy_runs: 4,
            unhealthy_runs: 0,
            last: Some(ProbeResult { at: NOW, loss: 0, rtt }),
            heard: Some([10, 64, 2, 1].into()),
        };
        [(1, first), (2, second)]
            .map(|(number, record)| (UplinkNo::new(number).unwrap(), record))
            .into()
    }

    #[test]
    fn the_health_records_are_json_with_times_in_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let state = RuntimeState { dir: LazyDir::new(dir.path().join("run")) };
        assert_eq!(state.health(), HealthRecords::default());
        state.write_health(&records()).unwrap();
        assert_eq!(fs::read_to_string(state.path().join(UPLINKS)).unwrap(), TEXT);
        assert_eq!(parse_health(TEXT, NOW), records());
    }

    #[test]
    fn a_damaged_or_foreign_file_counts_as_absent() {
        for length in 0..TEXT.trim_end().len() {
            assert!(parse_health(&TEXT[..length], NOW).is_empty(), "{length} bytes");
        }
        for (from, to) in [
            ("\"1\"", "\"0\""),
            ("\"1\"", "\"51\""),
            ("12.5", "-12.5"),
            ("12.5", "1e300"),
            ("12.5", "{\"secs\":12,\"nanos\":5}"),
            ("0.012345", "\"fast\""),
            ("failed-over", "lost"),
            ("\"index\":7,", ""),
        ] {
            assert!(TEXT.contains(from));
            assert!(parse_health(&TEXT.replacen(from, to, 1), NOW).is_empty(), "{from} {to}");
        }
        assert!(parse_health(VERSION_0_1_0, NOW).is_empty());
        let dir = tempfile::tempdir().unwrap();
        let state = RuntimeState { dir: LazyDir::new(dir.path().to_owned()) };
        fs::write(state.path().join(UPLINKS), b"{\"1\":\xff}").unwrap();
        assert!(state.health().is_empty());
    }

    #[test]
    fn records_from_before_a_reboot_are_dropped() {
        let just_booted = Duration::from_secs(100);
        let left: Vec<u8> =
            parse_health(TEXT, just_booted).keys().map(|number| number.get()).collect();
        assert_eq!(left, [1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Otherwise a time of the present moment could be taken for one in the future.
        #[test]
        fn a_time_of_the_clock_is_read_back_exactly(hundredths in 0..1u64 << 36) {
            let now = Duration::try_from_secs_f64(hundredths as f64 / 100.0).unwrap();
            let mut before = records();
            for record in before.values_mut() {
                record.since = now;
                record.last = None;
            }
            let text = serde_json::to_string(&before).unwrap();
            prop_assert_eq!(parse_health(&text, now), before);
        }

        #[test]
        fn any_text_is_read_without_a_panic(
            text in any::<String>(), at in 0..TEXT.len(), byte in any::<char>(),
        ) {
            parse_health(&text, NOW);
            let damaged = format!("{}{byte}{}", &TEXT[..at], &TEXT[at + 1..]);
            parse_health(&damaged, NOW);
        }
    }
}
