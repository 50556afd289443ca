//! Decides which flows end because their uplink went out of service.

use std::collections::HashMap;
use std::net::IpAddr;

use super::uplinks::{Condition, GatewayStatus, Intent};
use crate::config::Config;
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo, UplinkSet};

/// The uplinks whose flows a run ends: those that are out of service, and only if another uplink can
/// carry the flows. The kernel itself ends masqueraded flows together with the device; those of an
/// uplink without NAT would go on by another one with their old addresses.
pub fn uplinks_to_clear(config: &Config, status: &GatewayStatus, intent: Intent) -> Vec<UplinkNo> {
    let mut lost = match intent {
        Intent::FailOver { uplink, .. } | Intent::Lost { uplink } => UplinkSet::from_iter([uplink]),
        Intent::Probed { out, .. } => out,
        _ => UplinkSet::default(),
    };
    for (&no, uplink) in &config.uplinks {
        if !uplink.nat && matches!(status.condition(no), Some(Condition::Down(_))) {
            lost.insert(no);
        }
    }
    if status.up().next().is_none() {
        return vec![];
    }
    lost.iter().filter(|&no| status.state(no).is_some() && !status.is_up(no)).collect()
}

/// Whether the flows of an uplink end only if a client began one of them. An uplink that was failed
/// over before carries no new flows of clients, so such a flow was left by a run that was killed; the
/// flows that strangers began since then are to stay.
pub fn needs_client_flow(before: &GatewayStatus, intent: Intent, no: UplinkNo) -> bool {
    let was_failed_over = matches!(before.condition(no), Some(Condition::FailedOver(_)));
    was_failed_over && matches!(intent, Intent::FailOver { .. } | Intent::Probed { .. })
}

/// Whether a client is among the addresses that began flows.
pub fn has_client_flow(pools: &Pools, flows_begun_by: &HashMap<IpAddr, u64>) -> bool {
    flows_begun_by
        .keys()
        .any(|&address| Client::new(address).is_ok_and(|client| pools.pool_of(client).is_some()))
}

/// The uplinks whose flows have been ended, after a run: those of before that are still out of
/// service, and those of this run.
pub fn still_cleared(
    config: &Config,
    before: UplinkSet,
    status: &GatewayStatus,
    intent: Intent,
) -> UplinkSet {
    let mut cleared: UplinkSet =
        before.iter().filter(|&no| status.state(no).is_some() && !status.is_up(no)).collect();
    for no in uplinks_to_clear(config, status, intent) {
        cleared.insert(no);
    }
    cleared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{config, no, pools, running};
    use crate::plan::uplinks;

    #[test]
    fn flows_end_only_on_uplinks_that_are_out_while_another_is_in_service() {
        let set = |all: &[u8]| all.iter().map(|&number| no(number)).collect::<UplinkSet>();
        let lost = Intent::Lost { uplink: no(1) };
        let fail_over = Intent::FailOver { uplink: no(1), to: None };
        let probed = Intent::Probed { out: set(&[1, 2]), back: set(&[]) };
        let config = config(&[(1, 1), (2, 1), (3, 1)], "");
        for (usable, intent, wanted) in [
            (&[1, 2, 3][..], lost, &[][..]),
            (&[2, 3], lost, &[1]),
            (&[], lost, &[]),
            (&[1, 2, 3], fail_over, &[1]),
            (&[1, 2, 3], probed, &[1, 2]),
            (&[1, 2, 3], Intent::RESTORE_ALL, &[]),
            (&[2, 3], Intent::Keep, &[]),
        ] {
            let status = uplinks::decide(&config, &running(&config, usable), intent).unwrap();
            let cleared: Vec<u8> =
                uplinks_to_clear(&config, &status, intent).into_iter().map(UplinkNo::get).collect();
            assert_eq!(cleared, wanted, "{usable:?} {intent:?}");
            let still: Vec<u8> = still_cleared(&config, set(&[1, 3]), &status, Intent::Keep)
                .iter()
                .map(UplinkNo::get)
                .collect();
            let out: Vec<u8> = [1, 3].into_iter().filter(|&n| !status.is_up(no(n))).collect();
            assert_eq!(still, out);
        }
    }

    #[test]
    fn flows_of_an_uplink_without_nat_end_when_any_run_finds_it_down() {
        let more = "[uplink.3]\ndev = \"ppp3\"\nnat = false\n";
        let config = config(&[(1, 1), (2, 1)], more);
        for (usable, wanted) in
            [(&[1, 2, 3][..], &[][..]), (&[1, 2], &[3]), (&[1, 3], &[]), (&[], &[])]
        {
            let found = running(&config, usable);
            let status = uplinks::decide(&config, &found, Intent::Keep).unwrap();
            let cleared: Vec<u8> = uplinks_to_clear(&config, &status, Intent::Keep)
                .into_iter()
                .map(UplinkNo::get)
                .collect();
            assert_eq!(cleared, wanted, "{usable:?}");
        }
    }

    #[test]
    fn flows_of_strangers_stay_on_an_uplink_that_was_out_before() {
        let config = config(&[(1, 1), (2, 1)], "");
        let running = running(&config, &[1, 2]);
        let fail_over = Intent::FailOver { uplink: no(1), to: None };
        let up = uplinks::current(&config, &running);
        let out = uplinks::decide(&config, &running, fail_over).unwrap();
        assert!(!needs_client_flow(&up, fail_over, no(1)));
        assert!(needs_client_flow(&out, fail_over, no(1)));
        assert!(!needs_client_flow(&out, Intent::Lost { uplink: no(1) }, no(1)));
        let pools = pools(&[(1, "10.0.0.1")]);
        for (address, wanted) in [("10.0.0.1", true), ("203.0.113.9", false), ("224.0.0.1", false)]
        {
            let begun = HashMap::from([(address.parse().unwrap(), 1)]);
            assert_eq!(has_client_flow(&pools, &begun), wanted, "{address}");
        }
    }
}
