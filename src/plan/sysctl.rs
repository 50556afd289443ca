//! The sysctls that the slice needs. They are set where they have another value, and never unset.

use std::net::IpAddr;

mod inet6;

use super::uplinks::{Condition, GatewayStatus};
use crate::config::{Config, Hash, Lan};
use crate::model::change::Change;
use crate::model::snapshot::{Conflict, Snapshot};
use crate::model::{DevName, Family};

const FORWARD: &str = "net/ipv4/ip_forward";
const DYNADDR: &str = "net/ipv4/ip_dynaddr";
const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
const HASH_POLICY: &str = "net/ipv4/fib_multipath_hash_policy";
const HASH_FIELDS: &str = "net/ipv4/fib_multipath_hash_fields";
/// Sysctls of a device.
const RP_FILTER: &str = "rp_filter";
const IGNORE_LINKDOWN: &str = "ignore_routes_with_linkdown";
const ARP_IGNORE: &str = "arp_ignore";
const ARP_ANNOUNCE: &str = "arp_announce";
/// Values of rp_filter.
const STRICT: &str = "1";
const LOOSE: &str = "2";

/// The changes to sysctls. Forwarding is switched on after all else.
#[derive(Debug, Default)]
pub struct SysctlChanges {
    pub first: Vec<Change>,
    pub forwarding: Option<Change>,
}

/// The sysctls that [`changes`] must know: paths below `/proc/sys`, with `*` for every device. A device
/// that does not exist yet starts with the value of `default`.
pub fn keys(config: &Config) -> Vec<String> {
    if config.family == Family::Inet6 {
        return inet6::keys(config);
    }
    let mut keys: Vec<String> =
        [FORWARD, DYNADDR, SRC_VALID_MARK, HASH_POLICY, HASH_FIELDS].map(str::to_owned).to_vec();
    keys.extend(["all", "default"].map(|dev| of_device(dev, RP_FILTER)));
    for uplink in config.uplinks.values() {
        for name in [IGNORE_LINKDOWN, ARP_IGNORE, ARP_ANNOUNCE] {
            keys.push(of_device(uplink.dev.as_str(), name));
        }
    }
    match &config.lan {
        Lan::AllButUplinks => keys.push(of_device("*", RP_FILTER)),
        Lan::Devices(devices) => {
            let uplinks = config.uplinks.values().map(|uplink| &uplink.dev);
            keys.extend(uplinks.chain(devices).map(|dev| of_device(dev.as_str(), RP_FILTER)));
        }
    }
    keys
}

fn of_device(dev: &str, name: &str) -> String {
    format!("net/ipv4/conf/{dev}/{name}")
}

pub fn changes(config: &Config, found: &Snapshot, status: &GatewayStatus) -> SysctlChanges {
    let mut changes = SysctlChanges::default();
    if found.sysctls_are_fixed {
        return changes;
    }
    for sysctl in wanted(config, found, status) {
        let is_forward = sysctl.key == FORWARD || sysctl.key == inet6::FORWARD;
        let Sysctl { key, value, is_optional } = sysctl;
        let change = Change::SetSysctl { key, value: value.to_owned(), is_optional };
        if is_forward {
            changes.forwarding = Some(change);
        } else {
            changes.first.push(change);
        }
    }
    changes
}

/// The sysctls that clients cannot do without, where `/proc/sys` is read-only.
pub fn obstacles(config: &Config, found: &Snapshot, status: &GatewayStatus) -> Vec<Conflict> {
    let mut obstacles = Vec::new();
    if !found.sysctls_are_fixed {
        return obstacles;
    }
    for Sysctl { key, value, is_optional } in wanted(config, found, status) {
        if !is_optional {
            let name = key.replace('/', ".");
            obstacles.push(Conflict::new(
                format!("{name} cannot be set to {value}: /proc/sys is read-only"),
                format!("set it outside of the container: docker run --sysctl {name}={value}"),
            ));
        }
    }
    obstacles
}

/// A sysctl that has another value than it should.
struct Sysctl {
    key: String,
    value: &'static str,
    /// Clients are served without it too.
    is_optional: bool,
}

