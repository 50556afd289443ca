//! `assign --prune`: clients that have left are released, but not those that have flows or are behind
//! a device that is down. Which clients may be released has tables of values in `plan/prune`.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde_json::json;

use crate::lab::{EchoServer, FAR, Lab, Shape, three, wait_until};

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
    let gone = [lab.member(2, 3), lab.member(1, 7), lab.member(3, 0), lab.member(3, 1)];
    lab.wanpool(["assign", "--prune"]).silent();
    forget(&lab, &gone);
    // Such an entry says that a client does not answer.
    lab.gateway.sh(&format!(
        "ip neigh replace {} dev br0 nud failed\nip neigh replace {} dev br0 nud incomplete",
        gone[2], gone[3]
    ));
    lab.wanpool(["assign"]).silent();
    let report = lab.wanpool(["-j", "assign", "--prune"]).json();
    let expected = json!([
        {"client": gone[1].to_string(), "pool": 1, "uplink": "ppp0"},
        {"client": gone[0].to_string(), "pool": 2, "uplink": "ppp1"},
        {"client": gone[2].to_string(), "pool": 3, "uplink": "ppp2"},
        {"client": gone[3].to_string(), "pool": 3, "uplink": "ppp2"},
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
    lab.discover(&gone[..2]);
    assert_eq!(lab.wanpool(["assign", "--prune"]).ok().lines().len(), 2);
    assert_eq!(lab.client(gone[0]).seen(), Ok(lab.uplink_address(lab.pool_of(gone[0]).unwrap())));
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
fn prune_is_refused_while_the_lan_device_has_no_carrier_or_is_missing() {
    let lab = Lab::three_uplinks();
    for (damage, until) in [("ip link set lan0 down", "linkdown"), ("ip link del br0", "")] {
        lab.gateway.sh(damage);
        let look = "ip route show table all dev br0 2>&1 || true";
        wait_until(damage, || lab.gateway.sh(look).contains(until));
        let before = lab.state();
        for args in [["assign", "--prune", "-v"], ["assign", "--prune", "--rebalance"]] {
            let run = lab.wanpool(args);
            run.refused(1).naming(&["br0"]);
            lab.state().assert_is(&before, &run);
        }
    }
    assert_eq!(lab.pool_sizes::<3>(), [10; 3]);
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

#[test]
fn without_lan_the_clients_behind_a_device_that_is_down_are_not_released() {
    let lab = Lab::new();
    lab.gateway.sh("ip link add dmz0 type veth peer name dmz1
         ip addr add 10.9.9.1/24 dev dmz0
         ip link set dmz0 up
         ip link set dmz1 up");
    lab.serve(&three("").replace("lan = [\"br0\"]\n", ""));
    let before = lab.pool_sizes::<3>();
    lab.gateway.sh("ip link set lan0 down");
    let look = "ip route show table all dev br0";
    wait_until("br0 is down", || lab.gateway.sh(look).contains("linkdown"));
    lab.gateway.sh("ip neigh flush dev br0");
    lab.wanpool(["assign", "--prune"]).silent();
    assert_eq!(lab.pool_sizes::<3>(), before);
    lab.gateway.sh("ip addr flush dev dmz0\nip addr flush dev eth1");
    lab.wanpool(["assign", "--prune"]).refused(1).naming(&["bring the LAN up"]);
    assert_eq!(lab.pool_sizes::<3>(), before);
}

/// Entries of the neighbour table that say when their hosts were heard.
fn heard(lab: &Lab, clients: &[Ipv4Addr]) {
    for client in clients {
        lab.gateway.sh(&format!(
            "ip neigh replace {client} dev br0 lladdr 02:00:00:00:08:01 nud reachable"
        ));
    }
}

#[test]
fn with_an_age_clients_are_released_that_were_silent_for_so_long() {
    let lab = Lab::three_uplinks();
    let [silent, gone, present] = [(1, 0), (2, 0), (3, 0)].map(|(pool, at)| lab.member(pool, at));
    lab.wanpool(["assign", "--prune", "1h"]).silent();
    forget(&lab, &[gone]);
    let is_released = |client: Ipv4Addr| {
        heard(&lab, &[present]);
        lab.wanpool(["assign", "--prune", "2s"]).ok();
        lab.pool_of(client).is_none()
    };
    // The kernel still has the entry of one, and not that of the other.
    wait_until("the silent one is released", || is_released(silent));
    wait_until("the one that is gone is released", || is_released(gone));
    assert_eq!(lab.pool_of(present), Some(3));
    assert!(lab.gateway.sh("ip neigh").contains(&format!("{silent} ")));

    // It is no new client before it is heard again.
    lab.wanpool(["assign"]).silent();
    assert_eq!(lab.wanpool(["scan", "--new"]).ok().stdout, "");
    heard(&lab, &[silent]);
    let is_new = || lab.wanpool(["scan", "--new"]).ok().stdout == format!("{silent}\n");
    wait_until("it is heard again", || {
        heard(&lab, &[silent]);
        is_new()
    });
    lab.wanpool(["assign"]).ok();
    assert!(lab.pool_of(silent).is_some());

    // Without the memory everybody has the whole time again, and a dry run keeps no memory.
    let memory = lab.scratch().join("run/last-heard");
    std::fs::remove_file(&memory).unwrap();
    lab.wanpool(["-n", "assign", "--prune", "1h"]).silent();
    assert!(!memory.exists());
    forget(&lab, &[silent]);
    lab.wanpool(["assign", "--prune", "1h"]).silent();
    for (age, step) in [("often", "such as 12h or 7d"), ("7", "such as"), ("0s", "everybody")] {
        lab.wanpool(["assign", "--prune", age]).refused(2).naming(&["--prune", age, step]);
    }
}

#[test]
fn a_client_behind_a_device_that_is_down_is_not_silent() {
    let lab = Lab::three_uplinks();
    lab.gateway.sh("ip link set br0 down");
    lab.wanpool(["assign", "--prune", "1ms"]).refused(1).naming(&["br0", "the link is down"]);
    assert_eq!(lab.pool_sizes(), [10, 10, 10]);
}

/// Hosts behind another router of the LAN are never in the neighbour table.
#[test]
fn clients_that_arp_cannot_show_are_placed_by_their_pin_and_never_released() {
    let lab = Lab::new();
    lab.discover(&lab.everyone());
    lab.config(&(three("") + "\n[pin]\n\"192.168.50.7\" = 3\n\"192.168.60.0/24\" = 2\n"));
    lab.gateway.sh("ip route add 192.168.50.0/24 via 192.168.7.10");
    lab.clients.sh("ip addr add 192.168.50.7/32 dev lo; ip addr add 192.168.50.8/32 dev lo");
    lab.wanpool(["restore"]).ok();
    let placed = lab.wanpool(["assign"]);
    assert!(placed.ok().lines().contains(&"192.168.50.7 pool 3 ppp2"), "{placed}");
    lab.wanpool(["assign", "192.168.50.8", "--pool", "1"]).ok();
    for command in ["assign --prune", "assign --prune 1s", "assign"] {
        lab.run(command).silent();
    }
    lab.assert_leaves_by([192, 168, 50, 7].into(), &[3]);
    lab.assert_leaves_by([192, 168, 50, 8].into(), &[1]);
    lab.check().clean();
}
