//! docker, ufw and firewalld on the same gateway: clients are served, and reloads are repaired.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::reloads::{assert_repaired, served};
use super::snapshot::foreign;
use crate::lab::{EchoServer, FAR, Iptables, Lab, Machine, Shape, wait_until};

with_both_iptables! {
    docker_keeps_its_published_port_through_restarts,
    ufw_reloads_are_repaired,
}

const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const PUBLISHED: u16 = 8080;

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn docker_keeps_its_published_port_through_restarts(shape: Shape) {
    let lab = served(shape);
    let container = lab.new_netns();
    lab.gateway.sh(&format!(
        "ip link add docker0 type bridge
         ip addr add 172.17.0.1/16 dev docker0
         ip link add veth0 type veth peer name eth0 netns {}
         ip link set veth0 master docker0 up
         ip link set docker0 up
         iptables-restore --noflush {}",
        container.path().display(),
        fixture("docker.iptables"),
    ));
    container.sh(&format!(
        "ip addr add {CONTAINER}/16 dev eth0
         ip link set eth0 up
         ip route add default via 172.17.0.1"
    ));
    let _published = EchoServer::start(&container, SocketAddrV4::new(CONTAINER, 80));
    let asked_from_outside = || {
        for number in 1..=4 {
            let seen = lab.visitor(number, PUBLISHED).tcp().and_then(|mut conn| conn.ask());
            assert_eq!(seen, Ok(*FAR.ip()), "by uplink {number}");
        }
    };
    asked_from_outside();
    // What dockerd does when it starts: it fills its chains again and moves its jumps to the top.
    let restart = format!(
        "iptables -w -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
         iptables -w -t nat -F DOCKER
         iptables -w -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
         iptables -w -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
         iptables -w -t nat -I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
         iptables -w -t nat -A DOCKER -i docker0 -j RETURN
         iptables -w -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport {PUBLISHED} \
             -j DNAT --to-destination {CONTAINER}:80
         iptables -w -D FORWARD -j DOCKER-ISOLATION-STAGE-1
         iptables -w -D FORWARD -j DOCKER-USER
         iptables -w -I FORWARD -j DOCKER-ISOLATION-STAGE-1
         iptables -w -I FORWARD -j DOCKER-USER"
    );
    assert_repaired(&lab, &restart, false);
    asked_from_outside();
    let theirs = foreign(&lab);
    lab.wanpool(["failover", "ppp0"]).ok();
    lab.wanpool(["restore"]).ok();
    lab.wanpool(["flush"]).ok();
    foreign(&lab).assert_is(&theirs, "after flush");
    lab.wanpool(["restore"]).ok();
    asked_from_outside();
}

/// The real ufw, in a mount namespace in which its files are copies and `iptables` is the lab's.
fn ufw(lab: &Lab, commands: &str) -> String {
    let dir = lab.scratch().join("ufw");
    let dir = dir.display();
    let script = format!(
        "[ -d {dir} ] || {{
             mkdir {dir} {dir}/alternatives
             cp -a /etc/ufw {dir}/etc; cp -a /lib/ufw {dir}/lib
             cp /etc/default/ufw {dir}/default
             cp -a /etc/alternatives/. {dir}/alternatives
             for name in iptables iptables-save iptables-restore; do
                 ln -sf $(readlink $(command -v $name)) {dir}/alternatives/$name
             done
         }}
         mount -t tmpfs none /run; mkdir /run/lock
         mount --bind {dir}/etc /etc/ufw
         mount --bind {dir}/lib /lib/ufw
         mount --bind {dir}/default /etc/default/ufw
         mount --bind {dir}/alternatives /etc/alternatives
         {commands}"
    );
    format!("unshare --mount sh -ec '{script}' >/dev/null")
}

fn ufw_reloads_are_repaired(shape: Shape) {
    assert!(std::path::Path::new("/usr/sbin/ufw").exists(), "the test needs ufw (apt install ufw)");
    let lab = served(shape);
    // By default, ufw forwards nothing.
    lab.gateway.sh(&ufw(&lab, "ufw allow in on br0; ufw --force enable"));
    lab.wanpool(["assign"]).ok();
    let remedy = "ufw route allow in on br0";
    lab.check().found(&["packets from br0 to ", "dropped by the policy of FORWARD", remedy]);
    lab.gateway.sh(&ufw(&lab, remedy));
    lab.check().clean();
    assert!(lab.filter().contains("ufw-user-forward -i br0 -j ACCEPT"), "{}", lab.filter());
    // ufw sets sysctls too, a strict rp_filter among them.
    lab.wanpool(["assign"]).ok();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    assert_repaired(&lab, &ufw(&lab, "ufw reload"), false);
}

/// The real firewalld with the LAN in its zone for LANs, which forwards nothing to another zone.
#[test]
fn what_firewalld_drops_is_found_and_its_own_command_repairs_it() {
    let lab = served(Lab::with());
    let machine = Machine::like_this_one(&lab, "firewall", &lab.gateway);
    machine.sh("mkdir -p /run/dbus; dbus-daemon --system --fork --nopidfile
         setsid firewalld --nofork --nopid >/dev/null 2>&1 </dev/null &");
    wait_until("firewalld runs", || machine.run("firewall-cmd --state").status == 0);
    for dev in ["ppp0", "ppp1", "ppp2", "eth1"] {
        machine.sh(&format!("firewall-cmd -q --zone=external --change-interface={dev}"));
    }
    machine.sh("firewall-cmd -q --zone=internal --change-interface=br0");
    lab.wanpool(["assign"]).ok();
    let check = lab.check();
    check.found(&["packets from br0 to ", "nft inet firewalld filter_FWD_", "firewall-cmd --zone"]);
    let patience = std::time::Duration::from_millis(100);
    let client = lab.client(lab.member(1, 0)).patience(patience);
    assert!(client.udp().and_then(|mut conn| conn.ask()).is_err(), "it drops nothing");
    machine.sh(check.findings[0].rsplit_once(": ").expect("a remedy").1);
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
}

#[test]
fn firewalld_reloads_are_repaired() {
    for iptables in [Iptables::Nft, Iptables::Legacy] {
        let lab = served(Lab::with().iptables(iptables));
        let load = format!("nft -f {}", fixture("firewalld.nft"));
        lab.gateway.sh(&load);
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
        assert_repaired(&lab, &format!("nft delete table inet firewalld\n{load}"), false);
        // A restart of the nftables service flushes everything.
        let drifts = iptables == Iptables::Nft;
        assert_repaired(&lab, &format!("nft flush ruleset\n{load}"), drifts);
    }
}
