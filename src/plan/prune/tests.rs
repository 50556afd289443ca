//! Which clients may be released, as tables of values.

use super::*;
use crate::model::link::Link;
use crate::plan::fixtures::{config, pools, usable};

/// The device `br0` with the network 10.0.0.0/24.
fn lan() -> Devices {
    let dev = DevName::from_kernel("br0");
    let address = Address {
        dev: dev.clone(),
        local: [10, 0, 0, 254].into(),
        peer: None,
        broadcast: None,
        prefix: 24,
    };
    let link = Link { name: dev, point_to_point: false, ..usable(&[1]).devices.links[0].clone() };
    Devices { links: vec![link], addresses: vec![address] }
}

#[test]
fn clients_that_arp_cannot_show_may_not_leave() {
    let config = config(&[(1, 1)], "");
    let may_leave = |devices: &Devices, client: &str| {
        may_leave(&config, devices)(client.parse::<Client>().unwrap())
    };
    let mut devices = lan();
    assert!(may_leave(&devices, "10.0.0.3"));
    assert!(!may_leave(&devices, "10.9.0.3"), "behind another router");
    devices.addresses[0].prefix = 32;
    assert!(may_leave(&devices, "10.9.0.3"), "a host of a device with a borrowed address");
    devices.links[0].point_to_point = true;
    assert!(!may_leave(&devices, "10.0.0.3"), "on a tunnel");
}

#[test]
fn only_clients_that_show_no_sign_of_life_and_are_not_pinned_are_candidates() {
    let config = config(&[(1, 1)], "[pin]\n\"10.0.0.4\" = 1\n");
    let pools = pools(&[(1, "10.0.0.1"), (1, "10.0.0.2"), (1, "10.0.0.3"), (1, "10.0.0.4")]);
    let client = |text: &str| text.parse::<Client>().unwrap();
    let with_flows = HashSet::from([client("10.0.0.2").address()]);
    let mut devices = lan();
    let candidates = |devices: &Devices| {
        let found = [Sighting { client: client("10.0.0.1"), silent_for: None }];
        candidates(&config, devices, &pools, &found, &with_flows)
    };
    assert_eq!(candidates(&devices), [client("10.0.0.3")]);
    devices.links[0].up = false;
    assert_eq!(candidates(&devices), [], "its device is down");
}

#[test]
fn the_last_sign_of_life_counts_whoever_gave_it() {
    let config = config(&[(1, 1)], "[pin]\n\"10.0.0.9\" = 1\n");
    let seconds = Duration::from_secs;
    let client = |last: u8| Client::new([10, 0, 0, last].into()).unwrap();
    let sighting = |last, age| Sighting { client: client(last), silent_for: age };
    let addresses: Vec<String> = (1..=9).map(|last| client(last).to_string()).collect();
    let pools = pools(&addresses.iter().map(|it| (1, it.as_str())).collect::<Vec<_>>());
    // 1: a flow; 2: an entry without age; 3: heard lately; 4: heard long ago; 5: as 4, but heard
    // lately by an earlier run; 6: only an earlier run knows it, lately; 7: the same, long ago; 8:
    // never heard; 9: pinned.
    let found = [
        sighting(1, Some(seconds(900))),
        sighting(2, None),
        sighting(3, Some(seconds(99))),
        sighting(4, Some(seconds(100))),
        sighting(5, Some(seconds(100))),
    ];
    let known = LastHeard::from([
        (client(4), seconds(800)),
        (client(5), seconds(950)),
        (client(6), seconds(950)),
        (client(7), seconds(900)),
        (client(9), seconds(0)),
    ]);
    let (now, with_flows) = (seconds(1000), HashSet::from([client(1).address()]));
    let heard = last_heard(&pools, &found, &with_flows, &known, now);
    let times: Vec<u64> = heard.values().map(Duration::as_secs).collect();
    assert_eq!(times, [1000, 1000, 901, 900, 950, 950, 900, 1000, 0]);
    let silent = silent_for(&config, &lan(), &heard, seconds(100), now);
    assert_eq!(silent, [client(4), client(7)]);

    let released = LastHeard::from([(client(4), seconds(900))]);
    for (last, age, expected) in [
        (4, Some(seconds(100)), true),
        (4, Some(seconds(99)), true),
        (4, Some(seconds(98)), false),
        (4, None, false),
        (5, Some(seconds(100)), false),
    ] {
        let found = is_still_silent(&released, &sighting(last, age), now);
        assert_eq!(found, expected, "{last} {age:?}");
    }
}

#[test]
fn a_lan_device_that_is_down_or_absent_stops_the_run() {
    let lan = config(&[(1, 1)], "");
    let dev = DevName::from_kernel;
    let any = Config { lan: Lan::AllButUplinks, ..lan.clone() };
    let two = Config { lan: Lan::Devices(vec![dev("br1"), dev("br0")]), ..lan.clone() };
    let named = |name, up, carrier| Link {
        in_vrf: false,
        other_names: vec![],
        index: 1,
        name: dev(name),
        up,
        carrier,
        point_to_point: false,
        mtu: 1500,
    };
    let link = |up, carrier| named("br0", up, carrier);
    for (mut links, is_fine) in [
        (vec![link(true, true)], true),
        (vec![link(true, false)], false),
        (vec![link(false, true)], false),
        (vec![], false),
    ] {
        links.push(named("br1", true, true));
        let devices = Devices { links, ..Devices::default() };
        assert_eq!(require_lan_up(&lan, &devices).is_ok(), is_fine);
        assert_eq!(require_lan_up(&two, &devices).is_ok(), is_fine);
        assert!(require_lan_up(&any, &devices).is_err(), "no device has an address");
    }
}
