//! Runs the program as an event says, and lets the model follow.

use std::net::Ipv4Addr;

use super::events::Manner;
use super::model::{Command, Model, Out};
use super::perform::Life;

impl Life {
    /// Returns whether the slice is as the model says then: a run that is refused changes nothing.
    pub fn run(&mut self, command: Command, manner: Manner) -> Result<bool, String> {
        let line = self.command_line(command);
        let wanted = self.model.run(command);
        let dir = self.lab.pool_dir().display().to_string();
        let run = match manner {
            Manner::Plainly => self.lab.run(&line),
            Manner::FullOutput => self.lab.script(&format!("exec \"$WANPOOL\" {line} >/dev/full")),
            Manner::ReadOnlyDisk => self.lab.script(&format!(
                "exec unshare --mount --propagation private sh -c 'mount --bind {dir} {dir} \
                 && mount -o remount,bind,ro {dir} && exec \"$WANPOOL\" {line}'"
            )),
            Manner::Killed(call, number) => {
                self.lab.script(&format!(
                    "strace -qq -o /dev/null -e trace={call} \
                     -e inject={call}:signal=KILL:when={number} \"$WANPOOL\" {line} >/dev/null"
                ));
                self.lab.run(&line)
            }
        };
        if !self.sabotage.is_empty() {
            self.lab.script(self.sabotage);
        }
        let is_right = match manner {
            Manner::FullOutput => run.status == 1 || run.status == wanted,
            _ => run.status == wanted,
        };
        if !is_right {
            return Err(format!("not exit {wanted}: {run}"));
        }
        if wanted == 0 {
            self.follow(command)?;
        }
        Ok(wanted == 0 || command == Command::Restore)
    }

    /// What only the run itself can say, and which flows it ends.
    fn follow(&mut self, command: Command) -> Result<(), String> {
        if command == Command::Rebalance {
            self.adopt_rebalanced()?;
        }
        if command == Command::Flush {
            self.flows.end_all();
        }
        for (&no, line) in &self.model.lines {
            let was_taken_out = matches!(command, Command::FailOver(..) | Command::Probe)
                && matches!(line.out, Some(Out::ByHand | Out::ByProbe));
            if !line.in_service || was_taken_out {
                self.flows.end(no);
            }
        }
        Ok(())
    }

    /// Which clients a rebalance moves is its own choice, as long as the pools are level then.
    fn adopt_rebalanced(&mut self) -> Result<(), String> {
        let all = |model: &Model| {
            let mut all: Vec<Ipv4Addr> = model.pools.values().flatten().copied().collect();
            all.extend(&model.everyone);
            all.sort_unstable();
            all.dedup();
            all
        };
        let before = all(&self.model);
        for no in 1..=4 {
            self.model.pools.insert(no, self.lab.members(no));
        }
        if all(&self.model) != before || !self.model.is_level() {
            return Err(format!("not level, or clients are lost: {:?}", self.model.pools));
        }
        Ok(())
    }

    fn command_line(&self, command: Command) -> String {
        let dev = |no: u8| self.lab.uplink_dev(no);
        match command {
            Command::Assign => "assign".to_owned(),
            Command::TimerAssign => "--hook assign".to_owned(),
            Command::Restore => "restore".to_owned(),
            Command::RestoreOne(no) => format!("restore {no}"),
            Command::FailOver(no, None) => format!("failover {}", dev(no)),
            Command::FailOver(no, Some(to)) => format!("failover {no} --to {}", dev(to)),
            Command::Probe => "failover --probe".to_owned(),
            Command::Multipath(on) => format!("multipath {}", if on { "on" } else { "off" }),
            Command::Flush => "flush".to_owned(),
            Command::HookUp(no) => format!("--hook restore {}", dev(no)),
            Command::HookDown(no) => format!("--hook failover {}", dev(no)),
            Command::Place(client, no) => format!("assign {client} --pool {no}"),
            Command::Release(client) => format!("assign {client} --release"),
            Command::Rebalance => "assign --rebalance".to_owned(),
        }
    }
}
