//! `pools`, as text and as JSON, compared with the kernel's own tools and with the man pages.

use std::fs;

use serde_json::{Value, json};

use crate::lab::{Lab, LanHosts, OFFICE, PORT, PRINTER, Shape, four, three};

with_both_iptables! {
    pools_of_one_uplink_counts_connections_and_live_flows,
}

/// The keys of a list's first object, in the order in which they are printed.
fn keys(report: &Value) -> Vec<&str> {
    let first = if report.is_array() { &report[0] } else { report };
    first
        .as_object()
        .unwrap_or_else(|| panic!("no object in {report}"))
        .keys()
        .map(String::as_str)
        .collect()
}

const POOLS: [&str; 9] =
    ["pool", "uplink", "state", "carried_by", "fwmark", "table", "weight", "clients", "share"];
/// The keys that a man page documents under this heading: the words in italics of each item.
fn documented(page: &str, heading: &str) -> Vec<String> {
    let page = format!("{}/man/{page}", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(page).expect("the man page");
    let (_, section) =
        page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    let section = section.split("\n.S").next().expect("its text");
    let mut words = Vec::new();
    for item in section.split(".TP\n").skip(1) {
        let names = item.lines().next().expect("its names");
        let names = names.strip_prefix(".IR ").or(names.strip_prefix(".I ")).expect("italics");
        words.extend(names.split(" \", \" ").map(str::to_owned));
    }
    words
}

#[test]
fn the_columns_and_json_keys_are_those_of_the_man_pages_in_order() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0).to_string();
    let scan = lab.wanpool(["-j", "scan"]).json();
    assert_eq!(keys(&scan), documented("wanpool-scan.8", ".SH OUTPUT"));
    assert_eq!(keys(&scan), ["address", "lladdr", "dev", "state", "pool"]);

    // Without probes, the last columns do not exist.
    let of_pool = documented("wanpool-pools.8", ".SS Pools");
    assert_eq!(of_pool[..9], POOLS);
    assert_eq!(of_pool[9..], ["since", "loss", "rtt"]);
    assert_eq!(keys(&lab.wanpool(["-j", "pools"]).json()), POOLS);
    let of_one = lab.wanpool(["-j", "pools", "2"]).json();
    assert_eq!(keys(&of_one), [&POOLS[..], &["members"]].concat());
    let of_clients = lab.wanpool(["pools", "2"]);
    let head: Vec<&str> = of_clients.ok().lines()[0].split_whitespace().collect();
    assert_eq!(head, documented("wanpool-pools.8", ".SS Clients of an uplink"));
    assert_eq!(head, ["address", "lladdr", "dev", "state", "connections", "flows"]);

    let path = lab.wanpool(["-j", "pools", &client]).json();
    assert_eq!(keys(&path), documented("wanpool-pools.8", ".SS Path of a client"));
    assert_eq!(keys(&lab.wanpool(["-j", "pools", "--check"]).json()), ["steps", "findings"]);
    let changed = lab.wanpool(["-j", "assign"]).json();
    assert_eq!(
        keys(&changed),
        ["assigned", "released", "moved", "flows_ended", "steps", "uplinks"]
    );
    let failed_over = lab.wanpool(["-j", "failover", "1", "--to", "2"]).json();
    let expected = json!([{"pool": 1, "uplink": "ppp0", "state": "failed-over", "to": "ppp1", "reason": null}]);
    assert_eq!(failed_over["uplinks"], expected);
    assert_eq!(lab.wanpool(["-j", "failover", "1"]).json()["uplinks"], json!([]));
    lab.gateway.sh("ip link set ppp0 down");
    let down = lab.wanpool(["-j", "restore"]).json();
    let expected = json!([{"pool": 1, "uplink": "ppp0", "state": "down", "to": null, "reason": "the device is not up"}]);
    assert_eq!(down["uplinks"], expected);
}

