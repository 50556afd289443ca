//! The set with its entries, as `ipset save` lists them, and the sysctls.

use super::damages::{Deed, Kind};
use crate::lab::Lab;

/// What this config needs of `/proc/sys`.
pub const KEYS: [&str; 5] = [
    "net/ipv4/ip_forward",
    "net/ipv4/ip_dynaddr",
    "net/ipv4/conf/all/src_valid_mark",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/fib_multipath_hash_fields",
];

/// An entry cannot be doubled: an address is in the set once. The set itself cannot be deleted
/// while a rule of ours refers to it, nor have a double.
pub fn entries(lab: &Lab) -> Vec<Deed> {
    let mut deeds = vec![Deed::new(
        Kind::Altered,
        "the set",
        "ipset flush wanpool".to_owned(),
        "ipset -exist add wanpool",
    )];
    let listed = lab.gateway.sh("ipset save wanpool");
    for line in listed.lines().filter(|line| line.starts_with("add ")) {
        let client = line.split(' ').nth(2).expect("an address");
        let deed = |kind, damage: String| {
            let named = format!("ipset -exist add wanpool {client} ");
            Deed::new(kind, &format!("entry {client}"), damage, &named)
        };
        deeds.push(deed(Kind::Deleted, format!("ipset del wanpool {client}")));
        for changed in ["skbmark 0x7/0xff", "skbmark 0x1/0xffff", "skbmark 0x1/0x1", ""] {
            let damage = format!("ipset -exist add wanpool {client} {changed}");
            deeds.push(deed(Kind::Altered, damage));
        }
    }
    deeds
}

/// A sysctl is neither deleted nor doubled.
pub fn sysctls(lab: &Lab) -> Vec<Deed> {
    let altered = |key: &&str| {
        let other = if lab.gateway.read_sysctl(key) == "0" { "1" } else { "0" };
        let other = if key.ends_with("hash_fields") { "7" } else { other };
        let name = key.replace('/', ".");
        Deed::new(Kind::Altered, key, format!("sysctl -qw {name}={other}"), &format!("{name}="))
    };
    KEYS.iter().map(altered).collect()
}
