//! Decides which clients `assign --prune` may release.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;

use crate::config::{Config, Lan};
use crate::model::link::{Devices, LastHeard, Sighting};
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
    with_flows: &HashSet<Ipv4Addr>,
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
    with_flows: &HashSet<Ipv4Addr>,
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

/// Whether a client that shows no sign of life may be released: it is not pinned, and in no network of
/// a device that is down.
fn may_leave(config: &Config, devices: &Devices) -> impl Fn(Client) -> bool {
    let unreachable = networks_of_down_devices(config, devices);
    move |client| {
        let is_cut_off = unreachable.iter().any(|network| network.contains(&client.address()));
        !is_cut_off && config.pin(client).is_none()
    }
}

fn networks_of_down_devices(config: &Config, devices: &Devices) -> Vec<Ipv4Net> {
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
mod tests {
    use super::*;
    use crate::model::link::{Address, Link};
    use crate::plan::fixtures::{config, pools};

    #[test]
    fn only_clients_that_show_no_sign_of_life_and_are_not_pinned_are_candidates() {
        let config = config(&[(1, 1)], "[pin]\n\"10.0.0.4\" = 1\n");
        let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (1, "10.0.0.3"), (1, "10.0.0.4")]);
        let client = |text: &str| text.parse::<Client>().unwrap();
        let with_flows = HashSet::from([client("10.0.0.2").address()]);
        let mut devices = Devices::default();
        let candidates = |devices: &Devices| {
            let found = [Sighting { client: client("10.0.0.1"), silent_for: None }];
            candidates(&config, devices, &pools, &found, &with_flows)
        };
        assert_eq!(candidates(&devices), [client("10.0.0.3")]);
        devices.addresses.push(Address {
            dev: DevName::from_kernel("br0"),
            local: [10, 0, 0, 254].into(),
            peer: None,
            broadcast: None,
            prefix: 24,
        });
        assert_eq!(candidates(&devices), [], "its device is down");
    }

    #[test]
    fn the_last_sign_of_life_counts_whoever_gave_it() {
        let config = config(&[(1, 1)], "[pin]\n\"10.0.0.9\" = 1\n");
        let seconds = Duration::from_secs;
        let client = |last: u8| Client::new([10, 0, 0, last].into()).unwrap();
        let sighting = |last, age| Sighting { client: client(last), silent_for: age };
        let addresses: Vec<String> = (1..=9).map(|last| client(last).to_string()).collect();
        let pools = pools(&addresses.iter().map(|it| (1, it.as_str())).collect::<Vec<_>>());
        // 1: a flow; 2: an entry without age; 3: heard lately; 4: heard long ago; 5: as 4, but heard
        // lately by an earlier run; 6: only an earlier run knows it, lately; 7: the same, long ago; 8:
        // never heard; 9: pinned.
        let found = [
            sighting(1, Some(seconds(900))),
            sighting(2, None),
            sighting(3, Some(seconds(99))),
            sighting(4, Some(seconds(100))),
            sighting(5, Some(seconds(100))),
        ];
        let known = LastHeard::from([
            (client(4), seconds(800)),
            (client(5), seconds(950)),
            (client(6), seconds(950)),
            (client(7), seconds(900)),
            (client(9), seconds(0)),
        ]);
        let (now, with_flows) = (seconds(1000), HashSet::from([client(1).address()]));
        let heard = last_heard(&pools, &found, &with_flows, &known, now);
        let times: Vec<u64> = heard.values().map(Duration::as_secs).collect();
        assert_eq!(times, [1000, 1000, 901, 900, 950, 950, 900, 1000, 0]);
        let silent = silent_for(&config, &Devices::default(), &heard, seconds(100), now);
        assert_eq!(silent, [client(4), client(7)]);

        let released = LastHeard::from([(client(4), seconds(900))]);
        for (last, age, expected) in [
            (4, Some(seconds(100)), true),
            (4, Some(seconds(99)), true),
            (4, Some(seconds(98)), false),
            (4, None, false),
            (5, Some(seconds(100)), false),
        ] {
            let found = is_still_silent(&released, &sighting(last, age), now);
            assert_eq!(found, expected, "{last} {age:?}");
        }
    }

    #[test]
    fn a_lan_device_that_is_down_or_absent_stops_the_run() {
        let lan = config(&[(1, 1)], "");
        let dev = DevName::from_kernel;
        let any = Config { lan: Lan::AllButUplinks, ..lan.clone() };
        let two = Config { lan: Lan::Devices(vec![dev("br1"), dev("br0")]), ..lan.clone() };
        let named = |name, up, carrier| Link {
            in_vrf: false,
            other_names: vec![],
            index: 1,
            name: dev(name),
            up,
            carrier,
            point_to_point: false,
            mtu: 1500,
        };
        let link = |up, carrier| named("br0", up, carrier);
        for (mut links, is_fine) in [
            (vec![link(true, true)], true),
            (vec![link(true, false)], false),
            (vec![link(false, true)], false),
            (vec![], false),
        ] {
            links.push(named("br1", true, true));
            let devices = Devices { links, ..Devices::default() };
            assert_eq!(require_lan_up(&lan, &devices).is_ok(), is_fine);
            assert_eq!(require_lan_up(&two, &devices).is_ok(), is_fine);
            assert!(require_lan_up(&any, &devices).is_err(), "no device has an address");
        }
    }
}
