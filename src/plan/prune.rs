//! Decides which clients `assign --prune` may release.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::IpNet;

use crate::config::{Config, Lan};
use crate::model::link::{Address, Devices, LastHeard, Sighting};
use crate::model::pools::Pools;
use crate::model::{Client, DevName};

/// How exactly a time is known that is calculated from an age: the kernel's clock ticks, and a dump
/// takes a while.
const PRECISION: Duration = Duration::from_secs(1);

/// The clients that may have left: they were not discovered, have no live flow, are not pinned, and are
/// in no network of a device that is down, where a client that is cut off looks like one that has left.
/// A dump of the neighbour table can lack an entry, so the caller asks the kernel for each of them
/// before it releases one.
pub fn candidates(
    config: &Config,
    devices: &Devices,
    pools: &Pools,
    discovered: &[Sighting],
    with_flows: &HashSet<IpAddr>,
) -> Vec<Client> {
    let discovered: HashSet<Client> = discovered.iter().map(|sighting| sighting.client).collect();
    let may_leave = may_leave(config, devices);
    let mut candidates = Vec::new();
    for client in pools.clients() {
        let address = client.address();
        let is_present = discovered.contains(&client) || with_flows.contains(&address);
        if !is_present && may_leave(client) {
            candidates.push(client);
        }
    }
    candidates
}

/// When each client in a pool was last heard: by a live flow, in the neighbour table, or in an earlier
/// run. One that was never heard is given the whole time from now on.
pub fn last_heard(
    pools: &Pools,
    found: &[Sighting],
    with_flows: &HashSet<IpAddr>,
    known: &LastHeard,
    now: Duration,
) -> LastHeard {
    let found: HashMap<Client, Option<Duration>> =
        found.iter().map(|sighting| (sighting.client, sighting.silent_for)).collect();
    let mut heard = LastHeard::new();
    for client in pools.clients() {
        let seen = match found.get(&client) {
            _ if with_flows.contains(&client.address()) => Some(now),
            Some(None) => Some(now),
            Some(Some(silent_for)) => Some(now.saturating_sub(*silent_for)),
            None => None,
        };
        let last = seen.max(known.get(&client).copied()).unwrap_or(now);
        heard.insert(client, last);
    }
    heard
}

/// The clients that were not heard for so long, except pinned ones and those that are cut off.
pub fn silent_for(
    config: &Config,
    devices: &Devices,
    heard: &LastHeard,
    age: Duration,
    now: Duration,
) -> Vec<Client> {
    let may_leave = may_leave(config, devices);
    let mut silent = Vec::new();
    for (&client, &last) in heard {
        if now.saturating_sub(last) >= age && may_leave(client) {
            silent.push(client);
        }
    }
    silent
}

/// Whether a client was released after it had been silent for long, and was not heard since. Its entry
/// may stay in the neighbour table for ever, and must not make it a new client.
pub fn is_still_silent(released: &LastHeard, sighting: &Sighting, now: Duration) -> bool {
    match (released.get(&sighting.client), sighting.silent_for) {
        (Some(&last), Some(silent_for)) => now.saturating_sub(silent_for) <= last + PRECISION,
        _ => false,
    }
}

/// Whether a client that shows no sign of life may be released: it is not pinned, ARP would show it, and
/// it is in no network of a device that is down.
fn may_leave(config: &Config, devices: &Devices) -> impl Fn(Client) -> bool {
    let unreachable = networks_of_down_devices(config, devices);
    let shown = ShownByArp::new(config, devices);
    move |client| {
        let is_cut_off = unreachable.iter().any(|network| network.contains(&client.address()));
        !is_cut_off && shown.contains(client) && config.pin(client).is_none()
    }
}

/// The clients that the neighbour table can have. One behind another router, or on a tunnel, never is
/// in it.
enum ShownByArp {
    /// A device that borrows an address, with routes to its hosts, can have any neighbour.
    Any,
    In(Vec<IpNet>),
}

impl ShownByArp {
    fn new(config: &Config, devices: &Devices) -> Self {
        let mut all = Vec::new();
        for link in &devices.links {
            if link.point_to_point || !config.is_lan(link.name.as_str()) {
                continue;
            }
            let addresses = || devices.addresses_of(&link.name);
            let networks: Vec<IpNet> = addresses().filter_map(Address::network).collect();
            if networks.is_empty() && addresses().next().is_some() {
                return ShownByArp::Any;
            }
            all.extend(networks);
        }
        ShownByArp::In(all)
    }

    fn contains(&self, client: Client) -> bool {
        match self {
            ShownByArp::Any => true,
            ShownByArp::In(networks) => networks.iter().any(|net| net.contains(&client.address())),
        }
    }
}

fn networks_of_down_devices(config: &Config, devices: &Devices) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for address in &devices.addresses {
        if config.is_lan(address.dev.as_str()) && !is_up(devices, &address.dev) {
            networks.extend(address.network());
        }
    }
    networks
}

fn is_up(devices: &Devices, dev: &DevName) -> bool {
    devices.link(dev).is_some_and(|link| link.up && link.carrier)
}

/// Refuses to prune while a device in `lan` is down. Without `lan`, many devices may be unused, and at
/// least one that has an address must be up.
pub fn require_lan_up(config: &Config, devices: &Devices) -> Result<()> {
    match &config.lan {
        Lan::Devices(lan) => {
            for dev in lan {
                if !is_up(devices, dev) {
                    bail!(
                        "{dev}: the link is down; bring it up, because its clients look as if they \
                         had left"
                    );
                }
            }
        }
        Lan::AllButUplinks => {
            let is_lan = |dev: &DevName| config.is_lan(dev.as_str());
            let mut with_address = devices.addresses.iter().map(|address| &address.dev);
            if !with_address.any(|dev| is_lan(dev) && is_up(devices, dev)) {
                bail!(
                    "no device but the uplinks is up and has an address; bring the LAN up, because \
                     its clients look as if they had left"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
