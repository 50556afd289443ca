//! A real systemd-networkd configures an ethernet uplink by DHCP: its lease, a renewal that changes the
//! router without an event, and its host routes to name servers.

use std::net::Ipv4Addr;

use crate::lab::{Debian, Lab, Machine, four, wait_until};
use crate::packaging::package::{assert_served, packages};

inside_each_debian! {
    networkd_is_followed_through_a_renewal_and_its_host_routes_are_found,
}

const NEW: Ipv4Addr = Ipv4Addr::new(10, 65, 4, 9);

fn networkd_is_followed_through_a_renewal_and_its_host_routes_are_found(debian: Debian) {
    let lab = Lab::new();
    packages(&lab, &["0.1.0"]);
    let machine = Machine::boot(&lab, debian);
    machine.sh("apt-get install -y /mnt/0.1.0.deb; systemctl stop wanpool-assign.timer");
    lab.discover(&lab.everyone());
    lab.config(&four("").replace("via = \"10.65.4.1\"\n", ""));
    let server = lab.dhcp_server([10, 65, 4, 1].into(), "9.9.4.53");
    lab.gateway.sh("ip addr flush dev eth1");
    machine.sh("cp /mnt/wanpool.toml /etc/
         mkdir -p /etc/systemd/networkd.conf.d
         printf '[Network]\\nManageForeignRoutes=no\\nManageForeignRoutingPolicyRules=no\\n' \
             >/etc/systemd/networkd.conf.d/wanpool.conf
         printf '[Match]\\nName=eth1\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n' \
             >/etc/systemd/network/eth1.network
         systemctl start systemd-networkd.service");
    let main = || lab.gateway.sh("ip route show default");
    wait_until("networkd has a lease", || main().contains("via 10.65.4.1 dev eth1 proto dhcp"));
    machine.sh("systemctl restart wanpool.service; systemctl start wanpool-assign.service");
    let check = machine.sh("wanpool pools --check");
    let (found, route) =
        ("the main table leads 9.9.4.53 by eth1", "ip route del 9.9.4.53 dev eth1");
    assert!(check.contains(found) && check.contains(route), "{check}");
    assert_served(&lab, &machine);

    // A renewal changes the router, and networkd tells nobody.
    drop(server);
    lab.provider.sh(&format!("ip addr add {NEW}/32 dev isp4"));
    let _server = lab.dhcp_server(NEW, "9.9.4.53");
    wait_until("networkd has renewed", || main().contains("via 10.65.4.9 dev eth1"));
    assert!(machine.run("wanpool pools --check").stdout.contains("via 10.65.4.9 dev eth1"));
    machine.sh("systemctl start wanpool-assign.service");
    let routes = lab.gateway.sh("ip route show table 304; ip nexthop show id 8704");
    assert_eq!(routes.matches("via 10.65.4.9 ").count(), 2, "{routes}");
    assert_served(&lab, &machine);

    // The remedy: for good, and for now.
    machine.sh(
        "printf '[DHCPv4]\\nRoutesToDNS=no\\nRoutesToNTP=no\\n' >>/etc/systemd/network/eth1.network
         systemctl restart systemd-networkd.service",
    );
    wait_until("networkd has a lease", || main().contains("via 10.65.4.9 dev eth1 proto dhcp"));
    machine.sh(&format!("{route} || true; systemctl start wanpool-assign.service"));
    machine.run("wanpool pools --check").silent();
}
