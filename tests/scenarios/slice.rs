//! The slice of the contract, as the kernel's own tools show it.

use serde_json::{Value, json};

use crate::lab::{CHAINS, Iptables, Lab, Shape, four};

with_both_iptables! {
    the_slice_has_the_chains_of_the_contract,
}

fn served() -> Lab {
    Lab::with().rp_filter(1).serving(&four("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"))
}

#[test]
fn the_slice_has_the_rules_of_the_contract() {
    let lab = served();
    let mut expected = vec![
        "20180: from all fwmark 0x80/0x80 iif lo lookup main".to_owned(),
        "20190: from all fwmark 0x80/0x80 lookup 200".to_owned(),
        "20195: not from all fwmark 0/0xff lookup main suppress_prefixlength 0".to_owned(),
        "20300: from all iif br0 lookup main suppress_prefixlength 0".to_owned(),
        "20301: from all iif br0 lookup 200".to_owned(),
    ];
    for (number, dev) in [(1, "ppp0"), (2, "ppp1"), (3, "ppp2"), (4, "eth1")] {
        let address = lab.uplink_address(number);
        expected.extend([
            format!("20010: from all iif {dev} lookup main suppress_prefixlength 1"),
            format!("20020: from all iif {dev} blackhole"),
            format!("2011{number}: from all fwmark {:#x}/0xff lookup 30{number}", 0x80 + number),
            format!("2020{number}: from all fwmark {number:#x}/0xff lookup 20{number}"),
            format!("20280: from all oif {dev} lookup 30{number}"),
            format!(
                "20288: from {address} fwmark 0x7f/0xff iif lo lookup main suppress_prefixlength 0"
            ),
            format!("20289: from {address} fwmark 0x7f/0xff iif lo lookup 30{number}"),
            format!("20290: from {address} iif lo lookup main"),
            format!("20291: from {address} iif lo lookup 30{number}"),
        ]);
    }
    expected.sort();
    let rules = lab.rules();
    let mut rules: Vec<_> = rules.iter().map(|(pref, rule)| format!("{pref}: {rule}")).collect();
    rules.sort();
    assert_eq!(rules, expected.iter().map(|rule| format!("{rule} proto 87")).collect::<Vec<_>>());
}

#[test]
fn the_slice_has_the_nexthops_of_the_contract() {
    let nexthops = served().gateway.json("ip -j nexthop show");
    let nexthops = nexthops.as_array().unwrap();
    let by_id = |id| nexthops.iter().find(|nexthop| nexthop["id"] == id).unwrap();
    for (id, dev) in [(8701, "ppp0"), (8702, "ppp1"), (8703, "ppp2"), (8704, "eth1")] {
        let nexthop = by_id(id);
        assert_eq!((&nexthop["dev"], &nexthop["protocol"]), (&json!(dev), &json!("87")));
    }
    assert_eq!(by_id(8704)["gateway"], "10.65.4.1");
    assert_eq!(by_id(8704)["flags"], json!(["onlink"]));
    let weight = |member: &Value| (member["id"].as_u64(), member["weight"].as_u64().unwrap_or(1));
    let members: Vec<_> = by_id(8700)["group"].as_array().unwrap().iter().map(weight).collect();
    assert_eq!(members, [(Some(8701), 2), (Some(8702), 1), (Some(8703), 1), (Some(8704), 1)]);
    assert_eq!(nexthops.len(), 5);
}

/// A table's routes in order of metric: type, nexthop, metric.
fn routes(lab: &Lab, table: u32) -> Vec<(String, Option<u64>, u64)> {
    let routes = lab.gateway.json(&format!("ip -j route show table {table}"));
    let row = |route: &Value| {
        assert_eq!((&route["dst"], &route["protocol"]), (&json!("default"), &json!("87")));
        let kind = route["type"].as_str().unwrap_or("unicast").to_owned();
        (kind, route["nhid"].as_u64(), route["metric"].as_u64().unwrap_or(0))
    };
    let mut rows: Vec<_> = routes.as_array().unwrap().iter().map(row).collect();
    rows.sort_by_key(|(_, _, metric)| *metric);
    rows
}

