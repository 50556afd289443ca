//! Uplinks by number: [`UplinkNo`], sets of them, and the state of one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of an uplink and of its pool: 1..=50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct UplinkNo(u8);

impl TryFrom<u8> for UplinkNo {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("{number} is no uplink number"))
    }
}

impl From<UplinkNo> for u8 {
    fn from(no: UplinkNo) -> u8 {
        no.0
    }
}

impl UplinkNo {
    /// The highest number: with it, the default routing tables stay below the reserved 253..=255.
    pub const MAX: u8 = 50;

    /// Returns `None` unless the number is in 1..=50.
    pub fn new(number: u8) -> Option<Self> {
        if (1..=Self::MAX).contains(&number) { Some(Self(number)) } else { None }
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for UplinkNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UplinkNo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.parse() {
            // `01` and `+1` would be second names of the same pool.
            Ok(number) if !text.starts_with(['0', '+']) => Self::new(number),
            _ => None,
        };
        number.ok_or_else(|| format!("{text:?} is no uplink number; it must be 1 to {}", Self::MAX))
    }
}

/// The state of an uplink, as `pools` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Up,
    FailedOver,
    Down,
}

impl State {
    pub const ALL: [State; 3] = [State::Up, State::FailedOver, State::Down];

    /// The word in the column `state`.
    pub fn word(self) -> &'static str {
        match self {
            State::Up => "up",
            State::FailedOver => "failed-over",
            State::Down => "down",
        }
    }
}

/// A set of uplinks. It is `Copy`, so that an intent that holds one can be copied.
///
/// Bit N stands for uplink N; [`UplinkNo::MAX`] is below 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkSet(u64);

impl UplinkSet {
    pub fn contains(self, no: UplinkNo) -> bool {
        self.0 & bit(no) != 0
    }

    pub fn insert(&mut self, no: UplinkNo) {
        self.0 |= bit(no);
    }

    /// Iterates in order of number.
    pub fn iter(self) -> impl Iterator<Item = UplinkNo> {
        (1..=UplinkNo::MAX).filter_map(UplinkNo::new).filter(move |&no| self.contains(no))
    }
}

impl FromIterator<UplinkNo> for UplinkSet {
    fn from_iter<T: IntoIterator<Item = UplinkNo>>(all: T) -> Self {
        let mut set = Self::default();
        for no in all {
            set.insert(no);
        }
        set
    }
}

fn bit(no: UplinkNo) -> u64 {
    1 << no.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplink_number_is_1_to_50_and_has_one_spelling() {
        for good in ["1", "9", "50"] {
            assert_eq!(good.parse::<UplinkNo>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "51", "256", "01", "+1", "-1", "1 ", "ppp0"] {
            assert!(bad.parse::<UplinkNo>().is_err(), "{bad:?}");
        }
    }
}
