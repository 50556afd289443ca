//! Real DHCP clients on the ethernet uplink, beside a real server: the lease, a renewal that changes the
//! router, and the end of the lease.

use std::net::Ipv4Addr;

use crate::lab::{DHCP_CLIENTS, Lab, Machine, copy_to, four, wait_until};

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

/// Two lines by dhclient, of which main can have one default route only: what the hook told of the other
/// one survives a flush and a cable that was pulled, and a renewal with nothing new puts it in service.
#[test]
fn two_lines_by_dhclient_survive_a_flush_and_a_pulled_cable() {
    let lab = Lab::new();
    lab.lay_line("eth5", "isp5");
    lab.provider.sh(
        "ip addr add 10.65.5.1/32 dev isp5; ip link set isp5 up; ip route add 10.65.5.2 dev isp5",
    );
    lab.config("lan = [\"br0\"]\n[uplink.1]\ndev = \"eth1\"\n[uplink.2]\ndev = \"eth5\"\n");
    lab.discover(&lab.everyone());
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["assign"]).ok();
    let address = |line: u8| Ipv4Addr::new(10, 65, line, 2);
    let gateway = |line: u8| Ipv4Addr::new(10, 65, line, 1);
    let _servers = [("isp4", 4), ("isp5", 5)]
        .map(|(isp, line)| lab.dhcp_server_on(isp, address(line), gateway(line), "9.9.9.9"));
    let [dhclient, ..] = DHCP_CLIENTS;
    let mut running = Vec::new();
    for (dev, nexthop) in [("eth1", 8701), ("eth5", 8702)] {
        running.push(lab.dhcp_client_on(dev, dhclient, true));
        await_nexthop(&lab, nexthop);
    }
    assert_eq!(lab.gateway.sh("ip route show default").lines().count(), 1);
    let assert_served = |when: &str| {
        for (pool, line) in [(1, 4), (2, 5)] {
            for client in lab.members(pool) {
                assert_eq!(lab.client(client).seen(), Ok(address(line)), "{when}");
            }
        }
    };
    assert_served("both have a lease");
    lab.wanpool(["flush"]).ok();
    lab.wanpool(["restore"]).ok();
    assert_served("after a flush");
    lab.gateway.sh("ip link set eth5 down; ip link set eth5 up");
    // The next renewal, in a few seconds.
    await_nexthop(&lab, 8702);
    assert_served("after the cable was pulled");
    lab.check().clean();
}

fn await_nexthop(lab: &Lab, id: u32) {
    let list = format!("ip nexthop show id {id} 2>/dev/null || true");
    wait_until(&format!("nexthop {id} is there"), || lab.gateway.sh(&list).contains(" via "));
}

/// A real NetworkManager with its dispatcher: the lease, and a renewal that changes the router.
#[test]
fn network_manager_is_followed_through_a_renewal() {
    let lab = Lab::serving(&without_via());
    let server = lab.dhcp_server([10, 65, 4, 1].into(), "9.9.4.53");
    lab.gateway.sh("ip addr flush dev eth1");
    let machine = Machine::like_this_one(&lab, "machine", &lab.gateway);
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/NetworkManager/90-wanpool");
    std::fs::copy(hook, lab.scratch().join("hook")).expect("the hook");
    copy_to(&lab.scratch().join("wanpool"));
    machine.sh(
        "mkdir -p /run/dbus /etc/NetworkManager/dispatcher.d /etc/NetworkManager/system-connections
         cd /etc/NetworkManager
         printf '[main]\\nplugins=keyfile\\n[keyfile]\\n' >NetworkManager.conf
         echo 'unmanaged-devices=except:interface-name:eth1' >>NetworkManager.conf
         printf '[connection]\\nid=line\\ntype=ethernet\\ninterface-name=eth1\\n' \
             >system-connections/line.nmconnection
         printf '[ipv4]\\nmethod=auto\\n[ipv6]\\nmethod=disabled\\n' \
             >>system-connections/line.nmconnection
         chmod 600 system-connections/line.nmconnection
         {
             echo '#!/bin/sh'
             echo 'export WANPOOL=/mnt/wanpool WANPOOL_CONFIG=/mnt/wanpool.toml'
             echo 'export WANPOOL_STATE_DIR=/mnt/state WANPOOL_RUN_DIR=/mnt/run'
             cat /mnt/hook
         } >dispatcher.d/90-wanpool
         chmod 755 dispatcher.d/90-wanpool
         dbus-daemon --system --fork --nopidfile
         setsid NetworkManager --no-daemon >/mnt/nm.log 2>&1 </dev/null &",
    );
    let main = || lab.gateway.sh("ip route show default");
    wait_until("NetworkManager has a lease", || main().contains("via 10.65.4.1 dev eth1"));
    wait_until("the hook has run", || routes(&lab).matches("via 10.65.4.1 ").count() == 2);
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    drop(server);
    lab.provider.sh(&format!("ip addr add {NEW}/32 dev isp4"));
    let _server = lab.dhcp_server(NEW, "9.9.4.53");
    wait_until("NetworkManager has renewed", || main().contains("via 10.65.4.9 dev eth1"));
    // Some versions send no event.
    lab.wanpool(["assign"]).ok();
    assert_eq!(routes(&lab).matches("via 10.65.4.9 ").count(), 2);
    lab.assert_each_leaves_by_its_own_uplink(&[4]);
    lab.check().clean();
}
