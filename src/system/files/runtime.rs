//! `/run/wanpool`: what is remembered between runs. Written whole, under the lock of the state folder;
//! losing it costs no more than patience, so what cannot be read is as if it were not there.
//!
//! `uplinks` has what probes found of each, a line an uplink; `checked` what a run saw that found the
//! set and the chains in order.
//!
//! Another state folder is another gateway (a network namespace, a test): its memory lies below
//! `/run/wanpool` by the state folder's own path. `WANPOOL_RUN_DIR` names a folder instead.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::trusted;
use crate::model::health::HealthRecords;
use crate::system::clock;

const RUN_DIR: &str = "/run/wanpool";
const UPLINKS: &str = "uplinks";
const CHECKED: &str = "checked";

pub struct RuntimeState {
    dir: PathBuf,
}

impl RuntimeState {
    /// The memory that goes with a state folder.
    pub fn of(state_dir: &Path, default_state_dir: &Path) -> Self {
        let dir = match std::env::var_os("WANPOOL_RUN_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => dir.into(),
            None if state_dir == default_state_dir => RUN_DIR.into(),
            None => {
                let path = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
                let below = path.strip_prefix("/").unwrap_or(&path);
                Path::new(RUN_DIR).join(below)
            }
        };
        Self { dir }
    }

    /// All that is remembered. Records from before a reboot are dropped: their times are of another
    /// boot.
    pub fn health(&self) -> HealthRecords {
        let text = self.text(UPLINKS).unwrap_or_default();
        let mut records: HealthRecords = serde_json::from_str(&text).unwrap_or_default();
        let now = clock::since_boot();
        records.retain(|_, it| it.since <= now && it.last.is_none_or(|last| last.at <= now));
        records
    }

    pub fn write_health(&self, records: &HealthRecords) -> Result<()> {
        self.replace(UPLINKS, &serde_json::to_string(records)?)
    }

    pub fn fingerprint(&self) -> Option<String> {
        self.text(CHECKED)
    }

    /// Without it the next run just looks at everything: not worth a complaint.
    pub fn write_fingerprint(&self, seen: &str) {
        let _ = self.replace(CHECKED, seen);
    }

    /// One that cannot be removed still tells of the pool files as they were before the change.
    pub fn delete_fingerprint(&self) {
        let _ = fs::remove_file(self.dir.join(CHECKED));
    }

    /// What a file holds. Whoever wrote it: ourselves, or root.
    fn text(&self, name: &str) -> Option<String> {
        let bytes = trusted::read_ours(&self.dir.join(name), 0).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Replaces a file in one go.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let (next, path) = (self.dir.join(format!(".{name}")), self.dir.join(name));
        trusted::make_dir(&self.dir)
            .and_then(|()| write_new(&next, text.as_bytes()))
            .and_then(|()| fs::rename(&next, &path))
            .with_context(|| format!("writing {}", path.display()))
    }
}

/// In place of whatever a killed run, or somebody else, left there. All may read it.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    trusted::make_new(path, 0o644)?.write_all(bytes)
}
