//! Where things stand in the slice: the metrics of our tables and the preferences of our rules.
//! Changing a number here changes what `ip route` and `ip rule` show.

/// In an uplink's own table: the second default that says it was failed over on purpose.
pub const FAILED_OVER_METRIC: u32 = 1;
/// The same, where a probe did it: a probe brings back only what a probe took out.
pub const PROBED_OUT_METRIC: u32 = 2;

/// In a pool's table: by its own uplink, by the one it was sent to, by the group of all, by the
/// backups, and the backstop behind whatever else there may be. The last two in the shared table too.
pub const OWN_METRIC: u32 = 10;
pub const DETOUR_METRIC: u32 = 15;
pub const STANDBY_METRIC: u32 = 20;
pub const BACKUP_METRIC: u32 = 30;
pub const BACKSTOP_METRIC: u32 = u32::MAX;

/// Preferences, relative to `rule-pref`.
pub const LOCAL_FIRST: u32 = 0;
pub const UPLINK_LOCAL: u32 = 10;
pub const UPLINK_NO_TRANSIT: u32 = 20;
pub const CARRIER: u32 = 100;
pub const CARRIER_GONE: u32 = 190;
pub const POOL: u32 = 200;
pub const LAN_LOCAL: u32 = 300;
pub const LAN_REST: u32 = 301;

/// Preferences as they are: right before main's 32766.
pub const MULTIPATH_LOCAL: u32 = 32000;
pub const MULTIPATH_REST: u32 = 32001;
