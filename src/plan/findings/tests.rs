//! Each finding as a table: what is found, and what is not.

use std::collections::BTreeSet;

use super::*;
use crate::model::routing::MAIN_TABLE;
use crate::model::{DevName, Family, Mark};
use crate::plan::fixtures::{config, pools, usable};

fn what(surroundings: &Surroundings, sysctls: &[(&str, &str)]) -> Vec<String> {
    let config = config(&[(1, 1), (2, 1)], "");
    let pools = pools(&[(1, "10.0.0.1"), (2, "10.0.0.2")]);
    let sysctls = sysctls.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let found = Snapshot { sysctls, ..usable(&[1, 2]) };
    find(&config, &pools, &found, surroundings).into_iter().map(|finding| finding.what).collect()
}

const NOTHING: &[&str] = &[];

#[test]
fn sysctls_that_drop_packets_are_found() {
    let all = "net/ipv4/conf/all/rp_filter";
    let with_mark = ("net/ipv4/conf/all/src_valid_mark", "1");
    for (sysctls, wanted) in [
        (vec![], NOTHING),
        (vec![("net/ipv4/ip_forward", "1"), (all, "0")], NOTHING),
        (vec![("net/ipv4/ip_forward", "0")], &["forwarding is off"]),
        (vec![(all, "1")], &["net.ipv4.conf.all.rp_filter=1 drops answers"]),
        (vec![(all, "2"), with_mark], NOTHING),
        (
            vec![("net/ipv4/conf/eth1/rp_filter", "2"), (with_mark.0, "0")],
            &["net.ipv4.conf.eth1.rp_filter=2 drops answers"],
        ),
    ] {
        assert_eq!(what(&Surroundings::default(), &sysctls), wanted, "{sysctls:?}");
    }
}

fn rule(pref: u32) -> Rule {
    Rule::new(Family::Inet, pref, RuleAction::Lookup(500))
}

#[test]
fn a_rule_of_another_program_is_found_if_it_takes_packets_of_clients() {
    let dev = |name: &str| Some(DevName::from_kernel(name));
    let mark = |value, mask| Some(Mark { value, mask });
    let from = |net: &str| Some(net.parse().unwrap());
    let with = |selectors: &str| Some(selectors.to_owned());
    for (rule, is_found, why) in [
        (rule(900), true, "it matches everything"),
        (rule(20301), true, "as late as our last rule"),
        (rule(20302), false, "behind our last rule"),
        (Rule { action: RuleAction::Lookup(52), ..rule(900) }, false, "only networks of a VPN"),
        (rule(0), false, "the kernel's own"),
        (Rule::new(Family::Inet, 900, RuleAction::Nop), false, "it decides nothing"),
        (Rule::new(Family::Inet, 900, RuleAction::Goto(32766)), true, "it skips our rules"),
        (Rule::new(Family::Inet, 900, RuleAction::Blackhole), true, "it drops packets"),
        (Rule::new(Family::Inet, 900, RuleAction::Unreachable), true, "it refuses packets"),
        (Rule::new(Family::Inet, 900, RuleAction::Prohibit), true, "it forbids packets"),
        (Rule { action: RuleAction::Lookup(MAIN_TABLE), ..rule(900) }, true, "the main table"),
        (Rule::main_without_default(Family::Inet, 900), false, "default routes do not count"),
        (Rule { iif: dev("br0"), ..rule(900) }, true, "a LAN device"),
        (Rule { iif: dev("dmz0"), ..rule(900) }, false, "no LAN device"),
        (Rule { iif: dev("lo"), ..rule(900) }, false, "packets of the gateway"),
        (Rule { iif: dev("ppp1"), ..rule(900) }, false, "an uplink"),
        (Rule { iif: dev("ppp1"), not: true, ..rule(900) }, true, "all but an uplink"),
        (Rule { from: from("10.0.0.0/24"), ..rule(900) }, true, "clients"),
        (Rule { from: from("10.9.0.0/24"), ..rule(900) }, false, "no client"),
        (Rule { from: from("10.64.1.2/32"), ..rule(900) }, false, "an address of the gateway"),
        (Rule { fwmark: mark(0x1, 0xff), ..rule(900) }, true, "a pool"),
        (Rule { fwmark: mark(0, 0x3f00), ..rule(900) }, true, "packets without other bits"),
        (Rule { fwmark: mark(0x82, 0xff), ..rule(900) }, true, "a flow of uplink 2"),
        (Rule { fwmark: mark(0x7, 0xff), ..rule(900) }, false, "no pool"),
        (Rule { fwmark: mark(0x100, 0xff00), ..rule(900) }, false, "other bits"),
        (Rule { fwmark: mark(0xca6c, 0xffff_ffff), not: true, ..rule(900) }, true, "wg-quick"),
        (Rule { unsupported_selectors: with("to 10.8.0.0/16"), ..rule(900) }, false, "a VPN"),
        (Rule { oif: dev("tun0"), ..rule(900) }, false, "bound sockets"),
        (Rule { unsupported_selectors: with("tos 0x10"), ..rule(900) }, true, "some packets"),
    ] {
        let surroundings = Surroundings {
            foreign_rules: vec![rule.clone()],
            tables_to_internet: BTreeSet::from([500, MAIN_TABLE]),
            ..Default::default()
        };
        let wanted =
            format!("a routing rule of higher precedence matches wanpool's traffic: {rule}");
        let found = what(&surroundings, &[]);
        assert_eq!(found, if is_found { vec![wanted] } else { vec![] }, "{why}");
    }
}

