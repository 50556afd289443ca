//! Random sequences of arrivals, departures, moves, pins, weights, and uplinks added and removed. After
//! each of them, every client is in one pool, and in the right one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use proptest::prelude::*;

use super::assign::{self, ClientChange};
use super::rebalance::rebalance;
use crate::config::{Config, Failback, NameServers, Role, Uplink, Uplink6};
use crate::model::pools::Pools;
use crate::model::probe::ProbeSettings;
use crate::model::{Client, UplinkNo};

#[derive(Clone, Debug)]
enum Event {
    Arrive(u8),
    Leave(u8),
    Move(u8, u8),
    Pin(u8, u8),
    PinMany(u8, u8),
    Unpin,
    Exclude(u8),
    Weigh(u8, u8),
    AddUplink(u8),
    RemoveUplink(u8),
    Rebalance,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => any::<u8>().prop_map(Event::Arrive),
        2 => any::<u8>().prop_map(Event::Leave),
        2 => any::<(u8, u8)>().prop_map(|(client, pool)| Event::Move(client, pool)),
        1 => any::<(u8, u8)>().prop_map(|(client, pool)| Event::Pin(client, pool)),
        1 => any::<(u8, u8)>().prop_map(|(net, pool)| Event::PinMany(net, pool)),
        1 => Just(Event::Unpin),
        1 => any::<u8>().prop_map(Event::Exclude),
        1 => any::<(u8, u8)>().prop_map(|(pool, weight)| Event::Weigh(pool, weight)),
        1 => (1..=8u8).prop_map(Event::AddUplink),
        1 => (1..=8u8).prop_map(Event::RemoveUplink),
        3 => Just(Event::Rebalance),
    ]
}

/// The configuration and the pools of a gateway, and the clients that should be in a pool.
struct Gateway {
    config: Config,
    pins: BTreeMap<IpNet, UplinkNo>,
    pools: Pools,
    here: BTreeSet<Client>,
}

fn client(number: u8) -> Client {
    Client::new([10, 0, number / 16, number].into()).unwrap()
}

fn uplink(no: UplinkNo, weight: u8) -> Uplink {
    let dev = format!("ppp{no}").parse().unwrap();
    let (role, failback) = (Role::Primary, Failback::Keep);
    let probe = ProbeSettings::default();
    let dns = NameServers::FromHook;
    let inet6 = Uplink6 { is_used: true, via: None, nat: true, prefixes: vec![] };
    Uplink {
        no,
        dev,
        weight,
        is_used: true,
        via: None,
        nat: true,
        inet6,
        clamp_mss: true,
        role,
        failback,
        dns,
        probe,
    }
}

impl Gateway {
    fn new() -> Self {
        let config = Config::parse("[uplink.1]\ndev = \"ppp1\"\n", Path::new("test.toml"));
        Self {
            config: config.unwrap(),
            pins: BTreeMap::new(),
            pools: Pools::default(),
            here: BTreeSet::new(),
        }
    }

    /// One of the uplinks there are.
    fn some_uplink(&self, number: u8) -> UplinkNo {
        let all: Vec<UplinkNo> = self.config.uplinks.keys().copied().collect();
        all[usize::from(number) % all.len()]
    }

    fn pin(&mut self, net: IpNet, to: UplinkNo) {
        self.pins.insert(net, to);
    }

