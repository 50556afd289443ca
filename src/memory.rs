//! `/run/wanpool`: what is remembered between runs. Written whole, under the lock of the state folder;
//! losing it costs no more than patience, so what cannot be read is as if it were not there.
//!
//! `uplinks` has what probes found of each, a line an uplink; `checked` what a run saw that found the
//! set and the chains in order.
//!
//! Another state folder is another gateway (a network namespace, a test): its memory lies below
//! `/run/wanpool` by the state folder's own path. `WANPOOL_RUN_DIR` names a folder instead.

use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::files;
use crate::model::UplinkNo;
use crate::record::{Record, Records};

const RUN_DIR: &str = "/run/wanpool";
const UPLINKS: &str = "uplinks";
const CHECKED: &str = "checked";

pub struct Memory {
    dir: PathBuf,
}

impl Memory {
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

    /// All that is remembered. What is from before a reboot is not: times would make no sense.
    pub fn read(&self) -> Records {
        let text = self.text(UPLINKS).unwrap_or_default();
        let now = now();
        let record = |line: &str| -> Option<(UplinkNo, Record)> {
            let (no, rest) = line.split_once(' ')?;
            let record: Record = rest.parse().ok()?;
            let past = record.since <= now && record.last.is_none_or(|last| last.at <= now);
            past.then_some((no.parse().ok()?, record))
        };
        text.lines().filter_map(record).collect()
    }

    pub fn write(&self, records: &Records) -> Result<()> {
        let mut text = String::new();
        for (no, record) in records {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{no} {record}");
        }
        self.replace(UPLINKS, &text)
    }

    pub fn checked(&self) -> Option<String> {
        self.text(CHECKED)
    }

    /// Without it the next run just looks at everything: not worth a complaint.
    pub fn remember_checked(&self, seen: &str) {
        let _ = self.replace(CHECKED, seen);
    }

    /// One that cannot be removed still tells of the pool files as they were before the change.
    pub fn forget_checked(&self) {
        let _ = fs::remove_file(self.dir.join(CHECKED));
    }

    /// What a file holds. Whoever wrote it: ourselves, or root.
    fn text(&self, name: &str) -> Option<String> {
        let bytes = files::read_ours(&self.dir.join(name), 0).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Replaces a file in one go.
    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let (next, path) = (self.dir.join(format!(".{name}")), self.dir.join(name));
        files::make_dir(&self.dir)
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
    files::make_new(path, 0o644)?.write_all(bytes)
}

/// Time since boot, sleep included: `/proc/uptime`, in hundredths of a second (proc_uptime(5)).
pub fn now() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}
