//! Links and addresses as netlink messages, byte by byte.

use super::*;
use crate::system::netlink::golden::{answer, assert_request, links};

const BR0: &str = "0000 0100 02000000 43100100 00000000  0800 0300 62723000 0800 0400 dc050000";
/// `br0` without a cable, then `ppp0` (`IFF_POINTOPOINT`, `IFF_NOARP`).
const BR0_WITHOUT_CARRIER: &str =
    "0000 0100 02000000 03100000 00000000  0800 0300 62723000 0800 0400 dc050000";
const PPP0: &str =
    "0000 0002 04000000 d1100100 00000000  0900 0300 70707030 00000000 0800 0400 dc050000";

#[test]
fn the_list_of_devices_asks_for_no_counters() {
    let request = build_list_without_counters();
    assert_request(&request, 18, "00000000 00000000 00000000 00000000  0800 1d00 08000000");
}

#[test]
fn a_device_is_read_with_its_flags() {
    let [br0, ppp0] = links();
    let without_carrier = Link { carrier: false, ..br0.clone() };
    for (hex, link) in [(BR0, br0), (BR0_WITHOUT_CARRIER, without_carrier), (PPP0, ppp0)] {
        assert_eq!(parse_link(&answer(16, hex)).unwrap(), link);
    }
}

#[test]
fn a_device_is_read_with_its_vrf_and_its_other_names() {
    // IFLA_LINKINFO with the kind veth and the slave kind vrf; IFLA_PROP_LIST with one name.
    let more = "1800 1200  0900 0100 76657468 00000000  0700 0400 76726600
                1000 3480  0c00 3500 656e7031 73306600";
    let [br0, _] = links();
    let expected = Link { in_vrf: true, other_names: vec!["enp1s0f".to_owned()], ..br0 };
    assert_eq!(parse_link(&answer(16, &format!("{BR0} {more}"))).unwrap(), expected);
}

#[test]
fn the_traffic_of_a_device_is_read_from_its_counters() {
    let counters = "2400 1700 0700000000000000 0800000000000000 0090000000000000 00000a0000000000";
    let found = parse_traffic(&answer(16, &format!("{BR0} {counters}"))).unwrap();
    assert_eq!(found, Some((DevName::from_kernel("br0"), (0x9000, 0xa_0000))));
    assert_eq!(parse_traffic(&answer(16, BR0)).unwrap(), None);
}

#[test]
fn an_address_is_read_with_its_peer_or_its_broadcast_address() {
    let ethernet = answer(
        20,
        "02188000 02000000
         0800 0100 c0a80701  0800 0200 c0a80701  0800 0400 c0a807ff  0800 0300 62723000",
    );
    let ppp = answer(20, "02208000 04000000  0800 0100 64400001  0800 0200 64400002");
    let address = |dev, local: &str, peer, broadcast, prefix| {
        let address = |text: &str| text.parse().unwrap();
        let (peer, broadcast): (Option<&str>, Option<&str>) = (peer, broadcast);
        Address {
            dev: DevName::from_kernel(dev),
            local: address(local),
            peer: peer.map(address),
            broadcast: broadcast.map(address),
            prefix,
        }
    };
    let expected = address("br0", "192.168.7.1", None, Some("192.168.7.255"), 24);
    assert_eq!(parse_address(&ethernet, &links()).unwrap(), Some(expected));
    let expected = address("ppp0", "100.64.0.2", Some("100.64.0.1"), None, 32);
    assert_eq!(parse_address(&ppp, &links()).unwrap(), Some(expected));
    assert_eq!(parse_address(&ppp, &links()[..1]).unwrap(), None, "an unknown device");
}

#[test]
fn an_unknown_device_is_the_error_of_the_kernel() {
    let devices = DeviceIndex::new(&links());
    assert_eq!(devices.index(&DevName::from_kernel("ppp0")).unwrap(), 4);
    let error = devices.index(&DevName::from_kernel("ppp1")).unwrap_err();
    assert_eq!(crate::error::errno(&error), Some(ENODEV));
    assert_eq!(format!("{error:#}"), "ppp1: No such device");
}
