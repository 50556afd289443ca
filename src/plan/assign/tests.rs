//! Which pool a client gets.

use proptest::prelude::*;

use std::net::Ipv4Addr;

use super::*;
use crate::plan::fixtures::{config, no, pools};

fn clients(count: u32) -> Vec<Client> {
    (0..count).map(|n| Client::new(Ipv4Addr::from(0x0a00_0001 + n).into()).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `EvaLoad` of the script, with any number of lines: the first pool with the fewest.
    #[test]
    fn with_equal_weights_a_client_gets_the_pool_that_the_script_gave_it(lines in 1..8u8, count in 0..60u32) {
        let uplinks: Vec<_> = (1..=lines).map(|no| (no, 1)).collect();
        let config = config(&uplinks, "");
        let mut pools = Pools::default();
        let mut script = vec![0usize; usize::from(lines)];
        for client in clients(count) {
            let changes = assign(&config, &mut pools, &[client]);
            let (mut mark, mut line) = (0, script[0]);
            for (at, &load) in script.iter().enumerate().skip(1) {
                if line > load {
                    (mark, line) = (at, load);
                }
            }
            script[mark] += 1;
            let to = no(mark as u8 + 1);
            prop_assert_eq!(changes, vec![ClientChange::Assigned { client, to }]);
        }
    }

    #[test]
    fn with_weights_no_pool_is_more_than_one_client_from_its_share(
        weights in proptest::collection::vec(1..=4u8, 1..6), count in 0..200u32,
    ) {
        let uplinks: Vec<(u8, u8)> = (1..).zip(weights).collect();
        let config = config(&uplinks, "");
        let mut pools = Pools::default();
        assign(&config, &mut pools, &clients(count));
        let sum: f64 = uplinks.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (pool, weight) in uplinks {
            let share = f64::from(count) * f64::from(weight) / sum;
            let load = pools.members(no(pool)).len() as f64;
            prop_assert!((load - share).abs() <= f64::from(weight) + 1.0, "{pool}: {load}, {share}");
        }
    }
}

#[test]
fn a_client_gets_the_pool_with_the_fewest_clients_for_its_weight() {
    let config = config(&[(1, 2), (2, 1), (3, 1)], "");
    let mut pools = Pools::default();
    assign(&config, &mut pools, &clients(30));
    assert_eq!([1, 2, 3].map(|pool| pools.members(no(pool)).len()), [15, 8, 7]);
}

fn moves(changes: Vec<ClientChange>) -> Vec<(String, u8, u8)> {
    let mut moves = Vec::new();
    for change in changes {
        let ClientChange::Moved { client, from, to } = change else { panic!("{change:?}") };
        moves.push((client.to_string(), from.get(), to.get()));
    }
    moves
}

#[test]
fn the_clients_of_an_uplink_that_is_no_longer_configured_move_to_the_others() {
    let config = config(&[(1, 1), (2, 1)], "[pin]\n\"10.0.0.9\" = 2\n");
    let mut pools = pools(&[(7, "10.0.0.1"), (7, "10.0.0.9"), (7, "10.0.0.2")]);
    assert_eq!(
        moves(apply_config(&config, &mut pools)),
        [("10.0.0.1".into(), 7, 1), ("10.0.0.9".into(), 7, 2), ("10.0.0.2".into(), 7, 1)]
    );
    ensure_pools(&config, &mut pools);
    assert!(pools.iter().all(|(pool, _)| pool != no(7)));
}

#[test]
fn a_client_is_not_moved_against_its_pin_or_to_a_backup() {
    let more =
        "[uplink.3]\ndev = \"b\"\nrole = \"backup\"\n[pin]\n\"10.0.0.1\" = 1\n\"10.0.0.3\" = 3\n";
    let config = config(&[(1, 1), (2, 1)], more);
    for (client, to, refusal) in [
        ("10.0.0.1", 1, None),
        ("10.0.0.1", 2, Some("10.0.0.1: pinned to another uplink in test.toml")),
        ("10.0.0.2", 2, None),
        ("10.0.0.2", 3, Some("10.0.0.2: a backup has pinned clients only; set a pin in test.toml")),
        ("10.0.0.3", 3, None),
    ] {
        let moved = move_to(&config, &mut Pools::default(), &[client.parse().unwrap()], no(to));
        let error = moved.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), refusal, "{client} to {to}");
    }
}
