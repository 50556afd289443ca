//! How many flows use each uplink, and whether that fits the weights.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Lab, Speaker};

/// How many standard deviations a count may differ from its mean. With 600 flows and shares between
/// a quarter and two thirds, one in ten million samples differs by more.
const DEVIATIONS: f64 = 5.5;
/// Enough flows to distinguish 2:1:1 from 1:1:1; 200 are too few.
const FLOWS: usize = 600;

/// Opens flows from these speakers in turn, every second one over UDP; counts the addresses that the
/// far server sees.
#[track_caller]
pub fn count_seen(speakers: &[Speaker]) -> BTreeMap<Ipv4Addr, usize> {
    let mut counts = BTreeMap::new();
    for (at, speaker) in (0..FLOWS).zip(speakers.iter().cycle()) {
        // Each speaker gets both kinds, however many there are.
        let by_tcp = (at + at / speakers.len()) % 2 == 0;
        let conn = if by_tcp { speaker.tcp() } else { speaker.udp() };
        let seen = conn.and_then(|mut conn| conn.ask()).unwrap_or_else(|why| panic!("{why}"));
        *counts.entry(seen).or_default() += 1;
    }
    counts
}

/// Only the uplinks with these weights have flows, and each has its share.
#[track_caller]
pub fn assert_spread(lab: &Lab, counts: &BTreeMap<Ipv4Addr, usize>, weights: &[(u8, u32)]) {
    let uplinks: Vec<Ipv4Addr> =
        weights.iter().map(|&(number, _)| lab.uplink_address(number)).collect();
    assert!(counts.keys().all(|seen| uplinks.contains(seen)), "{counts:?}");
    let all: usize = counts.values().sum();
    let whole: u32 = weights.iter().map(|&(_, weight)| weight).sum();
    for (&(number, weight), uplink) in weights.iter().zip(&uplinks) {
        let share = f64::from(weight) / f64::from(whole);
        let mean = all as f64 * share;
        let allowed = DEVIATIONS * (mean * (1.0 - share)).sqrt();
        let count = counts.get(uplink).copied().unwrap_or_default() as f64;
        assert!(
            (count - mean).abs() <= allowed,
            "uplink {number}: {mean} ± {allowed} of {counts:?}"
        );
    }
}
