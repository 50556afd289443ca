//! Runs the command in `[hook] exec` for each uplink that went out of service or is in service again.
//! The command runs when everything else is done and the lock is free. Its failure changes nothing.
//! Does not know what the fields of an event mean.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::pid_t;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value};

/// How long all commands together may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// One event: each value goes both into the environment of the command and into the JSON on its
/// stdin.
pub struct Event {
    /// What happened, for messages.
    pub name: String,
    pub fields: Map<String, Value>,
}

impl Event {
    fn start(&self, exec: &Path) -> std::io::Result<Child> {
        let mut command = Command::new(exec);
        // A hook of pppd runs wanpool without PATH.
        if std::env::var_os("PATH").is_none() {
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        }
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

/// Runs the command for all events at the same time, and waits for it. Returns what failed.
pub fn run(exec: &Path, events: &[Event]) -> Vec<String> {
    let deadline = Instant::now() + HOOK_TIMEOUT;
    let mut children = Vec::new();
    for event in events {
        children.push((event, event.start(exec)));
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
