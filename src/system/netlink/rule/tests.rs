//! Rules as netlink messages, byte by byte and back.

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::system::netlink::golden::{answer, assert_request, cases};

fn from_kernel(hex: &str) -> Rule {
    parse(&answer(RTM_NEWRULE, hex).decode().unwrap())
}

fn encode(rule: &Rule) -> Message {
    Message::encode(RTM_NEWRULE, &build(rule, 87))
}

fn mark_rule() -> Rule {
    let fwmark = Some(Mark { value: 0x81, mask: 0xff });
    Rule { fwmark, ..Rule::new(Family::Inet, 1010, RuleAction::Lookup(301)) }
}

/// `not fwmark 0/0xff iif br0 unreachable`.
fn unreachable_rule() -> Rule {
    Rule {
        not: true,
        fwmark: Some(Mark { value: 0, mask: 0xff }),
        iif: Some(DevName::from_kernel("br0")),
        ..Rule::new(Family::Inet, 1020, RuleAction::Unreachable)
    }
}

#[test]
fn a_request_holds_the_protocol_and_the_selectors_of_the_rule() {
    assert_request(&build_list(Family::Inet), 34, "02000000 00000000 00000000");
    assert_request(&build_list(Family::Inet6), 34, "0a000000 00000000 00000000");
    for (rule, hex) in [
        (
            Rule::main_without_default(Family::Inet, 1000),
            "02000000 00000001 00000000  0800 0600 e8030000  0500 1500 57000000
             0800 0f00 fe000000  0800 0e00 00000000",
        ),
        (
            mark_rule(),
            "02000000 00000001 00000000  0800 0600 f2030000  0500 1500 57000000
             0800 0f00 2d010000  0800 0a00 81000000  0800 1000 ff000000",
        ),
        (
            unreachable_rule(),
            "02000000 00000007 02000000  0800 0600 fc030000  0500 1500 57000000
             0800 0a00 00000000  0800 1000 ff000000  0800 0300 62723000",
        ),
    ] {
        assert_request(&encode(&rule), 32, hex);
    }
}

#[test]
fn a_rule_of_wanpool_is_read_as_it_was_made() {
    for (hex, rule) in [
        (
            "02000000 fe000001 00000000  0800 0f00 fe000000  0800 0e00 00000000
             0500 1500 57000000  0800 0600 e8030000",
            Rule::main_without_default(Family::Inet, 1000),
        ),
        (
            "02000000 fc000001 00000000  0800 0f00 2d010000  0800 0e00 ffffffff
             0500 1500 57000000  0800 0600 f2030000  0800 0a00 81000000  0800 1000 ff000000",
            mark_rule(),
        ),
        (
            "02000000 00000007 02000000  0800 0f00 00000000  0800 0e00 ffffffff
             0500 1500 57000000  0800 0300 62723000  0800 0600 fc030000  0800 1000 ff000000",
            unreachable_rule(),
        ),
    ] {
        assert_eq!(from_kernel(hex), rule);
        let message = answer(RTM_NEWRULE, hex).decode().unwrap();
        assert!(has_protocol(&message, 87) && !has_protocol(&message, 2));
    }
}

#[test]
fn a_rule_of_another_program_is_read_in_the_words_of_ip_rule() {
    for (hex, text) in [
        (
            "02180810 07000001 00000000  0800 0f00 07000000  0800 0e00 ffffffff  0500 1500 00000000
             0900 1100 70707030 00000000  0800 0600 88130000  0c00 1400 00000000 05000000
             0800 1700 0a001400  0800 1800 50005000  0500 1600 06000000  0600 1d00 ffff0000
             0800 0100 01020300  0800 0200 0a000000",
            "pref 5000 from 10.0.0.0/8 tos 0x10 uidrange 0-5 sport 10-20 dport 80 \
             ipproto 6 to 1.2.3.0/24 oif ppp0 lookup 7",
        ),
        (
            "02000000 09000001 00000000  0800 0f00 09000000  0800 0e00 08000000  0500 1500 00000000
             0800 0600 8c130000  0c00 0c00 0000000000000009  0800 0d00 03000000  0800 0b00 04000300",
            "pref 5004 tun_id 9 suppress_ifgroup 3 realms 3/4 lookup 9 suppress_prefixlength 8",
        ),
        (
            "02000000 00000002 00000000  0800 0600 89130000  0800 0400 fe7f0000",
            "pref 5001 goto 32766",
        ),
        ("02000000 00000003 00000000  0800 0600 8a130000", "pref 5002 nop"),
        ("02000000 00000008 00000000  0800 0600 8b130000", "pref 5003 prohibit"),
        (
            "02000000 00000001 00000000  0800 0600 8d130000  0500 1300 01000000",
            "pref 5005 l3mdev lookup 0",
        ),
        (
            "02000000 00000003 00000000  0800 0600 8a130000  0800 6300 01000000",
            "pref 5002 (unknown selector) nop",
        ),
    ] {
        assert_eq!(from_kernel(hex).to_string(), text);
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![
        any::<u32>().prop_map(RuleAction::Lookup),
        any::<u32>().prop_map(RuleAction::Goto),
        Just(RuleAction::Blackhole),
        Just(RuleAction::Unreachable),
        Just(RuleAction::Prohibit),
        Just(RuleAction::Nop),
    ];
    let mark = any::<(u32, u32)>().prop_map(|(value, mask)| Mark { value, mask });
    let dev = "[a-z0-9._-]{1,15}".prop_map(|name| DevName::from_kernel(&name));
    let devices = (option::of(dev.clone()), option::of(dev));
    let suppress = prop_oneof![Just(None), (0..=32u32).prop_map(Some)];
    let from = (any::<std::net::IpAddr>(), 0..=32u8)
        .prop_map(|(address, length)| IpNet::new(address, length).unwrap());
    let flags = (any::<(u32, bool)>(), suppress);
    (flags, action, option::of(mark), devices, option::of(from)).prop_map(
        |(((pref, not), suppress_prefixlength), action, fwmark, (iif, oif), from)| Rule {
            not,
            suppress_prefixlength,
            fwmark,
            iif,
            oif,
            from,
            ..Rule::new(Family::Inet, pref, action)
        },
    )
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_rule_reads_back_as_written(rule in any_rule()) {
        prop_assert_eq!(parse(&encode(&rule).decode().unwrap()), rule);
    }
}
