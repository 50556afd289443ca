//! Runs by the thousand, without a packet: which uplinks go out, which come back, and when.

use proptest::prelude::*;

use super::*;
use crate::plan::fixtures::{self, no, running, usable};
use crate::plan::uplinks::{self, DownReason};

fn config(uplinks: u8, more: &str) -> Config {
    let all: Vec<(u8, u8)> = (1..=uplinks).map(|no| (no, 1)).collect();
    fixtures::config(&all, more)
}

/// A gateway on which runs are simulated: which uplinks are in service, and what is remembered.
struct Gateway {
    config: Config,
    status: GatewayStatus,
    records: HealthRecords,
    runs: u32,
    /// The run, the uplink, and whether it came back.
    changes: Vec<(u32, u8, bool)>,
}

const PROBE: Condition = Condition::FailedOver(FailoverCause::Probe);

impl Gateway {
    fn new(config: Config) -> Self {
        let all: Vec<u8> = config.uplinks.keys().map(|no| no.get()).collect();
        let status = uplinks::current(&config, &running(&config, &all));
        Self { config, status, records: HealthRecords::new(), runs: 0, changes: vec![] }
    }

    /// One run of `failover --probe` that finds these uplinks healthy and the others unhealthy.
    fn run(&mut self, healthy: &[u8]) {
        self.runs += 1;
        let now = Duration::from_secs(self.runs.into()) * 10;
        let found = usable(&[]);
        update_records(&self.config, &found, &self.status, &mut self.records, now);
        let mut probed = UplinkSet::default();
        for (no, record) in &mut self.records {
            let received = if healthy.contains(&no.get()) { 3 } else { 0 };
            let results = [TargetResult { sent: 3, received, rtt: None }];
            count(record, is_healthy(&results, 1), summarise(&results, now));
            probed.insert(*no);
        }
        let intent = intent(&self.config, &self.status, &self.records, probed);
        let Intent::Probed { out, back } = intent else { panic!("{intent:?}") };
        for (no, uplink) in &mut self.status.uplinks {
            let was = uplink.condition;
            if back.contains(*no) {
                uplink.condition = Condition::Up;
            }
            if out.contains(*no) {
                uplink.condition = PROBE;
            }
            if was != uplink.condition {
                self.changes.push((self.runs, no.get(), uplink.condition == Condition::Up));
            }
        }
        update_records(&self.config, &found, &self.status, &mut self.records, now);
    }

    fn up(&self) -> Vec<u8> {
        self.status.up().map(UplinkNo::get).collect()
    }

    fn fail_over_by_hand(&mut self, number: u8) {
        let uplink = self.status.uplinks.get_mut(&no(number)).unwrap();
        uplink.condition = Condition::FailedOver(FailoverCause::Manual);
    }
}

#[test]
fn an_uplink_goes_out_after_two_unhealthy_runs_in_a_row_and_back_after_three_healthy_ones() {
    let mut gateway = Gateway::new(config(2, ""));
    let runs: [&[u8]; 10] =
        [&[1, 2], &[2], &[1, 2], &[2], &[2], &[1, 2], &[1, 2], &[2], &[1, 2], &[1, 2]];
    for healthy in runs {
        gateway.run(healthy);
    }
    assert_eq!(gateway.changes, [(5, 1, false)]);
    gateway.run(&[1, 2]);
    assert_eq!(gateway.changes[1..], [(11, 1, true)]);
}

#[test]
fn the_last_uplink_stays_in_service_until_another_is_back() {
    let mut gateway = Gateway::new(config(3, ""));
    for _ in 0..20 {
        gateway.run(&[]);
    }
    assert_eq!(gateway.up(), [1]);
    for _ in 0..3 {
        gateway.run(&[3]);
    }
    assert_eq!(gateway.up(), [3], "unhealthy for long, it goes as soon as it is not the last");
}

