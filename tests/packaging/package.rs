//! The Debian package on a fresh Debian: installation, upgrade, removal.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::documents::doctests::{project, read};
use crate::lab::{Debian, Lab, Machine, binary};
use crate::packaging::need_rust::put;

inside_each_debian! {
    the_package_installs_serves_clients_upgrades_and_purges,
}

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// The configuration in the README.
fn ten_lines() -> String {
    let readme = read(&project("README.md"));
    let (_, behind) =
        readme.split_once("<!-- lab: config -->\n```toml\n").expect("a configuration");
    behind.split_once("```").expect("its end").0.to_owned()
}

/// Runs the lines of `/etc/cron.d/wanpool`, without the pause.
pub const CRON: &str = "
grep -E '^(@reboot|\\*)' /etc/cron.d/wanpool | sed 's/.*  root  *//; s/.* root  *//; s/sleep 30/:/' >/tmp/cron
[ \"$(wc -l </tmp/cron)\" = 2 ]
WANPOOL_HOOK=1 sh -e /tmp/cron
";

/// `scripts/package` with the program under test.
fn package(dir: &Path, version: &str) -> PathBuf {
    made(packaging(dir, version))
}

fn packaging(dir: &Path, version: &str) -> Command {
    let mut command = Command::new(format!("{PROJECT}/scripts/package"));
    command.arg("--binary").arg(binary()).arg("--output").arg(dir);
    // Fast compression.
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    command.args(["--version", version]);
    command
}

/// The path, which is its only output.
fn made(mut packaging: Command) -> PathBuf {
    let output = packaging.output().expect("scripts/package");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

#[test]
fn scripts_package_installs_its_build_dependencies_and_prints_only_the_path() {
    let dir = tempfile::tempdir().expect("a folder");
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let missing = "case \"$*\" in *Status*) exit 1 ;; esac; exec /usr/bin/dpkg-query \"$@\"";
    put(&bin, "dpkg-query", missing);
    put(&bin, "id", "echo 0");
    put(&bin, "apt-get", "echo Reading; echo \"$*\" >>\"${0%/*}/asked\"");
    let mut packaging = packaging(dir.path(), "0.1.0");
    packaging.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
    let package = made(packaging);
    assert_eq!(package.parent(), Some(dir.path()));
    assert!(package.is_file());
    let asked = std::fs::read_to_string(bin.join("asked")).expect("what apt was asked");
    assert!(asked.contains("install") && asked.ends_with(" binutils dpkg-dev\n"), "{asked}");
}

/// Makes the package in these versions, as `/mnt/VERSION.deb` of the machine.
pub fn packages(lab: &Lab, versions: &[&str]) {
    for version in versions {
        let made = package(lab.scratch(), version);
        std::fs::rename(made, lab.scratch().join(format!("{version}.deb"))).expect("its name");
    }
}

pub fn write_config(machine: &Machine) {
    machine.sh(&format!("cat >/etc/wanpool.toml <<'END'\n{}END", ten_lines()));
}

/// The pool of each client, by the machine's pool files.
#[track_caller]
pub fn pools(machine: &Machine) -> BTreeMap<Ipv4Addr, u8> {
    let files = machine.sh("cd /var/lib/wanpool && grep . pool*");
    let entry = |line: &str| {
        let (pool, client) = line.split_once(':').expect("poolN:address");
        let number = pool.trim_start_matches("pool").parse().expect("a number");
        (client.parse().expect("an address"), number)
    };
    files.lines().map(entry).collect()
}

/// Every client is in a pool file and leaves by its uplink; returns the pools.
#[track_caller]
pub fn assert_served(lab: &Lab, machine: &Machine) -> BTreeMap<Ipv4Addr, u8> {
    let pools = pools(machine);
    assert_eq!(pools.len(), lab.everyone().len(), "{pools:?}");
    for (&client, &pool) in &pools {
        lab.assert_leaves_by(client, &[pool]);
    }
    pools
}

/// Debian's changelog has the newest entries of `CHANGELOG.md`.
fn assert_tells_the_changes(package: &Path) {
    let script = "dpkg-deb --fsys-tarfile $0 | tar -xO ./usr/share/doc/wanpool/changelog.gz | zcat";
    let output = Command::new("sh").args(["-c", script]).arg(package).output().expect("sh");
    let debian = String::from_utf8(output.stdout).expect("UTF-8");
    let ours = read(&project("CHANGELOG.md"));
    let newest = ours.split("\n## ").nth(1).expect("a version");
    let points = newest.lines().filter_map(|line| line.strip_prefix("- "));
    let wanted: Vec<String> = points.map(|point| format!("  * {point}")).collect();
    let listed: Vec<&str> = debian.lines().filter(|line| line.starts_with("  * ")).collect();
    assert!(!wanted.is_empty() && listed == wanted, "{debian}");
}

#[test]
fn the_package_passes_lintian_and_is_reproducible() {
    let dir = tempfile::tempdir().expect("a folder");
    let [one, other] = ["one", "other"].map(|name| package(&dir.path().join(name), "0.1.0"));
    let [one_bytes, other_bytes] = [&one, &other].map(|path| std::fs::read(path).expect("it"));
    assert!(one_bytes == other_bytes, "{} and {} differ", one.display(), other.display());
    assert_tells_the_changes(&one);
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]).arg(one);
    let output = lintian.output().expect("lintian (apt install lintian)");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.is_empty(), "{printed}");
}

