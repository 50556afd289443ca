//! An admin edits the pool files by hand, and the kernel follows.

use std::net::Ipv4Addr;

use crate::lab::{Lab, QUICK, Shape, three};

with_both_iptables! {
    restore_follows_a_client_moved_between_pool_files,
}

fn restore_follows_a_client_moved_between_pool_files(shape: Shape) {
    let lab = shape.serving(&three(""));
    let (client, removed) = (lab.member(1, 3), lab.member(3, 0));
    let added = Ipv4Addr::new(10, 1, 2, 3);
    let mut open = lab.client(client).tcp().unwrap();
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)));
    lab.gateway.sh(&format!(
        "cd {}
         grep -vxF {client} pool1 >rest
         mv rest pool1
         sed -i 1d pool3
         printf '%s\\n' {client} {added} >>pool2",
        lab.pool_dir().display()
    ));
    let edited = lab.files();
    lab.wanpool(["restore"]).ok();
    let marks = lab.marks();
    assert_eq!((&*marks[&client], &*marks[&added]), ("0x2/0xff", "0x2/0xff"));
    assert!(!marks.contains_key(&removed), "{removed} is in no file, but in the set");
    assert_eq!(marks.len(), 30);
    lab.assert_leaves_by(client, &[2]);
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)), "a connection that was open before");
    assert_eq!(lab.files(), edited);
    lab.wanpool(["restore"]).silent();
}

/// The lines are as many and as long as before.
#[test]
fn assign_follows_clients_swapped_between_pool_files() {
    let lab = Lab::three_uplinks();
    lab.wanpool(["assign"]).silent();
    let (one, two) = (lab.member(1, 0), lab.member(2, 0));
    let dir = lab.pool_dir();
    lab.gateway.sh(&format!(
        "cd {}\nsed -i 's/^{one}$/{two}/' pool1\nsed -i 's/^{two}$/{one}/' pool2",
        dir.display()
    ));
    lab.wanpool(["assign"]).ok();
    assert_eq!((&*lab.marks()[&one], &*lab.marks()[&two]), ("0x2/0xff", "0x1/0xff"));
    lab.wanpool(["pools", "--check"]).silent();
}

#[test]
fn a_bad_line_stops_placing_and_never_routing() {
    let lab = Lab::new();
    lab.serve(&three(QUICK));
    let clients = lab.members(1);
    let others = lab.members(3);
    let good = lab.files();
    let bad_file = lab.pool_dir().join("pool2");
    let open = lab.talk(&others);
    lab.gateway.sh(&format!("echo x >>{}", bad_file.display()));
    let bad = lab.files();
    let place = format!("{}:11:1: ", bad_file.display());
    let warns = |command: &str| {
        let run = lab.run(command);
        assert!(run.status == 0 && run.stderr.contains(&place), "{command}: {run}");
        assert!(run.stderr.contains("until this is corrected"), "{command}: {run}");
    };

    warns("failover ppp0");
    lab.assert_all_leave_by(&clients, &[2, 3]);
    lab.assert_all_leave_by(&others, &[3]);
    warns("restore ppp0");
    lab.assert_all_leave_by(&clients, &[1]);
    lab.assert_all_leave_by(&others, &[3]);
    lab.hang_up(1);
    warns("--hook failover ppp0");
    lab.redial(1);
    warns("--hook restore ppp0");
    warns("failover --probe");
    lab.assert_all_leave_by(&clients, &[1]);
    lab.assert_all_leave_by(&others, &[3]);
    let run = lab.run("pools");
    assert!(run.status == 1 && run.stderr.contains(&place), "{run}");
    assert_eq!(run.stdout.matches(" up ").count(), 3, "{run}");
    for command in ["assign", "assign 192.168.7.99", "assign --prune"] {
        lab.run(command).refused(1).naming(&[&place]);
    }

    // At boot, clients share the uplinks until the line is corrected.
    for flow in open.stop() {
        flow.assert_whole(lab.uplink_address(3));
    }
    lab.wanpool(["flush"]).ok();
    let run = lab.wanpool(["restore"]);
    assert!(run.status == 1 && run.stderr.contains(&place), "{run}");
    lab.assert_all_leave_by(&clients, &[1, 2, 3]);
    assert_eq!(lab.files(), bad);
    lab.gateway.sh(&format!("sed -i '$d' {}", bad_file.display()));
    assert_eq!(lab.files(), good);
    lab.wanpool(["restore"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}
