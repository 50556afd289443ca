//! Random commands beside foreign rules, routes, nexthops, sets, marks, queues and nftables tables.

use std::time::Duration;

use super::objects::FOREIGN;
use super::snapshot::foreign;
use crate::lab::{Lab, Shape, four};

with_both_iptables! {
    random_commands_change_no_foreign_object,
}

/// Further objects: with numbers around ours, and a default route in main.
const MORE: &str = "
ip addr add 172.29.0.1/24 dev side0
ip addr add 172.29.1.1/24 dev side1
ip route add default metric 9000 nexthop via 172.29.0.2 dev side0 nexthop via 172.29.1.2 dev side1 weight 3
ip nexthop add id 44 dev side0 proto 99
ip nexthop add id 45 group 42/44 proto 99
ip nexthop add id 8751 dev side1 proto static
ip nexthop add id 8650 group 8751/44,5
ip route add default nhid 45 table 78
ip route add 10.8.0.0/16 nhid 8650 table 301 proto 88
ip rule add pref 999 fwmark 0x200/0xff00 lookup 78
ip rule add pref 20000 fwmark 0x300/0xff00 lookup 78
ip rule add pref 20005 from 192.168.97.0/24 lookup 77 proto 88
ip rule add pref 20010 iif side0 blackhole
ip rule add pref 20111 fwmark 0x8100/0xff00 lookup 301
ip rule add pref 20190 fwmark 0x8000/0x8000 lookup 78
ip rule add pref 20300 iif side1 lookup main suppress_prefixlength 0
ip rule add pref 20305 from 192.168.96.0/24 prohibit
ip rule add pref 32000 from 192.168.95.0/24 lookup 78
ip rule add pref 32001 to 192.168.94.0/24 lookup 78
ipset create office-net hash:net counters
ipset add office-net 10.1.0.0/16
tc qdisc add dev br0 root pfifo limit 77
iptables -t mangle -I PREROUTING -s 192.168.7.10 -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x6b0000/0xff0000
nft -f - <<END
table inet admin {
    set office { type ipv4_addr; elements = { 10.1.1.1, 10.1.1.2 } }
    chain forward {
        type filter hook forward priority 5; policy accept;
        meta mark & 0x0000ff00 == 0x00000100 accept
        ip saddr @office ct mark set ct mark | 0x00010000
    }
}
table netdev admin { }
END
";

/// Commands per seed: enough that each command meets most states.
const STEPS: usize = 30;

/// Numbers that look random and are the same each time (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

fn command(dice: &mut Dice) -> String {
    let (uplink, other) = (1 + dice.below(4), 1 + dice.below(4));
    let client = 10 + dice.below(8);
    match dice.below(13) {
        0 | 1 => "assign".to_owned(),
        2 => format!("assign 192.168.7.{client} --pool {other}"),
        3 => format!("assign 192.168.7.{client} --release"),
        4 => format!("failover {uplink}"),
        5 => format!("failover {uplink} --to {other}"),
        6 => "restore".to_owned(),
        7 => format!("restore {uplink}"),
        8 => "multipath on".to_owned(),
        9 => "multipath off".to_owned(),
        10 => "assign --rebalance".to_owned(),
        11 => "assign --prune".to_owned(),
        _ => "flush".to_owned(),
    }
}

/// If it is there.
fn hang_up(lab: &Lab, number: u8) {
    lab.gateway.sh(&format!("ip link del {} 2>/dev/null || true", lab.uplink_dev(number)));
}

fn random_commands_change_no_foreign_object(shape: Shape) {
    let lab = shape.client_addresses(8).raise();
    lab.gateway.sh(FOREIGN);
    lab.gateway.sh(MORE);
    let before = foreign(&lab);
    assert!(before.0.contains("table inet admin") && before.0.contains("nexthop"), "{}", before.0);
    lab.serve(&four(""));
    foreign(&lab).assert_is(&before, "served");
    let client = lab.everyone()[0];
    // While no uplink serves it there is no answer, and the test does not wait for one.
    let brief = Duration::from_millis(100);
    let mut open = lab.client(client).patience(brief).udp().expect("a socket");
    let mut marked = 0;
    for seed in [1, 2] {
        let mut dice = Dice(seed);
        let mut done: Vec<String> = Vec::new();
        for _ in 0..STEPS {
            match dice.below(8) {
                // An uplink is lost or redialled.
                0 => lab.redial(1 + dice.below(4) as u8),
                1 => hang_up(&lab, 1 + dice.below(4) as u8),
                _ => {}
            }
            let command = command(&mut dice);
            let run = lab.run(&command);
            done.push(command);
            let done = format!("seed {seed}: {}", done.join("; "));
            // The last uplink cannot be failed over, nor a lost one be restored.
            assert!(
                run.status == 0 || run.status == 1 && run.stderr.lines().count() == 1,
                "{done}: {run}"
            );
            foreign(&lab).assert_is(&before, &done);
            let answer = open.ask();
            let marks = lab.connmarks(client);
            marked += usize::from(answer.is_ok() && !marks.is_empty());
            assert!(marks.iter().all(|mark| mark >> 8 == 0x6b00), "{done}: {marks:x?}");
        }
        println!("seed {seed}: {}", done.join("; "));
        (1..=4).for_each(|number| lab.redial(number));
        lab.wanpool(["restore"]).ok();
        lab.wanpool(["assign"]).ok();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3, 4]);
    }
    assert!(marked > STEPS / 2, "a flow with the foreign mark was seen {marked} times only");
    lab.wanpool(["flush"]).ok();
    foreign(&lab).assert_is(&before, "flushed");
}
