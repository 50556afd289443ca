//! `scan`, as text and as JSON.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde_json::json;

use crate::lab::{GATEWAY, Lab, LanHosts, Speaker, three, wait_until};

#[test]
fn scan_shows_only_clients_behind_the_lan_devices() {
    let lab = Lab::new();
    lab.config(&three("exclude = [\"192.168.7.12\"]"));
    lab.discover(&lab.everyone());
    lab.gateway.sh("ip neigh add 192.168.7.240 dev br0 nud incomplete
         ip neigh add 192.168.7.241 dev br0 nud failed
         ip neigh add 192.168.7.242 dev br0 lladdr 02:00:00:00:02:42 nud permanent
         ip neigh add 10.65.4.1 dev eth1 lladdr 02:00:00:00:04:01 nud permanent");
    let report = lab.wanpool(["-j", "scan"]).json();
    let rows = report.as_array().unwrap();
    let shown: Vec<&str> = rows.iter().map(|row| row["address"].as_str().unwrap()).collect();
    let mut expected: Vec<String> = lab.everyone().iter().map(ToString::to_string).collect();
    expected.retain(|address| address != "192.168.7.12");
    expected.push("192.168.7.242".to_owned());
    assert_eq!(shown, expected);
    let lladdr = lab.clients.json("ip -j link show eth0")[0]["address"].clone();
    assert_eq!(
        (&rows[0]["lladdr"], &rows[0]["dev"], &rows[0]["pool"]),
        (&lladdr, &json!("br0"), &json!(null))
    );
    assert!(lab.files().is_empty(), "scan wrote files");
}

#[test]
fn scan_prints_columns_and_scan_new_only_addresses() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.discover(&lab.everyone()[..2]);
    let text = lab.wanpool(["scan"]);
    let head: Vec<&str> = text.ok().lines()[0].split_whitespace().collect();
    assert_eq!(head, ["address", "lladdr", "dev", "state", "pool"]);
    assert_eq!(text.rows()[0][0], "192.168.7.10");
    assert_eq!(text.rows()[1][2], "br0");
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "192.168.7.10\n192.168.7.11\n");
    lab.wanpool(["assign", "192.168.7.11"]).ok();
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "192.168.7.10\n");
    assert_eq!(lab.wanpool(["-j", "scan"]).json()[1]["pool"], 1);
    // A list keeps its order.
    let list = "192.168.7.30\n192.168.7.12\n192.168.7.29\n";
    assert_eq!(lab.wanpool_reading(["scan", "--new", "--from", "-"], list).ok().stdout, list);
}

#[test]
fn scan_dev_shows_only_that_device() {
    let lab = Lab::new();
    lab.config(&three("").replace("[\"br0\"]", "[\"br0\", \"dmz0\"]"));
    let _inside = LanHosts::raise(&lab);
    lab.discover(&lab.everyone()[..2]);
    lab.gateway.sh("ip neigh replace 172.21.8.77 dev dmz0 lladdr 02:00:00:00:08:77 nud permanent");
    assert_eq!(lab.wanpool(["scan", "--new", "--dev", "dmz0"]).ok().stdout, "172.21.8.77\n");
    let both = lab.wanpool(["scan", "--new", "--dev", "dmz0", "--dev", "br0"]);
    assert_eq!(both.ok().lines(), ["172.21.8.77", "192.168.7.10", "192.168.7.11"]);
}

/// Any host on the LAN can send ARP requests with an address that is not its own.
#[test]
fn an_address_of_the_internet_that_was_heard_on_the_lan_is_no_client() {
    let lab = Lab::three_uplinks();
    lab.clients.sh("ip addr add 8.8.8.8/32 dev eth0");
    let at = SocketAddrV4::new(GATEWAY, 5353);
    wait_until("the gateway has heard it", || {
        lab.clients.sh("ip neigh flush dev eth0");
        // The answer may leave by another way; the ARP request is enough.
        let invented = Speaker::new(&lab.clients, Ipv4Addr::new(8, 8, 8, 8), at);
        let _ = invented.patience(Duration::from_millis(50)).udp().and_then(|mut conn| conn.ask());
        lab.gateway.sh("ip neigh show dev br0").contains("8.8.8.8 lladdr")
    });
    assert!(!lab.wanpool(["scan"]).ok().stdout.contains("8.8.8.8"));
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "");
    lab.wanpool(["assign"]).silent();
}
