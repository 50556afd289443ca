//! Decides what happens to the flows that an uplink took over once their own uplink is back in
//! service. By default they stay; a metered uplink can have them ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::uplinks::GatewayStatus;
use crate::config::{Config, Failback};
use crate::model::health::HealthRecords;
use crate::model::link::Devices;
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

/// An uplink that ends the flows which it carries for these pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub uplink: UplinkNo,
    pub pools: Vec<UplinkNo>,
    /// Flows of hosts in no pool and of the gateway itself end, too: the uplink shares these no more.
    pub others: bool,
}

/// The uplinks with flows to end now. An uplink without a record has come back in this moment.
pub fn due(
    config: &Config,
    status: &GatewayStatus,
    records: &HealthRecords,
    now: Duration,
) -> Vec<Due> {
    let mut all_due = Vec::new();
    for (&uplink, settings) in &config.uplinks {
        let wait = match settings.failback {
            Failback::Keep => continue,
            Failback::Cut => Duration::ZERO,
            Failback::Drain(seconds) => Duration::from_secs(seconds.into()),
        };
        let mut pools = Vec::new();
        for no in status.up() {
            let since = records.get(&no).map_or(now, |record| record.since);
            if no != uplink && now.saturating_sub(since) >= wait {
                pools.push(no);
            }
        }
        if !pools.is_empty() {
            let others = !status.active().contains(&uplink);
            all_due.push(Due { uplink, pools, others });
        }
    }
    all_due
}

/// Of the addresses that began flows on the uplink, those that it carried for others: of clients in the
/// pools that are back, and of hosts inside that are in no pool; and how many flows they have. What
/// strangers began came in by this uplink and stays.
pub fn sources(
    due: &Due,
    pools: &Pools,
    flows_begun_by: &HashMap<IpAddr, u64>,
    is_inside: impl Fn(IpAddr) -> bool,
) -> (Vec<IpAddr>, usize) {
    let (mut sources, mut flows) = (Vec::new(), 0);
    for (&address, &count) in flows_begun_by {
        let pool = Client::new(address).ok().and_then(|client| pools.pool_of(client));
        let was_carried = match pool {
            Some(pool) => due.pools.contains(&pool),
            None => due.others && is_inside(address),
        };
        if was_carried {
            sources.push(address);
            flows += count as usize;
        }
    }
    sources.sort_unstable();
    (sources, flows)
}

/// Whether an address is that of a host in the LAN or of the gateway itself.
pub fn is_inside(config: &Config, devices: &Devices, address: IpAddr) -> bool {
    devices.addresses.iter().any(|own| {
        let is_of_lan = config.is_lan(own.dev.as_str());
        own.local == address
            || (is_of_lan && own.network().is_some_and(|net| net.contains(&address)))
    })
}

/// Whether [`due`] needs to know since when uplinks are in service.
pub fn needs_records(config: &Config) -> bool {
    config.uplinks.values().any(|uplink| matches!(uplink.failback, Failback::Drain(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::UplinkHealth;
    use crate::model::uplink::State;
    use crate::plan::fixtures::{config, dev, no, pools, running};
    use crate::plan::uplinks;

    fn record(number: u8, since: u64) -> (UplinkNo, UplinkHealth) {
        let health = UplinkHealth {
            dev: dev(number),
            index: number.into(),
            state: State::Up,
            since: Duration::from_secs(since),
            healthy_runs: 0,
            unhealthy_runs: 0,
            last: None,
            heard: None,
        };
        (no(number), health)
    }

    #[test]
    fn flows_are_ended_when_their_own_uplink_has_been_back_for_long_enough() {
        type Case<'a> = (&'a str, &'a [u8], &'a [(u8, u64)], &'a [u8]);
        let cases: [Case; 7] = [
            ("keep", &[1, 2, 3], &[(1, 0), (2, 0)], &[]),
            ("cut", &[1, 2, 3], &[(1, 1000), (2, 1000)], &[1, 2]),
            ("cut", &[2, 3], &[(2, 0)], &[2]),
            ("cut", &[1, 2, 3], &[], &[1, 2]),
            ("drain 60", &[1, 2, 3], &[(1, 940), (2, 941)], &[1]),
            ("drain 60", &[1, 2, 3], &[], &[]),
            ("drain 0", &[1, 2, 3], &[(1, 1000), (2, 1000)], &[1, 2]),
        ];
        for (failback, up, since, wanted) in cases {
            let more = format!("[uplink.3]\ndev = \"ppp3\"\nfailback = \"{failback}\"\n");
            let config = config(&[(1, 1), (2, 1)], &more);
            let status = uplinks::current(&config, &running(&config, up));
            let records = since.iter().map(|&(no, since)| record(no, since)).collect();
            let found = due(&config, &status, &records, Duration::from_secs(1000));
            let pools: Vec<u8> =
                found.iter().flat_map(|due| &due.pools).map(|pool| pool.get()).collect();
            assert_eq!(pools, wanted, "{failback}, up: {up:?}, since: {since:?}");
            assert!(found.iter().all(|due| due.uplink == no(3)));
        }
    }

    #[test]
    fn only_flows_that_clients_of_these_pools_began_are_ended() {
        let due = |others| Due { uplink: no(3), pools: vec![no(1)], others };
        let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (2, "10.0.0.3")]);
        let begun =
            [("10.0.0.2", 2), ("10.0.0.1", 3), ("10.0.0.3", 5), ("224.0.0.1", 7), ("10.0.0.9", 11)];
        let begun = begun.map(|(text, count)| (text.parse::<IpAddr>().unwrap(), count)).into();
        for (others, wanted, count) in [
            (false, &["10.0.0.1", "10.0.0.2"][..], 5),
            (true, &["10.0.0.1", "10.0.0.2", "10.0.0.9"], 16),
        ] {
            let is_inside = |address: IpAddr| address.to_string().starts_with("10.");
            let (found, flows) = sources(&due(others), &pools, &begun, is_inside);
            let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
            assert_eq!((found, flows), (wanted.iter().map(|it| (*it).to_owned()).collect(), count));
        }
    }
}
