//! Runs the command in `[hook] exec` for each uplink that went out of service or is in service again.
//! The command runs when everything else is done and the lock is free. Its failure changes nothing.
//! Does not know what the fields of an event mean.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::pid_t;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use super::files::trusted;

/// How long all commands together may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// One event: each value goes both into the environment of the command and into the JSON on its
/// stdin.
pub struct Event {
    /// What happened, for messages.
    pub name: String,
    pub fields: Map<String, Value>,
}

/// Where a command finds its programs if nobody says. A hook of pppd runs wanpool without PATH.
const USUAL_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether this process was started by the admin's command. Such a process runs no command itself, or
/// two commands could answer each other for ever.
pub fn is_inside() -> bool {
    std::env::var_os("WANPOOL_EVENT").is_some()
}

/// Sets the environment of the command: nothing but PATH, and what makes `wanpool` mean this gateway.
/// Variables of the caller, such as WANPOOL_HOOK, would change what `wanpool` does.
fn set_environment(command: &mut Command, gateway: &[(&str, PathBuf)]) {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or(USUAL_PATH.into()));
    for (name, path) in gateway {
        // The command runs in another folder.
        command.env(name, std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    }
}

impl Event {
    fn start(&self, exec: &Path, gateway: &[(&str, PathBuf)]) -> std::io::Result<Child> {
        trusted::require_trusted_program(exec)?;
        let mut command = Command::new(exec);
        set_environment(&mut command, gateway);
        for (key, value) in &self.fields {
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            command.env(format!("WANPOOL_{}", key.to_uppercase()), text);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // The command has its own process group, so that the processes it starts can be killed with
        // it. It inherits no pipe of wanpool, whose caller would wait until the pipe is closed.
        let mut child = command.process_group(0).current_dir("/").spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // The text is shorter than the buffer of a pipe. A command need not read it.
            let _ = stdin.write_all(format!("{}\n", Value::from(self.fields.clone())).as_bytes());
        }
        Ok(child)
    }
}

/// Runs the command for all events at the same time, and waits for it. `gateway` has the environment
/// variables that name the files of this gateway. Returns what failed.
pub fn run(exec: &Path, gateway: &[(&str, PathBuf)], events: &[Event]) -> Vec<String> {
    let deadline = Instant::now() + HOOK_TIMEOUT;
    let mut children = Vec::new();
    for event in events {
        children.push((event, event.start(exec, gateway)));
    }
    let mut failures = Vec::new();
    for (event, child) in children {
        let result = match child {
            Ok(child) => wait(child, deadline),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = result {
            failures.push(format!("running {} for {}: {why}", exec.display(), event.name));
        }
    }
    failures
}

fn wait(mut child: Child, deadline: Instant) -> Result<(), String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let group = Pid::from_raw(child.id() as pid_t);
                // It is no error if the group has just ended.
                let _ = killpg(group, Signal::SIGKILL);
                let _ = child.wait();
                return Err(format!(
                    "it did not end within {} s and was killed",
                    HOOK_TIMEOUT.as_secs()
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
