//! `pools CLIENT`: the path of a client's packets, step by step, as the kernel has it now; and where
//! that is not what the files say.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::lab::{Lab, Shape, four, three};
use crate::with_both_iptables;

with_both_iptables! {
    the_path_of_a_client_is_shown_step_by_step,
    the_path_shows_that_the_uplink_is_failed_over_or_down,
}

fn path(lab: &Lab, client: impl ToString) -> Value {
    let said = lab.wanpool(["-j", "pools", &client.to_string()]).json();
    assert_eq!(said.as_array().map(Vec::len), Some(1), "{said}");
    said[0].clone()
}

/// The words behind a name, as text has them.
fn field(lab: &Lab, client: impl ToString, name: &str) -> String {
    let run = lab.wanpool(["pools", &client.to_string()]);
    let line = run.ok().lines().into_iter().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name}: {run}"))[name.len()..].trim().to_owned()
}

fn the_path_of_a_client_is_shown_step_by_step(shape: Shape) {
    let lab = shape.serving(&four("").replace("\"ppp1\"", "\"ppp1\"\nnat = false"));
    let client = lab.member(4, 0);
    let own = lab.uplink_address(4);
    let expected = json!({
        "client": client.to_string(), "pool": 4, "set": "0x4/0xff", "mark": "0x4", "rule": 1204,
        "table": 204, "route": "default nhid 8704 table 204 metric 10",
        "nexthop": "8704 via 10.65.4.1 dev eth1 onlink", "device": "eth1",
        "nat": format!("masquerade to {own}"), "differs": null,
    });
    assert_eq!(path(&lab, client), expected);
    let text = format!(
        "client   {client}\npool     4\nset      0x4/0xff\nmark     0x4\n\
         rule     pref 1204 fwmark 0x4/0xff lookup 204\ntable    204\n\
         route    default nhid 8704 table 204 metric 10\n\
         nexthop  8704 via 10.65.4.1 dev eth1 onlink\ndevice   eth1\n\
         nat      masquerade to {own}\ndiffers  -\n"
    );
    assert_eq!(lab.wanpool(["pools", &client.to_string()]).ok().stdout, text);
    assert_eq!(lab.client(client).seen(), Ok(own));

    // Each step is there, in the kernel's own words.
    assert_eq!(lab.marks()[&client], "0x4/0xff");
    assert!(lab.rules().contains(&(1204, "from all fwmark 0x4/0xff lookup 204 proto 87".into())));
    let nexthop = lab.gateway.sh("ip nexthop show id 8704");
    assert!(nexthop.starts_with("id 8704 via 10.65.4.1 dev eth1 "), "{nexthop}");
    assert!(lab.table(204)[0].contains("nhid 8704"));

    assert_eq!(path(&lab, lab.member(2, 0))["nat"], json!(null), "no NAT on this uplink");
    let of_one = path(&lab, lab.member(1, 0));
    assert_eq!((&of_one["nexthop"], &of_one["differs"]), (&json!("8701 dev ppp0"), &json!(null)));
}

#[test]
fn the_path_differs_when_the_set_is_changed_by_hand() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    lab.gateway.sh(&format!("ipset -exist add wanpool {client} skbmark 0x3/0xff"));
    let said = path(&lab, client);
    for (key, value) in [
        ("pool", json!(1)),
        ("set", json!("0x3/0xff")),
        ("mark", json!("0x3")),
        ("rule", json!(1203)),
        ("table", json!(203)),
        ("device", json!("ppp2")),
    ] {
        assert_eq!(said[key], value, "{key}: it is the kernel that is asked");
    }
    lab.assert_leaves_by(client, &[3]);
    let differs = field(&lab, client, "differs");
    assert!(
        ["0x3/0xff", "0x1/0xff", "wanpool restore"].iter().all(|word| differs.contains(word)),
        "{differs}"
    );

    lab.gateway.sh(&format!("ipset del wanpool {client}"));
    let said = path(&lab, client);
    assert_eq!(
        (&said["set"], &said["mark"], &said["rule"]),
        (&json!(null), &json!("0x0"), &json!(1301))
    );
    assert!(said["differs"].is_string(), "{said}");
    lab.wanpool(["restore"]).ok();
    assert_eq!(path(&lab, client)["differs"], json!(null));
}

#[test]
fn the_path_of_a_client_in_no_pool_is_the_group() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    lab.release(client);
    let said = path(&lab, client);
    for (key, value) in [
        ("pool", json!(null)),
        ("set", json!(null)),
        ("mark", json!("0x0")),
        ("rule", json!(1301)),
        ("table", json!(200)),
        ("route", json!("default nhid 8700 table 200")),
        ("nexthop", json!("8700 group 8701/8702/8703")),
        ("device", json!("ppp0,ppp1,ppp2")),
        ("nat", json!("masquerade to 10.64.1.2,10.64.2.2,10.64.3.2")),
        ("differs", json!(null)),
    ] {
        assert_eq!(said[key], value, "{key} of {said}");
    }

    lab.gateway.sh(&format!("ipset add wanpool {client} skbmark 0x2/0xff"));
    let said = path(&lab, client);
    assert_eq!((&said["set"], &said["device"]), (&json!("0x2/0xff"), &json!("ppp1")));
    assert!(said["differs"].is_string(), "{said}");

    lab.config(&three("unassigned = \"unreachable\""));
    lab.wanpool(["restore"]).ok();
    let said = path(&lab, client);
    assert_eq!(
        (&said["rule"], &said["device"], &said["nat"]),
        (&json!(1301), &json!(null), &json!(null))
    );
}