fn the_package_installs_serves_clients_upgrades_and_purges(debian: Debian) {
    let lab = Lab::new();
    packages(&lab, &["0.1.0", "0.1.1"]);
    let machine = Machine::bare(&lab, debian);
    let empty = lab.kernel_state();

    // A fresh system has none of the lab's programs.
    machine.sh("apt-get purge -y ipset conntrack nftables");
    machine.sh("apt-get install -y /mnt/0.1.0.deb");
    // Lintian of Debian 13 rejects files below /lib, which is a link.
    machine.sh("! dpkg -L wanpool | grep '^/lib'");
    // Without a configuration nothing happens, and nothing fails.
    let hooks = machine.run(
        "/etc/ppp/ip-up.d/wanpool ppp0 '' 0; IFACE=ppp1 /etc/network/if-up.d/wanpool
         WANPOOL_HOOK=1 wanpool assign",
    );
    hooks.silent();
    lab.kernel_state().assert_is(&empty, "installed, not configured");

    lab.discover(&lab.everyone());
    write_config(&machine);
    machine.sh("wanpool restore && wanpool assign");
    assert_served(&lab, &machine);
    let table = machine.sh("ip route show table 201");
    let ours = table.lines().filter(|line| line.contains(" proto wanpool ")).count();
    assert_eq!(ours, 3, "its own, the fallback, unreachable: {table}");

    // The lines for cron, without systemd.
    machine.sh(&format!("wanpool assign --release {}", lab.everyone()[0]));
    let run = machine.run(CRON);
    assert_eq!((run.lines().len(), run.status), (1, 0), "{run}");
    let before = assert_served(&lab, &machine);

    let served = lab.kernel_state();
    machine.sh("apt-get install -y /mnt/0.1.1.deb");
    assert!(machine.sh("dpkg -s wanpool").contains("Version: 0.1.1\n"));
    lab.kernel_state().assert_is(&served, "an upgrade");
    assert_eq!(assert_served(&lab, &machine), before);
    assert_eq!(machine.sh("cat /etc/wanpool.toml"), ten_lines());

    machine.sh("apt-get remove -y wanpool");
    lab.kernel_state().assert_is(&empty, "after a removal");
    assert_eq!(pools(&machine), before);
    assert_eq!(machine.sh("cat /etc/wanpool.toml"), ten_lines());
    machine.run("/etc/ppp/ip-up.d/wanpool ppp0; IFACE=ppp1 /etc/network/if-up.d/wanpool").silent();

    machine.sh("apt-get purge -y wanpool");
    machine.run("find / -xdev -name '*wanpool*' -not -path '/var/log/*'").silent();
}
