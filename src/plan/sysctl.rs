//! The sysctls that the slice needs. They are set where they stand otherwise and never unset.

use std::collections::BTreeMap;

use crate::config::{Config, Hash, Lan};
use crate::model::DevName;
use crate::model::change::Step;

const FORWARD: &str = "net/ipv4/ip_forward";
const DYNADDR: &str = "net/ipv4/ip_dynaddr";
const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
const HASH_POLICY: &str = "net/ipv4/fib_multipath_hash_policy";
const HASH_FIELDS: &str = "net/ipv4/fib_multipath_hash_fields";

/// `fib_multipath_hash_policy` 3, "custom", reads `fib_multipath_hash_fields`; of these bit 0 is
/// the source address (kernel: `FIB_MULTIPATH_HASH_FIELD_SRC_IP`).
const HASH_SOURCE: [(&str, &str); 2] = [(HASH_FIELDS, "1"), (HASH_POLICY, "3")];

/// What must be read for [`settings`]: paths below `/proc/sys`, `*` for every device. Devices that
/// are not there, or come later, start with the value of `default`.
pub fn keys(config: &Config) -> Vec<String> {
    let devices: Vec<&str> = match &config.lan {
        Lan::AllButUplinks => vec!["*"],
        Lan::Devices(devices) => {
            let uplinks = config.uplinks.values().map(|uplink| &uplink.dev);
            uplinks.chain(devices).map(DevName::as_str).collect()
        }
    };
    [FORWARD, DYNADDR, SRC_VALID_MARK, HASH_POLICY, HASH_FIELDS]
        .into_iter()
        .map(str::to_owned)
        .chain(["all", "default"].into_iter().map(rp_filter))
        .chain(devices.into_iter().map(rp_filter))
        .collect()
}

fn rp_filter(dev: &str) -> String {
    format!("net/ipv4/conf/{dev}/rp_filter")
}

/// The keys that do not stand as they should, with the values they should have.
pub fn settings(
    config: &Config,
    found: &BTreeMap<String, String>,
) -> Vec<(&'static str, &'static str)> {
    let is = |key: &str, value: &str| found.get(key).is_some_and(|found| found == value);
    let mut wanted = Vec::new();
    // Any value but 0 rewrites the addresses of packets on a line that was dialled anew.
    if is(DYNADDR, "0") {
        wanted.push((DYNADDR, "1"));
    }
    let filtered =
        found.iter().any(|(key, value)| key.ends_with("/rp_filter") && value.as_str() != "0");
    if filtered {
        wanted.push((SRC_VALID_MARK, "1"));
    }
    match config.multipath.hash {
        None => {}
        Some(Hash::L3) => wanted.push((HASH_POLICY, "0")),
        Some(Hash::L4) => wanted.push((HASH_POLICY, "1")),
        Some(Hash::Source) => wanted.extend(HASH_SOURCE),
    }
    wanted.push((FORWARD, "1"));
    wanted.retain(|&(key, value)| !is(key, value));
    wanted
}

pub fn is_forwarding(setting: &(&'static str, &'static str)) -> bool {
    setting.0 == FORWARD
}

pub fn step((key, value): (&'static str, &'static str)) -> Step {
    Step::Sysctl { key: key.to_owned(), value: value.to_owned() }
}
