//! VPNs beside wanpool: what belongs to an uplink stays on it, and marks of others stay whole.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{EchoServer, FAR, Lab, Machine, Shape, Speaker, three, wait_until};

with_both_iptables! {
    what_belongs_to_an_uplink_stays_on_it_beside_a_vpn_for_all_addresses,
    a_mark_that_a_sender_has_set_stays_whole,
    a_pool_survives_whoever_restores_whole_marks,
    a_vpn_with_a_table_of_its_own_reaches_the_lan,
}

/// OpenVPN's `redirect-gateway def1`, into a tunnel without an end.
const HALVES: &str = "ip link add vpn0 type veth peer name vpn1
    ip addr add 10.8.0.2/24 dev vpn0; ip link set vpn0 up; ip link set vpn1 up
    ip route add 0.0.0.0/1 dev vpn0; ip route add 128.0.0.0/1 dev vpn0";

fn what_belongs_to_an_uplink_stays_on_it_beside_a_vpn_for_all_addresses(shape: Shape) {
    for rp_filter in 0..=2 {
        let lab = shape.clone().rp_filter(rp_filter).serving(&three(""));
        let inside = lab.member(3, 0);
        let _server = EchoServer::start(&lab.clients, SocketAddrV4::new(inside, 8080));
        let flows = lab.talk(&[1, 2, 3].map(|pool| lab.member(pool, 1)));
        for number in [1, 2] {
            lab.forward_port(number, inside);
        }
        lab.gateway.sh(HALVES);
        for number in [1, 2] {
            let seen = lab.visitor(number, 8080).seen();
            assert_eq!(seen, Ok(*FAR.ip()), "a forward by uplink {number}, rp_filter {rp_filter}");
        }
        flows.assert_on_own_uplinks(&lab);
        let brief = std::time::Duration::from_millis(200);
        let new = lab.client(lab.member(1, 2)).patience(brief).udp().unwrap().ask();
        assert!(new.is_err(), "a new flow goes by the VPN");
    }
}

