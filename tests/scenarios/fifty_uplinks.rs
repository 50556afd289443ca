//! Fifty uplinks, and not one more.

use std::collections::BTreeSet;

use crate::lab::{Lab, uplinks};

fn devices(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("ppp{at}")).collect()
}

fn config(devices: &[String]) -> String {
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    uplinks("", &devices)
}

#[test]
fn fifty_uplinks_work_and_the_fifty_first_is_a_configuration_error() {
    let lab = Lab::with()
        .point_to_point(50)
        .without_ethernet()
        .client_addresses(100)
        .serving(&config(&devices(50)));
    let before = lab.state();
    let all: Vec<u8> = (1..=50).collect();
    assert!(all.iter().all(|&number| lab.pool(number).len() == 2), "{:?}", lab.files());
    lab.assert_each_leaves_by_its_own_uplink(&all);
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["restore"]).silent();
    let rows = lab.wanpool(["-j", "pools"]).json();
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == "up"), "{rows}");
    assert_eq!(rows.as_array().unwrap().len(), 50);

    // The last one is lost, redialled, failed over, and restored.
    let client = lab.member(50, 0);
    let mut open = lab.client(lab.member(49, 0)).tcp().unwrap();
    let elsewhere = |lab: &Lab| {
        lab.assert_leaves_by_another(client, 50);
    };
    lab.hang_up(50);
    elsewhere(&lab);
    lab.redial(50);
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[50]);
    lab.wanpool(["failover", "ppp49", "--to", "ppp0"]).ok();
    lab.assert_leaves_by(client, &[1]);
    lab.wanpool(["failover", "50"]).silent();
    lab.wanpool(["restore", "50"]).ok();
    lab.wanpool(["multipath", "on"]).ok();
    lab.wanpool(["multipath", "off"]).ok();
    lab.state().assert_is(&before, "all as before");
    assert_eq!(open.ask(), Ok(lab.uplink_address(49)));

    lab.config(&config(&devices(51)));
    for command in ["restore", "assign", "pools", "failover 1", "multipath on"] {
        let run = lab.run(command);
        run.refused(2).naming(&["wanpool.toml", "51"]);
    }
    lab.state().assert_is(&before, "the 51st is refused");
}

#[test]
fn forty_nine_of_fifty_uplinks_may_be_down() {
    let lab = Lab::with()
        .point_to_point(50)
        .without_ethernet()
        .client_addresses(50)
        .serving(&config(&devices(50)));
    (2..=50).for_each(|number| lab.hang_up(number));
    let seen: BTreeSet<_> =
        lab.everyone().iter().map(|&client| lab.client(client).seen()).collect();
    assert_eq!(seen, [Ok(lab.uplink_address(1))].into());
}
