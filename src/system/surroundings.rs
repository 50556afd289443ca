//! Reads what can keep the slice from working: rules of other programs, limits of the kernel,
//! programs that delete objects of others. Does not evaluate whether it is a problem.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;

use super::netlink::{DeviceIndex, neighbour, nftables, route, rule};
use super::{Kernel, networkd};
use crate::model::client_set::set_name;
use crate::model::link::Devices;
use crate::model::routing::RuleAction;
use crate::model::snapshot::Surroundings;
use crate::model::{DevName, Family};

impl Kernel {
    /// `tables` are those that wanpool uses. Clients are behind the devices for which `is_lan` holds.
    pub fn surroundings(
        &self,
        tables: &[u32],
        is_lan: impl Fn(&DevName) -> bool,
    ) -> Result<Surroundings> {
        let mut foreign_defaults = Vec::new();
        for &table in tables {
            let metrics = route::foreign_defaults(&self.route, self.family, table, self.protocol)?;
            foreign_defaults.extend(metrics.into_iter().map(|metric| (table, metric)));
        }
        let foreign_rules = rule::list_foreign(&self.route, self.family, self.protocol)?;
        let (mut tables_to_internet, mut tables_with_routes) = (BTreeSet::new(), BTreeSet::new());
        for rule in &foreign_rules {
            if let RuleAction::Lookup(table) = rule.action {
                let destinations = route::destinations(&self.route, self.family, table)?;
                if leads_to_internet(&destinations) {
                    tables_to_internet.insert(table);
                }
                if !destinations.is_empty() {
                    tables_with_routes.insert(table);
                }
            }
        }
        let devices = self.devices()?;
        let index = DeviceIndex::new(&devices.links);
        let (accepting_rules, mut filter_tables) = self.iptables()?.foreign_rules()?;
        filter_tables.extend(nftables::foreign_tables(&self.netfilter, &index)?);
        Ok(Surroundings {
            foreign_rules,
            tables_to_internet,
            tables_with_routes,
            foreign_defaults,
            accepting_rules,
            filter_tables,
            main_routes: route::foreign_in_main(&self.route, self.family, &index, self.protocol)?,
            resolver: resolver(&devices, is_lan),
            saved_rules: saved_rules(Path::new("/")),
            other_iptables: self.other_iptables(),
            flowtables: nftables::flowtables(&self.netfilter),
            conntrack: conntrack_number("count").zip(conntrack_number("max")),
            neighbour_limit: neighbour::limit(&self.route)?,
            networkd_deletes: networkd::deletes_foreign_objects(),
        })
    }
}

/// Whether routes with these destinations lead to the whole Internet. VPNs like to use its halves.
fn leads_to_internet(destinations: &[IpNet]) -> bool {
    let halves = destinations.iter().filter(|dst| dst.prefix_len() == 1).count();
    destinations.iter().any(|dst| dst.prefix_len() == 0) || halves == 2
}

/// `nf_conntrack_count` or `nf_conntrack_max`.
fn conntrack_number(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The first address behind which clients find a resolver.
fn resolver(devices: &Devices, is_lan: impl Fn(&DevName) -> bool) -> Option<IpAddr> {
    let mut listening = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        listening.extend(text.lines().skip(1).filter_map(dns_address));
    }
    let mut addresses = devices.addresses.iter().filter(|address| is_lan(&address.dev));
    let found = addresses.find(|address| {
        listening.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED)) || listening.contains(&address.local)
    });
    found.map(|address| address.local)
}

/// The local address of a socket on port 53. The words of a line are its number, `ADDRESS:PORT` of the
/// two ends in hexadecimal, and so on. The IPv6 address that stands for all is one for IPv4, too.
fn dns_address(line: &str) -> Option<IpAddr> {
    let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    if u16::from_str_radix(port, 16) != Ok(53) {
        return None;
    }
    match address.len() {
        8 => Some(IpAddr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 if address.bytes().all(|digit| digit == b'0') => Some(Ipv4Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

/// The file from which netfilter-persistent loads rules at boot, if there are rules in it that need the
/// set and nothing makes the set before.
fn saved_rules(root: &Path) -> Option<&'static str> {
    const FILE: &str = "/etc/iptables/rules.v4";
    let text = fs::read_to_string(root.join(FILE.trim_start_matches('/'))).ok()?;
    let needs_set = text.contains(&format!("--map-set {} ", set_name(Family::Inet)));
    // The folders of systemd.unit(5).
    let is_made = ["etc", "run", "usr/local/lib", "usr/lib"].iter().any(|dir| {
        let folder = root.join(dir).join("systemd/system/netfilter-persistent.service.d");
        fs::symlink_metadata(folder.join("wanpool-set.conf")).is_ok()
    });
    (needs_set && !is_made).then_some(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_a_socket_on_port_53() {
        for (line, address) in [
            ("  10: 0107A8C0:0035 00000000:0000 07 0", Some("192.168.7.1")),
            ("  10: 00000000:0035 00000000:0000 07 0", Some("0.0.0.0")),
            ("  10: 0107A8C0:0036 00000000:0000 07 0", None),
            ("  10: 00000000000000000000000000000000:0035 0:0 07", Some("0.0.0.0")),
            ("  10: 00000000000000000000000001000000:0035 0:0 07", None),
            ("  10:", None),
        ] {
            assert_eq!(dns_address(line), address.map(|it| it.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn saved_rules_are_found_unless_the_unit_makes_their_set() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let rules = "-A WANPOOL -i br0 -j SET --map-set wanpool src --map-mark\n";
        assert_eq!(saved_rules(root.path()), None);
        write("etc/iptables/rules.v4", "-A FORWARD -j WANPOOL\n");
        assert_eq!(saved_rules(root.path()), None);
        write("etc/iptables/rules.v4", rules);
        assert_eq!(saved_rules(root.path()), Some("/etc/iptables/rules.v4"));
        write("usr/lib/systemd/system/netfilter-persistent.service.d/wanpool-set.conf", "");
        assert_eq!(saved_rules(root.path()), None);
    }
}
