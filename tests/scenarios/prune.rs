//! `assign --prune`: clients that have left are released, but not those that are pinned, have flows
//! or are behind a device that is down.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::json;

use crate::lab::{EchoServer, FAR, Lab, LanHosts, Shape, three, wait_until};

with_both_iptables! {
    only_clients_missing_from_the_neighbour_table_are_released,
    a_client_with_a_live_flow_is_not_released,
}

/// Deletes them from the neighbour table.
fn forget(lab: &Lab, clients: &[Ipv4Addr]) {
    for client in clients {
        lab.gateway.sh(&format!("ip neigh del {client} dev br0"));
    }
    let discovered = lab.wanpool(["-j", "scan"]).json();
    for row in discovered.as_array().unwrap() {
        assert!(!clients.iter().any(|client| row["address"] == client.to_string()), "{row}");
    }
}

fn only_clients_missing_from_the_neighbour_table_are_released(shape: Shape) {
    let lab = shape.serving(&three(""));
    let gone = [lab.member(2, 3), lab.member(1, 7)];
    lab.wanpool(["assign", "--prune"]).silent();
    forget(&lab, &gone);
    lab.wanpool(["assign"]).silent();
    let report = lab.wanpool(["-j", "assign", "--prune"]).json();
    let expected = json!([
        {"client": gone[1].to_string(), "pool": 1, "uplink": "ppp0"},
        {"client": gone[0].to_string(), "pool": 2, "uplink": "ppp1"},
    ]);
    assert_eq!(report["released"], expected);
    assert_eq!((&report["assigned"], &report["moved"]), (&json!([]), &json!([])));
    for client in lab.everyone() {
        let is_gone = gone.contains(&client);
        assert_eq!(lab.pool_of(client).is_none(), is_gone, "{client}");
        assert_eq!(lab.marks().contains_key(&client), !is_gone, "{client}");
    }
    lab.wanpool(["assign", "--prune"]).silent();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);

    // A client that comes back is a new one.
    lab.hear(&gone);
    assert_eq!(lab.wanpool(["assign", "--prune"]).ok().lines().len(), 2);
    assert_eq!(lab.client(gone[0]).seen(), Ok(lab.uplink_address(lab.pool_of(gone[0]).unwrap())));
}

#[test]
fn a_client_with_a_failed_or_incomplete_neighbour_entry_is_released() {
    let lab = Lab::three_uplinks();
    let gone = [lab.member(1, 0), lab.member(2, 0)];
    lab.gateway.sh(&format!(
        "ip neigh replace {} dev br0 nud failed\nip neigh replace {} dev br0 nud incomplete",
        gone[0], gone[1]
    ));
    let report = lab.wanpool(["assign", "--prune"]);
    let lines = format!("{} released from 1\n{} released from 2\n", gone[0], gone[1]);
    assert_eq!(report.ok().stdout, lines);
}

fn a_client_with_a_live_flow_is_not_released(shape: Shape) {
    let lab = shape.serving(&three(""));
    let clients = [lab.member(1, 0), lab.member(2, 0)];
    let [over_tcp, over_udp] = clients;
    let (mut tcp, mut udp) =
        (lab.client(over_tcp).tcp().unwrap(), lab.client(over_udp).udp().unwrap());
    assert_eq!((tcp.ask(), udp.ask()), (Ok(lab.uplink_address(1)), Ok(lab.uplink_address(2))));
    forget(&lab, &clients);
    lab.wanpool(["assign", "--prune"]).silent();
    assert_eq!(clients.map(|client| lab.pool_of(client)), [Some(1), Some(2)]);
    assert_eq!((tcp.ask(), udp.ask()), (Ok(lab.uplink_address(1)), Ok(lab.uplink_address(2))));

    drop((tcp, udp));
    lab.await_closed(over_tcp);
    lab.gateway.sh(&format!("conntrack -D -p udp -s {over_udp} 2>/dev/null"));
    forget(&lab, &clients);
    lab.wanpool(["assign", "--prune"]).ok();
    assert_eq!(clients.map(|client| lab.pool_of(client)), [None, None]);
}

#[test]
fn a_client_with_an_incoming_flow_is_not_released() {
    let lab = Lab::three_uplinks();
    let server = lab.member(2, 0);
    let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(server, 8080));
    lab.forward_port(1, server);
    let mut visitor = lab.visitor(1, 8080).tcp().unwrap();
    assert_eq!(visitor.ask(), Ok(*FAR.ip()));
    forget(&lab, &[server]);
    lab.wanpool(["assign", "--prune"]).silent();
    assert_eq!(lab.pool_of(server), Some(2));
}

#[test]
fn a_pinned_client_is_never_released() {
    let lab =
        Lab::serving(&(three("") + "\n[pin]\n\"192.168.7.20\" = 3\n\"192.168.7.32/29\" = 2\n"));
    let gone = [lab.everyone()[10], lab.everyone()[25], lab.member(1, 0)];
    forget(&lab, &gone);
    let report = lab.wanpool(["assign", "--prune"]);
    assert_eq!(report.ok().stdout, format!("{} released from 1\n", gone[2]));
    assert_eq!(gone.map(|client| lab.pool_of(client)), [Some(3), Some(2), None]);
}

/// It is refused with one line that names the device, and nothing changes.
#[track_caller]
fn refused(lab: &Lab, dev: &str) {
    let before = lab.state();
    for args in [["assign", "--prune", "-v"], ["assign", "--prune", "--rebalance"]] {
        let run = lab.wanpool(args);
        run.refused(1).naming(&[dev]);
        lab.state().assert_is(&before, &run);
    }
}

#[test]
fn prune_is_refused_while_the_lan_device_is_down_or_missing() {
    for (damage, until) in [
        ("ip link set br0 down", "state DOWN"),
        ("ip link set lan0 down", "linkdown"),
        ("ip link del br0", ""),
    ] {
        let lab = Lab::three_uplinks();
        lab.gateway.sh(damage);
        let look = "{ ip link show dev br0 && ip route show table all dev br0; } 2>&1 || true";
        wait_until(damage, || lab.gateway.sh(look).contains(until));
        refused(&lab, "br0");
        assert_eq!(lab.pool_sizes::<3>(), [10; 3], "{damage}");
    }
}

#[test]
fn prune_is_refused_while_one_of_several_lan_devices_is_down_or_missing() {
    let lab = Lab::new();
    let _inside = LanHosts::raise(&lab);
    lab.gateway.sh("ip neigh replace 172.21.8.77 dev dmz0 lladdr 02:00:00:00:08:77 nud permanent");
    lab.serve(&three("").replace("[\"br0\"]", "[\"br0\", \"dmz0\"]"));
    assert!(lab.pool_of(Ipv4Addr::new(172, 21, 8, 77)).is_some());
    lab.gateway.sh("ip link set dmz0 down");
    refused(&lab, "dmz0");
    lab.gateway.sh("ip link del dmz0");
    refused(&lab, "dmz0");
}

#[test]
fn prune_and_rebalance_together_release_first() {
    let lab = Lab::three_uplinks();
    let gone = lab.members(1);
    forget(&lab, &gone);
    lab.wanpool(["assign", "--prune", "--rebalance"]).ok();
    let mut sizes = lab.pool_sizes::<3>();
    sizes.sort_unstable();
    assert_eq!(sizes, [6, 7, 7]);
    assert!(gone.iter().all(|client| lab.pool_of(*client).is_none()));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}
