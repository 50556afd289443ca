//! Two gateways and keepalived: when the master fails, the other one serves every client with the
//! same pool. The configuration is that of `scripts/keepalived`.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use crate::lab::{GatewayPair, Lab, Machine, Netns, cut_power, wait_until, write_script};
use crate::packaging::package::{packages, pools, write_config};

/// These replace `ssh HOST COMMAND` and sshd: the host reads a line and runs it.
const REMOTE: &str = r#"#!/bin/bash
host=$1; shift
exec socat -t 20 - TCP:$host:2222 < <(printf '%s\n' "$*"; exec cat)
"#;
const DAEMON: &str = r#"#!/bin/sh
read -r line
eval "$line"
"#;
const LISTEN: &str = "setsid socat -t 20 TCP-LISTEN:2222,reuseaddr,fork EXEC:/mnt/daemon </dev/null >/mnt/log 2>&1 &";
const SYNC: &str = "RSYNC_RSH=/mnt/remote timeout 60 /etc/keepalived/sync";
/// The command of cron, as in `scripts/keepalived/master.conf`.
const CLOCK: &str = "[ ! -e /run/wanpool/master ] || /usr/sbin/wanpool assign";

/// With the addresses exchanged on the second gateway.
const CONNTRACKD: &str = "
cd /usr/share/doc/wanpool/examples/keepalived
sed -e 's/10.9.9.1/first/; s/10.9.9.2/second/' \\
    -e \"s/first/10.9.9.$ME/; s/second/10.9.9.$(( 3 - ME ))/\" conntrackd.conf >/etc/conntrackd/conntrackd.conf
mkdir -p /run/lock; conntrackd -d >/dev/null
";

type Pools = BTreeMap<Ipv4Addr, u8>;

/// A gateway that boots: the package is installed, and its pool files are on its disk.
fn start<'lab>(lab: &'lab Lab, name: &str, ns: &'lab Netns, priority: u8) -> Machine<'lab> {
    let boots = fs::read_dir(lab.scratch()).unwrap().count();
    let machine = Machine::like_this_one(lab, &format!("{name}-{boots}"), ns);
    machine.sh(&format!(
        "dpkg-deb --fsys-tarfile /mnt/0.1.0.deb | tar -x --keep-directory-symlink -C /
         mkdir -p /mnt/disk-{name} /var/lib/wanpool
         mount --bind /mnt/disk-{name} /var/lib/wanpool
         cd /usr/share/doc/wanpool/examples/keepalived
         install -m 755 notify sync /etc/keepalived/
         sed -e 's/gateway-a/{name}/' -e 's/priority 150/priority {priority}/' keepalived.conf \
             >/etc/keepalived/keepalived.conf
         {LISTEN}"
    ));
    write_config(&machine);
    // The gateways are not clients of each other.
    machine.sh("sed -i '1i exclude = [\"192.168.7.1\", \"192.168.7.2\", \"192.168.7.3\"]' /etc/wanpool.toml");
    machine.sh(
        "wanpool -q restore; keepalived --vrrp --config-test; keepalived --vrrp >/dev/null 2>&1",
    );
    machine
}

#[track_caller]
fn await_master(machine: &Machine) {
    wait_until("it is the master", || machine.run("[ -e /run/wanpool/master ]").status == 0);
}

#[track_caller]
fn assert_seen(lab: &Lab, pools: &Pools, address: impl Fn(u8) -> Ipv4Addr) {
    for (&client, &pool) in pools {
        assert_eq!(lab.client(client).seen(), Ok(address(pool)), "{client} of pool {pool}");
    }
}

fn prepare(lab: &Lab) {
    packages(lab, &["0.1.0"]);
    for (name, text) in [("remote", REMOTE), ("daemon", DAEMON)] {
        write_script(&lab.scratch().join(name), text);
    }
}

