//! Runs by the thousand, without a packet: who goes out, who comes back, and when.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::Role;
use crate::plan::service::Service;

fn config(uplinks: u8, more: &str) -> Config {
    let tables = (1..=uplinks).map(|no| format!("[uplink.{no}]\ndev = \"ppp{no}\"\n"));
    let text = format!("{more}\n{}", tables.collect::<String>());
    Config::parse(&text, Path::new("test.toml")).unwrap()
}

fn no(number: u8) -> UplinkNo {
    UplinkNo::new(number).unwrap()
}

/// A gateway on which runs are simulated: who is in service, and what is remembered.
struct Gateway {
    config: Config,
    services: Services,
    records: HealthRecords,
    runs: u32,
    /// Run, uplink, and whether it came back.
    changes: Vec<(u32, u8, bool)>,
}

impl Gateway {
    fn new(config: Config) -> Self {
        let up =
            Service { state: State::Up, via: None, to: None, by_probe: false, role: Role::Primary };
        let uplinks = config.uplinks.keys().map(|&no| (no, up.clone())).collect();
        let services = Services { uplinks, multipath: false };
        Self { config, services, records: HealthRecords::new(), runs: 0, changes: vec![] }
    }

    /// One run of `failover --probe` that finds these sound and the others dead.
    fn run(&mut self, sound: &[u8]) {
        self.runs += 1;
        let now = Duration::from_secs(self.runs.into()) * 10;
        let found = Observed::default();
        note(&self.config, &found, &self.services, &mut self.records, now);
        let mut probed = UplinkSet::default();
        for (no, record) in &mut self.records {
            let received = if sound.contains(&no.get()) { 3 } else { 0 };
            let answers = [TargetResult { sent: 3, received, rtt: None }];
            count(record, is_sound(&answers, 1), sum_up(&answers, now));
            probed.insert(*no);
        }
        let intent = intent(&self.config, &self.services, &self.records, probed);
        let Intent::Probed { out, back } = intent else { panic!("{intent:?}") };
        for (no, service) in &mut self.services.uplinks {
            let was = service.state;
            if back.contains(*no) {
                (service.state, service.by_probe) = (State::Up, false);
            }
            if out.contains(*no) {
                (service.state, service.by_probe) = (State::FailedOver, true);
            }
            if was != service.state {
                self.changes.push((self.runs, no.get(), service.state == State::Up));
            }
        }
        note(&self.config, &found, &self.services, &mut self.records, now);
    }

    fn up(&self) -> Vec<u8> {
        self.services.up().map(UplinkNo::get).collect()
    }

    fn take_out_by_hand(&mut self, number: u8) {
        let service = self.services.uplinks.get_mut(&no(number)).unwrap();
        (service.state, service.by_probe) = (State::FailedOver, false);
    }
}

#[test]
fn out_after_two_dead_runs_in_a_row_and_back_after_three_sound_ones() {
    let mut gateway = Gateway::new(config(2, ""));
    let runs: [&[u8]; 10] =
        [&[1, 2], &[2], &[1, 2], &[2], &[2], &[1, 2], &[1, 2], &[2], &[1, 2], &[1, 2]];
    for sound in runs {
        gateway.run(sound);
    }
    assert_eq!(gateway.changes, [(5, 1, false)]);
    gateway.run(&[1, 2]);
    assert_eq!(gateway.changes[1..], [(11, 1, true)]);
}

#[test]
fn the_last_one_stays_until_another_is_back() {
    let mut gateway = Gateway::new(config(3, ""));
    for _ in 0..20 {
        gateway.run(&[]);
    }
    assert_eq!(gateway.up(), [1]);
    for _ in 0..3 {
        gateway.run(&[3]);
    }
    assert_eq!(gateway.up(), [3], "dead for long, it goes as soon as it is not the last");
}

#[test]
fn of_those_that_are_dead_the_one_found_so_last_stays() {
    let mut gateway = Gateway::new(config(3, "[probe]\ndown = 3\n"));
    gateway.run(&[1, 2, 3]);
    gateway.run(&[2, 3]);
    gateway.run(&[2]);
    gateway.run(&[2]);
    assert_eq!(gateway.up(), [2, 3]);
    gateway.run(&[]);
    gateway.run(&[]);
    gateway.run(&[]);
    assert_eq!(gateway.up(), [2]);
}

