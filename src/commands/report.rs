//! What a run tells when it is done: a line a change, or one JSON object.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::Run;
use crate::commands::Context;
use crate::model::{Client, UplinkNo};
use crate::plan::placement::Change;
use crate::plan::service::{Service, Services, State};

/// What a run did, or would do.
#[derive(Default)]
pub(super) struct Report {
    pub(super) changes: Vec<Change>,
    pub(super) uplinks: Vec<String>,
    pub(super) flows_ended: usize,
    /// How many commands would have done it.
    pub(super) done: usize,
    /// Those commands, if they are to be shown.
    pub(super) commands: Vec<String>,
    /// What was done to the slice, where no line says more.
    pub(super) verb: &'static str,
}

impl Run<'_> {
    pub(super) fn print_plan(&self, report: Report) -> Result<()> {
        match self.context.output.is_json() {
            true => self.print(report),
            false => self.context.output.lines(&report.commands),
        }
    }

    pub(super) fn print(&self, report: Report) -> Result<()> {
        let output = self.context.output;
        if output.is_json() {
            return output.object(self.report_object(report));
        }
        let mut lines = report.uplinks;
        lines.extend(report.changes.iter().map(|change| self.change_line(change)));
        if lines.is_empty() && report.done > 0 {
            let steps = if report.done == 1 { "step" } else { "steps" };
            lines.push(format!("slice {}: {} {steps}", report.verb, report.done));
        }
        output.news(&lines)
    }

    fn change_line(&self, change: &Change) -> String {
        let dev = |no| match self.context.config.uplinks.get(no) {
            Some(uplink) => format!("{no} {}", uplink.dev),
            None => no.to_string(),
        };
        match change {
            Change::Assigned { client, to } => format!("{client} pool {}", dev(to)),
            Change::Moved { client, from, to } => format!("{client} pool {} from {from}", dev(to)),
            Change::Released { client, from } => format!("{client} released from {from}"),
        }
    }

    fn report_object(&self, report: Report) -> Map<String, Value> {
        let (mut assigned, mut released, mut moved) = (vec![], vec![], vec![]);
        let uplinks = &self.context.config.uplinks;
        let row = |client: &Client, pool: &UplinkNo| {
            let dev = uplinks.get(pool).map(|uplink| uplink.dev.as_str());
            json!({"client": client.to_string(), "pool": pool.get(), "uplink": dev})
        };
        for change in &report.changes {
            match change {
                Change::Assigned { client, to } => assigned.push(row(client, to)),
                Change::Released { client, from } => released.push(row(client, from)),
                Change::Moved { client, from, to } => {
                    let mut row = row(client, to);
                    row["from"] = from.get().into();
                    moved.push(row);
                }
            }
        }
        let mut object = Map::new();
        object.insert("assigned".into(), assigned.into());
        object.insert("released".into(), released.into());
        object.insert("moved".into(), moved.into());
        object.insert("flows_ended".into(), report.flows_ended.into());
        object.insert("steps".into(), report.commands.into());
        object
    }
}

/// A line for each uplink that is served otherwise than before. A device that is not there may come
/// later, or be misspelt: with `tell_those_out` each that cannot be in service has its line too.
pub(super) fn uplink_lines(
    context: &Context,
    before: &Services,
    after: &Services,
    tell_those_out: bool,
) -> Vec<String> {
    let line = |(no, service): (&UplinkNo, &Service)| {
        let was = &before.uplinks[no];
        let same = was.state.word() == service.state.word()
            && (was.to, was.by_probe) == (service.to, service.by_probe);
        let more = match (service.state, service.to) {
            (State::Down(_), _) if same && !tell_those_out => return None,
            (State::Down(why), _) => format!(": {}", why.text()),
            _ if same => return None,
            (State::FailedOver, Some(to)) => format!(" to {}", context.config.uplinks[&to].dev),
            _ => String::new(),
        };
        let dev = &context.config.uplinks[no].dev;
        Some(format!("uplink {no} {dev} {}{more}", service.state.word()))
    };
    let mut lines: Vec<String> = after.uplinks.iter().filter_map(line).collect();
    if before.multipath != after.multipath {
        lines.push(format!("multipath {}", if after.multipath { "on" } else { "off" }));
    }
    lines
}