    /// The event, and then what every `assign` does.
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Arrive(number) => {
                let client = client(number);
                if !self.config.is_excluded(client) {
                    assign::assign(&self.config, &mut self.pools, &[client]);
                    self.here.insert(client);
                }
            }
            Event::Leave(number) => {
                assign::release(&mut self.pools, &[client(number)]);
                self.here.remove(&client(number));
            }
            Event::Move(number, pool) => {
                let (client, to) = (client(number), self.some_uplink(pool));
                if self.here.contains(&client) && self.config.pin(client).is_none() {
                    assign::move_to(&self.config, &mut self.pools, &[client], to).unwrap();
                }
            }
            Event::Pin(number, pool) => {
                let to = self.some_uplink(pool);
                self.pin(IpNet::from(client(number).address()), to);
            }
            Event::PinMany(number, pool) => {
                let to = self.some_uplink(pool);
                self.pin(IpNet::new([10, 0, number / 16, 0].into(), 28).unwrap().trunc(), to);
            }
            Event::Unpin => drop(self.pins.pop_first()),
            Event::Exclude(number) => {
                let net = IpNet::from(client(number).address());
                self.config.exclude = [(net, ())].into_iter().collect();
                self.here.remove(&client(number));
            }
            Event::Weigh(pool, weight) => {
                let no = self.some_uplink(pool);
                self.config.uplinks.insert(no, uplink(no, weight % 5 + 1));
            }
            Event::AddUplink(number) => {
                let no = UplinkNo::new(number).unwrap();
                self.config.uplinks.entry(no).or_insert_with(|| uplink(no, 1));
            }
            Event::RemoveUplink(number) => {
                let no = UplinkNo::new(number).unwrap();
                if self.config.uplinks.len() > 1 {
                    self.config.uplinks.remove(&no);
                    self.pins.retain(|_, to| *to != no);
                }
            }
            Event::Rebalance => self.rebalance(),
        }
        self.config.pins = self.pins.clone().into_iter().collect();
        assign::apply_config(&self.config, &mut self.pools);
        assign::ensure_pools(&self.config, &mut self.pools);
    }

    fn loads(&self) -> BTreeMap<UplinkNo, usize> {
        self.config.uplinks.keys().map(|&no| (no, self.pools.members(no).len())).collect()
    }

    fn pinned(&self, no: UplinkNo) -> usize {
        let members = self.pools.members(no).iter();
        members.filter(|&&client| self.config.pin(client).is_some()).count()
    }

    fn rebalance(&mut self) {
        assign::apply_config(&self.config, &mut self.pools);
        let (before, fewest) = (self.loads(), self.fewest_moves());
        let with_flows: HashSet<IpAddr> =
            self.here.iter().step_by(2).map(|client| client.address()).collect();
        let changes = rebalance(&self.config, &mut self.pools, &with_flows);
        assert_eq!(
            rebalance(&self.config, &mut self.pools, &with_flows),
            [],
            "a second run moves nobody"
        );
        let Some(fewest) = fewest else { return };
        assert_eq!(changes.len(), fewest, "{before:?} → {:?}", self.loads());
        for (no, load) in self.loads() {
            let share = self.share(no);
            assert!((load as f64 - share).abs() < 1.0, "pool {no}: {load}, share {share}");
        }
    }

    fn share(&self, no: UplinkNo) -> f64 {
        let weight = |uplink: &Uplink| f64::from(uplink.weight);
        let all: f64 = self.config.uplinks.values().map(weight).sum();
        self.pools.len() as f64 * weight(&self.config.uplinks[&no]) / all
    }

    /// The fewest moves that bring every pool within one client of its share, found by trying every
    /// way to round the shares. `None` if pinned clients do not allow it.
    fn fewest_moves(&self) -> Option<usize> {
        let uplinks: Vec<UplinkNo> = self.config.uplinks.keys().copied().collect();
        let tries = (0..1u32 << uplinks.len()).filter_map(|up| {
            let target = |(at, &no): (usize, &UplinkNo)| {
                let share = self.share(no) + 1e-9;
                let whole = share - share.floor() < 1e-6;
                share.floor() as usize + usize::from(up & (1 << at) != 0 && !whole)
            };
            let targets: Vec<usize> = uplinks.iter().enumerate().map(target).collect();
            let fits = uplinks.iter().zip(&targets).all(|(&no, &target)| self.pinned(no) <= target);
            let moves = uplinks.iter().zip(&targets);
            let moves =
                moves.map(|(&no, target)| self.pools.members(no).len().saturating_sub(*target));
            (fits && targets.iter().sum::<usize>() == self.pools.len()).then(|| moves.sum())
        });
        tries.min()
    }

    fn check(&self) {
        let mut seen = BTreeSet::new();
        for (no, members) in self.pools.iter() {
            for &client in members {
                assert!(seen.insert(client), "{client} is in two pools");
                assert_eq!(self.pools.pool_of(client), Some(no));
                assert_eq!(
                    self.config.pin(client).unwrap_or(no),
                    no,
                    "{client} is pinned elsewhere"
                );
                assert!(self.config.uplinks.contains_key(&no), "pool {no} has no uplink");
            }
        }
        assert_eq!(seen, self.here, "the clients that are here, and those in a pool");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn each_client_is_in_one_pool_and_in_the_right_one(events in proptest::collection::vec(event(), 1..40)) {
        let mut gateway = Gateway::new();
        for event in &events {
            gateway.happen(event);
            gateway.check();
        }
    }
}

#[test]
fn clients_without_a_live_flow_are_moved_first_and_the_last_to_arrive_of_them() {
    let mut gateway = Gateway::new();
    for number in 1..=6 {
        gateway.happen(&Event::Arrive(number));
    }
    gateway.happen(&Event::AddUplink(2));
    let with_flows = [3, 5, 6].map(|number| client(number).address()).into();
    let moved = rebalance(&gateway.config, &mut gateway.pools, &with_flows);
    let moved: Vec<String> = moved
        .iter()
        .map(|change| match change {
            ClientChange::Moved { client, .. } => client.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(moved, ["10.0.0.4", "10.0.0.2", "10.0.0.1"]);
}
