//! `failover --probe`: asks by each uplink whether anybody is there, and takes out of service what
//! has been dead for long enough, or back what has been sound.
//!
//! The asking is done without the lock, which a hook may need meanwhile. Then the lock is taken and
//! the kernel looked at again: what has changed under the probes is not judged by them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::Context;
use super::change::{Run, require_net_admin};
use crate::cli::Failover;
use crate::config::Target;
use crate::system::Kernel;
use crate::memory;
use crate::model::{UplinkNo, UplinkSet};
use crate::plan::probing;
use crate::plan::service::{self, Services, State};
use crate::probe::{self, Line};
use crate::model::health::Outcome;
use crate::model::STATE::Observed;

pub fn run(context: &Context, args: &Failover) -> Result<()> {
    const WHAT: &str = "failover --probe";
    let named: Vec<UplinkNo> =
        args.uplinks.iter().map(|name| context.config.uplink(name)).collect::<Result<_, _>>()?;
    require_net_admin(WHAT)?;
    let began = memory::now();
    let before = Kernel::open()?.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &before);
    let mut faults = Vec::new();
    let lines: Vec<Line> = context
        .config
        .uplinks
        .keys()
        .filter(|no| named.is_empty() || named.contains(no))
        .filter_map(|&no| line(context, &before, &services, no, &mut faults))
        .collect();
    if !lines.is_empty() {
        let outcomes = ask(context, &lines, &mut faults);
        let run = Run::begin(context, WHAT)?;
        conclude(context, run, &before, outcomes, began)?;
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(anyhow!("{WHAT}: {}", faults.join("; "))),
    }
}

/// How to probe an uplink; `None` for one that is down, whose own table leads nowhere.
fn line(
    context: &Context,
    found: &Observed,
    services: &Services,
    no: UplinkNo,
    faults: &mut Vec<String>,
) -> Option<Line> {
    let (uplink, service) = (&context.config.uplinks[&no], &services.uplinks[&no]);
    if matches!(service.state, State::Down(_)) {
        return None;
    }
    let peer = || found.addresses_of(&uplink.dev).find_map(|own| own.peer);
    let targets = match uplink.probe.targets.is_empty() {
        false => uplink.probe.targets.clone(),
        true => peer().or(service.via).map(Target::Echo).into_iter().collect(),
    };
    if targets.is_empty() {
        let why = "has neither peer nor gateway to ask; set targets in [probe]";
        faults.push(format!("uplink {no} ({}) {why}", uplink.dev));
        return None;
    }
    let mark = context.config.kernel_ids.uplink_mark(no).value;
    Some(Line::new(no, &uplink.dev, mark, &uplink.probe, targets))
}

fn ask(
    context: &Context,
    lines: &[Line],
    faults: &mut Vec<String>,
) -> BTreeMap<UplinkNo, (bool, Outcome)> {
    let answers = probe::all(lines);
    let at = memory::now();
    let mut outcomes = BTreeMap::new();
    for (no, answers) in answers {
        let uplink = &context.config.uplinks[&no];
        match answers {
            Ok(answers) => {
                let is_sound = probing::is_sound(&answers, uplink.probe.need);
                outcomes.insert(no, (is_sound, probing::sum_up(&answers, at)));
            }
            // The device went meanwhile: no news of the line behind it.
            Err(error) if is_no_device(&error) => {}
            Err(error) => faults.push(format!("uplink {no} ({}): {error}", uplink.dev)),
        }
    }
    outcomes
}

fn is_no_device(error: &std::io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.raw_os_error() == Some(ENODEV)
}

fn conclude(
    context: &Context,
    mut run: Run,
    before: &Observed,
    outcomes: BTreeMap<UplinkNo, (bool, Outcome)>,
    began: Duration,
) -> Result<()> {
    let found = run.kernel.observe(&context.query(false))?;
    let services = service::as_found(&context.config, &found);
    probing::note(&context.config, &found, &services, &mut run.records, memory::now());
    let mut probed = UplinkSet::default();
    for (no, (is_sound, outcome)) in outcomes {
        let dev = &context.config.uplinks[&no].dev;
        let Some(record) = run.records.get_mut(&no) else { continue };
        let same = before.link(dev).is_some_and(|link| link.index == record.index);
        // What another run saw at the same time counts once.
        let is_news = record.last.is_none_or(|last| last.at <= began);
        if same && is_news {
            probing::count(record, is_sound, outcome);
            probed.insert(no);
        }
        tell(context, no, is_sound, outcome)?;
    }
    let intent = probing::intent(&context.config, &services, &run.records, probed);
    let pools = run.pools.clone();
    run.finish(pools, vec![], intent)
}

/// For `--verbose`: a comment, so that what `--dry-run` prints can still be pasted.
fn tell(context: &Context, no: UplinkNo, is_sound: bool, outcome: Outcome) -> Result<()> {
    if !context.output.is_verbose() {
        return Ok(());
    }
    let dev = &context.config.uplinks[&no].dev;
    let word = if is_sound { "sound" } else { "dead" };
    let rtt = outcome.rtt.map(|rtt| format!(", rtt {:.3} ms", rtt.as_secs_f64() * 1000.0));
    let rtt = rtt.unwrap_or_default();
    context.output.step(&format!("# uplink {no} {dev} {word}: loss {} %{rtt}", outcome.loss))
}