#[test]
fn of_several_unhealthy_uplinks_the_last_to_become_so_stays() {
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
fn a_failover_by_hand_is_never_undone() {
    let mut gateway = Gateway::new(config(2, ""));
    gateway.fail_over_by_hand(1);
    for _ in 0..20 {
        gateway.run(&[1, 2]);
    }
    assert_eq!(gateway.up(), [2]);
    assert_eq!(gateway.records[&no(1)].healthy_runs, 20, "its health is still recorded");
}

#[test]
fn a_line_that_is_dialled_again_has_a_new_record() {
    let mut gateway = Gateway::new(config(2, ""));
    gateway.run(&[2]);
    gateway.records.get_mut(&no(1)).unwrap().index = 7;
    gateway.run(&[2]);
    assert_eq!(gateway.up(), [1, 2]);
    gateway.run(&[2]);
    assert_eq!(gateway.up(), [2]);
}

#[test]
fn if_the_records_are_lost_only_the_counting_restarts() {
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
fn an_uplink_is_healthy_if_enough_targets_answered() {
    let result = |received: u32| TargetResult { sent: 3, received, rtt: None };
    let cases: [(&[u32], u8, bool, u8); 6] = [
        (&[1], 1, true, 66),
        (&[0], 1, false, 100),
        (&[0, 0, 3], 1, true, 66),
        (&[0, 0, 3], 2, false, 66),
        (&[0, 1, 1], 2, true, 77),
        (&[], 1, false, 100),
    ];
    for (received, need, healthy, loss) in cases {
        let results: Vec<_> = received.iter().map(|&received| result(received)).collect();
        let found = (is_healthy(&results, need), summarise(&results, Duration::ZERO).loss);
        assert_eq!(found, (healthy, loss), "{received:?}, {need}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// An uplink that is unhealthy every other run changes at most once in `up` runs.
    #[test]
    fn an_uplink_that_flaps_every_run_is_left_alone(down in 1..6u8, up in 1..6u8, phase in 0..2u32) {
        let text = format!("[probe]\ndown = {down}\nup = {up}\n");
        let mut gateway = Gateway::new(config(2, &text));
        for run in 0..60 {
            gateway.run(if run % 2 == phase { &[2] } else { &[1, 2] });
        }
        let runs: Vec<u32> = gateway.changes.iter().map(|&(run, ..)| run).collect();
        let close = runs.windows(2).any(|pair| pair[1] - pair[0] < u32::from(up));
        prop_assert!(!close, "{:?}", gateway.changes);
    }

    /// One uplink is always in service, none goes out before `down` unhealthy runs in a row, and none
    /// comes back before `up` healthy ones.
    #[test]
    fn no_uplink_changes_after_too_few_runs(
        down in 1..5u8, up in 1..5u8,
        runs in proptest::collection::vec(proptest::collection::btree_set(1..=3u8, 0..=3), 1..80),
    ) {
        let text = format!("[probe]\ndown = {down}\nup = {up}\n");
        let mut gateway = Gateway::new(config(3, &text));
        let runs: Vec<Vec<u8>> = runs.into_iter().map(|healthy| healthy.into_iter().collect()).collect();
        for healthy in &runs {
            gateway.run(healthy);
            prop_assert!(!gateway.up().is_empty());
        }
        for &(run, number, back) in &gateway.changes {
            let needed = usize::from(if back { up } else { down });
            let at = run as usize;
            prop_assert!(at >= needed);
            let same = runs[at - needed..at].iter().all(|healthy| healthy.contains(&number) == back);
            prop_assert!(same, "{number} at run {run}: {:?}", gateway.changes);
        }
    }
}

#[test]
fn the_targets_are_the_configured_ones_or_the_peer_or_the_gateway() {
    let with_targets = config(1, "[probe]\ntargets = [\"1.1.1.1\"]\n");
    let plain = config(1, "");
    let target = |text: &str| vec![text.parse::<Target>().unwrap()];
    for (config, peer, via, is_down, wanted) in [
        (&with_targets, true, true, false, Ok(target("1.1.1.1"))),
        (&plain, true, true, false, Ok(target("10.64.1.9"))),
        (&plain, false, true, false, Ok(target("10.64.1.1"))),
        (&plain, false, true, true, Ok(vec![])),
        (&plain, false, false, false, Err("uplink 1 (ppp1) has neither a peer nor a gateway")),
    ] {
        let mut found = running(config, &[1]);
        if peer {
            found.devices.addresses[0].peer = Some([10, 64, 1, 9].into());
        }
        let mut status = uplinks::current(config, &found);
        let uplink = status.uplinks.get_mut(&no(1)).unwrap();
        uplink.via = if via { Some([10, 64, 1, 1].into()) } else { None };
        if is_down {
            uplink.condition = Condition::Down(DownReason::NoCarrier);
        }
        match (wanted, targets(config, &found, &status, no(1))) {
            (Ok(wanted), targets) => assert_eq!(targets.unwrap(), wanted),
            (Err(start), targets) => {
                assert!(targets.unwrap_err().to_string().starts_with(start));
            }
        }
        // Without their rule, probes would leave by another way and tell nothing.
        found.routing.rules.retain(|rule| *rule != routing::flow_rule(config, no(1)));
        assert_eq!(targets(config, &found, &status, no(1)).unwrap(), []);
    }
}

#[test]
fn a_result_counts_once_and_only_for_the_device_that_was_probed() {
    let config = config(1, "");
    let found = running(&config, &[1]);
    let status = uplinks::current(&config, &found);
    let mut records = HealthRecords::new();
    update_records(&config, &found, &status, &mut records, Duration::ZERO);
    let mut record = records.remove(&no(1)).unwrap();
    let at = Duration::from_secs;
    assert!(is_new(&record, &found.devices, at(5)));
    count(&mut record, true, summarise(&[], at(5)));
    assert!(is_new(&record, &found.devices, at(5)));
    assert!(!is_new(&record, &found.devices, at(4)), "another run has counted since then");
    record.index += 1;
    assert!(!is_new(&record, &found.devices, at(5)), "the device was replaced");
}
