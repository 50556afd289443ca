//! A fresh Debian of each release that wanpool is made for: made by mmdebstrap once, kept below
//! `target/`, and changed by no test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beyond Debian's smallest: what the package depends on, what it recommends, systemd, and what the
/// lab's own questions and the demonstration need.
const PACKAGES: [&str; 8] =
    ["iptables", "iproute2", "kmod", "systemd", "ipset", "conntrack", "nftables", "socat"];

/// $1 is where it is when it is whole; the rest makes it. Of several tests that want the same one,
/// one makes it and the others wait. What is left of one that was interrupted is thrown away.
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
    /// What is built on a later release asks for a newer libc, and does not start on an earlier one.
    pub fn that_run_what_is_built_here() -> &'static [Debian] {
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
        command.args([&format!("--include={}", PACKAGES.join(",")), self.name()]);
        let output = command.output().expect("flock (apt install util-linux)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "no fresh Debian from its archive (apt install mmdebstrap):\n{said}"
        );
        made
    }
}
