//! Routes as netlink messages, byte by byte and back.

use proptest::prelude::*;

use super::foreign::main_routes;
use super::*;
use crate::model::DevName;
use crate::system::netlink::golden::{answer, assert_request, cases, links};

fn devices() -> DeviceIndex {
    DeviceIndex::new(&links())
}

fn decode(hex: &str) -> RouteMessage {
    answer(RTM_NEWROUTE, hex).decode().unwrap()
}

fn encode(route: &Route) -> Message {
    build(route, 87, &devices()).unwrap()
}

fn default_route(table: u32, metric: u32, target: RouteTarget) -> Route {
    Route { table, dst: IpNet::default(), tos: 0, metric, target }
}

fn device(dev: &str, via: Option<&str>) -> RouteTarget {
    let via = via.map(|via| via.parse().unwrap());
    RouteTarget::Device { dev: DevName::from_kernel(dev), via }
}

/// `10.0.0.0/8 dev ppp0 table 301`.
fn link_route() -> Route {
    Route { dst: "10.0.0.0/8".parse().unwrap(), ..default_route(301, 0, device("ppp0", None)) }
}

#[test]
fn a_request_holds_the_protocol_the_table_and_the_target() {
    for (route, hex) in [
        (
            default_route(201, 0, RouteTarget::Nexthop(8701)),
            "02000000 c9570001 00000000  0800 1e00 fd210000",
        ),
        (
            default_route(302, 5, device("br0", Some("192.168.7.254"))),
            "02000000 fe570001 04000000  0800 0f00 2e010000
             0800 0600 05000000  0800 0400 02000000  0800 0500 c0a807fe",
        ),
        (
            link_route(),
            "02080000 fe57fd01 00000000  0800 0f00 2d010000  0800 0100 0a000000  0800 0400 04000000",
        ),
        (
            default_route(200, 0xff00_2000, RouteTarget::Unreachable),
            "02000000 c8570007 00000000  0800 0600 002000ff",
        ),
        (
            Route { tos: 16, ..default_route(254, 0, RouteTarget::Other) },
            "02000010 fe57ff00 00000000",
        ),
    ] {
        assert_request(&encode(&route), 24, hex);
    }
}

#[test]
fn a_lookup_asks_for_the_matching_route_of_a_forwarded_packet() {
    let client = IpAddr::from([192, 168, 7, 10]);
    let begin = "02202000 00000000 00300000  0800 0100 c0000008  0800 0200 c0a8070a";
    assert_request(
        &build_lookup(client, 0x81, Some(&links()[0])).unwrap(),
        26,
        &format!("{begin}  0800 1000 81000000  0800 0300 02000000"),
    );
    assert_request(
        &build_lookup(client, 0, None).unwrap(),
        26,
        &format!("{begin}  0800 1000 00000000"),
    );
}

#[test]
fn a_route_of_wanpool_is_read_as_it_was_made() {
    for (hex, route) in [
        (
            "02000000 c9570001 00000000  0800 0f00 c9000000  0800 1e00 fd210000  0800 0400 04000000",
            default_route(201, 0, RouteTarget::Nexthop(8701)),
        ),
        (
            "02000000 fc570001 14000000  0800 0f00 2e010000  0800 0600 05000000
             0800 0500 c0a807fe  0800 0400 02000000",
            default_route(302, 5, device("br0", Some("192.168.7.254"))),
        ),
        (
            "02080000 fc57fd01 00000000  0800 0f00 2d010000  0800 0100 0a000000  0800 0400 04000000",
            link_route(),
        ),
        (
            "02000000 c8570007 00000000  0800 0f00 c8000000  0800 0600 002000ff",
            default_route(200, 0xff00_2000, RouteTarget::Unreachable),
        ),
    ] {
        assert_eq!(parse(&decode(hex), &devices()), route);
    }
}

/// `default via 192.168.7.253 dev br0 mtu 1400`.
const WITH_MTU: &str = "02000000 fe040001 10000000  0800 0f00 fe000000
    0c00 0800 0800 0200 78050000  0800 0500 c0a807fd  0800 0400 02000000";
