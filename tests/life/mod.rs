//! A random life of the program itself: whatever happens, in whatever order, after each event the
//! kernel, the files, the output of the program and what the far server sees are as an independent
//! model says.
//!
//! `LIFE_SEED` and `LIFE_EVENTS` choose another life; `LIFE_SECONDS` lives one after the other for so
//! long, from that seed on.

use std::env;
use std::time::{Duration, Instant};

mod checks;
mod events;
mod kernel;
mod model;
mod perform;
mod random;
mod runs;

use perform::Life;

use crate::lab::Iptables;

const EVENTS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Lives once. The error is the finding, with all that led to it.
fn live(mut life: Life, events: u64) -> Result<(), String> {
    let mut history = Vec::new();
    for at in 1..=events {
        let event = life.next_event();
        history.push(format!("{at}. {event:?}"));
        if let Err(why) = life.live_through(&event) {
            let start = history.len().saturating_sub(40);
            let history = history[start..].join("\n");
            return Err(format!("{history}\n{why}\n{}", life.model_text()));
        }
    }
    Ok(())
}

fn live_on(first_seed: u64, iptables: Iptables) {
    let seed = number("LIFE_SEED").unwrap_or(1) + first_seed;
    let events = number("LIFE_EVENTS").unwrap_or(EVENTS);
    let deadline = Instant::now() + Duration::from_secs(number("LIFE_SECONDS").unwrap_or(0));
    let mut lives = 0;
    for seed in seed.. {
        if let Err(finding) = live(Life::begin(seed, iptables), events) {
            panic!("seed {seed}, {iptables:?}:\n{finding}");
        }
        lives += 1;
        if Instant::now() >= deadline {
            break;
        }
    }
    println!("{lives} lives of {events} events, from seed {seed}");
}

#[test]
fn a_life_with_nft_is_as_the_model_says() {
    live_on(0, Iptables::Nft);
}

#[test]
fn a_life_with_legacy_is_as_the_model_says() {
    live_on(1_000_000, Iptables::Legacy);
}

/// What a wrong program could leave behind after a run. Each is noticed in another way.
const SABOTAGE: [&str; 10] = [
    "ip route del unreachable default table 201",
    "ip nexthop del id 8702",
    "ip nexthop replace id 8701 dev ppp1 protocol 87",
    "ip rule del pref 20190",
    "ip rule add pref 20301 iif br0 lookup 200 protocol 88",
    "ipset del wanpool $(ipset list wanpool | tail -1 | cut -d ' ' -f 1)",
    "sed -i 1d $WANPOOL_STATE_DIR/pool1",
    "iptables -t nat -D POSTROUTING -j WANPOOL",
    // Nothing but packets show these two.
    "iptables -t mangle -A PREROUTING -i br0 -j MARK --set-mark 3",
    "conntrack -F",
];

#[test]
fn a_life_notices_whatever_is_wrong() {
    for sabotage in SABOTAGE {
        let mut life = Life::begin(1, Iptables::Nft);
        life.sabotage = sabotage;
        assert!(live(life, EVENTS).is_err(), "not noticed: {sabotage}");
    }
}
