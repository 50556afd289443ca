//! Damages to the set and its entries, as `ipset save` lists them, and to the sysctls.

use super::damages::{Damage, Kind};
use crate::lab::Lab;

/// The sysctls that wanpool sets with this configuration.
pub const KEYS: [&str; 5] = [
    "net/ipv4/ip_forward",
    "net/ipv4/ip_dynaddr",
    "net/ipv4/conf/all/src_valid_mark",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/fib_multipath_hash_fields",
];

/// An address is in the set only once, so an entry cannot be doubled. The set itself cannot be
/// deleted while a rule of ours refers to it.
pub fn entries(lab: &Lab) -> Vec<Damage> {
    let mut damages = vec![Damage::new(
        Kind::Altered,
        "the set",
        "ipset flush wanpool".to_owned(),
        "ipset -exist add wanpool",
    )];
    let listed = lab.gateway.sh("ipset save wanpool");
    for line in listed.lines().filter(|line| line.starts_with("add ")) {
        let client = line.split(' ').nth(2).expect("an address");
        let damage = |kind, commands: String| {
            let step = format!("ipset -exist add wanpool {client} ");
            Damage::new(kind, &format!("entry {client}"), commands, &step)
        };
        damages.push(damage(Kind::Deleted, format!("ipset del wanpool {client}")));
        for changed in ["skbmark 0x7/0xff", "skbmark 0x1/0xffff", ""] {
            let commands = format!("ipset -exist add wanpool {client} {changed}");
            damages.push(damage(Kind::Altered, commands));
        }
    }
    damages
}

/// A sysctl can only be altered.
pub fn sysctls(lab: &Lab) -> Vec<Damage> {
    let altered = |key: &&str| {
        let other = if lab.gateway.read_sysctl(key) == "0" { "1" } else { "0" };
        let other = if key.ends_with("hash_fields") { "7" } else { other };
        let name = key.replace('/', ".");
        Damage::new(Kind::Altered, key, format!("sysctl -qw {name}={other}"), &format!("{name}="))
    };
    KEYS.iter().map(altered).collect()
}