fn wanted(config: &Config, found: &Snapshot, status: &GatewayStatus) -> Vec<Sysctl> {
    if config.family == Family::Inet6 {
        return inet6::wanted(config, found, status);
    }
    let mut wanted = Vec::new();
    let mut want = |key: &str, value, is_optional| {
        if found.sysctls.get(key).is_none_or(|found| found != value) {
            wanted.push(Sysctl { key: key.to_owned(), value, is_optional });
        }
    };
    // Any value but 0 rewrites the source addresses of connections on a line that was dialled again.
    if found.sysctls.get(DYNADDR).is_some_and(|found| found == "0") {
        want(DYNADDR, "1", true);
    }
    let has_rp_filter = |(key, value): (&String, &String)| key.ends_with(RP_FILTER) && value != "0";
    if found.sysctls.iter().any(has_rp_filter) {
        want(SRC_VALID_MARK, "1", false);
    }
    for (no, uplink) in &config.uplinks {
        let (Some(link), Some(status)) = (found.devices.link(&uplink.dev), status.uplinks.get(no))
        else {
            continue;
        };
        // A device that was just created may never become an uplink in service.
        if matches!(status.condition, Condition::Down(_)) {
            continue;
        }
        let mut want_for_device = |name, value, is_optional| {
            let key = of_device(uplink.dev.as_str(), name);
            // The device may have disappeared since.
            if found.sysctls.contains_key(&key) {
                want(&key, value, is_optional);
            }
        };
        // Without it, open flows hang by a line whose carrier is lost, because its route stays.
        want_for_device(IGNORE_LINKDOWN, "1", true);
        if !link.point_to_point {
            // Two devices in one segment would each answer for the addresses of the other.
            want_for_device(ARP_IGNORE, "1", true);
            want_for_device(ARP_ANNOUNCE, "2", true);
            if status.via.is_some_and(|via| must_be_loose(found, &uplink.dev, via)) {
                want_for_device(RP_FILTER, LOOSE, false);
            }
        }
    }
    match config.multipath.hash {
        None => {}
        Some(Hash::L3) => want(HASH_POLICY, "0", false),
        Some(Hash::L4) => want(HASH_POLICY, "1", false),
        // Policy 3, "custom", hashes the fields in `fib_multipath_hash_fields`. Bit 0 is the source
        // address (`FIB_MULTIPATH_HASH_FIELD_SRC_IP`).
        Some(Hash::Source) => {
            want(HASH_FIELDS, "1", false);
            want(HASH_POLICY, "3", false);
        }
    }
    want(FORWARD, "1", false);
    wanted
}

/// Whether another device reaches the gateway of an uplink with ARP too, as with two lines of one
/// provider. A strict rp_filter drops what such a gateway asks by ARP, which carries no mark: the route
/// back to its address is by the other device.
fn must_be_loose(found: &Snapshot, dev: &DevName, via: IpAddr) -> bool {
    let value =
        |dev: &str| found.sysctls.get(&of_device(dev, RP_FILTER)).map_or("", String::as_str);
    // The stronger of the two values counts, in the order 0, 1, 2.
    let is_strict = value("all").max(value(dev.as_str())) == STRICT;
    let mut others = found.devices.addresses.iter().filter(|address| address.dev != *dev);
    is_strict && others.any(|address| address.reaches(via))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{config, usable};
    use crate::plan::uplinks::current;

    /// The configuration, the sysctls found, and those that are set.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

    #[test]
    fn only_sysctls_with_another_value_are_set() {
        let all = "net/ipv4/conf/all/rp_filter";
        let ppp0 = "net/ipv4/conf/ppp0/rp_filter";
        let cases: [Case; 9] = [
            ("", &[(FORWARD, "1")], &[]),
            ("", &[(FORWARD, "0")], &["net/ipv4/ip_forward=1"]),
            ("", &[(FORWARD, "1"), (DYNADDR, "0")], &["net/ipv4/ip_dynaddr=1"]),
            ("", &[(FORWARD, "1"), (DYNADDR, "7")], &[]),
            ("", &[(FORWARD, "1"), (all, "0"), (ppp0, "0")], &[]),
            ("", &[(FORWARD, "1"), (ppp0, "1")], &["net/ipv4/conf/all/src_valid_mark=1"]),
            ("", &[(FORWARD, "1"), (all, "2"), (SRC_VALID_MARK, "1")], &[]),
            (
                "[multipath]\nhash = \"source\"\n",
                &[(FORWARD, "1"), (HASH_POLICY, "0")],
                &["net/ipv4/fib_multipath_hash_fields=1", "net/ipv4/fib_multipath_hash_policy=3"],
            ),
            (
                "[multipath]\nhash = \"l4\"\n",
                &[(FORWARD, "1"), (HASH_POLICY, "0")],
                &["net/ipv4/fib_multipath_hash_policy=1"],
            ),
        ];
        for (more, found, wanted) in cases {
            let sysctls =
                found.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            let (config, found) = (config(&[(1, 1)], more), Snapshot { sysctls, ..usable(&[1]) });
            let status = current(&config, &found);
            let SysctlChanges { first, forwarding } = changes(&config, &found, &status);
            let mut set = Vec::new();
            for change in first.into_iter().chain(forwarding) {
                let Change::SetSysctl { key, value, .. } = change else { panic!("{change:?}") };
                set.push(format!("{key}={value}"));
            }
            assert_eq!(set, wanted, "{more:?} {:?}", found.sysctls);
        }
    }

    #[test]
    fn rp_filter_is_read_for_the_devices_that_matter() {
        let named = keys(&config(&[(1, 1)], ""));
        let has = |dev| named.contains(&of_device(dev, RP_FILTER));
        assert!(has("br0") && has("ppp1") && !has("*"));
    }
}
