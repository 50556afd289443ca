//! Devices and addresses of uplinks that keep them from carrying clients.

use super::Finding;
use crate::config::Config;
use crate::model::link::Devices;

pub fn find(config: &Config, devices: &Devices) -> Vec<Finding> {
    let mut findings = Vec::new();
    for uplink in config.uplinks.values() {
        let dev = &uplink.dev;
        match devices.link(dev) {
            Some(link) if link.in_vrf => findings.push(Finding::new(
                format!("{dev} is in a VRF, whose routing rule comes before wanpool's"),
                format!("ip link set dev {dev} nomaster"),
            )),
            Some(_) => {}
            None => {
                if let Some(link) = devices.named_otherwise(dev) {
                    findings.push(Finding::new(
                        format!("{dev} is another name of {}", link.name),
                        format!("write {} in dev of uplink {}", link.name, uplink.no),
                    ));
                }
            }
        }
    }
    findings.extend(shared_networks(config, devices));
    findings
}

/// A host in a network that two uplinks have can be reached by one of them only.
fn shared_networks(config: &Config, devices: &Devices) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut networks = Vec::new();
    for uplink in config.uplinks.values() {
        for address in devices.addresses_of(&uplink.dev) {
            networks.extend(address.network().map(|net| (&uplink.dev, net.trunc())));
        }
    }
    for (at, (dev, net)) in networks.iter().enumerate() {
        let mut before = networks[..at].iter();
        let shares = |other: &ipnet::IpNet| other.contains(net) || net.contains(other);
        if let Some((other, _)) = before.find(|(other, known)| other != dev && shares(known)) {
            findings.push(Finding::new(
                format!("{other} and {dev} share the network {net}: one of them reaches its hosts"),
                format!("give the modem behind {dev} another network"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{config, usable};

    fn what(devices: &Devices) -> Vec<String> {
        let findings = find(&config(&[(1, 1), (2, 1)], ""), devices);
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_device_in_a_vrf_and_a_second_name_are_found() {
        let mut devices = usable(&[1, 2]).devices;
        assert!(what(&devices).is_empty());
        devices.links[1].in_vrf = true;
        assert_eq!(what(&devices), ["ppp2 is in a VRF, whose routing rule comes before wanpool's"]);
        devices.links[1].name = crate::model::DevName::from_kernel("wan2");
        devices.links[1].other_names = vec!["ppp2".to_owned()];
        assert_eq!(what(&devices), ["ppp2 is another name of wan2"]);
    }

    #[test]
    fn networks_that_two_uplinks_have_are_found() {
        let mut devices = usable(&[1, 2]).devices;
        for (second, prefix, is_found) in [
            ([192, 168, 1, 9], 24, true),
            ([192, 168, 200, 1], 16, true),
            ([192, 168, 2, 9], 24, false),
            ([192, 168, 1, 9], 32, false),
        ] {
            for (address, local, prefix) in [(0, [192, 168, 1, 2], 24), (1, second, prefix)] {
                devices.addresses[address].local = local.into();
                devices.addresses[address].prefix = prefix;
            }
            assert_eq!(what(&devices).len(), usize::from(is_found), "{second:?}/{prefix}");
        }
    }
}