#[test]
fn a_rule_behind_ours_is_found_if_its_table_has_routes() {
    let with_routes = BTreeSet::from([52]);
    let table = |table, pref| Rule::new(Family::Inet, pref, RuleAction::Lookup(table));
    let mut to_others = table(52, 30000);
    to_others.unsupported_selectors = Some("l3mdev".to_owned());
    for (rule, is_found) in [
        (table(52, 30000), true),
        (table(53, 30000), false),
        (table(52, 5270), false),
        (table(52, OF_THE_KERNEL), false),
        (to_others, false),
    ] {
        let surroundings = Surroundings {
            foreign_rules: vec![rule.clone()],
            tables_with_routes: with_routes.clone(),
            ..Default::default()
        };
        assert_eq!(what(&surroundings, &[]).len(), usize::from(is_found), "{rule}");
    }
}

#[test]
fn a_rule_that_accepts_packets_is_found_if_it_can_match_those_of_clients() {
    let device = |pattern: &str, negated| Some(DeviceMatch { pattern: pattern.into(), negated });
    for (input, output, is_found) in [
        (None, None, true),
        (device("br0", false), None, true),
        (device("br+", false), None, true),
        (device("ppp1", false), None, true),
        (device("lo", false), None, false),
        (device("wg0", false), None, false),
        (device("wg0", true), None, true),
        (None, device("ppp2", false), true),
        (None, device("ppp+", false), true),
        (None, device("lo", false), false),
        (None, device("br0", false), false),
        (None, device("br0", true), true),
        (device("wg0", false), device("ppp2", false), false),
    ] {
        let text = format!("mangle FORWARD {input:?} {output:?}");
        let rule = AcceptingRule { input, output, text: text.clone() };
        let surroundings = Surroundings { accepting_rules: vec![rule], ..Default::default() };
        assert_eq!(what(&surroundings, &[]).len(), usize::from(is_found), "{text}");
    }
}

#[test]
fn limits_that_are_nearly_reached_are_found() {
    for (conntrack, neighbour_limit, wanted) in [
        (None, None, NOTHING),
        (Some((899, 1000)), Some(2), NOTHING),
        (Some((900, 1000)), None, &["the conntrack table is nearly full: 900 of 1000"]),
        (None, Some(1), &["2 clients, but the neighbour table has room for 1"]),
    ] {
        let surroundings = Surroundings { conntrack, neighbour_limit, ..Surroundings::default() };
        assert_eq!(what(&surroundings, &[]), wanted);
    }
}

#[test]
fn other_programs_that_bypass_or_delete_the_slice_are_found() {
    let surroundings = Surroundings {
        foreign_defaults: vec![(201, 5)],
        other_iptables: Some("iptables-legacy"),
        flowtables: vec!["f".into()],
        networkd_deletes: true,
        ..Surroundings::default()
    };
    assert_eq!(
        what(&surroundings, &[]),
        [
            "table 201 has a default route of another program, metric 5",
            "iptables-legacy has rules too, and packets pass both",
            "flowtable f forwards flows without marks and rules",
            "systemd-networkd deletes rules and routes that it did not make",
        ]
    );
}
