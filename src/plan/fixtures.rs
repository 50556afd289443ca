//! What the tests of `plan` have in common: configurations, pools and snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::client_set::{self, PoolEdit};
use super::uplinks::{self, Intent};
use super::{filter, routing};
use crate::config::Config;
use crate::model::client_set::FoundSet;
use crate::model::filter::Filter;
use crate::model::link::{Address, Devices, Link};
use crate::model::pools::Pools;
use crate::model::routing::Routing;
use crate::model::snapshot::{Read, Snapshot};
use crate::model::{DevName, UplinkNo};

/// Uplinks with their weights; uplink N has the device `pppN`, and the LAN is `br0`.
pub fn config(uplinks: &[(u8, u8)], more: &str) -> Config {
    let mut text = String::from("lan = [\"br0\"]\n");
    // Top-level keys must come before the first table.
    let (keys, tables) = match more.find('[') {
        Some(at) if more[..at].trim_end().is_empty() || more[..at].ends_with('\n') => {
            more.split_at(at)
        }
        _ => (more, ""),
    };
    text += keys;
    for (no, weight) in uplinks {
        text += &format!("[uplink.{no}]\ndev = \"ppp{no}\"\nweight = {weight}\n");
    }
    text += tables;
    Config::parse(&text, Path::new("test.toml")).unwrap()
}

pub fn no(number: u8) -> UplinkNo {
    UplinkNo::new(number).unwrap()
}

pub fn dev(number: u8) -> DevName {
    DevName::from_kernel(&format!("ppp{number}"))
}

pub fn pools(clients: &[(u8, &str)]) -> Pools {
    let mut pools = Pools::default();
    for (pool, client) in clients {
        pools.insert(client.parse().unwrap(), no(*pool)).unwrap();
    }
    pools
}

/// A kernel without any object of wanpool, in which these uplinks are usable: each has a
/// point-to-point device with an address.
pub fn usable(uplinks: &[u8]) -> Snapshot {
    let mut devices = Devices::default();
    for &no in uplinks {
        devices.links.push(Link {
            index: no.into(),
            name: dev(no),
            up: true,
            carrier: true,
            point_to_point: true,
            mtu: 1492,
            in_vrf: false,
            other_names: vec![],
        });
        devices.addresses.push(Address {
            dev: dev(no),
            local: [10, 64, no, 2].into(),
            peer: None,
            broadcast: None,
            prefix: 32,
        });
    }
    Snapshot {
        devices,
        devices_changed: false,
        main_routes: BTreeMap::new(),
        last_gateways: BTreeMap::new(),
        sysctls: BTreeMap::from([("net/ipv4/ip_forward".to_owned(), "1".to_owned())]),
        sysctls_are_fixed: false,
        unloaded_modules: BTreeSet::new(),
        conflicts: vec![],
        routing: Routing::default(),
        set: Read::Is(FoundSet::Absent),
        filter: Read::Is(Filter::default()),
    }
}

/// A snapshot as a run with this intent leaves it.
pub fn after(config: &Config, found: &Snapshot, pools: &Pools, intent: Intent) -> Snapshot {
    let status = uplinks::decide(config, found, intent).unwrap();
    Snapshot {
        routing: routing::wanted(config, &status),
        set: Read::Is(FoundSet::Usable(client_set::wanted(config, pools))),
        filter: Read::Is(filter::wanted(config, found, &status)),
        ..found.clone()
    }
}

/// A gateway on which all has been built and these uplinks are usable.
pub fn running(config: &Config, uplinks: &[u8]) -> Snapshot {
    after(config, &usable(uplinks), &Pools::default(), Intent::RESTORE_ALL)
}

/// The changes that a run with this intent makes.
pub fn changes(
    config: &Config,
    found: &Snapshot,
    pools: &Pools,
    intent: Intent,
) -> Vec<crate::model::change::Change> {
    let status = uplinks::decide(config, found, intent).unwrap();
    super::changes(config, found, &status, PoolEdit::none(pools)).unwrap()
}

/// The packet filter of a gateway with two uplinks.
pub fn wanted_filter(config: &Config) -> Filter {
    let found = usable(&[1, 2]);
    filter::wanted(config, &found, &uplinks::current(config, &found))
}
