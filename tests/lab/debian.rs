//! A fresh Debian of each supported release: made once by mmdebstrap, kept below `target/`, and never
//! changed by a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the package depends on or recommends, systemd, what the lab and the demonstration need, and a
/// firewall that an admin may have.
const PACKAGES: [&str; 9] = [
    "iptables",
    "iproute2",
    "kmod",
    "systemd",
    "ipset",
    "conntrack",
    "nftables",
    "socat",
    "iptables-persistent",
];

/// $1 is the finished folder; the rest is the command that makes it. One test makes it, and others
/// wait. What an interrupted test has left is deleted.
const MAKE: &str = r#"
made=$1
shift
[ ! -e "$made" ] || exit 0
rm -rf "$made.new"
"$@" "$made.new"
mv "$made.new" "$made"
"#;

#[derive(Clone, Copy, Debug)]
pub enum Debian {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Debian {
    /// A program that is built on a later release needs a newer libc.
    pub fn that_can_run_the_program() -> &'static [Debian] {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if release.lines().any(|line| line == "VERSION_ID=\"12\"") {
            &[Debian::Bookworm, Debian::Trixie]
        } else {
            &[Debian::Trixie]
        }
    }

    fn name(self) -> &'static str {
        match self {
            Debian::Bookworm => "bookworm",
            Debian::Trixie => "trixie",
        }
    }

    /// The folder of its files.
    pub fn files(self) -> PathBuf {
        let name = format!("{}+{}", self.name(), PACKAGES.join("+"));
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut command = Command::new("flock");
        command.arg(made.with_extension("lock")).args(["sh", "-ec", MAKE, "sh"]).arg(&made);
        command.args(["mmdebstrap", "--mode=root", "--variant=minbase"]);
        command.arg("--aptopt=Acquire::Retries \"3\"");
        // At its installation, iptables-persistent saves the rules of this machine.
        command.arg(
            "--customize-hook=rm -f \"$1\"/etc/iptables/rules.v4 \"$1\"/etc/iptables/rules.v6",
        );
        command.args([&format!("--include={}", PACKAGES.join(",")), self.name()]);
        let output = command.output().expect("flock (apt install util-linux)");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "no fresh Debian from its archive (apt install mmdebstrap):\n{printed}"
        );
        made
    }
}
