//! What `scan` and `pools` tell, as text and as JSON.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde_json::{Value, json};

use crate::lab::{Lab, binary, four, three};

/// The keys of the first object of an array, in order.
fn keys(said: &Value) -> Vec<&str> {
    let first = said[0].as_object().unwrap_or_else(|| panic!("no object in {said}"));
    let mut keys: Vec<&str> = first.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn scan_shows_only_clients_behind_the_lan_devices() {
    let lab = Lab::new();
    lab.config(&three("exclude = [\"192.168.7.12\"]"));
    lab.hear(&lab.everyone());
    lab.gateway.sh("ip neigh add 192.168.7.240 dev br0 nud incomplete
         ip neigh add 192.168.7.241 dev br0 nud failed
         ip neigh add 192.168.7.242 dev br0 lladdr 02:00:00:00:02:42 nud permanent
         ip neigh add 10.65.4.1 dev eth1 lladdr 02:00:00:00:04:01 nud permanent");
    let said = lab.wanpool(["-j", "scan"]).json();
    assert_eq!(keys(&said), ["address", "dev", "lladdr", "pool", "state"]);
    let rows = said.as_array().unwrap();
    let told: Vec<&str> = rows.iter().map(|row| row["address"].as_str().unwrap()).collect();
    let mut expected: Vec<String> = lab.everyone().iter().map(ToString::to_string).collect();
    expected.retain(|address| address != "192.168.7.12");
    expected.push("192.168.7.242".to_owned());
    assert_eq!(told, expected);
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
    lab.hear(&lab.everyone()[..2]);
    let text = lab.wanpool(["scan"]);
    let head: Vec<&str> = text.ok().lines()[0].split_whitespace().collect();
    assert_eq!(head, ["address", "lladdr", "dev", "state", "pool"]);
    assert_eq!(text.rows()[0][0], "192.168.7.10");
    assert_eq!(text.rows()[1][2], "br0");
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "192.168.7.10\n192.168.7.11\n");
    lab.wanpool(["assign", "192.168.7.11"]).ok();
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "192.168.7.10\n");
    assert_eq!(lab.wanpool(["-j", "scan"]).json()[1]["pool"], 1);
}

#[test]
fn scan_from_a_file_keeps_its_order() {
    let lab = Lab::new();
    lab.config(&three(""));
    let list = "192.168.7.30\n192.168.7.11\n192.168.7.29\n";
    assert_eq!(lab.wanpool_reading(["scan", "--new", "--from", "-"], list).ok().stdout, list);
}

#[test]
fn scan_dev_shows_only_that_device() {
    let lab = Lab::new();
    lab.config(&three("").replace("[\"br0\"]", "[\"br0\", \"dmz0\"]"));
    let _inside = crate::lab::LanHosts::raise(&lab);
    lab.hear(&lab.everyone()[..2]);
    lab.gateway.sh("ip neigh replace 172.21.8.77 dev dmz0 lladdr 02:00:00:00:08:77 nud permanent");
    assert_eq!(lab.wanpool(["scan", "--new", "--dev", "dmz0"]).ok().stdout, "172.21.8.77\n");
    let both = lab.wanpool(["scan", "--new", "--dev", "dmz0", "--dev", "br0"]);
    assert_eq!(both.ok().lines(), ["172.21.8.77", "192.168.7.10", "192.168.7.11"]);
}

#[test]
fn pools_has_a_row_a_pool() {
    let lab = Lab::serving(&three("").replace("\"ppp0\"", "\"ppp0\"\nweight = 2"));
    let said = lab.wanpool(["-j", "pools"]).json();
    let names =
        ["pool", "uplink", "state", "carried_by", "fwmark", "table", "weight", "clients", "share"];
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(keys(&said), sorted);
    for (at, (dev, weight, clients)) in
        [("ppp0", 2, 15), ("ppp1", 1, 8), ("ppp2", 1, 7)].into_iter().enumerate()
    {
        let row = &said[at];
        assert_eq!((&row["pool"], &row["uplink"]), (&json!(at + 1), &json!(dev)));
        assert_eq!((&row["state"], &row["carried_by"]), (&json!("up"), &json!(dev)));
        assert_eq!((&row["table"], &row["weight"]), (&json!(201 + at), &json!(weight)));
        assert_eq!(row["clients"], json!(clients));
    }
    let text = lab.wanpool([]);
    let head: Vec<&str> = text.ok().lines()[0].split_whitespace().collect();
    assert_eq!(head, names);
    assert_eq!(text.rows().len(), 3);
    assert_eq!(lab.wanpool(["pools"]).ok().stdout, text.stdout);
    assert_eq!(lab.wanpool(["po"]).ok().stdout, text.stdout, "a prefix of the command");
}

#[test]
fn pools_of_one_uplink_lists_its_clients() {
    let lab = Lab::three_uplinks();
    let said = lab.wanpool(["-j", "pools", "1"]).json();
    assert_eq!(said.as_array().unwrap().len(), 1);
    assert_eq!(said[0]["members"], json!(lab.pool(1)));
    assert_eq!(said[0]["clients"], 10);
    assert_eq!(lab.wanpool(["-j", "pools", "ppp0"]).json(), said);
    let text = lab.wanpool(["pools", "1"]);
    assert!(lab.pool(1).iter().all(|client| text.ok().stdout.contains(client)), "{text}");
}

#[test]
fn pools_of_one_client_tells_the_way_of_its_packets() {
    let lab = Lab::four_uplinks();
    let client = lab.member(4, 0).to_string();
    for told in [lab.wanpool(["pools", &client]), lab.wanpool(["-j", "pools", &client])] {
        for part in ["eth1", "204", "1204"] {
            assert!(told.ok().stdout.contains(part), "no {part} in {told}");
        }
    }
    lab.gateway.sh(&format!("ipset -exist add wanpool {client} skbmark 0x1/0xff"));
    assert!(
        lab.wanpool(["pools", &client]).ok().stdout.contains("ppp0"),
        "it is the kernel that is asked"
    );
}

#[test]
fn json_is_one_line_and_pretty_indents() {
    let lab = Lab::three_uplinks();
    let (plain, pretty) = (lab.wanpool(["-j", "pools"]), lab.wanpool(["-j", "-p", "pools"]));
    assert_eq!(plain.lines().len(), 1);
    assert!(pretty.lines().len() > 3);
    assert_eq!(plain.json(), pretty.json());
}

#[test]
fn quiet_prints_nothing_and_verbose_each_step() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.wanpool(["-q", "assign", "192.168.7.10"]).silent();
    let verbose = lab.wanpool(["-v", "assign", "192.168.7.11"]);
    assert_eq!(verbose.status, 0);
    assert!(verbose.to_string().contains("192.168.7.11 pool 2 ppp1"), "{verbose}");
    assert!(verbose.to_string().contains("ipset"), "{verbose}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let lab = Lab::three_uplinks();
    for command in ["scan", "pools"] {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        let mut run = lab.gateway.command(&binary().display().to_string());
        run.arg(command).stdout(writer).stderr(std::process::Stdio::piped());
        let output = lab.gateway.enter(|| run.output()).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
    }
}