#[test]
fn the_json_values_have_the_types_of_the_contract() {
    let lab = Lab::serving(&three("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"));
    let neighbours = lab.gateway.json("ip -j neigh show dev br0");
    for row in lab.wanpool(["-j", "scan"]).json().as_array().unwrap() {
        let mut all = neighbours.as_array().unwrap().iter();
        let same = all.find(|other| other["dst"] == row["address"]).expect("a neighbour");
        assert_eq!(row["lladdr"], same["lladdr"]);
        assert!(row["state"].is_string() && row["pool"].is_u64() && row["dev"] == "br0", "{row}");
    }
    let row = json!({"pool": 1, "uplink": "ppp0", "state": "up", "carried_by": "ppp0",
        "fwmark": "0x1", "table": 201, "weight": 2, "clients": 15, "share": 50.0});
    let report = lab.wanpool(["-j", "pools"]).json();
    assert_eq!((&report[0], report.as_array().map(Vec::len)), (&row, Some(3)));
}

#[test]
fn pools_shows_states_shares_and_active_uplinks() {
    let lab = Lab::serving(&four("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"));
    // 12, 6, 6, 6: three of pool 2 move to pool 3.
    lab.run(&format!("assign {} --pool 3", lab.pool(2)[..3].join(" "))).ok();
    lab.wanpool(["failover", "ppp1", "--to", "eth1"]).ok();
    lab.hang_up(3);
    let rows = [
        ["1", "ppp0", "up", "ppp0", "0x1", "201", "2", "12", "40.0/40.0"],
        ["2", "ppp1", "failed-over", "eth1", "0x2", "202", "1", "3", "10.0/20.0"],
        ["3", "ppp2", "down", "ppp0,eth1", "0x3", "203", "1", "9", "30.0/20.0"],
        ["4", "eth1", "up", "eth1", "0x4", "204", "1", "6", "20.0/20.0"],
    ];
    let text = lab.wanpool(["pools"]);
    assert_eq!(text.rows(), rows, "{text}");
    let report = lab.wanpool(["-j", "pools"]).json();
    let expected =
        [(40.0, &[1][..]), (10.0, &[4]), (30.0, &[1, 4]), (20.0, &[4])].into_iter().zip(rows);
    for (row, ((share, active), columns)) in report.as_array().unwrap().iter().zip(expected) {
        assert_eq!((&row["share"], &row["carried_by"]), (&json!(share), &json!(columns[3])));
        lab.assert_leaves_by(lab.member(row["pool"].as_u64().unwrap() as u8, 0), active);
    }
    for number in [1, 2, 4] {
        lab.hang_up(number);
    }
    let row = &lab.wanpool(["-j", "pools"]).json()[0];
    assert_eq!((&row["state"], &row["carried_by"]), (&json!("down"), &json!(null)));
    assert_eq!(lab.wanpool(["pools"]).rows()[0][2..4], ["down", "-"]);
}

/// A client's row of `pools UPLINK`.
fn row_of(lab: &Lab, uplink: &str, client: impl ToString) -> Vec<String> {
    let client = client.to_string();
    let text = lab.wanpool(["pools", uplink]);
    let rows = text.rows();
    let row = rows.iter().find(|row| row[0] == client).unwrap_or_else(|| panic!("{text}"));
    row.iter().map(|&word| word.to_owned()).collect()
}

