//! Every decoder of what comes from outside this process, on whatever may come: cut short, out of
//! order, with absurd lengths, of random bytes. It answers or refuses; it never panics.

use proptest::collection::vec;
use proptest::prelude::*;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::message::{Message, attributes};
use super::socket::refusal;
use super::{DeviceIndex, conntrack, ipset, link, neighbour, nexthop, nftables, route, rule};
use crate::model::DevName;
use crate::model::link::Link;

/// `RTM_NEWROUTE`, `RTM_NEWRULE`: the two that a library decodes.
const DECODED: [u16; 2] = [24, 32];

/// An attribute: as it should be, holding others, or with a length that is a lie.
fn attribute() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 4),
        Just(b"eth0\0".to_vec()),
        Just(b"hash:ip\0".to_vec()),
        Just(b"arp_cache\0".to_vec()),
        Just(vec![255; 8]),
    ];
    let leaf = (0..64u16, value, any::<u16>(), 0..8u8).prop_map(encode);
    leaf.prop_recursive(4, 64, 8, |inner| {
        let nest = vec(inner, 0..8).prop_map(|all| all.concat());
        (0..32u16, nest, any::<u16>(), 0..12u8).prop_map(encode)
    })
}

fn encode((kind, value, wrong, flaw): (u16, Vec<u8>, u16, u8)) -> Vec<u8> {
    let length = match flaw {
        0 => wrong,
        1 => wrong % 8,
        _ => value.len() as u16 + 4,
    };
    let flags = if flaw % 2 == 0 { 0x8000 } else { 0 };
    let mut bytes = [length.to_ne_bytes(), (kind | flags).to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message: a fixed part of any length, attributes behind it, perhaps cut short.
fn message() -> impl Strategy<Value = Message> {
    let fixed = prop_oneof![
        vec(any::<u8>(), 0..24),
        (0..4usize).prop_map(|words| vec![0; 4 * words + 4]),
        // IPv4 and plausible lengths, so that the library goes on to the attributes.
        vec(0..3u8, 12).prop_map(|rest| [&[2, 24, 24, 0][..], &rest[4..]].concat()),
    ];
    let kind = prop_oneof![prop::sample::select(&DECODED[..]), any::<u16>()];
    (kind, fixed, vec(attribute(), 0..8), any::<prop::sample::Index>(), 0..4u8).prop_map(
        |(kind, mut payload, attributes, cut, flaw)| {
            payload.extend(attributes.concat());
            if flaw == 0 {
                payload.truncate(cut.index(payload.len() + 1));
            }
            Message { kind, payload }
        },
    )
}

fn a_link() -> Link {
    let name = DevName::from_kernel("br0");
    Link { index: 0, name, up: true, carrier: true, point_to_point: false }
}

fn decode_by_all(message: &Message) {
    let links = [a_link()];
    let devices = DeviceIndex::new(&links);
    drop(link::parse_link(message));
    drop(link::parse_address(message, &links));
    drop(link::parse_traffic(message));
    drop(neighbour::parse(message, &links[0]));
    drop(nexthop::parse(message, &devices).map(|found| found.nexthop.to_string()));
    let borrowed = Message { kind: message.kind, payload: &*message.payload };
    drop(ipset::parse(&mut ipset::Listing::default(), &borrowed));
    drop(ipset::parse_member(&message.payload));
    drop(conntrack::is_over(message));
    for direction in 0..4 {
        drop(conntrack::sender(message, direction));
    }
    drop(nftables::flowtable_name(message));
    drop(neighbour::parse_limit(message));
    for skip in [0, 4, 8, 16] {
        let attributes = message.attributes(skip).unwrap_or_default();
        drop(refusal(i32::MIN, &attributes).to_string());
    }
    match message.decode() {
        Ok(RouteNetlinkMessage::NewRoute(found)) => {
            drop(route::parse(&found, &devices).to_string());
            let _ = route::gateway_through(&found, 0);
        }
        Ok(RouteNetlinkMessage::NewRule(found)) => {
            drop(rule::parse(&found).to_string());
        }
        _ => {}
    }
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn no_message_is_too_odd_for_any_decoder(message in message()) {
        decode_by_all(&message);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error(kind in any::<u16>(), payload in vec(any::<u8>(), 0..256)) {
        decode_by_all(&Message { kind, payload });
    }

    /// What is read is never more than what came.
    #[test]
    fn attributes_hold_no_more_than_came(bytes in vec(any::<u8>(), 0..256)) {
        let held: usize = attributes(&bytes).unwrap_or_default().iter().map(|(_, value)| value.len() + 4).sum();
        prop_assert!(held <= bytes.len());
    }
}
