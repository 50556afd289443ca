//! Every decoder of what comes from outside this process, on whatever may come: cut short, out of
//! order, with absurd lengths, of random bytes. It answers or refuses; it never panics.

use proptest::collection::vec;
use proptest::prelude::*;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::error::KernelError;
use super::iptables::{foreign, parse_save};
use super::netlink::{Raw, attributes};
use super::{Devices, conntrack, health, ipset, link, neighbour, nexthop, route, rule};
use crate::model::DevName;
use crate::state::{Link, Slice};
use crate::step::{NexthopText, RouteText, RuleText};

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
fn message() -> impl Strategy<Value = Raw> {
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
            Raw { kind, payload }
        },
    )
}

fn a_link() -> Link {
    let name = DevName::from_kernel("br0");
    Link { index: 0, name, up: true, carrier: true, point_to_point: false }
}

fn decode_by_all(message: &Raw) {
    let links = [a_link()];
    let devices = Devices::new(&links);
    drop(link::parse_link(message));
    drop(link::parse_address(message, &links));
    drop(link::parse_traffic(message));
    drop(neighbour::parse(message, &links[0]));
    drop(nexthop::parse(message, &devices).map(|found| NexthopText(&found.nexthop).to_string()));
    let borrowed = Raw { kind: message.kind, payload: &*message.payload };
    drop(ipset::parse(&mut ipset::Listing::default(), &borrowed));
    drop(ipset::parse_member(&message.payload));
    drop(conntrack::is_over(message));
    for direction in 0..4 {
        drop(conntrack::sender(message, direction));
    }
    drop(health::flowtable_name(message));
    drop(health::parse_limit(message));
    for skip in [0, 4, 8, 16] {
        let attributes = message.attributes(skip).unwrap_or_default();
        drop(KernelError::new(i32::MIN, &attributes).to_string());
    }
    match message.decode() {
        Ok(RouteNetlinkMessage::NewRoute(found)) => {
            drop(RouteText(&route::parse(&found, &devices)).to_string());
            let _ = route::gateway_through(&found, 0);
        }
        Ok(RouteNetlinkMessage::NewRule(found)) => {
            drop(RuleText(&rule::parse(&found)).to_string());
        }
        _ => {}
    }
}

/// Lines as `iptables-save` prints them, and lines that it never would.
fn saved() -> impl Strategy<Value = String> {
    let word = prop::sample::select(
        &["WANPOOL", "PREROUTING", "-j", "-g", "ACCEPT", "RETURN", "-i", "é", "\"", "a", "b", ""][..],
    );
    let rule = vec(word, 0..8).prop_map(|words| format!("-A {}", words.join(" ")));
    let fixed = ["*mangle", "*nat", "*", ":WANPOOL - [0:0]", ":", ": ", "COMMIT", "-A", "-A ", "#"];
    let line = prop_oneof![4 => rule, 2 => prop::sample::select(fixed.to_vec()).prop_map(String::from),
        1 => any::<String>()];
    vec(line, 0..40).prop_map(|lines| lines.join("\n"))
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
        decode_by_all(&Raw { kind, payload });
    }

    /// What is read is never more than what came.
    #[test]
    fn attributes_hold_no_more_than_came(bytes in vec(any::<u8>(), 0..256)) {
        let held: usize = attributes(&bytes).unwrap_or_default().iter().map(|(_, value)| value.len() + 4).sum();
        prop_assert!(held <= bytes.len());
    }

    #[test]
    fn no_saved_rule_set_is_too_odd_to_read(text in saved()) {
        let mut slice = Slice::default();
        parse_save(&text, &mut slice);
        let rules: usize = slice.chains.values().map(Vec::len).sum();
        prop_assert!(rules + slice.jumps.len() <= text.lines().count());
        drop(foreign::accepted_before(&text));
    }
}

/// Thirty chains, each of which leads to the next one three times: a walk of every way through them
/// would have no end.
#[test]
fn chains_that_lead_to_one_another_are_each_looked_into_once() {
    let mut text = String::from("*mangle\n-A PREROUTING -j c0\n-A PREROUTING -j WANPOOL\n");
    for at in 0..30 {
        text += &format!("-A c{at} -j c{next}\n", next = at + 1).repeat(3);
    }
    assert!(foreign::accepted_before(&text).is_empty());
    // A loop, which no kernel takes, ends too.
    text += "-A c30 -j c0\n";
    assert!(foreign::accepted_before(&text).is_empty());
    text += "-A c30 -j ACCEPT\n";
    assert_eq!(foreign::accepted_before(&text), ["mangle PREROUTING -j c0"]);
}
