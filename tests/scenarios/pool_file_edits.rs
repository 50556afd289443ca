//! The pool files are the truth: what an admin writes in them, the kernel follows.

use std::fs;
use std::net::Ipv4Addr;

use crate::lab::{Lab, Shape, three};
use crate::with_both_iptables;

with_both_iptables! {
    restore_follows_a_client_moved_between_pool_files,
}

fn restore_follows_a_client_moved_between_pool_files(shape: Shape) {
    let lab = shape.serving(&three(""));
    let client = lab.member(1, 3);
    let mut open = lab.client(client).tcp().unwrap();
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)));
    lab.gateway.sh(&format!(
        "cd {}
         grep -vxF {client} pool1 >rest
         mv rest pool1
         echo {client} >>pool2",
        lab.pool_dir().display()
    ));
    let edited = lab.files();
    lab.wanpool(["restore"]).ok();
    assert_eq!(lab.marks()[&client], "0x2/0xff");
    assert_eq!(lab.client(client).seen(), Ok(lab.uplink_address(2)));
    assert_eq!(open.ask(), Ok(lab.uplink_address(1)), "the connection it had");
    assert_eq!(lab.files(), edited);
    lab.wanpool(["restore"]).silent();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

#[test]
fn restore_marks_added_clients_and_unmarks_removed_ones() {
    let lab = Lab::three_uplinks();
    let gone = lab.member(3, 0);
    let new = Ipv4Addr::new(10, 1, 2, 3);
    lab.gateway
        .sh(&format!("cd {} && sed -i 1d pool3 && echo {new} >>pool2", lab.pool_dir().display()));
    lab.wanpool(["restore"]).ok();
    let marks = lab.marks();
    assert_eq!(marks[&new], "0x2/0xff");
    assert!(!marks.contains_key(&gone), "{gone} is in no file, but marked");
    assert_eq!(marks.len(), 30);
}

#[test]
fn restore_repairs_the_set_from_the_files() {
    let lab = Lab::three_uplinks();
    let right = lab.marks();
    lab.gateway.sh("ipset add wanpool 10.9.9.9 skbmark 0x1/0xff
         ipset -exist add wanpool 192.168.7.10 skbmark 0x3/0xff
         ipset del wanpool 192.168.7.11");
    lab.wanpool(["restore"]).ok();
    assert_eq!(lab.marks(), right);
}

#[test]
fn a_bad_pool_file_is_an_error_with_file_line_and_column_and_nothing_changes() {
    let bad = [
        ("pool1", "192.168.7.10\n192.168.7.300\n", ["pool1:2:1", "192.168.7.300"]),
        ("pool2", "192.168.7.11\nfoo bar\n", ["pool2:2:1", "foo bar"]),
        ("pool3", "192.168.7.12\n192.168.7.15\n192.168.7.10\n", ["pool3:3:1", "192.168.7.10"]),
    ];
    let lab = Lab::three_uplinks();
    for (name, text, words) in bad {
        let file = lab.pool_dir().join(name);
        let good = fs::read(&file).unwrap();
        fs::write(&file, text).unwrap();
        let before = lab.state();
        lab.wanpool(["restore"]).failed().naming(&words);
        lab.wanpool(["assign", "192.168.7.99"]).failed().naming(&words);
        lab.state().assert_is(&before, name);
        fs::write(&file, good).unwrap();
    }
}
