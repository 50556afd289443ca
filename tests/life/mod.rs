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

use checks::Flows;
use events::Event;
use model::Model;
use perform::Life;
use random::Random;

use crate::lab::Iptables;

const EVENTS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Lives once. The error is the finding, with all that led to it.
fn live(seed: u64, events: u64, iptables: Iptables) -> Result<(), String> {
    let mut life = Life::begin(seed, iptables);
    let mut history = Vec::new();
    for at in 1..=events {
        let event = life.next_event();
        history.push(format!("{at}. {event:?}"));
        if let Err(why) = life.live_through(&event) {
            let start = history.len().saturating_sub(25);
            let history = history[start..].join("\n");
            return Err(format!(
                "seed {seed}, {iptables:?}:\n{history}\n{why}\n{}",
                life.model_text()
            ));
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
        if let Err(finding) = live(seed, events, iptables) {
            panic!("{finding}");
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
