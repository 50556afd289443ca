//! Which rule decides on which packet, and where an altered path differs, whatever device it ends in.

use super::*;
use crate::plan::fixtures::{config, dev, no, pools, running, usable};
use crate::plan::uplinks::{self, Intent};

const CLIENT: &str = "10.0.0.1";

fn two_uplinks() -> Config {
    config(&[(1, 1), (2, 1)], "")
}

fn status(config: &Config, intent: Intent) -> GatewayStatus {
    uplinks::decide(config, &running(config, &[1, 2]), intent).unwrap()
}

fn packet(mark: u32, iif: &DevName) -> Packet<'_> {
    Packet { client: CLIENT.parse().unwrap(), mark, iif: Some(iif) }
}

#[test]
fn one_rule_decides_on_each_kind_of_packet() {
    let config = two_uplinks();
    let routing = routing::wanted(&config, &status(&config, Intent::RESTORE_ALL));
    for (mark, iif, pref, what) in [
        (0x01, "br0", Some(20201), "a client of pool 1"),
        (0x81, "br0", Some(20111), "a flow of uplink 1"),
        (0x83, "br0", Some(20190), "a flow of an uplink that no longer exists"),
        (0x00, "br0", Some(20301), "a client in no pool"),
        (0x00, "ppp1", Some(20020), "a packet from an uplink"),
        (0x81, "ppp1", Some(20020), "the same with a mark"),
        (0x00, "lo", None, "the router itself"),
        (0xff00, "tun0", None, "a mark of another program"),
    ] {
        let iif = DevName::from_kernel(iif);
        let path = by_routing(&routing, &packet(mark, &iif));
        assert_eq!(path.rule.map(|rule| rule.pref), pref, "{what}");
    }
}

#[test]
fn an_altered_path_differs_even_if_it_ends_in_the_same_device() {
    type Damage = fn(&mut Routing);
    let cases: [(&str, Damage, &str); 6] = [
        ("nothing", |_| {}, ""),
        (
            "the rule of the pool is deleted",
            |routing| routing.rules.retain(|rule| rule.pref != 20201),
            "rule pref 20301 iif br0 lookup 200 in place of pref 20201 fwmark 0x1/0xff lookup 201",
        ),
        (
            "the pool's own route is deleted",
            |routing| routing.routes.retain(|route| (route.table, route.metric) != (201, 10)),
            "route default nhid 8700 table 201 metric 20 \
             in place of default nhid 8701 table 201 metric 10",
        ),
        (
            "another program's route by the same device comes first",
            |routing| {
                let target = RouteTarget::Device { dev: dev(1), via: None };
                let own = routing.routes.iter().find(|route| route.table == 201).unwrap();
                let theirs = Route { metric: 0, target, ..own.clone() };
                routing.routes.push(theirs);
            },
            "route default dev ppp1 table 201 in place of default nhid 8701 table 201 metric 10",
        ),
        (
            "the nexthop is that of another device",
            |routing| {
                let other = routing.nexthops[&8702].clone();
                routing.nexthops.insert(8701, other);
            },
            "nexthop dev ppp2 in place of dev ppp1",
        ),
        (
            "the rule of another pool is deleted",
            |routing| routing.rules.retain(|rule| rule.pref != 20202),
            "",
        ),
    ];
    let config = two_uplinks();
    let status = status(&config, Intent::RESTORE_ALL);
    let lan = DevName::from_kernel("br0");
    let packet = packet(0x1, &lan);
    for (what, damage, told) in cases {
        let mut found = routing::wanted(&config, &status);
        damage(&mut found);
        let found = by_routing(&found, &packet);
        let difference = difference(&found, &wanted(&config, &status, &packet));
        assert_eq!(difference.unwrap_or_default(), told, "{what}");
    }
}

