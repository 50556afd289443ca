//! `pools --check`: the steps that would repair the slice, and what else keeps clients from being
//! served, each with its remedy.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Context, Outcome};
use crate::error::FLUSHED;
use crate::model::DevName;
use crate::plan;
use crate::plan::client_set::PoolEdit;
use crate::plan::findings::{self, Finding};
use crate::plan::uplinks::{self, Intent};
use crate::system::{Need, capabilities, shell};

#[derive(Serialize)]
struct Report {
    steps: Vec<String>,
    findings: Vec<FindingRow>,
}

#[derive(Serialize)]
struct FindingRow {
    finding: String,
    remedy: String,
}

pub fn run(context: &Context) -> Result<Outcome> {
    const WHAT: &str = "pools --check";
    capabilities::require_net_admin(WHAT)?;
    let config = &context.config;
    let pools = context.pool_files.read()?;
    let kernel = context.open_kernel()?;
    let found = context.observe(&kernel, Need::Read, Need::Read)?;
    let status = uplinks::decide(config, &found, Intent::Keep).context(WHAT)?;
    let changes = plan::changes(config, &found, &status, PoolEdit::none(&pools))?;
    let is_lan = |dev: &DevName| config.is_lan(dev.as_str());
    let surroundings = kernel.surroundings(&context.tables(), is_lan)?;
    let mut findings = findings::find(config, &pools, &found, &surroundings);
    let conflict = plan::first_conflict(&found);
    if plan::is_absent(&found) && context.runtime.is_flushed() {
        findings.push(Finding { what: FLUSHED.to_owned(), remedy: "wanpool restore".to_owned() });
    }
    let obstacles = plan::obstacles(config, &found, &pools);
    let is_correct = changes.is_empty() && conflict.is_none() && obstacles.is_empty();
    findings.extend(obstacles.into_iter().map(Finding::from));

    let mut steps = Vec::new();
    match conflict {
        // The steps would damage the object that is in the way.
        Some(conflict) => findings.push(Finding::from(conflict)),
        None => {
            for change in &changes {
                steps.extend(shell::commands(change, config.kernel_ids.protocol));
            }
        }
    }
    print(context, steps, findings)?;
    Ok(if is_correct { Outcome::Done } else { Outcome::Drift })
}

/// In text, findings are comments, so that the output can be pasted into a shell like that of
/// `--dry-run`.
fn print(context: &Context, steps: Vec<String>, findings: Vec<Finding>) -> Result<()> {
    if context.output.is_json() {
        let row = |it: Finding| FindingRow { finding: it.what, remedy: it.remedy };
        let findings = findings.into_iter().map(row).collect();
        return context.output.json(&Report { steps, findings });
    }
    let mut lines: Vec<String> =
        findings.iter().map(|finding| format!("# {}: {}", finding.what, finding.remedy)).collect();
    lines.extend(steps);
    context.output.lines(&lines)
}