#[test]
fn the_second_gateway_takes_over_every_client_with_its_pool() {
    let lab = Lab::with().without_ethernet().client_addresses(9).raise();
    prepare(&lab);
    let pair = lab.pair();
    let (known, late) = (&lab.everyone()[..8], lab.everyone()[8]);

    let first = start(&lab, "first", &lab.gateway, 150);
    await_master(&first);
    let second = start(&lab, "second", &pair.second, 100);
    lab.discover(known);
    first.sh(CLOCK);
    let placed = pools(&first);
    assert_eq!(placed.keys().copied().collect::<Vec<_>>(), known);
    assert_seen(&lab, &placed, |pool| lab.uplink_address(pool));

    // The backup gateway has discovered another client, and leaves it to the master.
    pair.second
        .sh(&format!("ip neigh replace {late} lladdr 02:00:00:00:09:09 dev br0 nud reachable"));
    second.run(CLOCK).silent();
    first.run(&format!("{SYNC} 192.168.7.3")).silent();
    second.run(&format!("{SYNC} 192.168.7.2")).silent();
    assert_eq!(pools(&second), placed);
    // Its kernel has the clients before the takeover.
    let set = pair.second.sh("ipset save wanpool");
    assert_eq!(set.lines().filter(|line| line.starts_with("add ")).count(), known.len(), "{set}");

    drop(first);
    cut_power(&lab.gateway);
    await_master(&second);
    assert_seen(&lab, &placed, GatewayPair::address);
    pair.second.sh(&format!("ip neigh del {late} dev br0"));
    let asked = lab.client(late).tcp().and_then(|mut conn| conn.ask());
    assert!(asked.is_ok(), "{asked:?}");
    second.sh(CLOCK);
    let more = pools(&second);
    assert_eq!(more.len(), placed.len() + 1);
    assert!(placed.iter().all(|(client, pool)| more[client] == *pool), "{more:?}");

    // The first gateway comes back with its old disk, and is the backup now.
    lab.gateway.sh("ip addr del 192.168.7.1/24 dev br0
         for dev in lan0 ppp0 ppp1 ppp2; do ip link set $dev up; done");
    let first = start(&lab, "first", &lab.gateway, 150);
    second.run(&format!("{SYNC} 192.168.7.2")).silent();
    assert_eq!(pools(&first), more);
    assert_seen(&lab, &more, GatewayPair::address);
    first.sh("[ ! -e /run/wanpool/master ]");

    drop(second);
    cut_power(&pair.second);
    await_master(&first);
    assert_seen(&lab, &more, |pool| lab.uplink_address(pool));
}

#[test]
fn with_conntrackd_flows_survive_the_takeover() {
    let lab = Lab::with().without_ethernet().client_addresses(3).raise();
    prepare(&lab);
    let pair = lab.pair();
    pair.lay_cable();
    let first = start(&lab, "first", &lab.gateway, 150);
    await_master(&first);
    let second = start(&lab, "second", &pair.second, 100);
    first.sh(&format!("ME=1{CONNTRACKD}"));
    second.sh(&format!("ME=2{CONNTRACKD}"));
    lab.discover(&lab.everyone());
    first.sh(CLOCK);
    let placed = pools(&first);
    first.run(&format!("{SYNC} 192.168.7.3")).silent();

    let open = |(&client, &pool): (&Ipv4Addr, &u8)| {
        let tcp = lab.client(client).tcp().expect("a connection");
        (pool, [tcp, lab.client(client).udp().expect("a flow")])
    };
    let mut flows: Vec<_> = placed.iter().map(open).collect();
    let mut ask = |when: &str| {
        for (pool, both) in &mut flows {
            for flow in both {
                assert_eq!(flow.ask(), Ok(lab.uplink_address(*pool)), "pool {pool}, {when}");
            }
        }
    };
    ask("at first");
    let known =
        |show: &str| second.sh(show).lines().filter(|line| line.contains("dport=7000")).count();
    wait_until("the second gateway has received the flows", || known("conntrackd -e") >= 6);

    drop(first);
    cut_power(&lab.gateway);
    for number in 1..=3 {
        pair.carry_over(number);
    }
    wait_until("the second gateway tracks the flows", || known("conntrack -L 2>/dev/null") >= 6);
    ask("after the take-over");
}
