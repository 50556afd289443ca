//! What is remembered of an uplink between runs, and what one run's probes brought: words shared by
//! those who probe, who judge and who remember.
//!
//! Pure. Times are counted from boot, as a clock that NTP sets right must not end anybody's patience.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{DevName, UplinkNo};

/// The memory of all uplinks.
pub type Records = BTreeMap<UplinkNo, Record>;

/// The memory of one uplink.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub dev: DevName,
    /// The device's index: a line that was dialled anew begins anew.
    pub index: u32,
    /// The word of `pools`, and since when it is so.
    pub state: String,
    pub since: Duration,
    /// Runs in a row that found it sound, or dead; one of them is 0.
    pub sound: u32,
    pub dead: u32,
    pub last: Option<Outcome>,
}

/// What one run's probes say of an uplink.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// When the run had its answers.
    pub at: Duration,
    /// Percent of the probes.
    pub loss: u8,
    /// The shortest round trip, if anything came back.
    pub rtt: Option<Duration>,
}

/// What came back from one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub sent: u32,
    pub received: u32,
    /// The shortest round trip.
    pub rtt: Option<Duration>,
}

impl Answers {
    /// Counts a probe that has ended: after this round trip, or without an answer.
    pub fn add(&mut self, rtt: Option<Duration>) {
        self.received += u32::from(rtt.is_some());
        self.rtt = [self.rtt, rtt].into_iter().flatten().min();
    }
}

/// The line of the file: `ppp0 index 7 up since 912.40 sound 3 dead 0 at 990.12 loss 0 rtt 1.250`;
/// without probes it ends before `at`. Seconds from boot, percent, milliseconds.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { dev, index, state, since, sound, dead, last } = self;
        let since = since.as_secs_f64();
        write!(f, "{dev} index {index} {state} since {since:.2} sound {sound} dead {dead}")?;
        let Some(Outcome { at, loss, rtt, .. }) = last else { return Ok(()) };
        write!(f, " at {:.2} loss {loss} rtt ", at.as_secs_f64())?;
        match rtt {
            Some(rtt) => write!(f, "{:.3}", rtt.as_secs_f64() * 1000.0),
            None => f.write_str("-"),
        }
    }
}

impl FromStr for Record {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [
            dev,
            "index",
            index,
            state,
            "since",
            since,
            "sound",
            sound,
            "dead",
            dead,
            ref rest @ ..,
        ] = words[..]
        else {
            return Err(());
        };
        let last = match *rest {
            [] => None,
            ["at", at, "loss", loss, "rtt", rtt] => Some(Outcome {
                at: time(at, 1.0)?,
                loss: number(loss)?,
                rtt: if rtt == "-" { None } else { Some(time(rtt, 0.001)?) },
            }),
            _ => return Err(()),
        };
        Ok(Record {
            dev: dev.parse().map_err(drop)?,
            index: number(index)?,
            state: state.to_owned(),
            since: time(since, 1.0)?,
            sound: number(sound)?,
            dead: number(dead)?,
            last,
        })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, ()> {
    text.parse().map_err(drop)
}

fn time(text: &str, unit: f64) -> Result<Duration, ()> {
    Duration::try_from_secs_f64(number::<f64>(text)? * unit).map_err(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written_and_anything_else_is_none() {
        for line in [
            "ppp0 index 7 up since 912.40 sound 3 dead 0 at 990.12 loss 0 rtt 1.250",
            "eth1 index 12 failed-over since 0.00 sound 0 dead 4 at 17.50 loss 100 rtt -",
            "ppp2 index 3 down since 5.00 sound 0 dead 0",
        ] {
            assert_eq!(line.parse::<Record>().unwrap().to_string(), line);
            for cut in 1..line.len() {
                let _ = line[..cut].parse::<Record>();
            }
        }
        for bad in ["", "ppp0", "ppp0 index x up since 1 sound 0 dead 0", "a b c d e f g h i j k"] {
            assert!(bad.parse::<Record>().is_err(), "{bad:?}");
        }
        let nan = "ppp0 index 7 up since NaN sound 3 dead 0";
        assert!(nan.parse::<Record>().is_err());
    }
}