fn pools_of_one_uplink_counts_connections_and_live_flows(shape: Shape) {
    let lab = shape.serving(&three(""));
    let [busy, idle, unknown] = [0, 1, 2].map(|at| lab.member(2, at));
    lab.gateway.sh(&format!("ip neigh del {unknown} dev br0"));
    let mut tcp: Vec<_> = (0..3).map(|_| lab.client(busy).tcp().unwrap()).collect();
    let mut udp: Vec<_> = (0..2).map(|_| lab.client(busy).udp().unwrap()).collect();
    for conn in tcp.iter_mut().chain(&mut udp) {
        for _ in 0..10 {
            assert_eq!(conn.ask(), Ok(lab.uplink_address(2)));
        }
    }
    let known = lab.gateway.json(&format!("ip -j neigh show {busy} dev br0"));
    let lladdr = known[0]["lladdr"].as_str().unwrap().to_owned();
    let row = row_of(&lab, "2", busy);
    assert_eq!(row[..3], [busy.to_string(), lladdr.clone(), "br0".to_owned()]);
    assert!(["reachable", "stale", "delay", "probe"].contains(&&*row[3]), "{row:?}");
    assert_eq!(row[4..], ["5", "5"], "connections begun, and live flows");
    let row = row_of(&lab, "ppp1", idle);
    assert_eq!((&row[1], &row[4..]), (&lladdr, ["0", "0"].map(String::from).as_slice()));
    assert_eq!(row_of(&lab, "ppp1", unknown)[1..], ["-", "-", "-", "0", "0"]);

    drop(tcp.pop());
    lab.await_closed(busy);
    assert_eq!(row_of(&lab, "2", busy)[4..], ["5", "4"]);
    lab.wanpool(["assign", &busy.to_string(), "--pool", "1"]).ok();
    assert_eq!(row_of(&lab, "1", busy)[5], "4", "its flows live on after the move");
    let addresses: Vec<String> =
        lab.wanpool(["pools", "1"]).rows().iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(addresses, lab.pool(1), "in order of arrival");
    let report = lab.wanpool(["-j", "pools", "1"]).json();
    assert_eq!((&report[0]["members"], &report[0]["clients"]), (&json!(lab.pool(1)), &json!(11)));
}

#[test]
fn flows_to_the_lan_are_not_counted_as_flows_of_an_uplink() {
    let lab = Lab::new();
    let _inside = LanHosts::raise(&lab);
    lab.serve(&three(""));
    let client = lab.member(1, 0);
    for host in [PRINTER, OFFICE] {
        let to = std::net::SocketAddrV4::new(host, PORT);
        assert_eq!(lab.client(client).to(to).udp().unwrap().ask(), Ok(client));
    }
    assert_eq!(row_of(&lab, "1", client)[5], "0", "live flows by an uplink");
}

#[test]
fn without_root_pools_and_scan_show_what_needs_no_root() {
    let lab = Lab::four_uplinks();
    let by_nobody = |args: &str| lab.run_as_nobody(args);
    for args in ["pools", "-j pools", "-j pools 4", "scan", "-j scan --new"] {
        let root = lab.run(args);
        assert_eq!(by_nobody(args).ok().stdout, root.ok().stdout, "{args}");
    }
    let of_one = by_nobody("pools 4");
    assert_eq!(of_one.ok().rows().len(), lab.pool(4).len());
    assert!(of_one.rows().iter().all(|row| row[1] != "-" && row[4..] == ["-", "-"]), "{of_one}");

    let client = lab.member(4, 0).to_string();
    let mut path = lab.wanpool(["-j", "pools", &client]).json();
    let mut by_user = by_nobody(&format!("-j pools {client}")).json();
    assert_eq!(by_user[0]["set"], json!(null));
    for report in [&mut path, &mut by_user] {
        report[0]["set"] = json!(null);
    }
    assert_eq!(by_user, path, "without root the pool file replaces the set");
    by_nobody("pools --check").refused(1).naming(&["root"]);
}

#[test]
fn pools_is_the_default_command() {
    let lab = Lab::three_uplinks();
    let text = lab.wanpool([]);
    let head: Vec<&str> = text.ok().lines()[0].split_whitespace().collect();
    assert_eq!(head, POOLS);
    for command in ["pools", "po"] {
        assert_eq!(lab.wanpool([command]).ok().stdout, text.stdout);
    }
    let [by_number, by_device] = ["-j pools 1", "-j pools ppp0"].map(|command| lab.run(command));
    assert_eq!(by_number.json(), by_device.json());
}
