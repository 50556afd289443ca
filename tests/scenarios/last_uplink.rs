//! The last uplink in service, and none at all: clients get "unreachable", never a foreign default
//! route.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use crate::lab::{Lab, Shape, three};

with_both_iptables! {
    failover_of_the_last_uplink_in_service_is_refused,
    without_any_uplink_clients_get_unreachable_whatever_main_has,
    restoring_any_one_uplink_serves_all_clients,
}

/// A foreign uplink that works, and that the default route in main uses.
const FOREIGN: &str = "
ip route add default via 10.65.4.1 dev eth1
iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE
";

/// Each of these clients gets "unreachable". Over UDP one after the other: of the first ICMP errors
/// that two CPUs want to send at once, the kernel's limiter may drop one (`icmp_global_allow`). Over
/// TCP all at the same time: the first answer may come while the client's kernel is busy with the
/// SYN, and then counts only for the next one, a second later.
fn assert_unreachable(lab: &Lab, clients: &[Ipv4Addr]) {
    for &client in clients {
        let why = lab.client(client).udp().unwrap().ask().expect_err("no uplink");
        assert!(why.contains("No route to host"), "over UDP: {why}");
    }
    thread::scope(|scope| {
        for &client in clients {
            scope.spawn(move || {
                let why = lab.client(client).tcp().err().expect("no uplink");
                assert!(why.contains("UNREACH"), "over TCP: {why}");
            });
        }
    });
}

fn failover_of_the_last_uplink_in_service_is_refused(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh(FOREIGN);
    lab.serve(&three(""));
    lab.hang_up(1);
    lab.wanpool(["failover", "ppp1"]).ok();
    let talk = lab.talk(&lab.everyone());
    let (before, tracked) = (lab.state(), lab.tracked());
    for command in ["failover ppp2", "failover 3 --to 2", "-n failover ppp2"] {
        lab.run(command).refused(1).naming(&["ppp"]);
        lab.state().assert_is(&before, command);
    }
    talk.goes_on("as before", |_| true);
    let now = lab.tracked();
    assert!(tracked.iter().all(|(id, mark)| now.get(id) == Some(mark)), "a flow was ended");
    for flow in talk.stop() {
        flow.assert_whole(lab.uplink_address(3));
    }

    // Uplinks that are out already may be failed over.
    lab.wanpool(["failover", "ppp1"]).silent();
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.state().assert_is(&before, "uplinks that are out already");
}

fn without_any_uplink_clients_get_unreachable_whatever_main_has(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh(FOREIGN);
    lab.serve(&three(""));
    let unassigned = lab.member(2, 0);
    lab.release(unassigned);
    let open = lab.member(3, 9);
    let mut flow = lab.client(open).udp().unwrap();
    assert_eq!(flow.ask(), Ok(lab.uplink_address(3)));
    // One is failed over, its device is up; the devices of the others are gone.
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.hang_up(2);
    lab.hang_up(3);
    let foreign = lab.carried(4);
    // Each client asks once: the kernel limits the rate of errors to one address.
    let witnesses = |at| [lab.member(1, at), lab.member(2, at), lab.member(3, at)];
    assert_unreachable(&lab, &[&witnesses(0)[..], &[unassigned]].concat());
    let why = flow.ask().expect_err("no uplink");
    assert!(why.contains("No route to host"), "{why}");
    // `pools` shows the same, and no run leads to the foreign route.
    lab.wanpool(["assign"]).ok();
    lab.wanpool(["failover", "ppp1"]).ok();
    assert_unreachable(&lab, &witnesses(1));
    assert_eq!(lab.carried(4), foreign, "packets by the foreign default route");
    let pools = lab.wanpool(["-j", "pools"]).json();
    let states: Vec<_> = pools.as_array().unwrap().iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["failed-over", "down", "down"]);
    assert!(pools[0]["carried_by"].is_null(), "{pools}");
}

fn restoring_any_one_uplink_serves_all_clients(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh(FOREIGN);
    lab.serve(&three(""));
    let before = lab.state();
    for number in 1..=3 {
        for lost in 1..=3 {
            lab.hang_up(lost);
        }
        assert_unreachable(&lab, &[lab.member(number, 9)]);
        lab.redial(number);
        lab.wanpool(["restore", &lab.uplink_dev(number)]).ok();
        lab.assert_all_leave_by(&lab.everyone(), &[number]);
        for other in (1..=3).filter(|&other| other != number) {
            lab.redial(other);
        }
        lab.wanpool(["restore"]).ok();
        lab.state().assert_is(&before, "all are back");
    }
}

#[test]
fn a_failed_over_uplink_can_be_restored_when_all_others_are_down() {
    let lab = Lab::three_uplinks();
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.hang_up(2);
    lab.hang_up(3);
    let client = lab.member(2, 0);
    let brief = lab.client(client).patience(Duration::from_millis(500));
    assert!(brief.tcp().is_err(), "service by a failed over uplink");
    lab.wanpool(["restore", "ppp0"]).ok();
    lab.assert_all_leave_by(&lab.everyone(), &[1]);
}
