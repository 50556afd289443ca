//! The sysctls of IPv6.

use super::Sysctl;
use crate::config::{Config, Hash};
use crate::model::snapshot::Snapshot;
use crate::plan::uplinks::{Condition, GatewayStatus};

pub const FORWARD: &str = "net/ipv6/conf/all/forwarding";
const HASH_POLICY: &str = "net/ipv6/fib_multipath_hash_policy";
const HASH_FIELDS: &str = "net/ipv6/fib_multipath_hash_fields";
/// Sysctls of a device.
const ACCEPT_RA: &str = "accept_ra";
const ONLY_OWN_ADDRESSES: &str = "use_oif_addrs_only";

pub fn keys(config: &Config) -> Vec<String> {
    let mut keys = vec![FORWARD.to_owned(), HASH_POLICY.to_owned(), HASH_FIELDS.to_owned()];
    for uplink in config.uplinks.values() {
        keys.extend([ACCEPT_RA, ONLY_OWN_ADDRESSES].map(|it| of_device(uplink.dev.as_str(), it)));
    }
    keys
}

fn of_device(dev: &str, name: &str) -> String {
    format!("net/ipv6/conf/{dev}/{name}")
}

pub fn wanted(config: &Config, found: &Snapshot, status: &GatewayStatus) -> Vec<Sysctl> {
    let mut wanted = Vec::new();
    let mut want = |key: String, value, is_optional| {
        if found.sysctls.get(&key).is_none_or(|found| found != value) {
            wanted.push(Sysctl { key, value, is_optional });
        }
    };
    for (no, uplink) in &config.uplinks {
        if !uplink.is_used {
            continue;
        }
        let accept_ra = of_device(uplink.dev.as_str(), ACCEPT_RA);
        // With 1, a device loses its router as soon as forwarding is on. With 0, another program
        // hears the advertisements. An uplink that is down may be one that waits for its router.
        if found.sysctls.get(&accept_ra).is_some_and(|value| value == "1") {
            want(accept_ra, "2", false);
        }
        let is_down = matches!(status.condition(*no), Some(Condition::Down(_)) | None);
        let only_own = of_device(uplink.dev.as_str(), ONLY_OWN_ADDRESSES);
        // Without it, MASQUERADE may take an address of another uplink.
        if !is_down && found.sysctls.contains_key(&only_own) {
            want(only_own, "1", false);
        }
    }
    match config.multipath.hash {
        Some(Hash::L3) => want(HASH_POLICY.to_owned(), "0", false),
        Some(Hash::L4) => want(HASH_POLICY.to_owned(), "1", false),
        // Policy 0 would hash the flow label, too, and so split a client.
        Some(Hash::Source) | None => {
            want(HASH_FIELDS.to_owned(), "1", false);
            want(HASH_POLICY.to_owned(), "3", false);
        }
    }
    want(FORWARD.to_owned(), "1", false);
    wanted
}
