//! Decides who is a client: which devices are the LAN, and which of the addresses found there can be
//! clients.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use ipnet::IpNet;
use rustc_hash::FxHashSet;

use crate::config::{Config, Lan};
use crate::error::Error;
use crate::model::link::{Devices, Link, Neighbour};
use crate::model::pools::Pools;
use crate::model::{Client, DevName, Family};

/// The LAN devices that exist, or those of them in `only`. Each device in `only` must exist and be a
/// LAN device; of the configured ones at least one must exist.
pub fn lan_links<'a>(
    config: &Config,
    devices: &'a Devices,
    only: &[String],
) -> Result<Vec<&'a Link>> {
    let mut links = Vec::new();
    for name in only {
        let shown = name.escape_debug();
        let link = devices.link(&DevName::from_kernel(name));
        let link = link.ok_or_else(|| anyhow!("{shown}: no such device"))?;
        if !config.is_lan(name) {
            let reason = format!("not a LAN device according to {}", config.path.display());
            return Err(Error::usage(shown, reason).into());
        }
        links.push(link);
    }
    if !only.is_empty() {
        return Ok(links);
    }
    links.extend(devices.links.iter().filter(|link| config.is_lan(link.name.as_str())));
    if let (Lan::Devices(lan), true) = (&config.lan, links.is_empty()) {
        let names: Vec<&str> = lan.iter().map(DevName::as_str).collect();
        bail!("{}: no such device; correct lan in {}", names.join(", "), config.path.display());
    }
    Ok(links)
}

/// Tells clients from the gateway's own addresses, network and broadcast addresses, excluded
/// addresses, and addresses that are in no network of their device.
pub struct ClientTest<'a> {
    config: &'a Config,
    own: FxHashSet<IpAddr>,
    networks: Vec<(&'a DevName, IpNet)>,
}

impl<'a> ClientTest<'a> {
    pub fn new(config: &'a Config, devices: &'a Devices) -> Self {
        let mut networks = Vec::new();
        let mut own = FxHashSet::default();
        for address in &devices.addresses {
            own.insert(address.local);
            own.extend(address.broadcast);
            own.extend(address.reserved().into_iter().flatten());
            networks.extend(address.network().map(|network| (&address.dev, network)));
        }
        Self { config, own, networks }
    }

    /// Whether an address that was heard on a device is in a network of the device. Anybody on the LAN
    /// can send ARP requests with an address of the Internet. A device without a network of its own
    /// (it borrows an address, with routes to its hosts) can have any.
    pub fn is_in_network(&self, neighbour: &Neighbour) -> bool {
        let mut has_network = false;
        for (dev, network) in &self.networks {
            if **dev == neighbour.dev {
                if network.contains(&neighbour.client.address()) {
                    return true;
                }
                has_network = true;
            }
        }
        !has_network
    }

    pub fn is_client(&self, client: Client) -> bool {
        let is_served = client.family() == Family::Inet || self.config.ipv6;
        is_served && !self.own.contains(&client.address()) && !self.config.is_excluded(client)
    }
}

/// The clients with a pin of their own that are in no pool. They need not be heard: those behind another
/// router or on a tunnel are in no neighbour table.
pub fn unplaced_pins(config: &Config, devices: &Devices, pools: &Pools) -> Vec<Client> {
    let test = ClientTest::new(config, devices);
    let pinned = config.pins.addresses().into_iter().filter_map(|it| Client::new(it).ok());
    pinned.filter(|&client| test.is_client(client) && pools.pool_of(client).is_none()).collect()
}

/// The clients in a list that are on the LAN devices, or on those of `only`; each once, in the order
/// of the list.
pub fn from_list(
    config: &Config,
    devices: &Devices,
    mut list: Vec<Neighbour>,
    only: &[String],
) -> Vec<Neighbour> {
    let test = ClientTest::new(config, devices);
    let mut seen = HashSet::new();
    list.retain(|neighbour| {
        is_on_lan(config, neighbour, only)
            && test.is_client(neighbour.client)
            && seen.insert(neighbour.client)
    });
    list
}

fn is_on_lan(config: &Config, neighbour: &Neighbour, only: &[String]) -> bool {
    let dev = neighbour.dev.as_str();
    // A list of addresses names no device.
    if dev.is_empty() {
        return true;
    }
    config.is_lan(dev) && (only.is_empty() || only.iter().any(|name| name == dev))
}