/// `default metric 9 nexthop via 192.168.7.252 dev br0 weight 2 nexthop dev ppp0`.
const MULTIPATH: &str = "02000000 fe040001 00000000  0800 0f00 fe000000  0800 0600 09000000
    1c00 0900  1000 0101 02000000 0800 0500 c0a807fc  0800 0000 04000000";
/// `192.168.7.0/24 dev br0 proto kernel scope link src 192.168.7.1`.
const CONNECTED: &str = "02180000 fe02fd01 00000000  0800 0f00 fe000000
    0800 0100 c0a80700  0800 0700 c0a80701  0800 0400 02000000";

#[test]
fn a_route_that_wanpool_never_makes_has_another_target() {
    let not_onlink = WITH_MTU.replace("0c00 0800 0800 0200 78050000", "");
    let blackhole = "02000000 c8570006 00000000  0800 0f00 c8000000";
    let unknown_device = "02000000 c8570001 00000000  0800 0400 63000000";
    for hex in [WITH_MTU, MULTIPATH, CONNECTED, &not_onlink, blackhole, unknown_device] {
        assert_eq!(parse(&decode(hex), &devices()).target, RouteTarget::Other, "{hex}");
    }
}

#[test]
fn the_routes_of_the_main_table_by_a_device_are_read_in_order_of_metric() {
    let [br0, ppp0] = links();
    let routes =
        |all: &[&str]| -> Vec<RouteMessage> { all.iter().map(|hex| decode(hex)).collect() };
    let found = |all: &[&str], link, protocol| {
        let mut found = Vec::new();
        for route in main_routes(&routes(all), link, protocol) {
            let via = route.via.map_or("none".to_owned(), |via| via.to_string());
            found.push(format!("{} {via}", route.dst));
        }
        found
    };
    let (first, second) = ("0.0.0.0/0 192.168.7.253", "0.0.0.0/0 192.168.7.252");
    let connected = "192.168.7.0/24 none";
    assert_eq!(found(&[MULTIPATH, WITH_MTU, CONNECTED], &br0, 87), [first, connected, second]);
    assert_eq!(found(&[MULTIPATH], &ppp0, 87), ["0.0.0.0/0 none"]);
    assert!(found(&[WITH_MTU], &br0, 4).is_empty(), "a route of wanpool itself");
}

#[test]
fn a_route_that_cannot_be_decoded_is_left_out() {
    let malformed = "02000000 fe040001 00000000  0600 0600 0900 0000";
    let answers = [answer(24, malformed), answer(24, WITH_MTU), answer(32, WITH_MTU)];
    let routes: Vec<RouteMessage> = decode_known(&answers, RTM_NEWROUTE);
    assert_eq!(routes, [decode(WITH_MTU)]);
}

fn any_route() -> impl Strategy<Value = Route> {
    let dev = prop::sample::select(vec!["br0", "ppp0"]).prop_map(DevName::from_kernel);
    // The gateway of a route has the family of its destination.
    let route = |addresses: BoxedStrategy<IpAddr>, longest: u8| {
        let via = prop::option::of(addresses.clone());
        let target = prop_oneof![
            any::<u32>().prop_map(RouteTarget::Nexthop),
            (dev.clone(), via.clone()).prop_map(|(dev, via)| RouteTarget::Device { dev, via }),
            (dev.clone(), via).prop_map(|(dev, via)| RouteTarget::Uplink { dev, via }),
            Just(RouteTarget::Unreachable),
            Just(RouteTarget::Other),
        ];
        let dst = (addresses, 0..=longest)
            .prop_map(|(address, length)| IpNet::new(address, length).unwrap().trunc());
        (any::<(u32, u8, u32)>(), dst, target)
    };
    let inet = any::<std::net::Ipv4Addr>().prop_map(IpAddr::V4).boxed();
    let inet6 = any::<std::net::Ipv6Addr>().prop_map(IpAddr::V6).boxed();
    prop_oneof![route(inet, 32), route(inet6, 128)]
        .prop_map(|((table, tos, metric), dst, target)| Route { table, dst, tos, metric, target })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_route_reads_back_as_written(route in any_route()) {
        prop_assert_eq!(parse(&encode(&route).decode().unwrap(), &devices()), route);
    }
}
