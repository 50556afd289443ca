//! Which uplinks are in service, by which gateway, after which command.

mod hooks;

use super::*;
use crate::model::routing::{MainRoute, Route, RouteTarget};
use crate::plan::fixtures::{after, config, dev, no, running, usable};
use crate::plan::tests::fake_kernel::delete_nexthop;
use crate::plan::tests::reach;

fn none() -> crate::model::pools::Pools {
    Default::default()
}

fn condition(config: &Config, found: &Snapshot, intent: Intent) -> Condition {
    decide(config, found, intent).unwrap().uplinks[&no(1)].condition
}

fn fail_over_1() -> Intent {
    Intent::FailOver { uplink: no(1), to: None }
}

const MANUAL: Condition = Condition::FailedOver(FailoverCause::Manual);
const PROBE: Condition = Condition::FailedOver(FailoverCause::Probe);

#[test]
fn a_failover_lasts_until_a_restore_and_a_lost_nexthop_is_no_failover() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    delete_nexthop(&mut found.routing, 8701);
    assert_eq!(condition(&config, &found, Intent::Keep), Condition::Up, "a lost carrier");

    found = after(&config, &running(&config, &[1, 2]), &none(), fail_over_1());
    assert_eq!(condition(&config, &found, Intent::Keep), MANUAL);
    assert_eq!(condition(&config, &found, Intent::RESTORE_ALL), Condition::Up);
    let other = Intent::Restore { uplink: no(2), via: None };
    assert_eq!(condition(&config, &found, other), MANUAL);
}

#[test]
fn an_uplink_is_usable_if_it_is_up_and_has_an_address_and_a_next_hop() {
    let config = config(&[(1, 1), (2, 1)], "");
    let condition = |found: &Snapshot| condition(&config, found, Intent::Keep);
    let mut found = usable(&[1, 2]);
    assert_eq!(condition(&found), Condition::Up);
    found.devices.links[0].point_to_point = false;
    assert_eq!(condition(&found), Condition::Down(DownReason::NoGateway));
    found.main_routes.insert(dev(1), vec![default_by([10, 64, 1, 1].into())]);
    assert_eq!(condition(&found), Condition::Up);
    found.devices.addresses.remove(0);
    assert_eq!(condition(&found), Condition::Down(DownReason::NoAddress));
    found.devices.links[0].carrier = false;
    assert_eq!(condition(&found), Condition::Down(DownReason::NoCarrier));
    found.devices.links[0].up = false;
    assert_eq!(condition(&found), Condition::Down(DownReason::NotUp));
    found.devices.links.remove(0);
    assert_eq!(condition(&found), Condition::Down(DownReason::NoDevice));
}

