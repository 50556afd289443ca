//! Network namespaces without a name, and commands run inside them.
//!
//! A namespace lives as long as its file, a socket in it or a process in it. Nothing is written to
//! `/run/netns`, so a test leaves nothing behind however it ends.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// The time after which a command hangs: longer than any takes on the busiest machine.
const LONGEST: Duration = Duration::from_secs(300);

/// The environment of every command in the lab.
#[derive(Clone, Default)]
pub struct Env(pub Vec<(String, String)>);

pub struct Netns {
    file: File,
    env: Env,
}

impl Netns {
    /// An empty namespace: `lo` is up, there is no IPv6, nothing is forwarded.
    pub fn new(env: &Env) -> Netns {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            File::open("/proc/thread-self/ns/net").expect("the new namespace's file")
        })
        .join()
        .unwrap_or_else(|panic| resume_unwind(panic));
        let ns = Netns { file, env: env.clone() };
        for scope in ["all", "default"] {
            ns.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1");
            ns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
        }
        ns.sh("ip link set lo up");
        ns
    }

    /// The name iproute2 takes for it (`ip link set eth0 netns …`).
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Does `work` on a thread inside. Sockets made there stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter_for_good(&self.file);
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Another handle of the namespace, for a thread that outlives the borrow.
    pub fn file(&self) -> File {
        self.file.try_clone().expect("another handle of the namespace")
    }

    /// A variable of that environment.
    pub fn env(&self, name: &str) -> &str {
        let found = self.env.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env.0.iter().cloned());
        command
    }

    /// Runs `command` inside, with `input` on its stdin, to its end. What hangs is killed with its
    /// child processes, so that the test fails and the others go on.
    pub fn output(&self, mut command: Command, input: &str) -> Output {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let mut child =
            self.enter(|| command.spawn()).unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let group = Pid::from_raw(child.id().try_into().expect("a process id"));
        let mut stdin = child.stdin.take().expect("its stdin is a pipe");
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            scope.spawn(move || {
                if end.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                    let _ = killpg(group, Signal::SIGKILL);
                }
            });
            let output = child.wait_with_output().expect("its output");
            drop(ended);
            output
        })
    }

    /// Runs a shell script, which must not fail. Returns its stdout.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let mut shell = self.command("sh");
        shell.arg("-e");
        let output = self.output(shell, script);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{}\n--- script\n{script}\n--- output\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr),
        );
        text(&output.stdout)
    }

    /// The output of a command that prints JSON; no output is an empty array.
    #[track_caller]
    pub fn json(&self, command: &str) -> Value {
        let text = self.sh(command);
        let text = if text.trim().is_empty() { "[]" } else { &text };
        serde_json::from_str(text).unwrap_or_else(|why| panic!("{command}: {why} in {text}"))
    }

    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        self.enter(|| std::fs::write(format!("/proc/sys/{name}"), value))
            .unwrap_or_else(|why| panic!("{name} = {value}: {why}"));
    }

    pub fn read_sysctl(&self, name: &str) -> String {
        self.enter(|| std::fs::read_to_string(format!("/proc/sys/{name}")))
            .unwrap_or_else(|why| panic!("{name}: {why}"))
            .trim()
            .to_owned()
    }
}

/// Puts the calling thread, and what it starts, into the namespace.
pub fn enter_for_good(file: &File) {
    setns(file, CloneFlags::CLONE_NEWNET).expect("to enter the namespace");
}
