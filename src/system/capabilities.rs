//! The effective capabilities of this process, and what the kernel has. The numbers are those of `linux/capability.h`.

use std::fs;

use std::path::Path;

use anyhow::{Result, bail};

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Needed for every change by netlink, and for any request to nfnetlink.
pub fn has_net_admin() -> bool {
    has(CAP_NET_ADMIN)
}

/// Whether the kernel has IPv6: `ipv6.disable=1` leaves it out.
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Needed for the raw socket that iptables uses to look up the names of sets.
pub fn has_net_raw() -> bool {
    has(CAP_NET_RAW)
}

fn has(capability: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << capability) != 0)
}

/// Returns an error, before anything is tried, if the kernel would refuse every change.
pub fn require_net_admin(what: &str) -> Result<()> {
    if has_net_admin() && has_net_raw() {
        return Ok(());
    }
    bail!(
        "{what}: Operation not permitted; run it as root \
         (it needs CAP_NET_ADMIN, and CAP_NET_RAW for iptables)"
    )
}
