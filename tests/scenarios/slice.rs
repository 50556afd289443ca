//! The slice, row by row, as the kernel's own tools show it.

use serde_json::{Value, json};

use crate::lab::{Iptables, Lab, Shape, four};
use crate::with_both_iptables;

with_both_iptables! {
    the_slice_has_the_chains_of_the_contract,
}

fn served() -> Lab {
    let lab =
        Lab::with().rp_filter(1).serving(&four("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"));
    lab
}

#[test]
fn the_slice_has_the_rules_of_the_contract() {
    let mut expected = vec![
        (
            1000,
            "not from all fwmark 0/0xff lookup main suppress_prefixlength 0 proto 87".to_owned(),
        ),
        (1190, "from all fwmark 0x80/0x80 lookup 200 proto 87".to_owned()),
        (1300, "from all iif br0 lookup main suppress_prefixlength 0 proto 87".to_owned()),
        (1301, "from all iif br0 lookup 200 proto 87".to_owned()),
    ];
    for (number, dev) in [(1, "ppp0"), (2, "ppp1"), (3, "ppp2"), (4, "eth1")] {
        let main = format!("from all iif {dev} lookup main suppress_prefixlength 0 proto 87");
        expected.push((1010, main));
        expected.push((1020, format!("from all iif {dev} blackhole proto 87")));
        let flow = 0x80 + number;
        expected.push((
            1100 + number,
            format!("from all fwmark {flow:#x}/0xff lookup {} proto 87", 300 + number),
        ));
        expected.push((
            1200 + number,
            format!("from all fwmark {number:#x}/0xff lookup {} proto 87", 200 + number),
        ));
    }
    expected.sort();
    let lab = served();
    let mut rules = lab.rules();
    rules.sort();
    assert_eq!(rules, expected);
}

#[test]
fn with_unreachable_the_second_rule_of_a_lan_device_says_so() {
    let lab = Lab::serving(&four("unassigned = \"unreachable\""));
    let rules: Vec<_> = lab.rules().into_iter().filter(|(pref, _)| *pref >= 1300).collect();
    let expected = [
        (1300, "from all iif br0 lookup main suppress_prefixlength 0 proto 87".to_owned()),
        (1301, "from all iif br0 unreachable proto 87".to_owned()),
    ];
    assert_eq!(rules, expected);
}

#[test]
fn the_slice_has_the_nexthops_of_the_contract() {
    let nexthops = served().gateway.json("ip -j nexthop show");
    let by_id =
        |id| nexthops.as_array().unwrap().iter().find(|nexthop| nexthop["id"] == id).unwrap();
    for (id, dev) in [(8701, "ppp0"), (8702, "ppp1"), (8703, "ppp2"), (8704, "eth1")] {
        assert_eq!(
            (&by_id(id)["dev"], &by_id(id)["protocol"]),
            (&json!(dev), &json!("87")),
            "{nexthops}"
        );
    }
    assert_eq!(by_id(8704)["gateway"], "10.65.4.1");
    assert_eq!(by_id(8704)["flags"], json!(["onlink"]));
    let weight = |member: &Value| (member["id"].as_u64(), member["weight"].as_u64().unwrap_or(1));
    let members: Vec<_> = by_id(8700)["group"].as_array().unwrap().iter().map(weight).collect();
    assert_eq!(members, [(Some(8701), 2), (Some(8702), 1), (Some(8703), 1), (Some(8704), 1)]);
    assert_eq!(nexthops.as_array().unwrap().len(), 5);
}

/// A table's routes in order of metric: what, by which nexthop, metric.
fn routes(lab: &Lab, table: u32) -> Vec<(String, Option<u64>, u64)> {
    let routes = lab.gateway.json(&format!("ip -j route show table {table}"));
    let row = |route: &Value| {
        assert_eq!(
            (&route["dst"], &route["protocol"]),
            (&json!("default"), &json!("87")),
            "{routes}"
        );
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
        assert!(
            own.len() == 1 && own[0].starts_with("default ") && own[0].contains(&dev),
            "{own:?}"
        );
    }
    let shared = routes(&lab, 200);
    assert_eq!((shared[0].0.as_str(), shared[0].1), ("unicast", Some(8700)));
    assert_eq!((shared.len(), shared[1].0.as_str()), (2, "unreachable"));
    assert!(lab.gateway.sh("ip route show default").is_empty(), "a default route in main");
}

#[test]
fn the_set_has_marks_counters_and_room_for_a_million() {
    let lab = served();
    let head = lab.gateway.sh("ipset list wanpool -terse");
    assert!(head.contains("Type: hash:ip\n"), "{head}");
    assert!(head.contains(" counters") && head.contains(" skbinfo"), "{head}");
    let words: Vec<&str> = head.split_whitespace().collect();
    let at = words.iter().position(|&word| word == "maxelem").expect("maxelem");
    assert!(words[at + 1].parse::<u32>().unwrap() >= 1_048_576, "{head}");
}

#[test]
fn the_sysctls_are_set_and_stay_set() {
    let lab = served();
    let check = || {
        assert_eq!(lab.gateway.read_sysctl("net/ipv4/ip_forward"), "1");
        assert_ne!(lab.gateway.read_sysctl("net/ipv4/ip_dynaddr"), "0");
    };
    check();
    lab.wanpool(["flush"]).ok();
    check();
}

fn the_slice_has_the_chains_of_the_contract(shape: Shape) {
    let lab = shape.serving(&four("helpers = [\"ftp\", \"irc\"]"));
    let filter = lab.filter();
    let table = |name: &str| {
        let (_, from) = filter
            .split_once(&format!("*{name}\n"))
            .unwrap_or_else(|| panic!("no {name} in\n{filter}"));
        from.split_once("COMMIT").expect("its end").0.to_owned()
    };
    let has = |name: &str, line: &str| {
        assert!(
            table(name).lines().any(|other| other.starts_with(line)),
            "{name}: no {line} in\n{filter}"
        );
    };
    for chain in ["WANPOOL", "WANPOOL-OUT", "WANPOOL-POST", "WANPOOL-MSS"] {
        has("mangle", &format!(":{chain} -"));
    }
    has("mangle", "-A WANPOOL-POST -o ppp0");
    for (from, chain) in
        [("PREROUTING", "WANPOOL"), ("OUTPUT", "WANPOOL-OUT"), ("POSTROUTING", "WANPOOL-POST")]
    {
        let jump = format!("-A {from} -j {chain}");
        assert_eq!(
            table("mangle").lines().filter(|line| *line == jump).count(),
            1,
            "{jump} in\n{filter}"
        );
    }
    has("nat", ":WANPOOL -");
    has("nat", "-A POSTROUTING -j WANPOOL");
    has("raw", ":WANPOOL -");
    has("raw", "-A PREROUTING -j WANPOOL");
    assert!(table("mangle").contains("--map-set wanpool src --map-mark"), "{filter}");
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
    assert!(!lab.members(2).is_empty(), "clients belong to an uplink, dialled or not");
    let others = [1, 3, 4].map(|number| lab.uplink_address(number));
    let seen = lab.client(lab.member(2, 0)).tcp().and_then(|mut conn| conn.ask()).expect("standby");
    assert!(others.contains(&seen), "{seen}");
    lab.redial(2);
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}
