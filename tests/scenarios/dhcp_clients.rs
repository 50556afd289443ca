//! Real DHCP clients on the ethernet uplink, beside a real server: the lease, a renewal that changes the
//! router, and the end of the lease.

use std::net::Ipv4Addr;

use crate::lab::{DHCP_CLIENTS, Lab, four, wait_until};

const NEW: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 9);

/// The ethernet uplink as the fourth, with no gateway in the configuration.
fn without_via() -> String {
    four("").replace("via = \"10.65.4.1\"\n", "")
}

fn routes(lab: &Lab) -> String {
    lab.gateway.sh("{ ip route show table 304; ip nexthop show id 8704; } 2>/dev/null || true")
}

#[test]
fn a_lease_and_its_renewals_are_followed_by_the_hook_of_each_client() {
    for client in DHCP_CLIENTS {
        let lab = Lab::serving(&without_via());
        let server = lab.dhcp_server([10, 65, 4, 1].into(), "9.9.4.53,9.9.4.54");
        let running = lab.dhcp_client(client, true);
        wait_until(&format!("{} is bound", client.name), || {
            routes(&lab).matches("via 10.65.4.1 ").count() == 2
        });
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        let servers = lab.wanpool(["pools", "--dns"]);
        assert_eq!(servers.ok().stdout, "server=9.9.4.53@eth1\nserver=9.9.4.54@eth1\n");
        lab.check().clean();
        // The provider's router changes; the address, and that of the DHCP server, stay.
        drop(server);
        lab.provider.sh(&format!("ip addr add {NEW}/32 dev isp4"));
        let _server = lab.dhcp_server(NEW, "9.9.4.53");
        lab.renew(client, &running);
        wait_until(&format!("{} has renewed its lease", client.name), || {
            routes(&lab).matches("via 10.65.4.9 ").count() == 2
        });
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        lab.wanpool(["assign"]).silent();
        lab.check().clean();
        drop(running);
    }
}

/// Without a hook, main is all that tells of the lease. dhclient does not change the route of a lease that
/// is renewed.
#[test]
fn a_changed_router_is_followed_by_the_next_run_without_any_hook() {
    for client in &DHCP_CLIENTS[1..] {
        let lab = Lab::serving(&without_via());
        let server = lab.dhcp_server([10, 65, 4, 1].into(), "9.9.4.53");
        let running = lab.dhcp_client(*client, false);
        let main = || lab.gateway.sh("ip route show default");
        wait_until(&format!("{} is bound", client.name), || main().contains("via 10.65.4.1 "));
        lab.wanpool(["assign"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        drop(server);
        lab.provider.sh(&format!("ip addr add {NEW}/32 dev isp4"));
        let _server = lab.dhcp_server(NEW, "9.9.4.53");
        lab.renew(*client, &running);
        wait_until(&format!("{} has renewed", client.name), || main().contains("via 10.65.4.9 "));
        assert!(lab.check().drifted().contains("via 10.65.4.9 dev eth1"));
        lab.wanpool(["assign"]).ok();
        assert_eq!(routes(&lab).matches("via 10.65.4.9 ").count(), 2, "{}", client.name);
        lab.check().clean();
        lab.assert_each_leaves_by_its_own_uplink(&[4]);
    }
}

/// A hook that was told of another gateway than main has is right until main changes.
#[test]
fn what_a_hook_told_counts_until_main_changes() {
    let lab = Lab::new();
    lab.gateway.sh("ip route add default via 10.65.4.1 dev eth1");
    lab.serve(&without_via());
    lab.provider.sh(&format!("ip addr add {NEW}/32 dev isp4"));
    lab.run("--hook restore eth1 --via 10.65.4.9").ok();
    for command in ["assign", "restore", "--hook restore eth1", "assign"] {
        lab.run(command).silent();
        assert_eq!(routes(&lab).matches("via 10.65.4.9 ").count(), 2, "{command}");
        lab.check().clean();
    }
    lab.gateway.sh("ip route replace default via 10.65.4.7 dev eth1");
    lab.wanpool(["assign"]).ok();
    assert_eq!(routes(&lab).matches("via 10.65.4.7 ").count(), 2);
    // A person asks for the gateway of main.
    lab.run("--hook restore eth1 --via 10.65.4.9").ok();
    lab.wanpool(["restore", "eth1"]).ok();
    assert_eq!(routes(&lab).matches("via 10.65.4.7 ").count(), 2);
}
