//! The hooks of programs that configure an ethernet uplink: dhclient, NetworkManager,
//! networkd-dispatcher and ifupdown, each with the variables of its caller.

use std::net::Ipv4Addr;

use crate::lab::{Hooks, Lab, QUICK, Run, Shape, four};

with_both_iptables! {
    dhclient_gets_a_lease_renews_it_with_another_gateway_and_loses_it,
    network_manager_brings_a_device_up_and_down,
}

const OLD: &str = "10.65.4.1";
const NEW: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 9);

/// The ethernet uplink as the fourth, with no gateway in the configuration.
fn without_via() -> String {
    four("").replace("via = \"10.65.4.1\"\n", "")
}

/// dhclient-script sources the hook: an unset variable or a failure would end the script, and the hook
/// must not change its variables. `bindings` are variables that the script has set, not exported.
fn dhclient(lab: &Lab, hooks: &Hooks, bindings: &str) -> Run {
    let file = lab.scratch().join("dhclient-script");
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/dhclient/wanpool");
    let text = format!(
        "interface=eth1 exit_status=0\n{bindings}\nset -- kept\n. {hook}\n\
         echo \"$? $1 $reason $interface $exit_status\"\n"
    );
    std::fs::write(&file, text).expect("dhclient-script");
    let [plain, bash] = ["/bin/sh", "/bin/bash"].map(|shell| {
        let file = file.display().to_string();
        hooks.program(shell.into()).args(&["-eu", &file]).run()
    });
    for run in [&plain, &bash] {
        let printed = &run.ok().stdout;
        assert!(printed.starts_with("0 kept ") && printed.ends_with(" eth1 0\n"), "{run}");
    }
    plain
}

/// The ethernet uplink's row of `pools`.
fn state(lab: &Lab) -> String {
    lab.wanpool(["-j", "pools"]).json()[3]["state"].as_str().expect("a word").to_owned()
}

fn is_tracked(lab: &Lab) -> bool {
    lab.tracked().values().any(|mark| mark & 0xff == 0x84)
}

#[track_caller]
fn assert_carried_by_others(lab: &Lab) {
    let seen = lab.client(lab.member(4, 0)).seen();
    assert!(seen.as_ref().is_ok_and(|&seen| seen != lab.uplink_address(4)), "{seen:?}");
    assert!(!is_tracked(lab), "a flow of the lost uplink");
}

fn dhclient_gets_a_lease_renews_it_with_another_gateway_and_loses_it(shape: Shape) {
    let lab = shape.serving(&without_via());
    assert_eq!(state(&lab), "down");
    let hooks = lab.hooks();
    let lease = "new_ip_address=10.65.4.2 new_routers='10.65.4.1 10.65.4.3'";
    dhclient(&lab, &hooks, &format!("reason=BOUND {lease}"));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    let bound = lab.state();
    for idle in ["PREINIT", "MEDIUM", "ARPCHECK", "NBI", "REBOOT"] {
        dhclient(&lab, &hooks, &format!("reason={idle} {lease}"));
        lab.state().assert_is(&bound, idle);
    }

    let same = "old_ip_address=10.65.4.2 old_routers='10.65.4.1 10.65.4.3'";
    dhclient(&lab, &hooks, &format!("reason=RENEW {lease} {same}"));
    lab.state().assert_is(&bound, "a renewal with nothing new");
    lab.move_gateway(4, NEW);
    dhclient(&lab, &hooks, &format!("reason=RENEW {} {same}", lease.replace(OLD, "10.65.4.9")));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    lab.wanpool(["assign"]).silent();

    // dhclient-script has removed the address by then.
    for lost in ["EXPIRE", "FAIL", "RELEASE", "STOP"] {
        lab.track(&[0x84]);
        lab.gateway.sh("ip addr flush dev eth1");
        dhclient(&lab, &hooks, &format!("reason={lost} old_ip_address=10.65.4.2"));
        assert_carried_by_others(&lab);
        lab.gateway.sh("ip addr add 10.65.4.2/24 dev eth1");
        dhclient(&lab, &hooks, "reason=BOUND new_ip_address=10.65.4.2 new_routers=10.65.4.9");
        lab.assert_each_leaves_by_its_own_uplink(&[4]);
    }
    assert_eq!(hooks.log(), "");
}

