//! A set of uplinks that can be copied like a number: an intent carries it.

use super::UplinkNo;

/// Bit N is uplink N; [`UplinkNo::MAX`] is well below 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UplinkSet(u64);

impl UplinkSet {
    pub fn contains(self, no: UplinkNo) -> bool {
        self.0 & bit(no) != 0
    }

    pub fn insert(&mut self, no: UplinkNo) {
        self.0 |= bit(no);
    }

    /// By number.
    pub fn iter(self) -> impl Iterator<Item = UplinkNo> {
        (1..=UplinkNo::MAX).filter_map(UplinkNo::new).filter(move |&no| self.contains(no))
    }
}

impl FromIterator<UplinkNo> for UplinkSet {
    fn from_iter<T: IntoIterator<Item = UplinkNo>>(all: T) -> Self {
        Self(all.into_iter().fold(0, |bits, no| bits | bit(no)))
    }
}

fn bit(no: UplinkNo) -> u64 {
    1 << no.get()
}
