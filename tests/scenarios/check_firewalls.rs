//! `pools --check` beside firewalls: what they drop and which marks they overwrite is harmful, found, and
//! repaired by the remedy that is printed.

use crate::lab::{Lab, Shape, three};

with_both_iptables! {
    a_forward_policy_that_drops_is_found,
    a_mark_that_is_overwritten_is_found,
    a_tour_of_five_troubles,
}

/// Runs the remedies of a check as the admin would, and leaves nothing to be found.
#[track_caller]
fn repair(lab: &Lab, count: usize) {
    let check = lab.check();
    assert_eq!(check.findings.len(), count, "{check}");
    for finding in &check.findings {
        let (_, remedy) = finding.rsplit_once(": ").expect("a remedy");
        lab.gateway.sh(remedy);
    }
    lab.check().clean();
}

#[track_caller]
fn assert_cut_off(lab: &Lab) {
    let patience = std::time::Duration::from_millis(100);
    let client = lab.client(lab.member(1, 0)).patience(patience);
    assert!(client.udp().and_then(|mut conn| conn.ask()).is_err(), "nothing is dropped");
}

/// The rules of docker 20.10 to 28, without containers.
const DOCKER: &str = "
iptables-restore --noflush <<END
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
END
";

fn a_forward_policy_that_drops_is_found(shape: Shape) {
    let lab = shape.serving(&three(""));
    for (setup, words) in [
        (DOCKER, ["policy of FORWARD", "iptables -I DOCKER-USER -i br0 -j ACCEPT"]),
        ("iptables -P FORWARD DROP", ["policy of FORWARD", "iptables -I FORWARD -i br0"]),
        (
            "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
             iptables -A FORWARD -p icmp -j ACCEPT
             iptables -A FORWARD -i wg0 -j ACCEPT
             iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
            ["a rule: filter FORWARD -j REJECT", "iptables -I FORWARD -i br0 -j ACCEPT"],
        ),
    ] {
        lab.gateway.sh(setup);
        assert_cut_off(&lab);
        lab.check().found(&[
            "packets from br0 to ppp0, ppp1, ppp2 are dropped",
            words[0],
            words[1],
        ]);
        repair(&lab, 1);
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        lab.gateway.sh("iptables -P FORWARD ACCEPT\niptables -F\niptables -X");
    }
}

/// The chains that a rule of nftables can be in, and what it can compare. Each drops by its policy or by
/// its last rule.
const NFT_RULESETS: [&str; 5] = [
    "chain forward { type filter hook forward priority filter; policy drop; }",
    "chain forward { type filter hook forward priority filter; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname \"wg0\" accept
        iifname { \"tun0\", \"tun1\" } oifname \"ppp*\" accept
        meta l4proto icmp accept
    }",
    "chain forward { type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname vmap { \"wg0\" : accept, \"br0\" : goto lan }
     }
     chain lan { counter reject with icmpx admin-prohibited; }",
    "chain forward { type filter hook forward priority 10; policy accept;
        ct state { established, related } accept
        iif br0 oif != br0 drop
    }",
    "chain forward { type filter hook forward priority filter; policy drop;
        ip saddr 10.99.0.0/16 iifname wg0 accept
        meta mark & 0x00ff0000 == 0x00080000 accept
        ct state established accept
        jump other
     }
     chain other { iifname != \"br0\" accept; }",
];

#[test]
fn a_chain_of_nftables_that_drops_is_found() {
    let lab = Lab::three_uplinks();
    for ruleset in NFT_RULESETS {
        lab.gateway.sh("nft 'table inet fw { chain other { }; chain lan { }; }'");
        lab.gateway.sh(&format!("nft -f - <<'END'\ntable inet fw {{\n{ruleset}\n}}\nEND"));
        assert_cut_off(&lab);
        let check = lab.check();
        check.found(&["packets from br0 to ppp0, ppp1, ppp2 are dropped", "inet fw "]);
        repair(&lab, 1);
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        lab.gateway.sh("nft delete table inet fw");
    }
}

