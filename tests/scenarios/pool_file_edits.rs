//! An admin edits the pool files by hand, and the kernel follows.

use std::net::Ipv4Addr;

use crate::lab::{Lab, Shape, three};

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
