//! Decides which clients `assign --prune` may release.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use ipnet::Ipv4Net;

use crate::config::{Config, Lan};
use crate::model::link::Devices;
use crate::model::pools::Pools;
use crate::model::{Client, DevName};

/// The clients that may have left: they were not discovered, have no live flow, are not pinned, and are
/// in no network of a device that is down, where a client that is cut off looks like one that has left.
/// A dump of the neighbour table can lack an entry, so the caller asks the kernel for each of them
/// before it releases one.
pub fn candidates(
    config: &Config,
    devices: &Devices,
    pools: &Pools,
    discovered: &[Client],
    with_flows: &HashSet<Ipv4Addr>,
) -> Vec<Client> {
    let discovered: HashSet<Client> = discovered.iter().copied().collect();
    let unreachable = networks_of_down_devices(config, devices);
    let mut candidates = Vec::new();
    for client in pools.clients() {
        let address = client.address();
        let is_present = discovered.contains(&client) || with_flows.contains(&address);
        let is_cut_off = unreachable.iter().any(|network| network.contains(&address));
        if !is_present && !is_cut_off && config.pin(client).is_none() {
            candidates.push(client);
        }
    }
    candidates
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
            candidates(&config, devices, &pools, &[client("10.0.0.1")], &with_flows)
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
    fn a_lan_device_that_is_down_or_absent_stops_the_run() {
        let lan = config(&[(1, 1)], "");
        let dev = DevName::from_kernel;
        let any = Config { lan: Lan::AllButUplinks, ..lan.clone() };
        let two = Config { lan: Lan::Devices(vec![dev("br1"), dev("br0")]), ..lan.clone() };
        let named = |name, up, carrier| Link {
            index: 1,
            name: dev(name),
            up,
            carrier,
            point_to_point: false,
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