#[test]
fn the_slice_has_the_tables_of_the_contract() {
    let lab = served();
    for number in 1..=4 {
        let pool = routes(&lab, 200 + number);
        let by = |nhid, metric| ("unicast".to_owned(), Some(nhid), metric);
        assert_eq!(pool[..2], [by(u64::from(8700 + number), 10), by(8700, 20)]);
        assert_eq!((pool.len(), pool[2].0.as_str()), (3, "unreachable"));
        let dev = lab.uplink_dev(u8::try_from(number).unwrap());
        let own = lab.table(300 + number);
        assert!(own[0].starts_with("default ") && own[0].contains(&dev), "{own:?}");
        // The neighbours of an ethernet uplink are not behind its gateway.
        let rest: Vec<&str> = own[1..].iter().map(|route| &route[..route.len().min(21)]).collect();
        let wanted: &[&str] = if dev == "eth1" { &["10.65.4.0/24 dev eth1"] } else { &[] };
        assert_eq!(rest, wanted);
    }
    let shared = routes(&lab, 200);
    assert_eq!((shared[0].0.as_str(), shared[0].1), ("unicast", Some(8700)));
    assert_eq!((shared.len(), shared[1].0.as_str()), (2, "unreachable"));
    assert!(lab.gateway.sh("ip route show default").is_empty(), "a default route in main");
}

#[test]
fn the_set_has_marks_counters_and_room_for_a_million_and_the_sysctls_stay_set() {
    let lab = served();
    let head = lab.gateway.sh("ipset list wanpool -terse");
    for part in ["Type: hash:ip\n", " counters", " skbinfo"] {
        assert!(head.contains(part), "no {part}: {head}");
    }
    let (_, limit) = head.split_once("maxelem ").expect("maxelem");
    let limit = limit.split_whitespace().next().expect("a number");
    assert!(limit.parse::<u32>().unwrap() >= 1_048_576, "{head}");
    for when in ["served", "flushed"] {
        assert_eq!(lab.gateway.read_sysctl("net/ipv4/ip_forward"), "1", "{when}");
        assert_ne!(lab.gateway.read_sysctl("net/ipv4/ip_dynaddr"), "0", "{when}");
        lab.wanpool(["flush"]).ok();
    }
}

fn the_slice_has_the_chains_of_the_contract(shape: Shape) {
    let filter = shape.serving(&four("helpers = [\"ftp\", \"irc\"]")).filter();
    let count = |table: &str, start: &str, end: &str| {
        let (_, from) = filter.split_once(&format!("*{table}\n")).expect(table);
        let (table, _) = from.split_once("COMMIT").expect("its end");
        table.lines().filter(|line| line.starts_with(start) && line.ends_with(end)).count()
    };
    for (table, from, chain) in CHAINS {
        assert_eq!(count(table, &format!(":{chain} -"), ""), 1, "{table} {chain} in\n{filter}");
        let jumps = count(table, &format!("-A {from} "), &format!("-j {chain}"));
        assert_eq!(jumps, 1, "jumps to {table} {chain} in\n{filter}");
    }
    assert!(count("mangle", "-A WANPOOL-POST -o ppp0 ", "") > 0, "{filter}");
    assert!(filter.contains("--map-set wanpool src --map-mark"), "{filter}");
}

#[test]
fn the_slice_is_the_same_with_iptables_nft_and_iptables_legacy() {
    let config = four("helpers = [\"ftp\", \"irc\"]");
    let [nft, legacy] = [Iptables::Nft, Iptables::Legacy].map(|iptables| {
        let lab = Lab::with().iptables(iptables).serving(&config);
        let mut filter: Vec<String> = lab.filter().lines().map(str::to_owned).collect();
        filter.sort();
        let sets = lab.kernel_state().0;
        let sets = sets.split("== sets").nth(1).expect("the sets").to_owned();
        (filter, lab.rules(), sets, lab.gateway.sh("ip nexthop; ip -4 route show table all"))
    });
    assert_eq!(nft, legacy);
}

#[test]
fn clients_of_an_uplink_without_device_use_the_others() {
    let lab = Lab::new();
    lab.hang_up(2);
    lab.serve(&four(""));
    assert!(!lab.members(2).is_empty(), "clients belong to an uplink, with or without device");
    lab.assert_leaves_by(lab.member(2, 0), &[1, 3, 4]);
    lab.redial(2);
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}
