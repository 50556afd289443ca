//! Several hooks at once: uplinks are lost and redialled at the same time, and the final state is
//! right.

use std::thread;

use crate::lab::{Hooks, Lab, State};

/// Uplink N's address: one for even rounds, another for odd ones.
fn address(number: u8, round: usize) -> std::net::Ipv4Addr {
    let host = if round % 2 == 0 { 2 } else { 77 };
    std::net::Ipv4Addr::new(10, 64, number, host)
}

/// An uplink is lost and redialled, with its hooks as pppd runs them: it does not wait for ip-down
/// before it dials, but it does before it runs ip-up.
fn session(lab: &Lab, hooks: &Hooks, number: u8, round: usize) {
    lab.hang_up(number);
    let mut down = hooks.ppp("ip-down", number).spawn();
    if (round + usize::from(number)) % 3 == 0 {
        down.wait().expect("ip-down");
    }
    lab.redial_as(number, address(number, round));
    down.wait().expect("ip-down");
    let up = hooks.ppp("ip-up", number);
    match round % 4 {
        0 => up.run().silent(),
        _ => up.closed().run().ok(),
    };
}

#[test]
fn two_uplinks_redialled_at_once_with_hooks_a_hundred_times_end_in_the_right_state() {
    let lab = Lab::three_uplinks();
    let hooks = lab.hooks();
    let third = lab.talk(&[lab.member(3, 0)]);
    // The right state of each kind of round, made without any hook.
    let right: [State; 2] = [0, 1].map(|round| {
        for number in [1, 2] {
            lab.redial_as(number, address(number, round));
        }
        lab.wanpool(["restore"]).ok();
        lab.state()
    });
    for round in 0..100 {
        thread::scope(|scope| {
            for number in [1, 2] {
                let (lab, hooks) = (&lab, &hooks);
                scope.spawn(move || session(lab, hooks, number, round));
            }
        });
        lab.state().assert_is(&right[round % 2], format!("round {round}"));
        for number in [1, 2] {
            lab.assert_leaves_by(lab.member(number, round % 10), &[number]);
        }
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    for flow in third.stop() {
        flow.assert_whole(lab.uplink_address(3));
    }
    assert_eq!(hooks.log(), "");
}

#[test]
fn all_hooks_and_cron_at_once_end_in_the_right_state() {
    let lab = Lab::four_uplinks();
    let hooks = lab.hooks();
    let right = lab.state();
    for round in 0..5 {
        for number in 1..=4 {
            lab.redial(number);
        }
        let lan = |name: &str| hooks.hook(name).var("IFACE", "eth1").var("ADDRFAM", "inet");
        let mut running = vec![
            hooks.ppp("ip-up", 1).spawn(),
            hooks.ppp("ip-up", 2).spawn(),
            hooks.ppp("ip-up", 3).spawn(),
            hooks.hook("NetworkManager/90-wanpool").args(&["eth1", "up"]).spawn(),
            lan("networkd-dispatcher/routable").spawn(),
            lan("ifupdown/if-up").spawn(),
            hooks.ppp("ip-down", 2).spawn(),
            hooks.program(crate::lab::binary()).args(&["assign"]).spawn(),
        ];
        for hook in &mut running {
            assert!(hook.wait().expect("its end").success(), "round {round}");
        }
        lab.state().assert_is(&right, format!("round {round}"));
        lab.assert_each_leaves_by_its_own_uplink(&[1 + round % 4]);
    }
    assert_eq!(hooks.log(), "");
}