/// Whether a host that a DHCP server tells of can be a client. One in a network of a device that is not of
/// the LAN is none.
pub fn may_be_client(config: &Config, devices: &Devices, client: Client) -> bool {
    let mut elsewhere = devices.addresses.iter().filter(|it| !config.is_lan(it.dev.as_str()));
    let is_elsewhere = elsewhere.any(|address| {
        address.network().is_some_and(|network| network.contains(&client.address()))
    });
    !is_elsewhere && refusal(config, devices, client).is_none()
}

/// Why an address that a person typed cannot be a client, if it cannot.
pub fn refusal(config: &Config, devices: &Devices, client: Client) -> Option<String> {
    if client.family() == Family::Inet6 && !config.ipv6 {
        let file = config.path.display();
        return Some(format!("{client}: an IPv6 address; set ipv6 = true in {file}"));
    }
    if config.is_excluded(client) {
        return Some(format!("{client}: excluded in {}", config.path.display()));
    }
    let address = client.address();
    for own in &devices.addresses {
        let kind = if own.local == address {
            "own"
        } else if own.broadcast == Some(address) {
            "broadcast"
        } else {
            match own.reserved() {
                Some([network, _]) if network == address => "network",
                Some([_, broadcast]) if broadcast == address => "broadcast",
                _ => continue,
            }
        };
        return Some(format!("{client}: the gateway's {kind} address, on {}", own.dev));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::link::Address;
    use crate::plan::fixtures::{config, usable};

    fn devices() -> Devices {
        let dev = DevName::from_kernel("br0");
        let mut devices = usable(&[1]).devices;
        devices.links.push(Link { name: dev.clone(), index: 9, ..devices.links[0].clone() });
        devices.addresses.push(Address {
            dev,
            local: [192, 168, 7, 1].into(),
            peer: None,
            broadcast: Some([192, 168, 7, 200].into()),
            prefix: 24,
        });
        devices
    }

    #[test]
    fn an_address_is_heard_only_in_a_network_of_its_device() {
        let config = config(&[(1, 1)], "");
        let devices = devices();
        let test = ClientTest::new(&config, &devices);
        for (dev, address, wanted) in [
            ("br0", "192.168.7.77", true),
            ("br0", "8.8.8.8", false),
            ("br0", "192.168.8.1", false),
            ("tun0", "8.8.8.8", true),
            ("ppp1", "8.8.8.8", true),
        ] {
            let neighbour = Neighbour {
                client: address.parse().unwrap(),
                lladdr: Default::default(),
                dev: DevName::from_kernel(dev),
                state: "stale",
                silent_for: None,
            };
            assert_eq!(test.is_in_network(&neighbour), wanted, "{address} on {dev}");
        }
    }

    #[test]
    fn own_reserved_and_excluded_addresses_are_no_clients() {
        let config = config(&[(1, 1)], "exclude = [\"192.168.7.2\"]\n");
        let devices = devices();
        let test = ClientTest::new(&config, &devices);
        for (address, why) in [
            ("192.168.7.10", None),
            ("192.168.8.255", None),
            ("192.168.7.1", Some("the gateway's own address, on br0")),
            ("192.168.7.0", Some("the gateway's network address, on br0")),
            ("192.168.7.255", Some("the gateway's broadcast address, on br0")),
            ("192.168.7.200", Some("the gateway's broadcast address, on br0")),
            ("10.64.1.2", Some("the gateway's own address, on ppp1")),
            ("192.168.7.2", Some("excluded in test.toml")),
        ] {
            let client = address.parse().unwrap();
            assert_eq!(test.is_client(client), why.is_none(), "{address}");
            let refusal = refusal(&config, &devices, client);
            assert_eq!(refusal, why.map(|why| format!("{address}: {why}")));
        }
    }

    #[test]
    fn only_lan_devices_are_searched() {
        let config = config(&[(1, 1)], "");
        let devices = devices();
        let names = |only: &[&str]| -> Result<Vec<String>> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            let links = lan_links(&config, &devices, &only)?;
            Ok(links.iter().map(|link| link.name.to_string()).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["br0"]);
        assert_eq!(names(&["br0"]).unwrap(), ["br0"]);
        for (only, wanted) in [
            ("eth9", "eth9: no such device"),
            ("ppp1", "ppp1: not a LAN device according to test.toml"),
        ] {
            assert_eq!(names(&[only]).unwrap_err().to_string(), wanted);
        }
        let error = lan_links(&config, &usable(&[1]).devices, &[]).unwrap_err().to_string();
        assert_eq!(error, "br0: no such device; correct lan in test.toml");
    }
}