#[test]
fn what_was_taken_out_by_hand_stays_out() {
    let mut gateway = Gateway::new(config(2, ""));
    gateway.take_out_by_hand(1);
    for _ in 0..20 {
        gateway.run(&[1, 2]);
    }
    assert_eq!(gateway.up(), [2]);
    assert_eq!(gateway.records[&no(1)].sound, 20, "it is watched");
}

#[test]
fn a_line_dialled_anew_begins_anew() {
    let mut gateway = Gateway::new(config(2, ""));
    gateway.run(&[2]);
    gateway.records.get_mut(&no(1)).unwrap().index = 7;
    gateway.run(&[2]);
    assert_eq!(gateway.up(), [1, 2]);
    gateway.run(&[2]);
    assert_eq!(gateway.up(), [2]);
}

#[test]
fn losing_the_memory_costs_patience_only() {
    let mut gateway = Gateway::new(config(2, ""));
    gateway.run(&[2]);
    gateway.run(&[2]);
    gateway.records.clear();
    gateway.run(&[1, 2]);
    gateway.records.clear();
    for _ in 0..3 {
        assert_eq!(gateway.up(), [2]);
        gateway.run(&[1, 2]);
    }
    assert_eq!(gateway.up(), [1, 2]);
}

#[test]
fn an_uplink_is_sound_if_enough_targets_answered() {
    let answers = |received: u32| TargetResult { sent: 3, received, rtt: None };
    let cases: [(&[u32], u8, bool, u8); 6] = [
        (&[1], 1, true, 66),
        (&[0], 1, false, 100),
        (&[0, 0, 3], 1, true, 66),
        (&[0, 0, 3], 2, false, 66),
        (&[0, 1, 1], 2, true, 77),
        (&[], 1, false, 100),
    ];
    for (received, need, sound, loss) in cases {
        let answers: Vec<_> = received.iter().map(|&received| answers(received)).collect();
        let found = (is_sound(&answers, need), sum_up(&answers, Duration::ZERO).loss);
        assert_eq!(found, (sound, loss), "{received:?}, {need}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A line that is dead every other run makes no more than one change in `up` runs, whatever
    /// `down` and `up` are.
    #[test]
    fn a_line_that_flaps_every_run_is_left_alone(down in 1..6u8, up in 1..6u8, phase in 0..2u32) {
        let text = format!("[probe]\ndown = {down}\nup = {up}\n");
        let mut gateway = Gateway::new(config(2, &text));
        for run in 0..60 {
            gateway.run(if run % 2 == phase { &[2] } else { &[1, 2] });
        }
        let runs: Vec<u32> = gateway.changes.iter().map(|&(run, ..)| run).collect();
        let close = runs.windows(2).any(|pair| pair[1] - pair[0] < u32::from(up));
        prop_assert!(!close, "{:?}", gateway.changes);
    }

    /// Whatever the lines do: one is always in service, nothing goes out before `down` dead runs in
    /// a row, and nothing comes back before `up` sound ones.
    #[test]
    fn nobody_is_judged_by_too_few_runs(
        down in 1..5u8, up in 1..5u8,
        runs in proptest::collection::vec(proptest::collection::btree_set(1..=3u8, 0..=3), 1..80),
    ) {
        let text = format!("[probe]\ndown = {down}\nup = {up}\n");
        let mut gateway = Gateway::new(config(3, &text));
        let runs: Vec<Vec<u8>> = runs.into_iter().map(|sound| sound.into_iter().collect()).collect();
        for sound in &runs {
            gateway.run(sound);
            prop_assert!(!gateway.up().is_empty());
        }
        for &(run, number, back) in &gateway.changes {
            let patience = usize::from(if back { up } else { down });
            let at = run as usize;
            prop_assert!(at >= patience);
            let same = runs[at - patience..at].iter().all(|sound| sound.contains(&number) == back);
            prop_assert!(same, "{number} at run {run}: {:?}", gateway.changes);
        }
    }
}
