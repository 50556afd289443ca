//! `pools --check`: the steps that would repair the slice, and what else keeps clients from being
//! served, each with its remedy.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Context, Outcome, inet6};
use crate::config::Config;
use crate::error::FLUSHED;
use crate::model::change::Change;
use crate::model::pools::Pools;
use crate::model::snapshot::{Conflict, Snapshot};
use crate::model::{DevName, Family};
use crate::plan;
use crate::plan::client_set::PoolEdit;
use crate::plan::findings::{self, Finding};
use crate::plan::uplinks::{self, GatewayStatus, Intent};
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
    let mut inet = Difference::new(config, &pools, &found, &status)?;
    if !context.covers(Family::Inet) {
        inet.changes.clear();
    }
    let inet6 = Difference::of_inet6(context, &pools, &status)?;
    let is_lan = |dev: &DevName| config.is_lan(dev.as_str());
    let surroundings = kernel.surroundings(&context.tables(), is_lan)?;
    let mut findings = findings::find(config, &pools, &found, &surroundings);
    if !config.ipv6 && capabilities::has_ipv6() {
        let inet6 = context.open_kernel_of(Family::Inet6)?.devices()?;
        findings.extend(findings::unserved_inet6(config, &inet6));
    }
    if plan::is_absent(&found) && context.runtime.is_flushed() {
        findings.push(Finding { what: FLUSHED.to_owned(), remedy: "wanpool restore".to_owned() });
    }
    let conflict = inet.conflict.or(inet6.conflict);
    let mut obstacles = inet.obstacles;
    obstacles.extend(inet6.obstacles);
    let has_steps = !inet.changes.is_empty() || !inet6.changes.is_empty();
    let is_correct = !has_steps && conflict.is_none() && obstacles.is_empty();
    findings.extend(obstacles.into_iter().map(Finding::from));

    let mut steps = Vec::new();
    if let Some(conflict) = conflict {
        // The steps would damage the object that is in the way.
        findings.push(Finding::from(conflict));
    } else {
        for (family, changes) in [(Family::Inet, &inet.changes), (Family::Inet6, &inet6.changes)] {
            for change in changes {
                steps.extend(shell::commands(change, family, config.kernel_ids.protocol));
            }
        }
    }
    print(context, steps, findings)?;
    Ok(if is_correct { Outcome::Done } else { Outcome::Drift })
}

/// What differs in the slice of a family.
#[derive(Default)]
struct Difference {
    changes: Vec<Change>,
    conflict: Option<Conflict>,
    obstacles: Vec<Conflict>,
}

impl Difference {
    fn new(
        config: &Config,
        pools: &Pools,
        found: &Snapshot,
        status: &GatewayStatus,
    ) -> Result<Self> {
        Ok(Self {
            changes: plan::changes(config, found, status, PoolEdit::none(pools))?,
            conflict: plan::first_conflict(config.family, found),
            obstacles: plan::obstacles(config, found, pools),
        })
    }

    fn of_inet6(context: &Context, pools: &Pools, inet: &GatewayStatus) -> Result<Self> {
        let is_wanted = context.families().contains(&Family::Inet6);
        if !context.covers(Family::Inet6) || !(is_wanted || inet6::has_slice(context)?) {
            return Ok(Self::default());
        }
        let config = context.config_of(Family::Inet6);
        let kernel = context.open_kernel_of(Family::Inet6)?;
        let found = context.observe(&kernel, Need::Read, Need::Read)?;
        if !is_wanted {
            return Ok(Self { changes: plan::removal(&found)?, ..Self::default() });
        }
        let mut status = uplinks::decide(config, &found, Intent::Keep)?;
        status.refuse_where_ipv6_is_missing(config, inet);
        Self::new(config, pools, &found, &status)
    }
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
