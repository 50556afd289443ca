//! The share of the clients that each pool has, and the share that its weight asks for.

use crate::config::{Config, Role, Uplink};
use crate::model::UplinkNo;
use crate::model::pools::Pools;

/// The share of a pool in the clients of all uplinks, in percent to one decimal place.
pub fn actual(config: &Config, pools: &Pools, no: UplinkNo) -> f64 {
    let all = config.uplinks.keys().map(|&no| pools.members(no).len()).sum();
    percent(pools.members(no).len(), all)
}

/// The share that the weight of an uplink asks for. Backups get none.
pub fn due(config: &Config, no: UplinkNo) -> f64 {
    let weight = |uplink: &Uplink| match uplink.role {
        Role::Primary => usize::from(uplink.weight),
        Role::Backup => 0,
    };
    let own = config.uplinks.get(&no).map_or(0, weight);
    percent(own, config.uplinks.values().map(weight).sum())
}

fn percent(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { ((part * 1000) as f64 / all as f64).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{config, no, pools};

    #[test]
    fn shares_are_percentages_to_one_decimal_place() {
        let config = config(&[(1, 2), (2, 1)], "[uplink.3]\ndev = \"b\"\nrole = \"backup\"\n");
        let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (2, "10.0.0.3"), (9, "10.0.0.4")]);
        let shares = |no| (actual(&config, &pools, no), due(&config, no));
        assert_eq!(shares(no(1)), (66.7, 66.7));
        assert_eq!(shares(no(2)), (33.3, 33.3));
        assert_eq!(shares(no(3)), (0.0, 0.0));
        assert_eq!(actual(&config, &Pools::default(), no(1)), 0.0);
    }
}
