//! Backups, and flows on an uplink that took over when their own uplink is back (`failback`).

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{EchoServer, FAR, Lab, Shape, Speaker, three, wait_until};

with_both_iptables! {
    failback_cut_ends_only_flows_whose_own_uplink_is_back,
}

/// Two uplinks and a backup, which has these further keys.
fn with_backup(top: &str, more: &str) -> String {
    format!(
        "lan = [\"br0\"]\n{top}\n[uplink.1]\ndev = \"ppp0\"\n[uplink.2]\ndev = \"ppp1\"\n\
         [uplink.3]\ndev = \"ppp2\"\nrole = \"backup\"\n{more}\n"
    )
}

#[test]
fn a_backup_carries_no_traffic_while_another_uplink_is_in_service() {
    let lab = Lab::serving(&with_backup("[pin]\n\"192.168.7.30\" = 3\n", "weight = 9"));
    lab.wanpool(["multipath", "on"]).ok();
    let (pinned, unassigned) = (Ipv4Addr::new(192, 168, 7, 30), lab.everyone()[0]);
    assert_eq!(lab.pool_sizes::<3>(), [15, 14, 1]);
    assert_eq!(lab.members(3), [pinned]);
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.release(unassigned);
    let before = lab.carried(3);
    lab.assert_all_leave_by(&[unassigned; 20], &[1, 2]);
    for _ in 0..20 {
        let at_gateway = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR);
        assert_ne!(at_gateway.seen(), Ok(lab.uplink_address(3)));
    }
    assert_eq!(lab.carried(3), before);
    lab.wanpool(["failover", "1"]).ok();
    lab.assert_all_leave_by(&lab.members(1), &[2]);
    let rows = lab.wanpool(["-j", "pools"]).json();
    assert_eq!((&rows[0]["carried_by"], &rows[2]["carried_by"]), (&"ppp1".into(), &"ppp2".into()));
}

#[test]
fn the_backup_takes_over_without_a_process_when_all_others_are_lost() {
    let lab = Lab::serving(&with_backup("", ""));
    let (one, two) = (lab.member(1, 0), lab.member(2, 0));
    let unassigned = lab.member(1, 1);
    lab.release(unassigned);
    lab.hang_up(1);
    wait_until("the device is gone", || lab.table(301).is_empty());
    lab.assert_all_leave_by(&[one, two, unassigned], &[2]);
    lab.hang_up(2);
    wait_until("the device is gone", || lab.table(302).is_empty());
    lab.assert_all_leave_by(&[one, two, unassigned], &[3]);
    // Another run changes nothing about that, and leaves no drift.
    lab.wanpool(["restore"]).ok();
    lab.assert_all_leave_by(&[one, two, unassigned], &[3]);
    lab.wanpool(["restore"]);
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
    let row = &lab.wanpool(["-j", "pools", "1"]).json()[0];
    assert_eq!((&row["state"], &row["carried_by"]), (&"down".into(), &"ppp2".into()));

    let mut open = lab.client(one).tcp().unwrap();
    assert_eq!(open.ask(), Ok(lab.uplink_address(3)));
    lab.redial(1);
    lab.wanpool(["restore", "1"]).ok();
    lab.assert_all_leave_by(&[one, two], &[1]);
    lab.wanpool(["assign"]).ok();
    assert_eq!(open.ask(), Ok(lab.uplink_address(3)), "by default open flows stay");
    assert_eq!(lab.wanpool(["pools", "--check"]).status, 0);
}

#[test]
fn the_backup_takes_over_while_probes_find_all_others_unhealthy() {
    let lab = Lab::new();
    let probe = "[probe]\ntargets = [\"100.66.0.1\"]\ntimeout = \"200ms\"\ndown = 1\nup = 1\n";
    lab.serve(&with_backup(probe, ""));
    lab.swallow(1, true);
    lab.swallow(2, true);
    assert_eq!(lab.probe().stdout, "uplink 1 ppp0 failed-over\nuplink 2 ppp1 failed-over\n");
    let clients = [lab.member(1, 0), lab.member(2, 0)];
    lab.assert_all_leave_by(&clients, &[3]);
    lab.swallow(2, false);
    assert_eq!(lab.probe().stdout, "uplink 2 ppp1 up\n");
    lab.assert_all_leave_by(&clients, &[2]);
}

#[test]
fn a_backup_gets_only_pinned_clients() {
    let lab = Lab::three_uplinks();
    let (client, pinned) = (lab.member(1, 0), lab.member(3, 0));
    lab.config(&with_backup(&format!("[pin]\n\"{pinned}\" = 3\n"), ""));
    lab.wanpool(["assign", &client.to_string(), "--pool", "3"])
        .refused(1)
        .naming(&["a backup has pinned clients only"]);
    lab.wanpool(["assign"]).ok();
    assert_eq!(lab.members(3), [pinned]);
    assert_eq!(lab.pool_sizes(), [15, 14, 1]);
    lab.wanpool(["assign", "--rebalance"]).silent();
    let rows = lab.wanpool(["pools"]).ok().stdout.clone();
    assert!(rows.lines().nth(3).is_some_and(|row| row.ends_with("/0.0")), "{rows}");
    lab.config("[uplink.1]\ndev = \"ppp0\"\nrole = \"backup\"\n");
    lab.wanpool(["pools"]).refused(2).naming(&["every uplink is a backup"]);
}