#[test]
fn the_last_uplink_in_service_cannot_be_failed_over() {
    let config = config(&[(1, 1), (2, 1)], "");
    let found = running(&config, &[1]);
    let error = |uplink, to| {
        let result = decide(&config, &found, Intent::FailOver { uplink, to });
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(error(no(1), None).starts_with("no other uplink is in service"));
    assert_eq!(error(no(1), Some(no(2))), "uplink 2 (ppp2) is not in service; see `wanpool pools`");
    assert_eq!(error(no(1), Some(no(1))), "uplink 1 (ppp1) cannot replace itself");
    assert_eq!(error(no(2), None), "", "it is out of service already");
}

#[test]
fn probes_take_out_all_but_one_and_put_back_only_what_probes_took_out() {
    let config = config(&[(1, 1), (2, 1), (3, 1)], "");
    let mut found = running(&config, &[1, 2, 3]);
    let set = |all: &[u8]| all.iter().map(|&number| no(number)).collect();
    let probed = |out: &[u8], back: &[u8]| Intent::Probed { out: set(out), back: set(back) };
    let up = |found: &Snapshot, intent| -> Vec<u8> {
        decide(&config, found, intent).unwrap().up().map(UplinkNo::get).collect()
    };
    assert_eq!(up(&found, probed(&[1, 2, 3], &[])), [3]);
    found = after(&config, &found, &none(), fail_over_1());
    found = after(&config, &found, &none(), probed(&[2], &[]));
    assert_eq!(up(&found, Intent::Keep), [3]);
    assert_eq!(up(&found, probed(&[], &[1, 2])), [2, 3], "1 was failed over by hand");
    assert_eq!(up(&found, probed(&[3], &[2])), [2]);
    assert_eq!(up(&found, Intent::RESTORE_ALL), [1, 2, 3]);
    found = after(&config, &found, &none(), Intent::FailOver { uplink: no(2), to: None });
    assert_eq!(up(&found, probed(&[], &[1, 2])), [3], "2 is failed over by hand now");
}

#[test]
fn a_mark_of_failover_belongs_to_the_device_and_not_to_the_number() {
    let before = config(&[(1, 1), (2, 1)], "");
    let found = after(&before, &running(&before, &[1, 2]), &none(), fail_over_1());
    let text = "lan = [\"br0\"]\n[uplink.1]\ndev = \"ppp2\"\n[uplink.2]\ndev = \"ppp1\"\n";
    let swapped = Config::parse(text, std::path::Path::new("test.toml")).unwrap();
    let condition = condition(&swapped, &found, Intent::Keep);
    assert_eq!(condition, Condition::Up, "ppp2 was never failed over");
}

fn gateway(last: u8) -> IpAddr {
    IpAddr::from([10, 64, 1, last])
}

/// The default route of the main table by this gateway.
fn default_by(via: IpAddr) -> MainRoute {
    MainRoute { dst: Default::default(), via: Some(via) }
}

/// Uplink 1 is on ethernet, and the main table has a default route by its gateway, .1.
fn ethernet() -> Snapshot {
    let mut found = usable(&[1, 2]);
    found.devices.links[0].point_to_point = false;
    found.main_routes.insert(dev(1), vec![default_by(gateway(1))]);
    found
}

#[test]
fn the_configured_gateway_comes_first_and_a_restore_determines_any_other_anew() {
    let plain = config(&[(1, 1), (2, 1)], "");
    let mut configured = plain.clone();
    configured.uplinks.get_mut(&no(1)).unwrap().via = Some(gateway(9));
    let mut found = ethernet();
    let via = |config: &Config, found: &Snapshot, intent| {
        decide(config, found, intent).unwrap().uplinks[&no(1)].via.unwrap()
    };
    let given = |last| Intent::Restore { uplink: no(1), via: Some(gateway(last)) };
    assert_eq!(via(&plain, &found, Intent::Keep), gateway(1), "the main table's");
    assert_eq!(via(&plain, &found, given(7)), gateway(7), "the one just given");
    assert_eq!(via(&configured, &found, Intent::Keep), gateway(9), "the configured one");
    assert_eq!(via(&configured, &found, given(7)), gateway(7), "the one just given");
    let hook = Intent::Returned { uplink: no(1), via: Some(gateway(7)) };
    assert_eq!(via(&configured, &found, hook), gateway(9), "the configured one");

    found = after(&plain, &found, &none(), given(7));
    assert_eq!(via(&plain, &found, Intent::Keep), gateway(1), "the main table's again");
    assert_eq!(via(&configured, &found, Intent::Keep), gateway(9), "an edit of the configuration");
    assert_eq!(via(&plain, &found, Intent::RESTORE_ALL), gateway(1), "the main table's again");
    found.main_routes.clear();
    assert_eq!(via(&plain, &found, Intent::Keep), gateway(7), "the last one used");
    assert_eq!(via(&plain, &found, Intent::RESTORE_ALL), gateway(7), "there is no other");
    found.devices.links[0].point_to_point = true;
    let status = decide(&plain, &found, Intent::RESTORE_ALL).unwrap();
    assert_eq!(status.uplinks[&no(1)].via, None, "the device needs none");
}

#[test]
fn probes_never_leave_all_clients_without_service() {
    let config = config(&[(1, 1), (2, 1), (3, 1)], "");
    let by_probe = |all: &[u8]| Intent::Probed {
        out: all.iter().map(|&number| no(number)).collect(),
        back: Default::default(),
    };
    let up = |found: &Snapshot, intent| -> Vec<u8> {
        decide(&config, found, intent).unwrap().up().map(UplinkNo::get).collect()
    };
    let mut found = after(&config, &running(&config, &[1, 2, 3]), &none(), by_probe(&[1, 2]));
    assert_eq!(up(&found, Intent::Keep), [3]);
    // The last uplink hangs up.
    delete_nexthop(&mut found.routing, 8703);
    found.routing.routes.retain(|route| route.dev() != Some(&dev(3)));
    found.devices.links.retain(|link| link.name != dev(3));
    for intent in [Intent::Keep, Intent::Lost { uplink: no(3) }, by_probe(&[])] {
        assert_eq!(up(&found, intent), [1, 2], "{intent:?}");
        reach(&config, &found, &none(), intent);
    }
    assert_eq!(up(&found, by_probe(&[1])), [2], "the unhealthy one stays out");
    assert_eq!(up(&found, by_probe(&[1, 2])), [2], "one of the unhealthy ones serves");
    found.devices.links.retain(|link| link.name != dev(1));
    found.routing.routes.retain(|route| route.dev() != Some(&dev(1)));
    assert_eq!(up(&found, Intent::Keep), [2], "the other device is gone");

    found = after(&config, &running(&config, &[1, 2]), &none(), fail_over_1());
    found.devices.links.retain(|link| link.name != dev(2));
    assert_eq!(up(&found, Intent::Keep), [0; 0], "a failover by hand stays");
}

#[test]
fn a_device_that_has_lost_its_address_is_not_up() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    found.devices.addresses.retain(|address| address.dev != dev(1));
    let lost = Condition::Down(DownReason::AddressLost);
    assert_eq!(current(&config, &found).uplinks[&no(1)].condition, lost);
    let none = Condition::Down(DownReason::NoAddress);
    assert_eq!(condition(&config, &found, Intent::Keep), none);
}