/// The events of a device that exists.
const BACK: [&str; 8] = [
    "dhclient BOUND",
    "dhclient REBOOT",
    "dhclient RENEW",
    "dhclient REBIND",
    "NetworkManager up",
    "NetworkManager dhcp4-change",
    "networkd-dispatcher routable",
    "ifupdown if-up",
];

/// Runs the hook as its caller does, with this gateway. The old lease is the same as the new one.
fn report(lab: &Lab, hooks: &Hooks, event: &str, gateway: &str) {
    let (caller, what) = event.split_once(' ').expect("two words");
    let hook = |name: &str| hooks.hook(name).var("IFACE", "eth1");
    match caller {
        "dhclient" => {
            let lease = format!("new_ip_address=10.65.4.2 new_routers='{gateway} 10.65.4.3'");
            let old = lease.replace("new_", "old_");
            dhclient(lab, hooks, &format!("reason={what} {lease} {old}"));
        }
        "NetworkManager" => {
            let hook = hook("NetworkManager/90-wanpool").args(&["eth1", what]);
            hook.var("IP4_GATEWAY", gateway).run().silent();
        }
        "networkd-dispatcher" => {
            let default = format!("default via {gateway} dev eth1 proto dhcp metric 1024");
            lab.gateway.sh(&format!("ip route add {default}"));
            hook("networkd-dispatcher/routable").run().silent();
            lab.gateway.sh(&format!("ip route del {default}"));
        }
        _ => {
            hook("ifupdown/if-up").var("ADDRFAM", "inet").var("IF_GATEWAY", gateway).run().silent();
        }
    }
}

#[test]
fn no_hook_undoes_a_failover_by_hand_until_the_device_is_created_again() {
    let lab = Lab::serving(&without_via());
    let hooks = lab.hooks();
    for event in BACK {
        lab.redial(4);
        report(&lab, &hooks, event, OLD);
        lab.assert_each_leaves_by_its_own_uplink(&[4]);
        let whole = lab.state();
        lab.wanpool(["failover", "eth1"]).ok();
        let out = lab.state();
        report(&lab, &hooks, event, OLD);
        lab.state().assert_is(&out, event);
        // Its own flows use the new gateway, and a later restore does.
        report(&lab, &hooks, event, "10.65.4.9");
        assert_eq!(state(&lab), "failed-over", "{event}");
        let routes = lab.gateway.sh("ip route show table 304");
        assert_eq!(routes.matches("via 10.65.4.9 ").count(), 1, "{event}: {routes}");
        lab.wanpool(["assign"]).silent();
        report(&lab, &hooks, event, OLD);
        lab.state().assert_is(&out, event);
        lab.redial(4);
        report(&lab, &hooks, event, OLD);
        lab.state().assert_is(&whole, event);
    }
    assert_eq!(hooks.log(), "");
}

#[test]
fn a_hook_undoes_a_failover_by_probe_only_if_the_gateway_has_changed() {
    let lab = Lab::serving(&format!("{}{QUICK}", without_via()));
    let hooks = lab.hooks();
    report(&lab, &hooks, "dhclient BOUND", OLD);
    assert_eq!(state(&lab), "up");
    lab.swallow(4, true);
    lab.runs_until(4, "failed-over");
    let out = lab.state();
    for event in BACK {
        report(&lab, &hooks, event, OLD);
        lab.state().assert_is(&out, event);
    }
    report(&lab, &hooks, "dhclient RENEW", "10.65.4.9");
    assert_eq!(state(&lab), "up");
    assert_eq!(hooks.log(), "");
}

fn network_manager_brings_a_device_up_and_down(shape: Shape) {
    let lab = shape.serving(&without_via());
    let hooks = lab.hooks();
    let run_hook = |action: &str, gateway: Option<&str>| {
        let hook = hooks.hook("NetworkManager/90-wanpool").args(&["eth1", action]);
        let hook = hook.var("DEVICE_IFACE", "eth1").var("CONNECTION_ID", "wired");
        match gateway {
            Some(gateway) => hook.var("IP4_GATEWAY", gateway).run().silent(),
            None => hook.run().silent(),
        };
    };
    run_hook("up", Some(OLD));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    let up = lab.state();
    for action in ["up", "dhcp4-change"] {
        for gateway in [None, Some(OLD), Some("0.0.0.0")] {
            run_hook(action, gateway);
            lab.state().assert_is(&up, format!("{action} {gateway:?}"));
        }
    }
    for action in ["pre-up", "vpn-up", "hostname", "connectivity-change", "dhcp6-change"] {
        run_hook(action, Some("10.65.4.99"));
        lab.state().assert_is(&up, action);
    }
    lab.move_gateway(4, NEW);
    run_hook("dhcp4-change", Some("10.65.4.9"));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);

    lab.track(&[0x84]);
    lab.gateway.sh("ip addr flush dev eth1");
    run_hook("down", None);
    assert_carried_by_others(&lab);
    lab.gateway.sh("ip addr add 10.65.4.2/24 dev eth1");
    run_hook("up", Some("10.65.4.9"));
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    assert_eq!(hooks.log(), "");
}

