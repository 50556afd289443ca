//! From what came back to what is done about it: one run's answers → sound or dead; with what is
//! remembered of the runs before → which uplinks go out and which come back.
//!
//! One run never decides alone: dead for `down` runs in a row is out, sound for `up` runs in a row
//! is back. Counting begins anew whenever the uplink's state changes, whoever changed it.

use std::time::Duration;

use super::service::{Intent, Services, State};
use crate::config::Config;
use crate::model::{UplinkNo, UplinkSet};
use crate::model::health::{TargetResult, Outcome, UplinkHealth, HealthRecords};
use crate::model::STATE::Observed;

/// Whether an uplink is sound: if enough targets have answered, each to one of its probes at least.
pub fn is_sound(answers: &[TargetResult], need: u8) -> bool {
    let answered = answers.iter().filter(|target| target.received > 0).count();
    answered >= usize::from(need)
}

/// What there is to tell of a run that had its answers at this time.
pub fn sum_up(answers: &[TargetResult], at: Duration) -> Outcome {
    let sent: u32 = answers.iter().map(|target| target.sent).sum();
    let received: u32 = answers.iter().map(|target| target.received).sum();
    let lost = (sent - received.min(sent)) * 100;
    Outcome {
        at,
        // At most 100.
        loss: lost.checked_div(sent).unwrap_or(100) as u8,
        rtt: answers.iter().filter_map(|target| target.rtt).min(),
    }
}

/// Brings the records in line with what is: a new line, or a new state, starts a new one.
pub fn note(
    config: &Config,
    found: &Observed,
    services: &Services,
    records: &mut HealthRecords,
    now: Duration,
) {
    records.retain(|no, _| config.uplinks.contains_key(no));
    for (&no, uplink) in &config.uplinks {
        let state = services.uplinks[&no].state.word();
        let index = found.link(&uplink.dev).map_or(0, |link| link.index);
        let fresh = |last| UplinkHealth {
            dev: uplink.dev.clone(),
            index,
            state: state.to_owned(),
            since: now,
            sound: 0,
            dead: 0,
            last,
        };
        let record = records.entry(no).or_insert_with(|| fresh(None));
        if record.dev != uplink.dev || record.index != index {
            *record = fresh(None);
        } else if record.state != state {
            *record = fresh(record.last);
        }
    }
}

/// Adds a run to the record.
pub fn count(record: &mut UplinkHealth, is_sound: bool, outcome: Outcome) {
    (record.sound, record.dead) = match is_sound {
        true => (record.sound.saturating_add(1), 0),
        false => (0, record.dead.saturating_add(1)),
    };
    record.last = Some(outcome);
}

/// What is to be done about those that were probed. One at least stays in service: of several that
/// are dead, the one that was found so last.
pub fn intent(
    config: &Config,
    services: &Services,
    records: &HealthRecords,
    probed: UplinkSet,
) -> Intent {
    let (mut out, mut back) = (UplinkSet::default(), UplinkSet::default());
    let mut leaving: Vec<(u32, UplinkNo)> = Vec::new();
    for no in probed.iter() {
        let (Some(record), Some(service)) = (records.get(&no), services.uplinks.get(&no)) else {
            continue;
        };
        let probe = &config.uplinks[&no].probe;
        match service.state {
            State::Up if record.dead >= probe.down.into() => leaving.push((record.dead, no)),
            State::FailedOver if !service.by_probe => {}
            State::FailedOver if record.sound >= probe.up.into() => back.insert(no),
            // Out already; a run that was killed may have left its flows.
            State::FailedOver if record.dead > 0 => out.insert(no),
            _ => {}
        }
    }
    let stays = |no: &UplinkNo| leaving.iter().all(|(_, other)| other != no);
    if back.iter().chain(services.up().filter(stays)).next().is_none() {
        let last = leaving.iter().min().copied();
        leaving.retain(|one| Some(*one) != last);
    }
    leaving.into_iter().for_each(|(_, no)| out.insert(no));
    Intent::Probed { out, back }
}

#[cfg(test)]
mod tests;
