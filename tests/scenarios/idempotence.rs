//! The same command twice, `flush` and `restore`: a second run changes nothing, and `restore` builds
//! the same slice again.

use crate::lab::{Lab, Shape, four, three};

with_both_iptables! {
    a_second_run_of_anything_changes_nothing_and_prints_nothing,
    flush_removes_every_object_and_restore_rebuilds_it_from_the_files,
}

fn a_second_run_of_anything_changes_nothing_and_prints_nothing(shape: Shape) {
    let lab = shape.serving(&four(""));
    let before = lab.state();
    for command in [
        "assign",
        "restore",
        "assign 192.168.7.10 192.168.7.22",
        "assign 192.168.7.10 --pool 1",
        "assign 192.168.9.9 --release",
    ] {
        lab.run(command).silent();
    }
    assert_eq!(lab.wanpool(["-j", "restore"]).json()["steps"], serde_json::json!([]));
    lab.state().assert_is(&before, "after the second runs");
}

fn flush_removes_every_object_and_restore_rebuilds_it_from_the_files(shape: Shape) {
    let lab = shape.raise();
    let empty = lab.kernel_state();
    lab.serve(&four(""));
    let (served, files) = (lab.state(), lab.files());

    lab.wanpool(["flush"]).ok();
    lab.kernel_state().assert_is(&empty, "after flush");
    assert_eq!(lab.files(), files);
    lab.wanpool(["flush"]).silent();
    let brief = std::time::Duration::from_millis(500);
    assert!(lab.client(lab.everyone()[0]).patience(brief).tcp().is_err(), "service after flush");

    lab.wanpool(["restore"]).ok();
    lab.state().assert_is(&served, "after restore");
    lab.wanpool(["assign"]).silent();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

#[test]
fn restore_removes_what_the_config_no_longer_names() {
    let config = three("unassigned = \"unreachable\"");
    let (lab, smaller) = (Lab::four_uplinks(), Lab::serving(&config));
    lab.wanpool(["flush"]).ok();
    for pool in 1..=4 {
        let _ = std::fs::remove_file(lab.pool_dir().join(format!("pool{pool}")));
    }
    lab.wanpool(["restore"]).ok();
    lab.config(&config);
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    lab.kernel_state().assert_is(&smaller.kernel_state(), "after restore");
}
