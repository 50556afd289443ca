//! Compares the world with the model.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::kernel;
use super::perform::Life;
use crate::lab::Conn;

/// How many flows go on from event to event.
const FLOWS: usize = 4;
/// How many clients speak to the far server after each event.
const SPEAKERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take that must not come.
const FOR_SILENCE: Duration = Duration::from_millis(50);

/// Open connections, each with the line by which it began.
#[derive(Default)]
pub struct Flows(Vec<(u8, Conn)>);

impl Flows {
    pub fn end(&mut self, no: u8) {
        self.0.retain(|(line, _)| *line != no);
    }

    pub fn end_all(&mut self) {
        self.0.clear();
    }
}

impl Life {
    pub fn check(&mut self, has_run: bool) -> Result<(), String> {
        if has_run && !self.model.is_damaged {
            self.check_kernel()?;
            self.check_files()?;
            self.check_output()?;
        }
        if self.model.slice && !self.model.is_damaged && !self.model.bad_file {
            for _ in 0..SPEAKERS {
                let client = self.random.pick(&self.model.everyone);
                self.check_path(client)?;
            }
            self.check_flows()?;
        }
        Ok(())
    }

    fn check_kernel(&self) -> Result<(), String> {
        let wanted = if self.model.slice { kernel::wanted(&self.lab, &self.model) } else { vec![] };
        same("routing", &wanted, &kernel::found(&self.lab))?;
        if self.model.bad_file {
            return Ok(());
        }
        let mut marks = vec![];
        if self.model.slice {
            for (no, members) in &self.model.pools {
                marks.extend(members.iter().map(|client| format!("{client} {no:#x}/0xff")));
            }
        }
        marks.sort();
        let mut found = vec![];
        if !self.lab.gateway.sh("ipset list -n").is_empty() {
            let all = self.lab.marks();
            found.extend(all.iter().map(|(client, mark)| format!("{client} {mark}")));
        }
        found.sort();
        same("marks", &marks, &found)
    }

    fn check_files(&self) -> Result<(), String> {
        for no in 1..=4 {
            let members = self.model.pools.get(&no).cloned().unwrap_or_default();
            let mut wanted: Vec<String> = members.iter().map(ToString::to_string).collect();
            if self.model.bad_file && no == 1 {
                wanted.push("no address".to_owned());
            }
            same(&format!("pool{no}"), &wanted, &self.lab.pool(no))?;
        }
        Ok(())
    }

    fn check_output(&self) -> Result<(), String> {
        let shown = self.lab.wanpool(["-j", "pools"]);
        let rows: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
        for (at, (no, line)) in self.model.lines.iter().enumerate() {
            let row = &rows[at];
            let devs: Vec<&str> = self
                .model
                .carriers(*no)
                .iter()
                .map(|no| self.model.lines[no].dev.as_str())
                .collect();
            let carried_by = if devs.is_empty() { None } else { Some(devs.join(",")) };
            let is_right = row["state"] == line.state()
                && (!self.model.slice || row["carried_by"].as_str() == carried_by.as_deref());
            if !is_right {
                return Err(format!("{} by {carried_by:?} is wanted: {row}", line.state()));
            }
        }
        let check = self.lab.wanpool(["pools", "--check"]);
        let wanted = match (self.model.bad_file, self.model.slice) {
            (true, _) => 1,
            (_, false) => 3,
            (_, true) => 0,
        };
        if check.status == wanted { Ok(()) } else { Err(format!("not exit {wanted}: {check}")) }
    }

    /// The far server sees a client by a line that the model says.
    fn check_path(&mut self, client: Ipv4Addr) -> Result<(), String> {
        let lines = match self.model.pool_of(client) {
            Some(pool) => self.model.carriers(pool),
            None => self.model.active(),
        };
        // Nobody knows what becomes of a packet on a line that leads nowhere.
        if lines.iter().any(|no| !self.model.lines[no].carries()) {
            return Ok(());
        }
        let patience = if lines.is_empty() { FOR_SILENCE } else { PATIENCE };
        let speaker = self.lab.client(client).patience(patience);
        let seen = speaker.seen();
        let wanted: BTreeSet<Ipv4Addr> =
            lines.iter().map(|&no| self.lab.uplink_address(no)).collect();
        let is_right = match &seen {
            Ok(seen) => wanted.contains(seen),
            Err(why) => wanted.is_empty() || (lines.len() > 1 && is_mixed(why)),
        };
        if !is_right {
            return Err(format!("{client} should leave by {lines:?}: {seen:?}"));
        }
        if self.flows.0.len() < FLOWS && !wanted.is_empty() {
            let mut conn = speaker.tcp()?;
            let seen = conn.ask()?;
            let line = lines.iter().copied().find(|&no| self.lab.uplink_address(no) == seen);
            self.flows.0.push((line.ok_or(format!("{client} is seen as {seen}"))?, conn));
        }
        Ok(())
    }

    /// A flow stays on the line on which it began.
    fn check_flows(&mut self) -> Result<(), String> {
        for (no, conn) in &mut self.flows.0 {
            let seen = conn.ask().map_err(|why| format!("a flow on line {no}: {why}"))?;
            if seen != self.lab.uplink_address(*no) {
                return Err(format!("a flow on line {no} is seen as {seen}"));
            }
        }
        Ok(())
    }
}

/// Over several lines, a client's flows may leave by different ones.
fn is_mixed(why: &str) -> bool {
    why.contains("over TCP")
}

fn same(what: &str, wanted: &[String], found: &[String]) -> Result<(), String> {
    if wanted == found {
        return Ok(());
    }
    let mut text = format!("{what}: missing (-), not wanted (+)");
    for line in wanted.iter().filter(|line| !found.contains(line)) {
        text += &format!("\n- {line}");
    }
    for line in found.iter().filter(|line| !wanted.contains(line)) {
        text += &format!("\n+ {line}");
    }
    if !text.contains('\n') {
        text += &format!(": another order or number:\n{wanted:#?}\n{found:#?}");
    }
    Err(text)
}
