//! Decides which clients `assign --prune` may release.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};

use crate::config::{Config, Lan};
use crate::model::Client;
use crate::model::link::Devices;
use crate::model::pools::Pools;

/// The clients that may have left: they were not discovered, have no live flow, and are not pinned. A
/// dump of the neighbour table can lack an entry, so the caller asks the kernel for each of them
/// before it releases one.
pub fn candidates(
    config: &Config,
    pools: &Pools,
    discovered: &[Client],
    with_flows: &HashSet<Ipv4Addr>,
) -> Vec<Client> {
    let discovered: HashSet<Client> = discovered.iter().copied().collect();
    let mut candidates = Vec::new();
    for client in pools.clients() {
        let is_present = discovered.contains(&client) || with_flows.contains(&client.address());
        if !is_present && config.pin(client).is_none() {
            candidates.push(client);
        }
    }
    candidates
}

/// Refuses to prune while a LAN device is down, because clients that are cut off look like clients
/// that have left.
pub fn require_lan_up(config: &Config, devices: &Devices) -> Result<()> {
    let Lan::Devices(lan) = &config.lan else { return Ok(()) };
    for dev in lan {
        if !devices.link(dev).is_some_and(|link| link.up && link.carrier) {
            bail!(
                "{dev}: the link is down; bring it up, because its clients look as if they had left"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DevName, link::Link};
    use crate::plan::fixtures::{config, pools};

    #[test]
    fn only_clients_that_show_no_sign_of_life_and_are_not_pinned_are_candidates() {
        let config = config(&[(1, 1)], "[pin]\n\"10.0.0.4\" = 1\n");
        let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (1, "10.0.0.3"), (1, "10.0.0.4")]);
        let client = |text: &str| text.parse::<Client>().unwrap();
        let with_flows = HashSet::from([client("10.0.0.2").address()]);
        let found = candidates(&config, &pools, &[client("10.0.0.1")], &with_flows);
        assert_eq!(found, [client("10.0.0.3")]);
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
            assert!(require_lan_up(&any, &devices).is_ok());
        }
    }
}
