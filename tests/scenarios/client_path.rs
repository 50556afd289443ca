//! `pools CLIENT`: the path of a client's packets, step by step, as the kernel has it now, and
//! whether it differs from what the pool files say.

use serde_json::{Value, json};

use crate::lab::{Lab, Shape, four, three};

with_both_iptables! {
    the_path_of_a_client_is_shown_step_by_step,
    the_path_shows_that_the_uplink_is_failed_over_or_down,
}

fn path(lab: &Lab, client: impl ToString) -> Value {
    let path = lab.wanpool(["-j", "pools", &client.to_string()]).json();
    assert_eq!(path.as_array().map(Vec::len), Some(1), "{path}");
    path[0].clone()
}

/// The path has these values.
#[track_caller]
fn assert_has(path: &Value, expected: Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(path[key], *value, "{key} of {path}");
    }
}

fn the_path_of_a_client_is_shown_step_by_step(shape: Shape) {
    let lab = shape.serving(&four("").replace("\"ppp1\"", "\"ppp1\"\nnat = false"));
    let client = lab.member(4, 0);
    let own = lab.uplink_address(4);
    let expected = json!({
        "client": client.to_string(), "pool": 4, "set": "0x4/0xff", "mark": "0x4", "rule": 20204,
        "table": 204, "route": "default nhid 8704 table 204 metric 10",
        "nexthop": "8704 via 10.65.4.1 dev eth1 onlink", "device": "eth1",
        "nat": format!("masquerade to {own}"), "differs": null,
    });
    assert_eq!(path(&lab, client), expected);
    let text = format!(
        "client   {client}\npool     4\nset      0x4/0xff\nmark     0x4\n\
         rule     pref 20204 fwmark 0x4/0xff lookup 204\ntable    204\n\
         route    default nhid 8704 table 204 metric 10\n\
         nexthop  8704 via 10.65.4.1 dev eth1 onlink\ndevice   eth1\n\
         nat      masquerade to {own}\ndiffers  -\n"
    );
    assert_eq!(lab.wanpool(["pools", &client.to_string()]).ok().stdout, text);
    lab.assert_leaves_by(client, &[4]);

    // The kernel's own tools show each step.
    assert_eq!(lab.marks()[&client], "0x4/0xff");
    assert!(lab.rules().contains(&(20204, "from all fwmark 0x4/0xff lookup 204 proto 87".into())));
    let nexthop = lab.gateway.sh("ip nexthop show id 8704");
    assert!(nexthop.starts_with("id 8704 via 10.65.4.1 dev eth1 "), "{nexthop}");
    assert!(lab.table(204)[0].contains("nhid 8704"));

    assert_eq!(path(&lab, lab.member(2, 0))["nat"], json!(null), "no NAT on this uplink");
    assert_has(
        &path(&lab, lab.member(1, 0)),
        json!({ "nexthop": "8701 dev ppp0", "differs": null }),
    );
}

#[test]
fn the_path_differs_when_the_set_is_changed_by_hand() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    lab.gateway.sh(&format!("ipset -exist add wanpool {client} skbmark 0x3/0xff"));
    let differs = "the set says 0x3/0xff, the pool file 0x1/0xff: wanpool restore";
    let expected = json!({
        "pool": 1, "set": "0x3/0xff", "mark": "0x3", "rule": 20203, "table": 203, "device": "ppp2",
        "differs": differs,
    });
    assert_has(&path(&lab, client), expected);
    lab.assert_leaves_by(client, &[3]);
    let text = lab.wanpool(["pools", &client.to_string()]);
    assert!(text.ok().stdout.contains(&format!("differs  {differs}\n")), "{text}");
    lab.wanpool(["restore"]).ok();
    assert_eq!(path(&lab, client)["differs"], json!(null));
}

#[test]
fn the_path_of_a_client_in_no_pool_is_the_group() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    lab.release(client);
    let expected = json!({
        "pool": null, "set": null, "mark": "0x0", "rule": 20301, "table": 200,
        "route": "default nhid 8700 table 200", "nexthop": "8700 group 8701/8702/8703",
        "device": "ppp0,ppp1,ppp2", "nat": "masquerade to 10.64.1.2,10.64.2.2,10.64.3.2",
        "differs": null,
    });
    assert_has(&path(&lab, client), expected);
    lab.config(&three("unassigned = \"unreachable\""));
    lab.wanpool(["restore"]).ok();
    assert_has(&path(&lab, client), json!({ "rule": 20301, "device": null, "nat": null }));
}

fn the_path_shows_that_the_uplink_is_failed_over_or_down(shape: Shape) {
    let lab = shape.serving(&three(""));
    let client = lab.member(1, 0);
    lab.wanpool(["failover", "ppp0", "--to", "ppp1"]).ok();
    let expected = json!({
        "rule": 20201, "table": 201, "device": "ppp1", "nexthop": "8702 dev ppp1",
        "nat": format!("masquerade to {}", lab.uplink_address(2)),
        "differs": "its uplink ppp0 is failed-over",
    });
    assert_has(&path(&lab, client), expected);
    lab.assert_leaves_by(client, &[2]);
    lab.wanpool(["restore", "ppp0"]).ok();
    assert_eq!(path(&lab, client)["differs"], json!(null));

    lab.hang_up(1);
    let expected = json!({
        "route": "default nhid 8700 table 201 metric 20", "device": "ppp1,ppp2",
        "differs": "its uplink ppp0 is down",
    });
    assert_has(&path(&lab, client), expected);
    lab.hang_up(2);
    lab.hang_up(3);
    let unreachable = path(&lab, client);
    assert_has(&unreachable, json!({ "device": null, "nat": null }));
    let route = unreachable["route"].as_str().unwrap();
    assert!(route.starts_with("unreachable default table 201"), "{unreachable}");
    assert!(unreachable["differs"].is_string(), "{unreachable}");
}

/// What differs in which way has a table of values in `plan/client_path`.
#[test]
fn where_the_path_differs_check_finds_it_too() {
    let lab = Lab::three_uplinks();
    let client = lab.member(1, 0);
    // The last route ends at the same device, but it is not ours.
    for (damage, uplink, repair) in [
        ("ip rule add pref 900 iif br0 lookup 202", 2, "ip rule del pref 900"),
        ("ip nexthop replace id 8701 dev ppp1 protocol 87", 2, "$WANPOOL restore"),
        ("ip route add default dev ppp0 table 201", 1, "ip route del default table 201 metric 0"),
    ] {
        lab.gateway.sh(damage);
        lab.assert_leaves_by(client, &[uplink]);
        let path = path(&lab, client);
        let differs = path["differs"].as_str().unwrap_or_else(|| panic!("{damage}: {path}"));
        assert!(differs.contains(" in place of ") && differs.contains("pools --check"), "{path}");
        let check = lab.check();
        assert!(check.status == 3 || !check.findings.is_empty(), "{damage}: {check}");
        lab.script(repair).ok();
        assert_eq!(self::path(&lab, client)["differs"], json!(null), "{repair}");
    }
}
