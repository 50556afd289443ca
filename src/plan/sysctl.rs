//! The sysctls that the slice needs. They are set where they have another value, and never unset.

use std::collections::BTreeMap;

use crate::config::{Config, Hash, Lan};
use crate::model::change::Change;

const FORWARD: &str = "net/ipv4/ip_forward";
const DYNADDR: &str = "net/ipv4/ip_dynaddr";
const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
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

pub fn changes(config: &Config, found: &BTreeMap<String, String>) -> SysctlChanges {
    let is = |key: &str, value: &str| found.get(key).is_some_and(|found| found == value);
    let mut wanted = Vec::new();
    // Any value but 0 rewrites the source addresses of connections on a line that was dialled again.
    if is(DYNADDR, "0") {
        wanted.push((DYNADDR, "1"));
    }
    if found.iter().any(|(key, value)| key.ends_with("/rp_filter") && value != "0") {
        wanted.push((SRC_VALID_MARK, "1"));
    }
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

fn set(key: &str, value: &str) -> Change {
    Change::SetSysctl { key: key.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::config;

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
            let found = found.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            let SysctlChanges { first, forwarding } = changes(&config(&[(1, 1)], more), &found);
            let mut set = Vec::new();
            for change in first.into_iter().chain(forwarding) {
                let Change::SetSysctl { key, value } = change else { panic!("{change:?}") };
                set.push(format!("{key}={value}"));
            }
            assert_eq!(set, wanted, "{more:?} {found:?}");
        }
    }

    #[test]
    fn rp_filter_is_read_for_the_devices_that_matter() {
        let named = keys(&config(&[(1, 1)], ""));
        assert!(named.contains(&rp_filter("br0")) && named.contains(&rp_filter("ppp1")));
        assert!(!named.contains(&rp_filter("*")));
    }
}
