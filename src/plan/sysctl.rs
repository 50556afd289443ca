//! The sysctls that the slice needs. They are set where they have another value, and never unset.

use super::uplinks::GatewayStatus;
use crate::config::{Config, Hash, Lan};
use crate::model::change::Change;
use crate::model::snapshot::Snapshot;

const FORWARD: &str = "net/ipv4/ip_forward";
const DYNADDR: &str = "net/ipv4/ip_dynaddr";
const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
/// Values of rp_filter.
const STRICT: &str = "1";
const LOOSE: &str = "2";
const HASH_POLICY: &str = "net/ipv4/fib_multipath_hash_policy";
const HASH_FIELDS: &str = "net/ipv4/fib_multipath_hash_fields";

/// The changes to sysctls. Forwarding is switched on after all else.
#[derive(Debug, Default)]
pub struct SysctlChanges {
    pub first: Vec<Change>,
    pub forwarding: Option<Change>,
}

/// The sysctls that [`changes`] must know: paths below `/proc/sys`, with `*` for every device. A device
/// that does not exist yet starts with the value of `default`.
pub fn keys(config: &Config) -> Vec<String> {
    let mut keys: Vec<String> =
        [FORWARD, DYNADDR, SRC_VALID_MARK, HASH_POLICY, HASH_FIELDS].map(str::to_owned).to_vec();
    keys.extend(["all", "default"].map(rp_filter));
    match &config.lan {
        Lan::AllButUplinks => keys.push(rp_filter("*")),
        Lan::Devices(devices) => {
            keys.extend(config.uplinks.values().map(|uplink| rp_filter(uplink.dev.as_str())));
            keys.extend(devices.iter().map(|dev| rp_filter(dev.as_str())));
        }
    }
    keys
}

fn rp_filter(dev: &str) -> String {
    format!("net/ipv4/conf/{dev}/rp_filter")
}

pub fn changes(config: &Config, snapshot: &Snapshot, status: &GatewayStatus) -> SysctlChanges {
    let found = &snapshot.sysctls;
    let is = |key: &str, value: &str| found.get(key).is_some_and(|found| found == value);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    // Any value but 0 rewrites the source addresses of connections on a line that was dialled again.
    if is(DYNADDR, "0") {
        wanted.push((DYNADDR, "1"));
    }
    if found.iter().any(|(key, value)| key.ends_with("/rp_filter") && value != "0") {
        wanted.push((SRC_VALID_MARK, "1"));
    }
    let loose = devices_to_loosen(config, snapshot, status);
    wanted.extend(loose.iter().map(|key| (key.as_str(), LOOSE)));
    match config.multipath.hash {
        None => {}
        Some(Hash::L3) => wanted.push((HASH_POLICY, "0")),
        Some(Hash::L4) => wanted.push((HASH_POLICY, "1")),
        // Policy 3, "custom", hashes the fields in `fib_multipath_hash_fields`. Bit 0 is the source
        // address (`FIB_MULTIPATH_HASH_FIELD_SRC_IP`).
        Some(Hash::Source) => wanted.extend([(HASH_FIELDS, "1"), (HASH_POLICY, "3")]),
    }
    wanted.retain(|(key, value)| !is(key, value));
    let first = wanted.into_iter().map(|(key, value)| set(key, value)).collect();
    let forwarding = if is(FORWARD, "1") { None } else { Some(set(FORWARD, "1")) };
    SysctlChanges { first, forwarding }
}

/// The sysctls of uplinks with ARP whose gateway another device reaches too, as with two lines of one
/// provider. A strict rp_filter drops what such a gateway asks by ARP, which carries no
/// mark: the route back to its address is by the other device.
fn devices_to_loosen(config: &Config, snapshot: &Snapshot, status: &GatewayStatus) -> Vec<String> {
    let value = |dev: &str| snapshot.sysctls.get(&rp_filter(dev)).map_or("", String::as_str);
    let mut keys = Vec::new();
    for (no, uplink) in &config.uplinks {
        let (dev, devices) = (&uplink.dev, &snapshot.devices);
        // The stronger of the two values counts, in the order 0, 1, 2.
        let is_strict = value("all").max(value(dev.as_str())) == STRICT;
        let has_arp = devices.link(dev).is_some_and(|link| !link.point_to_point);
        let via = status.uplinks.get(no).and_then(|status| status.via);
        if let Some(via) = via.filter(|_| is_strict && has_arp) {
            let mut others = devices.addresses.iter().filter(|address| address.dev != *dev);
            if others.any(|address| address.reaches(via)) {
                keys.push(rp_filter(dev.as_str()));
            }
        }
    }
    keys
}

fn set(key: &str, value: &str) -> Change {
    Change::SetSysctl { key: key.to_owned(), value: value.to_owned() }
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
                let Change::SetSysctl { key, value } = change else { panic!("{change:?}") };
                set.push(format!("{key}={value}"));
            }
            assert_eq!(set, wanted, "{more:?} {:?}", found.sysctls);
        }
    }

    #[test]
    fn rp_filter_is_read_for_the_devices_that_matter() {
        let named = keys(&config(&[(1, 1)], ""));
        assert!(named.contains(&rp_filter("br0")) && named.contains(&rp_filter("ppp1")));
        assert!(!named.contains(&rp_filter("*")));
    }
}