#[test]
fn networkd_dispatcher_reports_that_a_device_is_routable_or_off() {
    let lab = Lab::serving(&without_via());
    let hooks = lab.hooks();
    let run_hook = |name: &str, state: &str| {
        let hook = hooks.hook(&format!("networkd-dispatcher/{name}"));
        let hook = hook.var("IFACE", "eth1").var("STATE", state).var("AdministrativeState", state);
        hook.var("OperationalState", state).var("json", "{}").run().silent();
    };
    lab.gateway.sh("ip route add default via 10.65.4.1 dev eth1 proto dhcp metric 1024");
    run_hook("routable", "routable");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    let up = lab.state();
    run_hook("routable", "routable");
    lab.state().assert_is(&up, "routable again");

    lab.move_gateway(4, NEW);
    lab.gateway.sh("ip route replace default via 10.65.4.9 dev eth1 proto dhcp metric 1024");
    run_hook("routable", "routable");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);

    lab.track(&[0x84]);
    lab.carrier(4, false);
    run_hook("off", "no-carrier");
    assert_carried_by_others(&lab);
    lab.carrier(4, true);
    run_hook("routable", "routable");
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    lab.track(&[0x84]);
    run_hook("off", "degraded");
    assert!(is_tracked(&lab), "the uplink is up again: the event is outdated");
    assert_eq!(hooks.log(), "");
}

#[test]
fn ifupdown_brings_a_device_up_and_takes_it_down() {
    let lab = Lab::serving(&without_via());
    let hooks = lab.hooks();
    let run_hook = |name: &str, family: &str| {
        let (mode, phase) =
            if name == "if-up" { ("start", "post-up") } else { ("stop", "post-down") };
        let hook = hooks.hook(&format!("ifupdown/{name}")).var("IFACE", "eth1");
        let hook = hook.var("LOGICAL", "eth1").var("ADDRFAM", family).var("METHOD", "static");
        let hook = hook.var("MODE", mode).var("PHASE", phase).var("VERBOSITY", "0");
        hook.var("IF_ADDRESS", "10.65.4.2").var("IF_GATEWAY", OLD).run().silent();
    };
    let before = lab.state();
    run_hook("if-up", "inet6");
    lab.state().assert_is(&before, "another family");
    run_hook("if-up", "inet");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    let up = lab.state();
    run_hook("if-up", "inet");
    run_hook("if-post-down", "inet6");
    lab.state().assert_is(&up, "up again");

    lab.track(&[0x84]);
    lab.gateway.sh("ip addr flush dev eth1\nip link set eth1 down");
    run_hook("if-post-down", "inet");
    assert_carried_by_others(&lab);
    lab.redial(4);
    run_hook("if-up", "inet");
    lab.state().assert_is(&up, "up again");
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    assert_eq!(hooks.log(), "");
}

/// The name of a VLAN may be a number.
#[test]
fn a_hook_names_a_device_and_never_the_number_of_an_uplink() {
    let lab = Lab::three_uplinks();
    let hooks = lab.hooks();
    lab.redial(1);
    let before = lab.state();
    for event in ["ip-down 1", "ip-up 1"] {
        let name = event.split(' ').next().unwrap();
        let (command, device) = (if name == "ip-up" { "restore" } else { "failover" }, "1");
        lab.script(&format!("WANPOOL_HOOK='{event}' exec \"$WANPOOL\" {command} {device}"))
            .silent();
        lab.state().assert_is(&before, event);
    }
    assert_eq!(hooks.log(), "");
    // A script of the admin that only sets hook mode may use both.
    assert_eq!(lab.run("--hook restore 1").ok().stdout, "uplink 1 ppp0 up\n");
}
