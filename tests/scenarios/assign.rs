//! `assign`: which client goes to which pool, and that its packets leave by that uplink.

use std::net::Ipv4Addr;

use crate::lab::{Lab, Shape, three};

with_both_iptables! {
    thirty_clients_are_assigned_ten_each_to_three_equal_uplinks,
    a_client_is_moved_and_released_by_name,
}

fn thirty_clients_are_assigned_ten_each_to_three_equal_uplinks(shape: Shape) {
    let lab = shape.raise();
    lab.config(&three(""));
    lab.discover(&lab.everyone());
    lab.wanpool(["restore"]).ok();
    let placed = lab.wanpool(["assign"]);
    let lines: Vec<String> = (lab.everyone().iter().zip((1..=3).cycle()))
        .map(|(client, pool)| format!("{client} pool {pool} {}", lab.uplink_dev(pool)))
        .collect();
    assert_eq!(placed.ok().lines(), lines);
    assert_eq!(lab.pool_sizes(), [10, 10, 10]);
    let distinct =
        format!("cd {} && cat pool1 pool2 pool3 | sort -u | wc -l", lab.pool_dir().display());
    assert_eq!(lab.gateway.sh(&distinct).trim(), "30");
    let mark = |client: Ipv4Addr| format!("{:#x}/0xff", lab.pool_of(client).expect("a pool"));
    let marks = lab.everyone().into_iter().map(|client| (client, mark(client))).collect();
    assert_eq!(lab.marks(), marks);
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

fn a_client_is_moved_and_released_by_name(shape: Shape) {
    let lab = shape.serving(&three(""));
    let client = lab.member(1, 4);
    let name = client.to_string();
    let mut open = lab.client(client).tcp().unwrap();
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)));

    let moved = lab.wanpool(["-j", "assign", &name, "--pool", "ppp2"]).json();
    let expected = serde_json::json!([{"client": name, "pool": 3, "uplink": "ppp2", "from": 1}]);
    assert_eq!(moved["moved"], expected);
    assert_eq!(lab.pool(3).last(), Some(&name));
    assert_eq!(lab.marks()[&client], "0x3/0xff");
    lab.assert_leaves_by(client, &[3]);
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)), "the connection it had");
    lab.wanpool(["assign", &name, "--pool", "3"]).silent();

    let released = lab.wanpool(["-j", "assign", &name, "--release"]).json();
    let expected = serde_json::json!([{"client": name, "pool": 3, "uplink": "ppp2"}]);
    assert_eq!(released["released"], expected);
    assert_eq!(lab.pool_of(client), None);
    assert!(!lab.marks().contains_key(&client), "a released client is still in the set");
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)), "the connection it had");
    lab.wanpool(["assign", &name, "--release"]).silent();
}

#[test]
fn the_smallest_config_serves_every_client() {
    let lab =
        Lab::with().point_to_point(1).without_ethernet().serving("[uplink.1]\ndev = \"ppp0\"\n");
    let names: Vec<String> = lab.everyone().iter().map(Ipv4Addr::to_string).collect();
    assert_eq!(lab.pool(1), names);
    lab.assert_each_leaves_by_its_own_uplink(&[1]);
}

#[test]
fn named_clients_are_assigned_even_if_not_discovered() {
    let lab = Lab::new();
    lab.config(&three(""));
    let report = lab.wanpool(["-j", "assign", "192.168.7.20", "192.168.7.15"]).json();
    let expected = serde_json::json!([
        {"client": "192.168.7.20", "pool": 1, "uplink": "ppp0"},
        {"client": "192.168.7.15", "pool": 2, "uplink": "ppp1"},
    ]);
    assert_eq!(report["assigned"], expected);
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.iter().all(serde_json::Value::is_string), "{steps:?}");
    assert_eq!(
        (lab.pool(1), lab.pool(2)),
        (vec!["192.168.7.20".to_owned()], vec!["192.168.7.15".to_owned()])
    );
    // `assign` has built the slice.
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2]);
}

#[test]
fn clients_are_read_from_a_list_or_an_arp_table_in_file_order() {
    let lab = Lab::new();
    lab.config(&three(""));
    let list = lab.scratch().join("list");
    std::fs::write(&list, "192.168.7.30\n192.168.7.11\n192.168.7.29\n").unwrap();
    lab.wanpool(["assign", "--from", list.to_str().unwrap()]).ok();
    assert_eq!(lab.pool_sizes(), [1, 1, 1]);
    assert_eq!(lab.pool(1), ["192.168.7.30"]);
    let arp = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.7.28     0x1         0x2         02:00:00:00:00:28     *        br0
192.168.7.31     0x1         0x0         00:00:00:00:00:00     *        br0
192.168.7.12     0x1         0x2         02:00:00:00:00:12     *        br0
";
    let placed = lab.wanpool_reading(["assign", "--from", "-"], arp);
    assert_eq!(placed.ok().stdout, "192.168.7.28 pool 1 ppp0\n192.168.7.12 pool 2 ppp1\n");
    assert_eq!(
        lab.pool_of(Ipv4Addr::new(192, 168, 7, 31)),
        None,
        "an incomplete entry is no client"
    );
}
