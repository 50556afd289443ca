//! What a run reports when it ends: a line for each change, or one JSON object.

use anyhow::Result;
use serde::Serialize;

use super::Context;
use crate::model::{Family, UplinkNo};
use crate::output::Text;
use crate::plan::assign::ClientChange;
use crate::plan::uplinks::{Condition, DownReason, GatewayStatus, UplinkStatus};

/// What a run did, or with `--dry-run` would do.
#[derive(Default)]
pub struct Report {
    pub client_changes: Vec<ClientChange>,
    /// The uplinks whose status changed.
    pub uplinks: Vec<UplinkChange>,
    /// Multipath, if it was switched on or off.
    pub multipath: Option<bool>,
    /// Whether each uplink that is down is told, changed or not.
    pub tell_all_down: bool,
    pub flows_ended: usize,
    /// How many shell commands would have done the same.
    pub done: usize,
    /// These commands, if they are shown.
    pub commands: Vec<String>,
}

/// The status that an uplink has now.
#[derive(Serialize)]
pub struct UplinkChange {
    pool: UplinkNo,
    uplink: String,
    state: &'static str,
    /// `inet6` if this is about IPv6 alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    /// The device of `failover --to`.
    to: Option<String>,
    /// Why the uplink is down.
    reason: Option<&'static str>,
}

/// The JSON of a report.
#[derive(Serialize)]
struct JsonReport {
    assigned: Vec<JsonClient>,
    released: Vec<JsonClient>,
    moved: Vec<JsonClient>,
    flows_ended: usize,
    steps: Vec<String>,
    uplinks: Vec<UplinkChange>,
}

#[derive(Serialize)]
struct JsonClient {
    client: Text<std::net::IpAddr>,
    pool: UplinkNo,
    uplink: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<UplinkNo>,
}

/// Prints a report. `verb` says what happened to the slice if no line says more.
pub fn print(context: &Context, report: Report, verb: &str) -> Result<()> {
    let output = context.output;
    if output.is_json() {
        return output.json(&json_report(context, report));
    }
    let mut lines: Vec<String> = report.uplinks.iter().map(UplinkChange::line).collect();
    lines.extend(report.multipath.map(|on| format!("multipath {}", if on { "on" } else { "off" })));
    for change in &report.client_changes {
        lines.push(client_line(context, change));
    }
    if lines.is_empty() && report.done > 0 {
        let steps = if report.done == 1 { "step" } else { "steps" };
        lines.push(format!("slice {verb}: {} {steps}", report.done));
    }
    output.changes(&lines)
}

/// Prints that there was nothing to do: the empty object in JSON, no line in text.
pub fn print_nothing(context: &Context) -> Result<()> {
    print(context, Report::default(), "repaired")
}

/// Prints the commands of a dry run.
pub fn print_commands(context: &Context, report: Report) -> Result<()> {
    if context.output.is_json() {
        return context.output.json(&json_report(context, report));
    }
    context.output.lines(&report.commands)
}

fn client_line(context: &Context, change: &ClientChange) -> String {
    let pool = |no: &UplinkNo| match context.config.uplinks.get(no) {
        Some(uplink) => format!("{no} {}", uplink.dev),
        None => no.to_string(),
    };
    match change {
        ClientChange::Assigned { client, to } => format!("{client} pool {}", pool(to)),
        ClientChange::Moved { client, from, to } => {
            format!("{client} pool {} from {from}", pool(to))
        }
        ClientChange::Released { client, from } => format!("{client} released from {from}"),
    }
}

fn json_report(context: &Context, report: Report) -> JsonReport {
    let (mut assigned, mut released, mut moved) = (vec![], vec![], vec![]);
    for change in &report.client_changes {
        let client = Text(change.client().address());
        let entry = |pool: UplinkNo, from| {
            let uplink = context.config.uplinks.get(&pool).map(|uplink| uplink.dev.to_string());
            JsonClient { client, pool, uplink, from }
        };
        match *change {
            ClientChange::Assigned { to, .. } => assigned.push(entry(to, None)),
            ClientChange::Released { from, .. } => released.push(entry(from, None)),
            ClientChange::Moved { from, to, .. } => moved.push(entry(to, Some(from))),
        }
    }
    let Report { flows_ended, commands: steps, uplinks, .. } = report;
    JsonReport { assigned, released, moved, flows_ended, steps, uplinks }
}

impl Report {
    pub fn is_empty(&self) -> bool {
        self.client_changes.is_empty() && self.commands.is_empty()
    }

    /// Tells each uplink whose status changed.
    pub fn describe_uplinks(
        &mut self,
        context: &Context,
        before: &[GatewayStatus],
        after: &[GatewayStatus],
    ) {
        self.uplinks.clear();
        for (no, inet) in &after[0].uplinks {
            let is_told = self.is_worth_a_line(&before[0], *no, inet);
            if is_told {
                self.uplinks.push(UplinkChange::new(context, *no, inet, None));
            }
            let Some(inet6) = after.get(1).and_then(|status| status.uplinks.get(no)) else {
                continue;
            };
            // The line of IPv4 stands for both where they are the same.
            let is_the_same = inet6.state() == inet.state() && is_told;
            let is_used = inet6.condition != Condition::Down(DownReason::NotUsed);
            if is_used && !is_the_same && self.is_worth_a_line(&before[1], *no, inet6) {
                let family = Some(Family::Inet6.to_string());
                self.uplinks.push(UplinkChange::new(context, *no, inet6, family));
            }
        }
        for (before, after) in before.iter().zip(after) {
            if before.multipath != after.multipath {
                self.multipath = Some(after.multipath);
            }
        }
    }

    fn is_worth_a_line(&self, before: &GatewayStatus, no: UplinkNo, after: &UplinkStatus) -> bool {
        let has_changed = before.uplinks.get(&no).is_none_or(|was| differs(was, after));
        let is_down = matches!(after.condition, Condition::Down(_));
        has_changed || (is_down && self.tell_all_down)
    }
}

/// Whether a change of status is worth a line. The reason why an uplink is down is not.
fn differs(before: &UplinkStatus, after: &UplinkStatus) -> bool {
    let is_same = match (before.condition, after.condition) {
        (Condition::Down(before), Condition::Down(_)) => before != DownReason::AddressLost,
        (before, after) => before == after,
    };
    !is_same || before.override_uplink != after.override_uplink
}

impl UplinkChange {
    fn new(
        context: &Context,
        pool: UplinkNo,
        status: &UplinkStatus,
        family: Option<String>,
    ) -> Self {
        let mut change = Self {
            pool,
            uplink: context.dev(pool).to_owned(),
            state: status.state().word(),
            family,
            to: None,
            reason: None,
        };
        match status.condition {
            Condition::Down(reason) => change.reason = Some(reason.text()),
            Condition::FailedOver(_) => {
                change.to = status.override_uplink.map(|to| context.dev(to).to_owned());
            }
            Condition::Up => {}
        }
        change
    }

    fn line(&self) -> String {
        let mut line = format!("uplink {} {} {}", self.pool, self.uplink, self.state);
        if self.family.is_some() {
            line += " over IPv6";
        }
        if let Some(reason) = self.reason {
            line += &format!(": {reason}");
        }
        if let Some(to) = &self.to {
            line += &format!(" to {to}");
        }
        line
    }
}
