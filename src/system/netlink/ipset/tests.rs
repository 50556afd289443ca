//! Messages about the set, byte by byte and back.

use proptest::collection::vec;
use proptest::prelude::*;

use std::net::Ipv4Addr;

use super::*;
use crate::system::netlink::golden::{answer, assert_request, cases};

/// Protocol 7, and the name of the set.
const BEGIN: &str = "02000000  0500 0100 07000000  0c00 0200 77616e70 6f6f6c00";
const TYPE_HASH_IP: &str = "0c00 0300 68617368 3a697000";

/// The header of a usable set with two members; the answer of a kernel is in one piece.
const HEADER: &str = "0500 0400 06000000  0500 0500 02000000
    4400 0780  0800 1240 00000400 0800 1340 00010000 0500 1500 0c000000 0800 1140 7125dce0
               0600 1940 00000000 0800 1a40 000001b8 0800 1840 00000002 0800 0840 00000048";
const MEMBERS: &str = "6c00 0880
    3400 0780  0c00 0180 0800 0100 c0a8070b
               0c00 1840 0000000000001000  0c00 1940 0000000000000009  0c00 1b40 00000002 000000ff
    3400 0780  0c00 0180 0800 0100 c0a8070a
               0c00 1840 0000000000000000  0c00 1940 0000000000000000  0c00 1b40 00000001 000000ff";

const CLIENT_10: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 10));
const CLIENT_11: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 11));

fn mark(value: u32) -> Mark {
    Mark { value, mask: 0xff }
}

fn listing(message: &Message) -> Listing {
    let mut listing = Listing::default();
    parse(&mut listing, &Message { kind: message.kind, payload: &message.payload }).unwrap();
    listing
}

#[test]
fn a_listing_may_leave_out_the_members() {
    assert_request(&build_list(Family::Inet), 0x607, BEGIN);
    assert_request(&build_list_header(Family::Inet), 0x607, &format!("{BEGIN} 0800 0640 00000004"));
}

#[test]
fn a_set_is_created_with_skbinfo_and_counters_in_the_revision_of_the_kernel() {
    let begin = format!("{BEGIN} {TYPE_HASH_IP}");
    let data = "0800 1240 00000400  0800 1340 00010000  0800 0840 00000048";
    assert_request(
        &build_create(Family::Inet, 65_536, 1024, 6),
        0x602,
        &format!(
            "{begin} 0500 0400 06000000 0500 0500 02000000 2400 0780 {data} 0500 1500 0c000000"
        ),
    );
    assert_request(
        &build_create(Family::Inet, 65_536, 1024, 4),
        0x602,
        &format!("{begin} 0500 0400 04000000 0500 0500 02000000 1c00 0780 {data}"),
    );
    assert_request(&build_destroy(Family::Inet), 0x603, BEGIN);
}

#[test]
fn the_revision_is_the_newest_that_both_sides_know() {
    let begin = format!("02000000  0500 0100 07000000  {TYPE_HASH_IP}");
    assert_request(&build_get_type(Family::Inet), 0x60d, &format!("{begin} 0500 0500 02000000"));
    for (kernel, expected) in [("06", 6), ("05", 5), ("07", 6), ("02", 4)] {
        let found = answer(0x60d, &format!("{begin} 0500 0400 {kernel}000000 0500 0a00 00000000"));
        assert_eq!(parse_newest_revision(&[found]).unwrap(), expected, "{kernel}");
    }
    assert_eq!(parse_newest_revision(&[]).unwrap(), 4);
}

#[test]
fn members_are_added_and_deleted_in_one_message() {
    assert_request(
        &build_add(Family::Inet, &[(CLIENT_10, mark(1)), (CLIENT_11, mark(2))]),
        0x609,
        &format!(
            "{BEGIN}  0800 0900 00000000  3c00 0880
             1c00 0780  0c00 0180 0800 0140 c0a8070a  0c00 1b40 00000001 000000ff
             1c00 0780  0c00 0180 0800 0140 c0a8070b  0c00 1b40 00000002 000000ff"
        ),
    );
    assert_request(
        &build_delete(Family::Inet, &[CLIENT_10]),
        0x60a,
        &format!("{BEGIN}  0800 0900 00000000  1400 0880 1000 0780 0c00 0180 0800 0140 c0a8070a"),
    );
}

#[test]
fn a_listing_has_a_header_and_members() {
    let found = answer(0x607, &format!("{BEGIN} {TYPE_HASH_IP} {HEADER} {MEMBERS}"));
    let Listing { set, count, unusable, .. } = listing(&found);
    assert_eq!((set.max, count, unusable), (65_536, Some(2), None));
    assert_eq!(set.entries, [(CLIENT_11, mark(2)), (CLIENT_10, mark(1))]);
    let mut counters = HashMap::new();
    parse_counters(&mut counters, &Message { kind: 0x607, payload: &found.payload }).unwrap();
    assert_eq!(counters, HashMap::from([(CLIENT_11, 9), (CLIENT_10, 0)]));
}

#[test]
fn a_set_that_cannot_hold_the_marks_of_clients_is_unusable() {
    let usable_flags = "0800 0840 00000048";
    let header = |name: &str, family: &str, data: &str| {
        let data: String = data.split_whitespace().collect();
        let length = format!("{:02x}00", data.len() / 2 + 4);
        let hex = format!("{BEGIN} {name} 0500 0500 {family}000000 {length} 0780 {data}");
        match conclude(listing(&answer(0x607, &hex)), Family::Inet) {
            FoundSet::Unusable(reason) => Some(reason),
            _ => None,
        }
    };
    assert_eq!(header(TYPE_HASH_IP, "02", usable_flags), None);
    for (name, family, data, reason) in [
        ("0d00 0300 68617368 3a6e6574 00000000", "02", usable_flags, "of type hash:net"),
        (TYPE_HASH_IP, "0a", usable_flags, "of another address family"),
        (TYPE_HASH_IP, "02", "0800 0840 00000008", "without skbinfo and counters"),
        (TYPE_HASH_IP, "02", "0800 0840 00000040", "without skbinfo and counters"),
        (
            TYPE_HASH_IP,
            "02",
            "0800 0840 00000048 0800 0640 0000003c",
            "with a timeout or a netmask",
        ),
        (
            TYPE_HASH_IP,
            "02",
            "0800 0840 00000048 0500 1400 18000000",
            "with a timeout or a netmask",
        ),
    ] {
        assert_eq!(header(name, family, data).as_deref(), Some(reason));
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// A full batch included: no length overflows its 16 bits.
    #[test]
    fn members_read_back_as_written(
        entries in vec(any::<(IpAddr, u32, u32)>(), 0..9),
        is_full in any::<bool>(),
    ) {
        let mut expected = Vec::new();
        for (address, value, mask) in entries {
            expected.push((address, Mark { value, mask }));
        }
        if is_full {
            expected.resize(BATCH, (CLIENT_10, mark(1)));
        }
        prop_assert_eq!(listing(&build_add(Family::Inet, &expected)).set.entries, expected);
    }
}
