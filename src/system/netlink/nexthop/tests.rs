//! Nexthops as netlink messages, byte by byte and back.

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;
use crate::model::{DevName, Family};
use crate::system::netlink::golden::{answer, assert_request, cases, links};

fn devices() -> DeviceIndex {
    DeviceIndex::new(&links())
}

fn device(dev: &str, via: Option<&str>) -> Nexthop {
    let via = via.map(|via| via.parse().unwrap());
    Nexthop::Device { family: Family::Inet, dev: DevName::from_kernel(dev), via }
}

#[test]
fn a_request_holds_a_device_or_the_members_of_a_group() {
    let build = |nexthop| build_set(8701, &nexthop, 87, &devices()).unwrap();
    assert_request(
        &build(device("ppp0", None)),
        104,
        "02005700 00000000  0800 0100 fd210000  0800 0500 04000000",
    );
    assert_request(
        &build(device("br0", Some("192.168.7.254"))),
        104,
        "02005700 04000000  0800 0100 fd210000  0800 0500 02000000  0800 0600 c0a807fe",
    );
    assert_request(
        &build(Nexthop::Group(vec![(8701, 3), (8702, 300)])),
        104,
        "00005700 00000000  0800 0100 fd210000
         1400 0200 fd210000 02000000 fe210000 2b010000",
    );
    assert_request(&build_delete(8701), 105, "00000000 00000000  0800 0100 fd210000");
    assert!(build_set(8701, &Nexthop::Other, 87, &devices()).is_err());
}

#[test]
fn an_answer_is_read_by_its_kind() {
    for (hex, id, nexthop) in [
        ("02fe5700 00000000  0800 0100 fd210000  0800 0500 04000000", 8701, device("ppp0", None)),
        (
            "02fd5700 04000000  0800 0100 fe210000  0800 0500 02000000  0800 0600 c0a807fe",
            8702,
            device("br0", Some("192.168.7.254")),
        ),
        (
            "00005700 00000000  0800 0100 fc210000  0600 0300 00000000
             1400 0200 fe210000 c7000000 fd210000 02000000  0800 0e00 00000080",
            8700,
            Nexthop::Group(vec![(8701, 3), (8702, 200)]),
        ),
    ] {
        let found = parse(&answer(104, hex), &devices()).unwrap();
        assert_eq!((found.id, found.protocol, found.nexthop), (id, 87, nexthop));
    }
}

#[test]
fn a_kind_that_wanpool_never_makes_is_other() {
    for (kind, hex) in [
        ("a blackhole", "02005700 00000000  0800 0100 09000000  0400 0400"),
        (
            "a gateway that is not onlink",
            "02fd5700 00000000  0800 0100 fe210000  0800 0500 02000000  0800 0600 c0a807fe",
        ),
        (
            "a tunnel",
            "02fe5700 00000000  0800 0100 fd210000  0800 0500 04000000  0600 0700 01000000",
        ),
        ("an unknown device", "02fe5700 00000000  0800 0100 fd210000  0800 0500 63000000"),
        (
            "a resilient group",
            "00005700 00000000  0800 0100 fc210000  0600 0300 01000000  0c00 0200 fd210000 00000000",
        ),
    ] {
        let found = parse(&answer(104, hex), &devices()).unwrap();
        assert_eq!(found.nexthop, Nexthop::Other, "{kind}");
    }
}

fn device_of(family: Family, dev: DevName, via: Option<std::net::IpAddr>) -> Nexthop {
    Nexthop::Device { family, dev, via }
}

fn any_nexthop() -> impl Strategy<Value = Nexthop> {
    let dev = prop::sample::select(vec!["br0", "ppp0"]).prop_map(DevName::from_kernel);
    prop_oneof![
        (dev.clone(), any::<Option<std::net::Ipv4Addr>>()).prop_map(|(dev, via)| device_of(
            Family::Inet,
            dev,
            via.map(Into::into)
        )),
        (dev, any::<Option<std::net::Ipv6Addr>>()).prop_map(|(dev, via)| device_of(
            Family::Inet6,
            dev,
            via.map(Into::into)
        )),
        btree_map(any::<u32>(), 1u16.., 0..9)
            .prop_map(|members| Nexthop::Group(members.into_iter().collect())),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_nexthop_reads_back_as_written(id: u32, protocol: u8, nexthop in any_nexthop()) {
        let message = build_set(id, &nexthop, protocol, &devices()).unwrap();
        let found = parse(&message, &devices()).unwrap();
        prop_assert_eq!((found.id, found.protocol, found.nexthop), (id, protocol, nexthop));
    }
}
