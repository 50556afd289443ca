//! Servers on the gateway that know the clients: dnsmasq's DHCP, whose leases place clients before their
//! first connection, and a transparent squid.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::lab::{ChildGuard, FAR, Lab, binary, three, two, wait_until, write_script};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");

/// `scripts/dnsmasq/lease` with the files of the lab.
fn lease_script(lab: &Lab) -> String {
    let file = lab.scratch().join("lease");
    let text = format!(
        "#!/bin/sh\nexport WANPOOL={} WANPOOL_CONFIG={} WANPOOL_STATE_DIR={}\n\
         export WANPOOL_RUN_DIR={} XTABLES_LOCKFILE={}\nexec {SCRIPTS}/dnsmasq/lease \"$@\"\n",
        binary().display(),
        lab.config_file().display(),
        lab.pool_dir().display(),
        lab.scratch().join("run").display(),
        lab.scratch().join("xtables.lock").display(),
    );
    write_script(&file, &text);
    format!("--dhcp-script={}", file.display())
}

/// A real DHCP client gets an address of a real server. Its first connection leaves by its pool.
#[test]
fn a_lease_of_dnsmasq_places_the_client_before_its_first_connection() {
    let lab = Lab::new();
    lab.config(&three("unassigned = \"unreachable\""));
    lab.wanpool(["restore"]).ok();
    let guest = lab.new_netns();
    let path = guest.path().display().to_string();
    lab.gateway.sh(&format!(
        "ip link add guest0 type veth peer name eth0 netns {path}
         ip link set guest0 master br0; ip link set guest0 up"
    ));
    guest.sh("ip link set eth0 up");
    let leases = lab.scratch().join("leases");
    let _server = lab.gateway_dnsmasq(&[
        "--dhcp-range=192.168.7.200,192.168.7.220".to_owned(),
        "--dhcp-authoritative".to_owned(),
        "--no-ping".to_owned(),
        format!("--dhcp-leasefile={}", leases.display()),
        lease_script(&lab),
    ]);
    let client = "/usr/sbin/udhcpc";
    assert!(Path::new(client).exists(), "the lab needs {client} (apt install udhcpc)");
    let script = lab.scratch().join("bound");
    let bound = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\n\
                 ip route add default via $router\n";
    write_script(&script, bound);
    let mut command = guest.command("timeout");
    command.args(["60", client, "-f", "-q", "-i", "eth0", "-t", "20", "-T", "1", "-s"]);
    let output = guest.output(
        {
            command.arg(&script);
            command
        },
        "",
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let addresses = guest.json("ip -4 -j addr show dev eth0");
    let address: Ipv4Addr =
        addresses[0]["addr_info"][0]["local"].as_str().expect("an address").parse().unwrap();
    // Hosts that are in no pool have no Internet here: the first connection shows it.
    let speaker = crate::lab::Speaker::new(&guest, address, FAR);
    let seen = speaker.seen();
    let pool = lab.pool_of(address).expect("a pool");
    assert_eq!(seen, Ok(lab.uplink_address(pool)));
    // A lease in another network, and one for IPv6, place nobody.
    let before = lab.files();
    for args in ["add 02:00:00:00:00:09 10.65.4.9", "old 1:2:3 2001:db8::9", "del x 192.168.7.3"] {
        let script = lab.scratch().join("lease");
        lab.script(&format!("exec {} {args}", script.display())).silent();
    }
    assert_eq!(lab.files(), before);
}

/// Kea's script, as the hook library runs it.
#[test]
fn the_leases_of_kea_place_their_clients() {
    let lab = Lab::new();
    lab.config(&three(""));
    lab.wanpool(["restore"]).ok();
    let hooks = lab.hooks();
    let hook = |event: &str, size: &str| {
        let hook = hooks.hook("kea/lease").args(&[event]).var("LEASES4_SIZE", size);
        let hook = hook.var("LEASES4_AT0_ADDRESS", "192.168.7.90");
        hook.var("LEASES4_AT1_ADDRESS", "192.168.7.91").run().silent();
    };
    hook("leases4_committed", "0");
    hook("lease4_expire", "1");
    assert!(lab.pool(1).is_empty());
    hook("leases4_committed", "2");
    assert_eq!([90, 91].map(|it| lab.pool_of([192, 168, 7, it].into())), [Some(1), Some(2)]);
}

/// The README's lines for squid: the requests of clients are the gateway's own, and leave by the uplink of
/// the client's pool, through the loss of a line.
#[test]
fn squid_sends_the_requests_of_clients_by_their_own_uplinks() {
    let program = "/usr/sbin/squid";
    assert!(Path::new(program).exists(), "the lab needs {program} (apt install squid)");
    let lab = Lab::serving(&two());
    let dir = lab.scratch().join("squid");
    fs::create_dir(&dir).unwrap();
    let acls: String = [1, 2]
        .map(|pool| {
            let file = lab.pool_dir().join(format!("pool{pool}"));
            format!(
                "acl pool{pool} src \"{}\"\ntcp_outgoing_mark 0x{pool} pool{pool}\n",
                file.display()
            )
        })
        .concat();
    let config = dir.join("squid.conf");
    let text = format!(
        "http_port 192.168.7.1:3128\n{acls}http_access allow all\ncache deny all\n\
         pid_filename none\ncache_effective_user proxy\naccess_log none\ncache_log {0}/log\n\
         coredump_dir {0}\nserver_persistent_connections off\nconnect_timeout 5 seconds\n\
         cache_mem 8 MB\nmaximum_object_size_in_memory 8 KB\nshutdown_lifetime 0 seconds\n\
         visible_hostname lab\ndns_nameservers 127.0.0.1\nnetdb_filename none\n",
        dir.display()
    );
    fs::write(&config, text).unwrap();
    lab.gateway.sh(&format!(
        "chmod 755 {}; chown proxy {}",
        lab.scratch().display(),
        dir.display()
    ));
    // Another squid on this machine has the same shared memory.
    let alone = "mount -t tmpfs none /dev/shm; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", alone, "sh", program]);
    command.arg("-N").arg("-f").arg(&config);
    let _squid = ChildGuard::start(&lab.gateway, &command);
    let _web = web_server(&lab);
    let ask = |client: Ipv4Addr| {
        let url = format!("http://{}:8081/", FAR.ip());
        lab.clients
            .sh(&format!("curl -sS -m 10 --interface {client} -x 192.168.7.1:3128 {url} || true"))
            .trim()
            .to_owned()
    };
    let address = |number: u8| lab.uplink_address(number).to_string();
    wait_until("squid answers", || ask(lab.member(1, 0)) == address(1));
    for _ in 0..3 {
        for pool in [1, 2] {
            assert_eq!(ask(lab.member(pool, 1)), address(pool), "pool {pool}");
        }
    }
    lab.hang_up(1);
    assert_eq!(ask(lab.member(1, 1)), address(2), "its own line is lost");
    lab.redial(1);
    lab.wanpool(["assign"]).ok();
    assert_eq!(ask(lab.member(1, 1)), address(1), "its own line is back");
}

/// Answers each request with the address that it came from.
fn web_server(lab: &Lab) -> ChildGuard {
    let file = lab.scratch().join("web.py");
    let text = format!(
        "import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass
    def do_GET(self):
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(('{}', 8081), Handler).serve_forever()
",
        FAR.ip()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("python3");
    command.arg(&file);
    ChildGuard::start(&lab.far, &command)
}
