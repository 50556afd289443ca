//! `pools --check`: drift, as the steps that would mend it, and what would make a correct slice
//! fail, each with its remedy.

use anyhow::{Result, anyhow};
use serde_json::{Map, json};

use crate::commands::change::require_net_admin;
use crate::commands::{Context, Outcome};
use crate::system::Kernel;
use crate::plan;
use crate::plan::findings::{self, Finding};
use crate::plan::marking;
use crate::plan::service::{self, Intent};
use crate::model::change::Step;

pub fn run(context: &Context) -> Result<Outcome> {
    require_net_admin("pools --check")?;
    let pools = context.store.read()?;
    let kernel = Kernel::open()?;
    let query = context.query(true);
    let found = context.observe(&kernel, &query)?;
    let services = service::decide(&context.config, &found, Intent::Keep)
        .map_err(|why| anyhow!("pools --check: {why}"))?;
    let set = marking::set(&context.config, &pools);
    let wanted = plan::wanted(&context.config, set, &services, context.family);
    let steps = plan::steps(&context.config, &found, &wanted);
    let health = kernel.health(&query)?;
    let mut findings = findings::find(&context.config, &pools, &health, &found.sysctls);
    let taken = plan::in_our_way(&found);
    findings.extend(taken.as_deref().map(Finding::taken));

    // With something of others in our way, the steps would tread on it.
    let steps_to_print = if taken.is_some() { &[] } else { &steps[..] };
    let commands: Vec<String> = steps_to_print.iter().flat_map(Step::commands).collect();
    print(context, &commands, &findings)?;
    Ok(if steps.is_empty() && taken.is_none() { Outcome::Done } else { Outcome::Drift })
}

/// Findings are comments to a shell, so that the output can be pasted like that of `--dry-run`.
fn print(context: &Context, commands: &[String], findings: &[Finding]) -> Result<()> {
    if context.output.is_json() {
        let rows = findings
            .iter()
            .map(|finding| json!({"finding": finding.what, "remedy": finding.remedy}));
        let mut object = Map::new();
        object.insert("steps".into(), commands.into());
        object.insert("findings".into(), rows.collect());
        return context.output.object(object);
    }
    let lines = findings.iter().map(|finding| format!("# {}: {}", finding.what, finding.remedy));
    context.output.lines(&lines.chain(commands.iter().cloned()).collect::<Vec<_>>())
}
