//! The clock that health records use.

use std::fs;
use std::time::Duration;

/// The time since boot, including sleep: `/proc/uptime`, in hundredths of a second (proc_uptime(5)).
pub fn since_boot() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}
