//! Every parse function on malformed messages: cut short, out of order, with wrong lengths, of
//! random bytes. It returns a value or an error; it never panics.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::golden::{cases, links};
use super::ipset::listing;
use super::message::{Message, attributes};
use super::socket::kernel_error;
use super::{DeviceIndex, conntrack, link, neighbour, nexthop, nftables, route, rule};
use crate::model::Family;

/// An attribute: well-formed, containing others, or with a wrong length.
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

/// A message: a fixed part of any length and attributes behind it, perhaps cut short.
fn message() -> impl Strategy<Value = Message> {
    let fixed = prop_oneof![
        vec(any::<u8>(), 0..24),
        (0..4usize).prop_map(|words| vec![0; 4 * words + 4]),
        // IPv4 and plausible prefix lengths, so that the library decodes the attributes.
        vec(0..3u8, 12).prop_map(|rest| [&[2, 24, 24, 0][..], &rest[4..]].concat()),
    ];
    (any::<u16>(), fixed, vec(attribute(), 0..8), any::<prop::sample::Index>(), 0..4u8).prop_map(
        |(kind, mut payload, attributes, cut, flaw)| {
            payload.extend(attributes.concat());
            if flaw == 0 {
                payload.truncate(cut.index(payload.len() + 1));
            }
            Message { kind, payload }
        },
    )
}

fn parse_with_every_function(message: &Message) {
    let links = links();
    let devices = DeviceIndex::new(&links);
    let borrowed = Message { kind: message.kind, payload: &*message.payload };
    drop(link::parse_link(message));
    drop(link::parse_address(message, &links));
    drop(link::parse_traffic(message));
    drop(neighbour::parse(message, &links[0]));
    drop(neighbour::parse_limit(message));
    drop(nexthop::parse(message, &devices).map(|found| found.nexthop.to_string()));
    drop(listing::parse(&mut listing::Listing::default(), &borrowed));
    drop(listing::parse_counters(&mut HashMap::new(), &borrowed));
    drop(listing::parse_member(&message.payload));
    drop(conntrack::has_ended(message));
    drop(conntrack::build_end_one(Family::Inet, message));
    for direction in 0..4 {
        drop(conntrack::source(message, direction));
    }
    drop(nftables::parse_generation(message));
    drop(nftables::parse_flowtable_name(message));
    nftables::parse_foreign(message, &devices);
    for skip in [0, 4, 8, 16] {
        let attributes = message.attributes(skip).unwrap_or_default();
        drop(kernel_error(i32::MIN, &attributes).to_string());
    }
    if let Ok(found) = message.decode() {
        drop(route::parse(&found, &devices).to_string());
        let _ = route::gateway_through(&found, 0);
    }
    if let Ok(found) = message.decode() {
        drop(rule::parse(&found).to_string());
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_malformed_message_makes_a_parse_function_panic(message in message()) {
        parse_with_every_function(&message);
    }

    #[test]
    fn no_random_bytes_make_a_parse_function_panic(kind in any::<u16>(), payload in vec(any::<u8>(), 0..256)) {
        parse_with_every_function(&Message { kind, payload });
    }

    #[test]
    fn attributes_are_never_longer_than_the_bytes_they_are_read_from(bytes in vec(any::<u8>(), 0..256)) {
        let length: usize = attributes(&bytes).unwrap_or_default().iter().map(|(_, value)| value.len() + 4).sum();
        prop_assert!(length <= bytes.len());
    }
}