/// Chains that may let clients through: no finding.
const HEALTHY_RULESETS: [&str; 6] = [
    "policy drop; ct state established,related accept; iifname \"br0\" accept;",
    "policy drop; ct state established,related accept; iifname { \"br0\", \"br1\" } accept;",
    "policy drop; ct state established,related accept; ip saddr 192.168.7.0/24 accept;",
    "policy drop; ct state vmap { established : accept, related : accept, new : jump lan };",
    "policy drop; iifname . oifname { \"br0\" . \"ppp0\", \"br0\" . \"ppp1\", \"br0\" . \"ppp2\" } accept;
        ct state established accept;",
    "policy accept; ct state invalid drop; ip saddr 192.168.7.66 drop; iifname \"wg0\" drop;",
];

#[test]
fn chains_of_nftables_that_let_clients_through_are_no_findings() {
    let lab = Lab::three_uplinks();
    for rules in HEALTHY_RULESETS {
        lab.gateway.sh(&format!(
            "nft -f - <<'END'
table inet fw {{
    chain lan {{ meta l4proto {{ tcp, udp, icmp }} oifname \"ppp*\" accept; }}
    chain forward {{ type filter hook forward priority filter; {rules} }}
}}
END"
        ));
        lab.check().clean();
        lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
        lab.gateway.sh("nft delete table inet fw");
    }
}

fn a_mark_that_is_overwritten_is_found(shape: Shape) {
    let lab = shape.serving(&three(""));
    for (rule, undo) in [
        (
            "iptables -t mangle -A PREROUTING -i br0 -p udp -j MARK --set-mark 2",
            "iptables -t mangle -D PREROUTING -i br0 -p udp -j MARK --set-mark 2",
        ),
        (
            "iptables -t mangle -N qos; iptables -t mangle -A qos -j MARK --set-mark 0x2/0xff
             iptables -t mangle -A PREROUTING -j qos",
            "iptables -t mangle -D PREROUTING -j qos",
        ),
        (
            "nft add table ip q
             nft 'add chain ip q c { type filter hook prerouting priority -149; }'
             nft add rule ip q c iifname br0 meta l4proto udp meta mark set 2",
            "nft delete table ip q",
        ),
    ] {
        lab.gateway.sh(rule);
        let client = lab.member(1, 0);
        let seen = lab.client(client).udp().and_then(|mut conn| conn.ask());
        assert_ne!(seen, Ok(lab.uplink_address(1)), "{rule} does no harm");
        lab.check().found(&["overwrites wanpool's marks", "bits outside 0xff only", "mark-mask"]);
        lab.gateway.sh(undo);
        lab.check().clean();
    }
    // The remedy: other bits. Marks of wg-quick's kind, and those of other devices, do no harm.
    lab.gateway.sh(
        "iptables -t mangle -A PREROUTING -i br0 -p udp -j MARK --set-xmark 0xa00/0xff00
         iptables -t mangle -A PREROUTING -i wg0 -j MARK --set-mark 10
         nft add table ip q
         nft 'add chain ip q c { type filter hook prerouting priority -149; }'
         nft add rule ip q c meta l4proto udp meta mark set ct mark
         nft add rule ip q c meta mark set meta mark and 0xffff00ff or 0x1200
         nft add rule ip q c iifname wg0 meta mark set 10
         nft add rule ip q c iifname br0 accept
         nft add rule ip q c meta mark set 10",
    );
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}

/// Five troubles at once: each is told, and the remedies one after another leave none.
fn a_tour_of_five_troubles(shape: Shape) {
    let lab = shape.serving(&three(""));
    lab.gateway.sh(DOCKER);
    lab.gateway.sh("sysctl -qw net.ipv4.ip_forward=0
         ip route add 100.66.0.1 dev ppp1
         ip route add default dev ppp1 table 201 metric 7
         ip rule add pref 500 lookup 77; ip route add default dev ppp2 table 77");
    let check = lab.check();
    for words in [
        "forwarding is off",
        "leads 100.66.0.1 by ppp1",
        "dropped by the policy of FORWARD",
        "table 201 has a default route of another program",
        "pref 500 lookup 77",
    ] {
        check.naming(&[words]);
    }
    assert_eq!((check.findings.len(), check.status), (5, 3), "{check}");
    for finding in &check.findings {
        let (_, remedy) = finding.rsplit_once(": ").expect("a remedy");
        if remedy.starts_with("give it a preference") {
            lab.gateway.sh("ip rule del pref 500");
        } else {
            lab.gateway.sh(remedy);
        }
    }
    lab.check().clean();
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
}
