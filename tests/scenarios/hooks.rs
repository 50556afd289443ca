//! pppd's hooks, run as pppd runs them: in `/`, without PATH, with an empty tty and with closed
//! descriptors; and what applies to all hooks.

use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Hooks, Lab, Shape, binary, four, three};

with_both_iptables! {
    ip_up_puts_an_uplink_in_service_with_only_the_environment_of_pppd,
    ip_down_ends_only_the_flows_of_the_lost_uplink,
    the_program_itself_needs_no_path,
}

/// The connmarks of all flows.
fn marks(lab: &Lab) -> Vec<u32> {
    let mut marks: Vec<u32> = lab.tracked().into_values().collect();
    marks.sort_unstable();
    marks
}

fn ip_up_puts_an_uplink_in_service_with_only_the_environment_of_pppd(shape: Shape) {
    let lab = shape.serving(&three(""));
    let hooks = lab.hooks();
    let before = lab.state();
    lab.redial_as(1, "10.64.1.77".parse().unwrap());
    hooks.ppp("ip-up", 1).run().silent();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.redial_as(1, "10.64.1.2".parse().unwrap());
    assert_eq!(hooks.ppp("ip-up", 1).closed().run().status, 0);
    lab.state().assert_is(&before, "with stdin, stdout and stderr closed");
    hooks.ppp("ip-up", 1).run().silent();
    lab.state().assert_is(&before, "a second time");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    assert_eq!(hooks.log(), "");
}

fn ip_down_ends_only_the_flows_of_the_lost_uplink(shape: Shape) {
    let lab = shape.serving(&three(""));
    let hooks = lab.hooks();
    let whole = lab.state();
    let others = lab.talk(&[lab.member(2, 0), lab.member(3, 0)]);
    // The device does not exist, has no address, is down.
    for loss in ["ip link del ppp0", "ip addr flush dev ppp0", "ip link set ppp0 down"] {
        lab.gateway.sh("conntrack -D -m 0x81/0xff 2>/dev/null || :");
        lab.track(&[0x5a81, 0x81, 0x5a82, 0x8100]);
        lab.gateway.sh(loss);
        hooks.ppp("ip-down", 1).run().silent();
        let left = marks(&lab);
        assert!(!left.iter().any(|mark| mark & 0xff == 0x81), "{loss}: {left:x?}");
        assert!(left.contains(&0x5a82) && left.contains(&0x8100), "{loss}: {left:x?}");
        let seen = lab.client(lab.member(1, 0)).seen();
        assert!(seen.as_ref().is_ok_and(|&seen| seen != lab.uplink_address(1)), "{loss}: {seen:?}");
        hooks.ppp("ip-down", 1).run().silent();
        lab.gateway.sh("conntrack -D -s 192.168.7.200 2>/dev/null || :");
        lab.redial(1);
        hooks.ppp("ip-up", 1).closed().run();
        lab.state().assert_is(&whole, format!("after {loss}"));
    }
    for flow in others.stop() {
        flow.assert_whole(lab.uplink_address(lab.pool_of(flow.client).expect("a pool")));
    }
    assert_eq!(hooks.log(), "");
}

