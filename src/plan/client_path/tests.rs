//! Which rule decides on which packet, and where a path that was altered differs, whatever device
//! it ends in.

use std::path::Path as FilePath;

use super::routing::slice;
use super::*;
use crate::plan::service::{self, Intent, Services};
use crate::model::STATE::{Address, Link, Observed};

const CLIENT: &str = "192.168.7.10";

fn config() -> Config {
    let text = "lan = [\"br0\"]\n[uplink.1]\ndev = \"ppp0\"\n[uplink.2]\ndev = \"ppp1\"\n";
    Config::parse(text, FilePath::new("test.toml")).unwrap()
}

/// Both uplinks have an up device with an address.
fn devices_are_up() -> Observed {
    let names = ["ppp0", "ppp1"].map(DevName::from_kernel);
    let link = |(index, name): (u32, &DevName)| Link {
        index,
        name: name.clone(),
        up: true,
        carrier: true,
        point_to_point: true,
    };
    let address = |dev: &DevName| Address {
        dev: dev.clone(),
        local: [10, 64, 1, 2].into(),
        peer: None,
        broadcast: None,
        prefix: 32,
    };
    Observed {
        links: (1..).zip(&names).map(link).collect(),
        addresses: names.iter().map(address).collect(),
        ..Observed::default()
    }
}

fn services(config: &Config, intent: Intent) -> Services {
    service::decide(config, &devices_are_up(), intent).unwrap()
}

fn packet(mark: u32, iif: &DevName) -> Packet<'_> {
    Packet { client: CLIENT.parse().unwrap(), mark, iif: Some(iif) }
}

#[test]
fn each_kind_of_packet_has_one_rule_that_decides() {
    let config = config();
    let slice = slice(&config, &services(&config, Intent::RestoreAll));
    for (mark, iif, pref, whose) in [
        (0x01, "br0", Some(1201), "a client of pool 1"),
        (0x81, "br0", Some(1101), "a flow of uplink 1"),
        (0x83, "br0", Some(1190), "a flow of an uplink that is no more"),
        (0x00, "br0", Some(1301), "a client in no pool"),
        (0x00, "ppp1", Some(1020), "a stranger"),
        (0x81, "ppp1", Some(1020), "a stranger, marked"),
        (0x00, "lo", None, "the router itself"),
        (0xff00, "tun0", None, "somebody else's mark"),
    ] {
        let iif = DevName::from_kernel(iif);
        let path = by_slice(&slice, &packet(mark, &iif));
        assert_eq!(path.rule.map(|rule| rule.pref), pref, "{whose}");
    }
}

#[test]
fn a_path_that_was_altered_differs_though_it_may_end_in_the_same_device() {
    type Damage = fn(&mut Slice);
    let cases: [(&str, Damage, &str); 6] = [
        ("nothing", |_| {}, ""),
        (
            "the pool's rule is deleted",
            |slice| slice.rules.retain(|rule| rule.pref != 1201),
            "rule pref 1301 iif br0 lookup 200 in place of pref 1201 fwmark 0x1/0xff lookup 201",
        ),
        (
            "the pool's own route is deleted",
            |slice| slice.routes.retain(|route| (route.table, route.metric) != (201, 10)),
            "route default nhid 8700 table 201 metric 20 \
             in place of default nhid 8701 table 201 metric 10",
        ),
        (
            "somebody's route by the same device stands in front",
            |slice| {
                let dev = DevName::from_kernel("ppp0");
                let way = RouteTarget::Device { dev, via: None };
                let own = slice.routes.iter().find(|route| route.table == 201).unwrap();
                let theirs = Route { metric: 0, way, ..own.clone() };
                slice.routes.push(theirs);
            },
            "route default dev ppp0 table 201 in place of default nhid 8701 table 201 metric 10",
        ),
        (
            "the nexthop is another device's",
            |slice| {
                let other = slice.nexthops[&8702].clone();
                slice.nexthops.insert(8701, other);
            },
            "nexthop dev ppp1 in place of dev ppp0",
        ),
        (
            "the rule of another pool is deleted",
            |slice| slice.rules.retain(|rule| rule.pref != 1202),
            "",
        ),
    ];
    let config = config();
    let services = services(&config, Intent::RestoreAll);
    let lan = DevName::from_kernel("br0");
    let packet = packet(0x1, &lan);
    for (what, damage, told) in cases {
        let mut found = slice(&config, &services);
        damage(&mut found);
        let difference =
            difference(&by_slice(&found, &packet), &wanted(&config, &services, &packet));
        assert_eq!(difference.unwrap_or_default(), told, "{what}");
    }
}

#[test]
fn a_rule_of_others_that_looks_up_the_same_table_is_told() {
    let config = config();
    let services = services(&config, Intent::RestoreAll);
    let slice = slice(&config, &services);
    let lan = DevName::from_kernel("br0");
    let packet = packet(0x1, &lan);
    let wanted = wanted(&config, &services, &packet);
    let route = wanted.route.clone().unwrap();
    let ours = slice.rules.iter().find(|rule| rule.pref == 1201).unwrap();
    for (from, decides) in [("192.168.7.0/24", 900), ("192.168.8.0/24", 1201)] {
        let from = Some(from.parse().unwrap());
        let theirs = Rule { pref: 900, fwmark: None, from, ..ours.clone() };
        let rules = [&slice.rules[..], &[theirs]].concat();
        let path = by_route(&slice, &rules, &packet, route.clone());
        assert_eq!(path.rule.as_ref().map(|rule| rule.pref), Some(decides));
        assert_eq!(difference(&path, &wanted).is_some(), decides == 900);
    }
}

#[test]
fn without_an_uplink_in_service_a_path_is_unreachable() {
    let config = config();
    let none_is_up = service::decide(&config, &Observed::default(), Intent::RestoreAll).unwrap();
    let lan = DevName::from_kernel("br0");
    for (services, unreachable) in
        [(none_is_up, true), (services(&config, Intent::RestoreAll), false)]
    {
        for mark in [0x1, 0x0] {
            let path = wanted(&config, &services, &packet(mark, &lan));
            assert_eq!(path.is_unreachable(), unreachable, "{path:?}");
        }
    }
}

#[test]
fn a_group_leaves_by_all_its_members() {
    let config = config();
    let lan = DevName::from_kernel("br0");
    for (intent, mark, by) in [
        (Intent::RestoreAll, 0x1, vec!["ppp0"]),
        (Intent::RestoreAll, 0x0, vec!["ppp0", "ppp1"]),
        (Intent::FailOver { uplink: "1".parse().unwrap(), to: None }, 0x1, vec!["ppp1"]),
    ] {
        let slice = slice(&config, &services(&config, intent));
        let path = by_slice(&slice, &packet(mark, &lan));
        let devices = devices(&slice, &path);
        assert_eq!(devices.iter().map(DevName::as_str).collect::<Vec<_>>(), by, "{intent:?}");
    }
}
