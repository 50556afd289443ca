//! The metrics of routes and the preferences of routing rules. A change here changes what `ip route`
//! and `ip rule` show.

use crate::model::Family;

/// In the table of an uplink (300+N): its default route and its neighbours. In IPv6, a metric of 0
/// becomes 1024 (`IP6_RT_PRIO_USER`).
pub fn uplink_metric(family: Family) -> u32 {
    match family {
        Family::Inet => 0,
        Family::Inet6 => 1024,
    }
}

/// There as well: a route that marks a failover by hand.
pub fn manual_failover_metric(family: Family) -> u32 {
    uplink_metric(family) + 1
}

/// There as well: a second default route that marks a failover by a probe. A probe puts back only what
/// a probe took out.
pub fn probe_failover_metric(family: Family) -> u32 {
    uplink_metric(family) + 2
}

/// In the shared table, the group of all active uplinks, which comes before the backups.
pub fn shared_metric(family: Family) -> u32 {
    match family {
        Family::Inet => 0,
        Family::Inet6 => FALLBACK_METRIC,
    }
}

/// In the table of a pool (200+N): its own uplink, the uplink of `failover --to`, the group of all
/// active uplinks, the backups, and the unreachable default. The shared table has the last two as
/// well.
pub const OWN_METRIC: u32 = 10;
pub const OVERRIDE_METRIC: u32 = 15;
pub const FALLBACK_METRIC: u32 = 20;
pub const BACKUP_METRIC: u32 = 30;
pub const UNREACHABLE_METRIC: u32 = u32::MAX;

/// Preferences of rules, as offsets from `rule-pref`. LOCAL rules look up the main table without its
/// default routes.
pub const UPLINK_LOCAL: u32 = 10;
pub const UPLINK_NO_TRANSIT: u32 = 20;
/// Plus N: flows that have begun on uplink N. They come before the main table: a flow stays on its
/// uplink whatever routes of a VPN are added, and its answers pass a strict rp_filter although others
/// have the same prefix.
pub const FLOW: u32 = 110;
/// Flows of the gateway itself on an uplink whose table has no route. The line may be back already:
/// then the main table has its route before wanpool runs.
pub const OWN_FLOW_FALLBACK: u32 = 180;
/// Flows of an uplink whose table has no route.
pub const FLOW_FALLBACK: u32 = 190;
/// New flows of clients in a pool.
pub const POOL_LOCAL: u32 = 195;
/// Plus N: clients of pool N.
pub const POOL: u32 = 200;
/// Sockets of the gateway that are bound to the device of an uplink.
pub const BOUND_DEVICE: u32 = 280;
/// Sockets of the gateway that are bound to an address of an uplink: at first the packet filter does
/// not know the packet, and then it has marked it.
pub const BOUND_FLOW_LOCAL: u32 = 288;
pub const BOUND_FLOW: u32 = 289;
pub const BOUND_ADDRESS_MAIN: u32 = 290;
pub const BOUND_ADDRESS: u32 = 291;
pub const UNASSIGNED_LOCAL: u32 = 300;
pub const UNASSIGNED: u32 = 301;

/// Absolute preferences, just before the rule of the main table (32766).
pub const MULTIPATH_LOCAL: u32 = 32000;
pub const MULTIPATH: u32 = 32001;
