//! Makes the namespaces and connects them.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;

use super::{EchoServer, Env, FAR, GATEWAY, Lab, Netns, Shape, uplink};

/// The PATH of the lab's commands, after its choice of iptables.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable that gives the multipath hash of every gateway another seed: no test may depend on
/// which member a group picks. Needs Linux 6.11.
const HASH_SEED: &str = "LAB_HASH_SEED";

impl Lab {
    pub(super) fn raise(shape: Shape) -> Lab {
        let dir = tempfile::Builder::new().prefix("wanpool-lab-").tempdir().expect("a directory");
        // Commands without root read here, too.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        choose_iptables(dir.path(), &shape);
        let env = environment(dir.path());
        let (gateway, clients) = (Netns::new(&env), Netns::new(&env));
        let (provider, far) = (Netns::new(&env), Netns::new(&env));
        lay_lan(&shape, &gateway, &clients);
        lay_far(&provider, &far);
        for scope in ["all", "default"] {
            let name = format!("net/ipv4/conf/{scope}/rp_filter");
            gateway.sysctl(&name, &shape.rp_filter.to_string());
        }
        if let Ok(seed) = std::env::var(HASH_SEED) {
            gateway.sysctl("net/ipv4/fib_multipath_hash_seed", &seed);
        }
        let first = (1..=shape.uplinks()).map(|number| uplink::address(&shape, number));
        let addresses = Mutex::new(first.collect());
        let _far_server = EchoServer::start(&far, FAR);
        let lab = Lab { gateway, clients, provider, far, shape, addresses, env, _far_server, dir };
        for number in 1..=lab.shape.uplinks() {
            lab.redial(number);
        }
        lab
    }
}

/// A directory with one kind of iptables under the common names, to stand first in PATH.
fn choose_iptables(dir: &Path, shape: &Shape) {
    let bin = dir.join("bin");
    fs::create_dir(&bin).expect("the directory for iptables");
    for end in ["", "-save", "-restore"] {
        for start in ["iptables", "ip6tables"] {
            let program = shape.iptables.program(start, end);
            symlink(program, bin.join(format!("{start}{end}"))).expect("a link to iptables");
        }
    }
}

fn environment(dir: &Path) -> Env {
    let path = |name: &str| dir.join(name).display().to_string();
    let vars = [
        ("PATH", format!("{}:{SYSTEM_PATH}", path("bin"))),
        ("LC_ALL", "C".to_owned()),
        ("XTABLES_LOCKFILE", path("xtables.lock")),
        ("WANPOOL_CONFIG", path("wanpool.toml")),
        ("WANPOOL_STATE_DIR", path("state")),
        ("WANPOOL_RUN_DIR", path("run")),
    ];
    Env(vars.map(|(name, value)| (name.to_owned(), value)).into())
}

fn lay_lan(shape: &Shape, gateway: &Netns, clients: &Netns) {
    let prefix = shape.prefix();
    gateway.sh(&format!(
        "ip link add br0 address 02:00:00:00:07:01 type bridge
         ip addr add {GATEWAY}/{prefix} dev br0
         ip link add lan0 type veth peer name eth0 netns {}
         ip link set lan0 master br0 up
         ip link set br0 up",
        clients.path().display()
    ));
    // Keeps all neighbours during the test: after a minute the kernel drops idle ones if all
    // namespaces together have more than gc_thresh1.
    gateway.sysctl("net/ipv4/neigh/br0/gc_stale_time", "36000");
    let mut batch = String::from("ip link set eth0 up\nip -batch - <<END\n");
    for client in shape.clients() {
        writeln!(batch, "addr add {client}/{prefix} dev eth0").expect("memory");
    }
    writeln!(batch, "route add default via {GATEWAY}\nEND").expect("memory");
    clients.sh(&batch);
}

fn lay_far(provider: &Netns, far: &Netns) {
    provider.sh(&format!(
        "ip link add far0 type veth peer name eth0 netns {}
         ip addr add 100.66.0.254/24 dev far0
         ip link set far0 up",
        far.path().display()
    ));
    provider.sysctl("net/ipv4/ip_forward", "1");
    far.sh(&format!(
        "ip addr add {}/24 dev eth0
         ip link set eth0 up
         ip route add default via 100.66.0.254",
        FAR.ip()
    ));
}