fn the_path_shows_that_the_uplink_is_failed_over_or_down(shape: Shape) {
    let lab = shape.serving(&three(""));
    let client = lab.member(1, 0);
    lab.wanpool(["failover", "ppp0", "--to", "ppp1"]).ok();
    let said = path(&lab, client);
    assert_eq!(
        (&said["rule"], &said["table"], &said["device"]),
        (&json!(1201), &json!(201), &json!("ppp1"))
    );
    assert_eq!(said["nexthop"], "8702 dev ppp1");
    assert_eq!(said["nat"], format!("masquerade to {}", lab.uplink_address(2)));
    assert_eq!(said["differs"], "its uplink ppp0 is failed-over");
    lab.assert_leaves_by(client, &[2]);
    lab.wanpool(["restore", "ppp0"]).ok();
    assert_eq!(path(&lab, client)["differs"], json!(null));

    lab.hang_up(1);
    let said = path(&lab, client);
    assert_eq!(said["route"], "default nhid 8700 table 201 metric 20");
    assert_eq!(said["device"], "ppp1,ppp2");
    assert_eq!(said["differs"], "its uplink ppp0 is down");
    lab.hang_up(2);
    lab.hang_up(3);
    let said = path(&lab, client);
    assert_eq!((&said["device"], &said["nat"]), (&json!(null), &json!(null)), "{said}");
    assert!(said["route"].as_str().unwrap().starts_with("unreachable default table 201"), "{said}");
    assert!(said["differs"].is_string(), "{said}");
}

#[test]
fn where_the_path_differs_check_finds_it_too() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    // By which uplink the client leaves meanwhile, unless the group picks one.
    for (damage, by, repair) in [
        ("ip rule add pref 900 iif br0 lookup 202", Some(2), "ip rule del pref 900"),
        ("ip rule del pref 1201", None, "$WANPOOL restore"),
        ("ip route del default table 201 metric 10", None, "$WANPOOL restore"),
        (
            "ip route add default dev ppp1 table 201",
            Some(2),
            "ip route del default dev ppp1 table 201",
        ),
        ("ip nexthop replace id 8701 dev ppp1 protocol 87", Some(2), "$WANPOOL restore"),
    ] {
        lab.gateway.sh(damage);
        let seen = lab.client(client).tcp().unwrap().ask();
        let allowed = by.map_or(vec![1, 2, 3], |number| vec![number]);
        let allowed = allowed.into_iter().map(|number| Ok(lab.uplink_address(number)));
        assert!(allowed.into_iter().any(|right| right == seen), "{damage}: {seen:?}");
        assert_differs_and_check_tells(&lab, client, damage);
        lab.script(repair).ok();
        assert_eq!(path(&lab, client)["differs"], json!(null), "{repair}");
        lab.assert_leaves_by(client, &[1]);
    }
}

/// What the group of all uplinks picks for a client may be the client's own uplink or another: the
/// multipath hash has a seed of its own at every boot. The path differs in either case.
#[test]
fn a_path_differs_even_if_it_ends_at_the_same_device() {
    let lab = Lab::three_uplinks();
    let clients = [1, 2, 3].map(|pool| lab.member(pool, 0));
    for damage in [
        "ip rule del pref 1201; ip rule del pref 1202; ip rule del pref 1203",
        "for n in 1 2 3; do ip route del default table 20$n metric 10; done",
        "for n in 1 2 3; do ip route add default dev ppp$((n - 1)) table 20$n; done",
        "for n in 1 2 3; do ip rule add pref 90$n fwmark $n/0xff lookup 20$n; done",
    ] {
        lab.gateway.sh(damage);
        for client in clients {
            assert_differs_and_check_tells(&lab, client, damage);
        }
        lab.gateway.sh("for n in 1 2 3; do ip rule del pref 90$n || :; done 2>/dev/null
             for n in 1 2 3; do ip route del default table 20$n metric 0 || :; done 2>/dev/null");
        lab.wanpool(["restore"]).ok();
        for client in clients {
            assert_eq!(path(&lab, client)["differs"], json!(null), "{damage}, mended");
        }
    }
}

#[track_caller]
fn assert_differs_and_check_tells(lab: &Lab, client: Ipv4Addr, damage: &str) {
    let said = path(lab, client);
    let differs = said["differs"].as_str().unwrap_or_else(|| panic!("{damage}: {said}"));
    assert!(differs.contains(" in place of ") && differs.contains("pools --check"), "{said}");
    let check = lab.check();
    assert!(check.status == 3 || !check.findings.is_empty(), "{damage}: {check}");
}
