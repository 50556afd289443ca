//! `[hook] exec`: the admin's command, told of each uplink that went out or came back. It runs when
//! all is done and the lock is free; what becomes of it changes nothing.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::pid_t;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use super::Context;
use crate::model::UplinkNo;
use crate::plan::service::{Services, State};
use crate::record::Records;

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the command is told, each value both in its environment and in the JSON on its stdin.
pub struct Event {
    fields: Map<String, Value>,
}

impl Event {
    pub fn new(context: &Context, services: &Services, records: &Records, no: UplinkNo) -> Self {
        let dev = |no: &UplinkNo| context.config.uplinks[no].dev.as_str();
        let state = services.uplinks[&no].state;
        let carriers = services.carriers(no);
        let carried_by = carriers.iter().map(dev).collect::<Vec<_>>().join(",");
        let last = records.get(&no).and_then(|record| record.last);
        let fields = [
            ("event", json!(if state == State::Up { "up" } else { "down" })),
            ("pool", json!(no.get())),
            ("uplink", json!(dev(&no))),
            ("state", json!(state.word())),
            ("carried_by", if carriers.is_empty() { Value::Null } else { json!(carried_by) }),
            ("loss", last.map_or(Value::Null, |last| last.loss.into())),
            ("rtt", super::pools::rtt(last)),
        ];
        Self { fields: fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect() }
    }

    fn start(&self, exec: &Path) -> std::io::Result<Child> {
        let mut command = Command::new(exec);
        // pppd gives its hooks none, and they run this.
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
        // A group of its own, so that what it starts ends with it. Where a pipe of ours stayed open
        // in it, whoever called us would wait for it too.
        let mut child = command.process_group(0).current_dir("/").spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Far less than a pipe holds; who does not read it need not.
            let _ = stdin.write_all(format!("{}\n", Value::from(self.fields.clone())).as_bytes());
        }
        Ok(child)
    }

    fn name(&self) -> String {
        format!("{} of {}", self.fields["event"], self.fields["uplink"]).replace('"', "")
    }
}

/// Runs the command for all events at once, and waits for it.
pub fn tell(exec: &Path, events: &[Event]) {
    let deadline = Instant::now() + PATIENCE;
    let children: Vec<_> = events.iter().map(|event| (event, event.start(exec))).collect();
    for (event, child) in children {
        let ended =
            child.map_err(|error| error.to_string()).and_then(|child| wait(child, deadline));
        if let Err(why) = ended {
            crate::complain(&format!("running {} for {}: {why}", exec.display(), event.name()));
        }
    }
}

fn wait(mut child: Child, deadline: Instant) -> Result<(), String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let group = Pid::from_raw(child.id() as pid_t);
                // The group may have ended by itself this very moment.
                let _ = killpg(group, Signal::SIGKILL);
                let _ = child.wait();
                return Err(format!("not done after {} s, killed", PATIENCE.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