fn the_program_itself_needs_no_path(shape: Shape) {
    let lab = shape.raise();
    lab.config(&four("helpers = [\"ftp\"]"));
    lab.discover(&lab.everyone());
    let hooks = lab.hooks();
    for args in [["restore"].as_slice(), &["assign"], &["failover", "1"], &["restore", "1"]] {
        let run = hooks.program(binary()).args(args).run();
        assert!(!run.ok().stdout.is_empty(), "{run}");
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    hooks.program(binary()).args(&["flush"]).run().ok();
}

#[test]
fn ip_down_does_nothing_if_the_uplink_is_up_again() {
    let lab = Lab::three_uplinks();
    let hooks = lab.hooks();
    lab.redial_as(1, "10.64.1.77".parse().unwrap());
    hooks.ppp("ip-up", 1).run().silent();
    let talk = lab.talk(&lab.everyone());
    let (before, tracked) = (lab.state(), lab.tracked());
    hooks.ppp("ip-down", 1).run().silent();
    lab.state().assert_is(&before, "after a late ip-down");
    let now = lab.tracked();
    assert!(tracked.iter().all(|(id, mark)| now.get(id) == Some(mark)), "a flow was ended");
    talk.goes_on("after a late ip-down", |_| true);
    for flow in talk.stop() {
        flow.assert_whole(lab.uplink_address(lab.pool_of(flow.client).expect("a pool")));
    }
}

#[test]
fn ip_up_does_not_undo_a_failover_by_hand_until_the_uplink_is_redialled() {
    let lab = Lab::three_uplinks();
    let whole = lab.state();
    let hooks = lab.hooks();
    lab.wanpool(["failover", "ppp0"]).ok();
    let out = lab.state();
    hooks.ppp("ip-up", 1).run().silent();
    lab.state().assert_is(&out, "the uplink was not redialled");
    lab.redial(1);
    hooks.ppp("ip-up", 1).run().silent();
    lab.state().assert_is(&whole, "redialled");
    assert_eq!(hooks.log(), "");
}

#[test]
fn the_loss_of_the_last_uplink_is_no_error_for_its_hook() {
    let lab = Lab::three_uplinks();
    let whole = lab.state();
    let hooks = lab.hooks();
    for number in 1..=3 {
        lab.hang_up(number);
        hooks.ppp("ip-down", number).run().silent();
    }
    // If no uplink is in service, no flow is ended.
    lab.track(&[0x83]);
    hooks.ppp("ip-down", 3).run().silent();
    assert!(marks(&lab).contains(&0x83));
    for number in [3, 1, 2] {
        lab.redial(number);
        hooks.ppp("ip-up", number).run().silent();
    }
    lab.state().assert_is(&whole, "all are back");
    assert_eq!(hooks.log(), "");
}

/// Runs every hook for this device, with the variables of its caller.
fn all_hooks(hooks: &Hooks, dev: &str) -> Vec<crate::lab::Run> {
    let lan = |name: &str| {
        let hook = hooks.hook(name).var("IFACE", dev).var("ADDRFAM", "inet").var("METHOD", "dhcp");
        hook.var("IP4_GATEWAY", "10.65.4.1").var("IF_GATEWAY", "10.65.4.1")
    };
    let mut runs = vec![
        hooks.ppp("ip-up", 1).args(&[dev, "", "0", "10.0.0.2", "10.0.0.1", ""]).run(),
        hooks.ppp("ip-down", 1).args(&[dev, "", "0", "10.0.0.2", "10.0.0.1", ""]).run(),
        hooks.hook("ppp/ip-up").args(&[dev]).run(),
        lan("networkd-dispatcher/routable").run(),
        lan("networkd-dispatcher/off").run(),
        lan("ifupdown/if-up").run(),
        lan("ifupdown/if-post-down").run(),
    ];
    for action in ["up", "down", "dhcp4-change", "vpn-up", "hostname"] {
        runs.push(lan("NetworkManager/90-wanpool").args(&[dev, action]).run());
    }
    for reason in ["BOUND", "RENEW", "EXPIRE", "PREINIT", "STOP"] {
        let hook = hooks.hook("dhclient/wanpool").var("interface", dev).var("reason", reason);
        runs.push(hook.var("new_routers", "10.65.4.1").run());
    }
    runs
}

#[test]
fn hooks_of_devices_that_are_no_uplinks_are_silent_and_do_nothing() {
    let lab = Lab::three_uplinks();
    let hooks = lab.hooks();
    let before = lab.state();
    // A device that exists, one that does not, a LAN device, the loopback device, and no device.
    for dev in ["eth1", "ppp9", "br0", "lo", ""] {
        for run in all_hooks(&hooks, dev) {
            run.silent();
        }
    }
    // ifupdown runs its hooks once more for all interfaces together.
    hooks.hook("ifupdown/if-up").var("IFACE", "--all").run().silent();
    hooks.hook("ifupdown/if-post-down").var("IFACE", "--all").run().silent();
    hooks.hook("ppp/ip-up").run().silent();
    hooks.hook("ppp/ip-down").run().silent();
    hooks.hook("NetworkManager/90-wanpool").run().silent();
    hooks.hook("dhclient/wanpool").run().silent();
    lab.state().assert_is(&before, "hooks of other devices");
    assert_eq!(hooks.log(), "");
}

#[test]
fn without_a_configuration_hooks_are_silent_and_do_nothing() {
    let lab = Lab::new();
    let before = lab.state();
    let hooks = lab.hooks();
    // Without the file, and with the file of the package, in which all is commented out.
    for config in [None, Some(include_str!("../../scripts/wanpool.toml"))] {
        if let Some(text) = config {
            lab.config(text);
        }
        for run in ["ppp0", "eth1"].iter().flat_map(|dev| all_hooks(&hooks, dev)) {
            run.silent();
        }
        for command in ["restore", "assign", "flush"] {
            hooks.program(binary()).args(&[command]).var("WANPOOL_HOOK", "1").run().silent();
        }
    }
    lab.state().assert_is(&before, "hooks without a configuration");
    assert!(!lab.pool_dir().exists());
    assert_eq!(hooks.log(), "");
    // An admin gets an error, and so does a hook once the file has any key.
    lab.wanpool(["assign"]).refused(2).naming(&["wanpool.toml:1:1: no uplink"]);
    lab.config("lan = [\"br0\"]\n");
    hooks.ppp("ip-up", 1).run().silent();
    assert!(hooks.log().contains("no uplink"), "{}", hooks.log());
}

#[test]
fn hooks_without_the_program_are_silent() {
    let lab = Lab::new();
    lab.config(&four(""));
    let hooks = lab.hooks();
    for name in [
        "ppp/ip-up",
        "ppp/ip-down",
        "NetworkManager/90-wanpool",
        "networkd-dispatcher/routable",
        "networkd-dispatcher/off",
        "ifupdown/if-up",
        "ifupdown/if-post-down",
        "dhclient/wanpool",
    ] {
        let hook = hooks.hook(name).var("WANPOOL", "/nowhere/wanpool").var("IFACE", "eth1");
        let hook = hook.var("interface", "eth1").var("reason", "BOUND").args(&["eth1", "up"]);
        hook.run().silent();
    }
    assert_eq!(hooks.log(), "");
}

#[test]
fn the_error_of_a_hook_goes_only_to_syslog() {
    let lab = Lab::three_uplinks();
    lab.config("nonsense");
    let hooks = lab.hooks();
    let before = lab.state();
    hooks.ppp("ip-up", 1).run().silent();
    let log = hooks.log();
    assert!(log.starts_with("-t wanpool ") && log.contains("wanpool.toml:1"), "{log}");
    assert!(log.contains("ip-up ppp0") && log.lines().count() == 1, "{log}");
    hooks.ppp("ip-down", 1).run().silent();
    assert_eq!(hooks.log().lines().count(), 2, "{}", hooks.log());
    lab.state().assert_is(&before, "with a broken configuration");

    // A hook without a name prints its error.
    for name in ["1", "yes"] {
        let plain = hooks.program(binary()).args(&["restore", "ppp0"]).var("WANPOOL_HOOK", name);
        plain.run().refused(2);
    }
    assert_eq!(hooks.log().lines().count(), 2, "{}", hooks.log());
    lab.config(&three(""));
    hooks.hook("ifupdown/if-up").var("IFACE", "ppp0").var("IF_GATEWAY", "gw").run().silent();
    let log = hooks.log();
    assert!(log.contains("if-up ppp0: invalid value 'gw' for '--via"), "{log}");
}

#[test]
fn after_a_killed_hook_the_next_run_repairs_everything() {
    let lab = Lab::three_uplinks();
    let hooks = lab.hooks();
    let whole = lab.state();
    for step in 0..40 {
        lab.redial(1);
        let name = if step % 4 < 2 { "ip-up" } else { "ip-down" };
        if name == "ip-down" {
            lab.hang_up(1);
        }
        let mut hook = hooks.ppp(name, 1).spawn();
        let pid = Pid::from_raw(i32::try_from(hook.id()).unwrap());
        // The delays reach from before its beginning until after its end.
        thread::sleep(Duration::from_millis(step));
        // The hook alone, as pppd does it, or with all its child processes.
        let target = if step % 2 == 0 { pid } else { Pid::from_raw(-pid.as_raw()) };
        let _ = kill(target, Signal::SIGTERM);
        hook.wait().unwrap();
        if name == "ip-down" {
            lab.redial(1);
        }
        let seen = lab.client(lab.member(2, 0)).seen();
        assert_eq!(seen, Ok(lab.uplink_address(2)), "{name} killed after {step} ms");
        match step % 3 {
            0 => lab.wanpool(["assign"]),
            1 => lab.wanpool(["restore", "ppp0"]),
            _ => hooks.ppp("ip-up", 1).run(),
        }
        .ok();
        lab.state().assert_is(&whole, format!("{name} killed after {step} ms, then repaired"));
    }
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}
