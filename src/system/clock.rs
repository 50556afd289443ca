//! Clocks: the time since boot, which health records use, and the date as text.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The last second of the year 9999, after which RFC 3339 has no text for a date.
const LAST_SECOND: u64 = 253_402_300_799;

/// The time since boot, including sleep: `/proc/uptime`, in hundredths of a second (proc_uptime(5)).
pub fn since_boot() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    parse_uptime(&text).unwrap_or_default()
}

/// A number that rises until the next boot. Even a reader that takes it for a floating-point number
/// can tell two of them apart.
pub fn microseconds_since_boot() -> u64 {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => Duration::from(time).as_micros() as u64,
        Err(_) => since_boot().as_micros() as u64,
    }
}

fn parse_uptime(text: &str) -> Option<Duration> {
    let seconds = text.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `2003-11-22T16:14:22Z` (RFC 3339). A time before 1970 gives the start of 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_1970.as_secs().min(LAST_SECOND);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_says() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_069_517_662, "2003-11-22T16:14:22Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST_SECOND + 1, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn the_uptime_is_parsed_in_hundredths_of_a_second() {
        assert_eq!(parse_uptime("350735.47 234388.90\n"), Some(Duration::from_millis(350_735_470)));
        for text in ["", "x 1", "-1.0 2", "inf 1", "NaN"] {
            assert_eq!(parse_uptime(text), None, "{text}");
        }
    }
}