#[test]
fn a_rule_of_another_program_that_looks_up_the_same_table_is_reported() {
    let config = two_uplinks();
    let status = status(&config, Intent::RESTORE_ALL);
    let routing = routing::wanted(&config, &status);
    let lan = DevName::from_kernel("br0");
    let packet = packet(0x1, &lan);
    let wanted = wanted(&config, &status, &packet);
    let route = wanted.route.clone().unwrap();
    let ours = routing.rules.iter().find(|rule| rule.pref == 20201).unwrap();
    for (from, decides) in [("10.0.0.0/24", 900), ("10.9.0.0/24", 20201)] {
        let from = Some(from.parse().unwrap());
        let theirs = Rule { pref: 900, fwmark: None, from, ..ours.clone() };
        let rules = [&routing.rules[..], &[theirs]].concat();
        let path = by_route(&routing, &rules, &packet, route.clone());
        assert_eq!(path.rule.as_ref().map(|rule| rule.pref), Some(decides));
        assert_eq!(difference(&path, &wanted).is_some(), decides == 900);
    }
}

#[test]
fn without_an_uplink_in_service_a_path_is_unreachable() {
    let config = two_uplinks();
    let none_up = uplinks::decide(&config, &usable(&[]), Intent::RESTORE_ALL).unwrap();
    let lan = DevName::from_kernel("br0");
    for (status, unreachable) in [(none_up, true), (status(&config, Intent::RESTORE_ALL), false)] {
        for mark in [0x1, 0x0] {
            let path = wanted(&config, &status, &packet(mark, &lan));
            assert_eq!(path.is_unreachable(), unreachable, "{path:?}");
        }
    }
}

#[test]
fn the_devices_of_a_group_are_all_its_members() {
    let config = two_uplinks();
    let lan = DevName::from_kernel("br0");
    for (intent, mark, by) in [
        (Intent::RESTORE_ALL, 0x1, vec![dev(1)]),
        (Intent::RESTORE_ALL, 0x0, vec![dev(1), dev(2)]),
        (Intent::FailOver { uplink: no(1), to: None }, 0x1, vec![dev(2)]),
    ] {
        let routing = routing::wanted(&config, &status(&config, intent));
        let path = by_routing(&routing, &packet(mark, &lan));
        assert_eq!(devices(&routing, &path), by, "{intent:?}");
    }
}

#[test]
fn the_first_thing_that_is_wrong_with_a_path_is_reported() {
    let config = two_uplinks();
    let pools = pools(&[(1, CLIENT)]);
    let mark = Some(config.kernel_ids.pool_mark(no(1)));
    let lan = DevName::from_kernel("br0");
    let failed_over = Intent::FailOver { uplink: no(1), to: None };
    for (intent, entry, refusal, told) in [
        (Intent::RESTORE_ALL, Some(mark), None, ""),
        (Intent::RESTORE_ALL, None, None, ""),
        (
            Intent::RESTORE_ALL,
            Some(None),
            None,
            "the set says nothing, the pool file 0x1/0xff: wanpool restore",
        ),
        (
            Intent::RESTORE_ALL,
            Some(mark),
            Some("Network is unreachable"),
            "the kernel does not forward: Network is unreachable",
        ),
        (failed_over, Some(mark), None, "its uplink ppp1 is failed-over"),
    ] {
        let status = status(&config, intent);
        let path = wanted(&config, &status, &packet(0x1, &lan));
        let comparison = Comparison {
            client: CLIENT.parse().unwrap(),
            pools: &pools,
            status: &status,
            config: &config,
            found: &path,
            wanted: &path,
            entry,
            refusal: refusal.map(str::to_owned),
        };
        assert_eq!(comparison.difference().unwrap_or_default(), told);
    }
}

#[test]
fn an_uplink_masquerades_if_a_rule_says_so_or_without_rights_the_configuration() {
    let config = config(&[(1, 1)], "[uplink.2]\ndev = \"ppp2\"\nnat = false\n");
    let filter = crate::plan::fixtures::wanted_filter(&config);
    for (number, wanted) in [(1, true), (2, false), (3, false)] {
        assert_eq!(is_masqueraded(&config, Some(&filter), &dev(number)), wanted);
        assert_eq!(is_masqueraded(&config, None, &dev(number)), wanted);
        assert!(!is_masqueraded(&config, Some(&Filter::default()), &dev(number)));
    }
}