fn failback_cut_ends_only_flows_whose_own_uplink_is_back(shape: Shape) {
    let lab = shape.raise();
    let pinned = Ipv4Addr::new(192, 168, 7, 30);
    let top = "helpers = [\"ftp\"]\n[pin]\n\"192.168.7.30\" = 3\n";
    lab.serve(&with_backup(top, "failback = \"cut\""));
    let (one, also_one, two) = (lab.member(1, 0), lab.member(1, 1), lab.member(2, 0));
    lab.wanpool(["failover", "2"]).ok();
    lab.wanpool(["failover", "1"]).ok();
    let flow = |client| {
        let mut flow = lab.client(client).tcp().unwrap();
        assert_eq!(flow.ask(), Ok(lab.uplink_address(3)), "{client}");
        flow
    };
    let (_cut, _cut_too, mut kept, mut own) = (flow(one), flow(also_one), flow(two), flow(pinned));
    // A host outside speaks to a client of pool 1 by the backup.
    let server = lab.member(1, 2);
    lab.forward_port(3, server);
    let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(server, 8080));
    let mut outside = lab.visitor(3, 8080).udp().unwrap();
    outside.ask().unwrap();

    let marks = |client| {
        let mut marks = lab.connmarks(client);
        marks.dedup();
        marks
    };
    let steps = lab.wanpool(["-n", "restore", "1"]);
    let cut = |client: Ipv4Addr| format!("conntrack -D -s {client} -m 0x83/0xff || :\n");
    assert!(steps.ok().stdout.contains(&(cut(one) + &cut(also_one))), "{steps}");
    assert!(!steps.stdout.contains(&cut(two)) && !steps.stdout.contains(&cut(pinned)), "{steps}");
    assert_eq!(marks(one), [0x83]);

    let report = lab.wanpool(["-j", "restore", "1"]).json();
    assert_eq!(report["flows_ended"], 2, "{report}");
    assert!(marks(one).is_empty() && marks(also_one).is_empty());
    assert_eq!((marks(two), marks(pinned)), (vec![0x83], vec![0x83]));
    let incoming = lab.flows();
    let incoming = incoming.iter().filter(|flow| flow.contains("dport=8080"));
    assert_eq!(incoming.count(), 1, "an incoming flow");
    outside.ask().unwrap();
    lab.assert_leaves_by(one, &[1]);
    assert_eq!(own.ask(), Ok(lab.uplink_address(3)));
    assert_eq!(kept.ask(), Ok(lab.uplink_address(3)), "its own uplink is still out");
    lab.wanpool(["assign"]).silent();
}

#[test]
fn failback_drain_ends_flows_on_the_backup_after_the_delay() {
    let lab = Lab::serving(&with_backup("", "failback = \"drain 20\""));
    let client = lab.member(1, 0);
    lab.hang_up(1);
    lab.hang_up(2);
    wait_until("the devices are gone", || lab.table(301).is_empty() && lab.table(302).is_empty());
    lab.wanpool(["assign"]).ok();
    let mut flow = lab.client(client).udp().unwrap();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)));
    lab.redial(1);
    lab.wanpool(["restore", "1"]).ok();
    lab.wanpool(["assign"]).silent();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)), "not yet");
    lab.age_runtime_state(20);
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)), "only a run of wanpool ends it");
    // Without the runtime state the time starts again.
    std::fs::remove_file(lab.runtime_state_file()).unwrap();
    lab.wanpool(["assign"]).silent();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)));
    lab.age_runtime_state(20);
    let report = lab.wanpool(["-j", "assign"]).json();
    assert_eq!(report["flows_ended"], 1, "{report}");
    assert_eq!(flow.ask(), Ok(lab.uplink_address(1)), "a new flow");
    lab.wanpool(["assign"]).silent();
}

#[test]
fn failback_cut_ends_the_flows_of_hosts_in_no_pool_and_of_the_gateway_too() {
    let lab =
        Lab::serving(&(with_backup("", "failback = \"cut\"") + "\n[multipath]\nenable = true\n"));
    let nobody = lab.member(1, 0);
    lab.release(nobody);
    lab.hang_up(1);
    lab.hang_up(2);
    wait_until("the devices are gone", || lab.table(301).is_empty() && lab.table(302).is_empty());
    lab.wanpool(["-q", "restore"]);
    let mut flow = lab.client(nobody).udp().unwrap();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)));
    let mut own = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR).udp().unwrap();
    assert_eq!(own.ask(), Ok(lab.uplink_address(3)));
    lab.redial(1);
    let report = lab.wanpool(["-j", "restore", "1"]).json();
    assert_eq!(report["flows_ended"], 2, "{report}");
    assert_eq!(flow.ask(), Ok(lab.uplink_address(1)));
}

#[test]
fn flows_without_nat_end_when_a_run_finds_their_device_gone() {
    let lab = Lab::serving(&three("").replace("\"ppp1\"", "\"ppp1\"\nnat = false"));
    let client = lab.member(2, 0);
    lab.provider.sh(&format!("ip route add {client} dev isp2"));
    assert_eq!(lab.client(client).seen(), Ok(client));
    let count = lab.connmarks(client).len();
    lab.hang_up(2);
    let report = lab.wanpool(["-j", "assign"]).json();
    assert_eq!(report["flows_ended"], count, "{report}");
    lab.wanpool(["assign"]).silent();
    lab.assert_leaves_by_another(client, 2);
}