/// wg-quick: its own packets have a mark, and all others enter the tunnel.
fn a_mark_that_a_sender_has_set_stays_whole(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh("ip route add default dev ppp0
        ip link add sink0 type veth peer name sink1; ip link set sink0 up; ip link set sink1 up
        ip route add default dev sink0 table 77");
    lab.serve(&three(""));
    lab.gateway.sh("ip rule add pref 998 lookup main suppress_prefixlength 0
        ip rule add pref 999 not fwmark 0xca6c lookup 77");
    for mark in [0xca6c, 0xca00] {
        lab.gateway
            .sh(&format!("ip rule del pref 999; ip rule add pref 999 not fwmark {mark} lookup 77"));
        let own = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, FAR).marked(mark);
        let mut own = own.udp().unwrap();
        for _ in 0..4 {
            assert_eq!(own.ask(), Ok(lab.uplink_address(1)), "with mark {mark:#x}");
        }
    }
}

/// Rules behind ours: wg-quick's for what comes back, and one of a QoS script that uses a mask.
fn a_pool_survives_whoever_restores_whole_marks(shape: Shape) {
    let lab = shape.raise();
    lab.gateway.sh("nft 'add table ip q; \
        add chain ip q c { type filter hook prerouting priority mangle; }; \
        add rule ip q c meta l4proto udp meta mark set ct mark'");
    lab.serve(&three(""));
    lab.gateway
        .sh("iptables -t mangle -A PREROUTING -i br0 -p udp -j MARK --set-mark 0x1000/0xf000");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.check().clean();
}

/// tailscale: a routing table of its own, by rules in front of ours.
fn a_vpn_with_a_table_of_its_own_reaches_the_lan(shape: Shape) {
    let lab = shape.serving(&three(""));
    let peer = Ipv4Addr::new(100, 100, 1, 5);
    let far_end = lab.new_netns();
    let path = far_end.path();
    lab.gateway.sh(&format!(
        "ip link add tailscale0 type veth peer name tail netns {}
         ip addr add 100.100.1.1/32 dev tailscale0; ip link set tailscale0 up
         ip route add {peer} dev tailscale0 table 52; ip rule add pref 5270 lookup 52",
        path.display()
    ));
    far_end.sh(&format!(
        "ip addr add {peer}/32 dev tail; ip link set tail up; ip route add default via 100.100.1.1 dev tail onlink"
    ));
    far_end.sysctl("net/ipv4/conf/all/rp_filter", "0");
    let _server = EchoServer::start(&far_end, SocketAddrV4::new(peer, FAR.port()));
    let client = lab.member(2, 0);
    let _inside = EchoServer::start(&lab.clients, SocketAddrV4::new(client, 8080));
    wait_until("the tunnel is up", || {
        lab.client(client).to(SocketAddrV4::new(peer, FAR.port())).seen() == Ok(client)
    });
    let to_lan = Speaker::new(&far_end, peer, SocketAddrV4::new(client, 8080));
    assert_eq!(to_lan.seen(), Ok(peer), "from the VPN to the LAN");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.check().clean();
    lab.gateway.sh("ip rule del pref 5270; ip rule add pref 30000 lookup 52");
    lab.check().found(&["stands behind wanpool's", "pref 30000 lookup 52", "below 20010"]);
}

/// Devices of a real WireGuard, in user space: this machine's kernel may have none.
const WITH_WIREGUARD: &str = "
export WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go
mkdir -p /dev/net /etc/wireguard; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
";

/// wg-quick for all addresses, started after wanpool: the tunnel lives, carries the gateway and the
/// clients, and leaves all as it was.
/// A real wg-quick brings up wg0 with this configuration.
fn wg_quick_up(machine: &Machine, config: &str) {
    machine.sh(&format!(
        "{WITH_WIREGUARD}
cat >/etc/wireguard/wg0.conf <<END
{config}
END
wg-quick up wg0 2>&1"
    ));
}

#[test]
fn a_real_wg_quick_for_all_addresses_works_beside_wanpool() {
    let lab = Lab::new();
    lab.gateway.sh("ip route add default dev ppp0");
    lab.serve(&three(""));
    let before = lab.kernel_state();
    let ours = Machine::like_this_one(&lab, "ours", &lab.gateway);
    let theirs = Machine::like_this_one(&lab, "theirs", &lab.far);
    let [our_key, their_key] = [1, 2].map(|_| ours.sh("wg genkey").trim().to_owned());
    let public = |key: &str| ours.sh(&format!("echo {key} | wg pubkey")).trim().to_owned();
    wg_quick_up(
        &theirs,
        &format!(
            "[Interface]
PrivateKey = {their_key}
Address = 10.8.0.1/24
ListenPort = 51900
[Peer]
PublicKey = {}
AllowedIPs = 10.8.0.2/32, 192.168.7.0/24",
            public(&our_key)
        ),
    );
    wg_quick_up(
        &ours,
        &format!(
            "[Interface]
PrivateKey = {our_key}
Address = 10.8.0.2/24
[Peer]
PublicKey = {}
AllowedIPs = 0.0.0.0/0
Endpoint = {}:51900
PersistentKeepalive = 1",
            public(&their_key),
            FAR.ip()
        ),
    );
    let inside = SocketAddrV4::new([10, 8, 0, 1].into(), 7000);
    let _server = EchoServer::start(&lab.far, inside);
    let gateway = Speaker::new(&lab.gateway, Ipv4Addr::UNSPECIFIED, inside);
    let own: Ipv4Addr = [10, 8, 0, 2].into();
    wait_until("the tunnel is up", || gateway.seen() == Ok(own));
    let mut flow = gateway.udp().unwrap();
    for _ in 0..10 {
        assert_eq!(flow.ask(), Ok(own), "a flow of the gateway");
    }
    let client = lab.member(2, 0);
    assert_eq!(lab.client(client).to(inside).seen(), Ok(client), "a client goes by the VPN");
    lab.wanpool(["assign"]).silent();
    lab.wanpool(["failover", "ppp1"]).ok();
    lab.wanpool(["restore"]).ok();
    assert_eq!(flow.ask(), Ok(own), "after a failover");
    lab.check().naming(&["not fwmark 0xca6c", "preference above 20301"]);
    ours.sh("wg-quick down wg0 2>&1");
    lab.kernel_state().assert_is(&before, "without the tunnel");
    lab.assert_each_leaves_by_its_own_uplink(&[1, 2, 3]);
    lab.check().clean();
}
