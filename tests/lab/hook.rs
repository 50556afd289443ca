//! The hooks of `scripts/`, run as their callers run them: in `/`, with that environment and no
//! other, stdout closed.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use super::{Lab, Run, binary};

/// Debian's own `iptables` is a link into this directory.
const ALTERNATIVES: &str = "/etc/alternatives";
const LOGGER: &str = "/usr/bin/logger";

/// Runs hooks in a mount namespace in which the system's `iptables` is of the lab's kind, because
/// hooks do not get the PATH of the lab. `logger` writes to a file, and fails as without a syslogd.
pub struct Hooks<'lab> {
    lab: &'lab Lab,
}

/// One hook with what its caller gives it.
#[derive(Clone)]
pub struct Hook<'lab> {
    lab: &'lab Lab,
    program: PathBuf,
    args: Vec<String>,
    vars: Vec<(String, String)>,
    closed: bool,
}

impl Lab {
    pub fn hooks(&self) -> Hooks<'_> {
        let dir = self.scratch().join("hooks");
        let dir = dir.display();
        self.gateway.sh(&format!(
            "mkdir {dir} {dir}/alternatives
             cp -a {ALTERNATIVES}/. {dir}/alternatives
             for name in iptables iptables-save iptables-restore; do
                 ln -sf $(readlink $(command -v $name)) {dir}/alternatives/$name
             done
             printf '#!/bin/sh\\necho \"$*\" >>{dir}/log; exit 1\\n' >{dir}/logger
             chmod 755 {dir}/logger"
        ));
        Hooks { lab: self }
    }
}

impl<'lab> Hooks<'lab> {
    /// A file below `scripts/`.
    pub fn hook(&self, name: &str) -> Hook<'lab> {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
        self.program(scripts.join(name))
    }

    /// Another program that runs as hooks do.
    pub fn program(&self, program: PathBuf) -> Hook<'lab> {
        let hook = Hook { lab: self.lab, program, args: vec![], vars: vec![], closed: false };
        hook.var("WANPOOL", &binary().display().to_string())
            .var("WANPOOL_CONFIG", &self.lab.config_file().display().to_string())
            .var("WANPOOL_STATE_DIR", &self.lab.pool_dir().display().to_string())
            .var("XTABLES_LOCKFILE", &self.lab.scratch().join("xtables.lock").display().to_string())
    }

    /// `ppp/ip-up` or `ppp/ip-down` as pppd runs it for uplink N, with an empty tty.
    pub fn ppp(&self, name: &str, number: u8) -> Hook<'lab> {
        let dev = self.lab.uplink_dev(number);
        let local = self.lab.uplink_address(number).to_string();
        let remote = self.lab.uplink_gateway(number).to_string();
        self.hook(&format!("ppp/{name}"))
            .args(&[&dev, "", "0", &local, &remote, ""])
            .var("PPP_IFACE", &dev)
            .var("IFNAME", &dev)
            .var("DEVICE", "")
            .var("SPEED", "0")
            .var("IPLOCAL", &local)
            .var("IPREMOTE", &remote)
            .var("PPPLOGNAME", "root")
            .var("LINKNAME", "line")
            .var("DNS1", "192.0.2.53")
    }

    /// What hooks have logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.lab.scratch().join("hooks/log")).unwrap_or_default()
    }
}

impl Hook<'_> {
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// Sets a variable, or replaces its value.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.retain(|(known, _)| known != name);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With stdin, stdout and stderr closed, so that the test sees no output.
    pub fn closed(self) -> Self {
        Self { closed: true, ..self }
    }

    /// Runs it to its end.
    pub fn run(&self) -> Run {
        let output: Output = self.lab.gateway.output(self.command(), "");
        Run::new(format!("{} {}", self.program.display(), self.args.join(" ")), output)
    }

    /// Starts it, alone in a process group of its own.
    pub fn spawn(&self) -> Child {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.lab.gateway.enter(|| command.spawn()).expect("to start the hook")
    }

    fn command(&self) -> Command {
        let dir = self.lab.scratch().join("hooks");
        let close = if self.closed { "<&- >&- 2>&-" } else { "" };
        let script = format!(
            "mount --bind {0}/alternatives {ALTERNATIVES}; mount --bind {0}/logger {LOGGER}
             cd /; exec env -i \"$@\" {close}",
            dir.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"]);
        command.args(self.vars.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(&self.program).args(&self.args);
        command
    }
}