#[test]
fn an_uplink_without_carrier_can_be_failed_over() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = running(&config, &[1, 2]);
    delete_nexthop(&mut found.routing, 8701);
    found.devices.links[0].carrier = false;
    found = after(&config, &found, &none(), fail_over_1());
    found.devices.links[0].carrier = true;
    assert_eq!(condition(&config, &found, Intent::Keep), MANUAL);
}

#[test]
fn a_failover_by_hand_holds_while_the_device_is_down_or_has_no_address() {
    let config = config(&[(1, 1), (2, 1)], "");
    let whole = running(&config, &[1, 2]);
    let mut found = after(&config, &whole, &none(), fail_over_1());
    // The kernel deletes what leads to the device.
    found.devices.links[0].up = false;
    found.devices.addresses.remove(0);
    found.routing.routes.retain(|route| route.dev() != Some(&dev(1)));
    assert_eq!(condition(&config, &found, Intent::Keep), MANUAL);
    reach(&config, &found, &none(), Intent::Keep);
    found = after(&config, &found, &none(), Intent::Keep);
    found.devices = whole.devices.clone();
    for intent in [Intent::Keep, Intent::Returned { uplink: no(1), via: None }] {
        assert_eq!(condition(&config, &found, intent), MANUAL);
        reach(&config, &found, &none(), intent);
    }
    let restore = Intent::Restore { uplink: no(1), via: None };
    assert_eq!(condition(&config, &found, restore), Condition::Up);
    found.devices.links[0].index = 9;
    assert_eq!(condition(&config, &found, Intent::Keep), Condition::Up, "it was dialled again");

    // A device that is down can be failed over.
    found = whole;
    delete_nexthop(&mut found.routing, 8701);
    found.routing.routes.retain(|route| route.dev() != Some(&dev(1)));
    found.devices.links[0].up = false;
    found = after(&config, &found, &none(), fail_over_1());
    found.devices.links[0].up = true;
    assert_eq!(condition(&config, &found, Intent::Keep), MANUAL);
}

#[test]
fn a_failover_by_hand_of_version_0_1_0_is_recognised() {
    let config = config(&[(1, 1), (2, 1)], "");
    let mut found = after(&config, &running(&config, &[1, 2]), &none(), fail_over_1());
    for route in &mut found.routing.routes {
        if route.target == RouteTarget::Throw {
            route.dst = Default::default();
            route.target = RouteTarget::Device { dev: dev(1), via: None };
        }
    }
    assert_eq!(condition(&config, &found, Intent::Keep), MANUAL);
    reach(&config, &found, &none(), Intent::Keep);
}

#[test]
fn an_uplink_that_goes_out_of_service_carries_no_other_pool() {
    let config = config(&[(1, 1), (2, 1), (3, 1)], "");
    let to_2 = Intent::FailOver { uplink: no(1), to: Some(no(2)) };
    let found = after(&config, &running(&config, &[1, 2, 3]), &none(), to_2);
    let by_hand = Intent::FailOver { uplink: no(2), to: None };
    let by_probe = Intent::Probed { out: [no(2)].into_iter().collect(), back: Default::default() };
    for (intent, to) in [(Intent::Keep, Some(no(2))), (by_hand, None), (by_probe, None)] {
        let status = decide(&config, &found, intent).unwrap();
        assert_eq!(status.uplinks[&no(1)].override_uplink, to, "{intent:?}");
        reach(&config, &found, &none(), intent);
    }
}
