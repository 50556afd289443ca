//! `failover --probe`: probes each uplink, takes an uplink out of service that has been unhealthy for
//! long enough, and puts it back when it has been healthy.
//!
//! The probes run without the lock, which a hook may need in the meantime. Then the run takes the lock
//! and observes the kernel again: an uplink that has changed meanwhile is not judged by its probes.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use nix::libc::ENODEV;

use super::transaction::{ReadScope, Run};
use super::{Context, fail_with, print_error, report};
use crate::cli::Failover;
use crate::model::health::ProbeResult;
use crate::model::link::Devices;
use crate::model::probe::Target;
use crate::model::{UplinkNo, UplinkSet};
use crate::plan::{self, probes, uplinks};
use crate::system::probe::{self, ProbeJob};
use crate::system::{capabilities, clock};

const WHAT: &str = "failover --probe";

/// What the probes of an uplink say: whether it is healthy, and the summary.
type Results = BTreeMap<UplinkNo, (bool, ProbeResult)>;

/// The peer or the gateway of each uplink for which the configuration names no targets.
type DefaultTargets = BTreeMap<UplinkNo, Ipv4Addr>;

pub fn run(context: &Context, args: &Failover) -> Result<()> {
    let mut named = UplinkSet::default();
    for name in &args.uplinks {
        named.insert(context.config.uplink(name)?);
    }
    capabilities::require_net_admin(WHAT)?;
    let began = clock::since_boot();
    let before = context.observe_routing(&context.open_kernel()?)?;
    let status = uplinks::current(&context.config, &before);
    let (mut jobs, mut failures) = (Vec::new(), Vec::new());
    let mut default_targets = DefaultTargets::new();
    for (&no, uplink) in &context.config.uplinks {
        if !args.uplinks.is_empty() && !named.contains(no) {
            continue;
        }
        match probes::targets(&context.config, &before, &status, no) {
            Ok(targets) if targets.is_empty() => {}
            Ok(targets) => {
                if let (true, [Target::Echo(peer)]) =
                    (uplink.probe.targets.is_empty(), &targets[..])
                {
                    default_targets.insert(no, *peer);
                }
                let mark = context.config.kernel_ids.uplink_mark(no).value;
                jobs.push(ProbeJob::new(no, &uplink.dev, mark, &uplink.probe, targets));
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    // Even with nothing to probe, a line that is back without a hook is put in service.
    let concluded = if jobs.is_empty() && plan::is_absent(&before) {
        report::print_nothing(context)
    } else {
        let results = probe_all(context, &jobs, &mut failures);
        conclude(context, &before.devices, results, &default_targets, began)
    };
    let mut errors = Vec::new();
    if !failures.is_empty() {
        errors.push(anyhow!("{WHAT}: {}", failures.join("; ")));
    }
    errors.extend(concluded.err());
    fail_with(errors)
}

fn probe_all(context: &Context, jobs: &[ProbeJob], failures: &mut Vec<String>) -> Results {
    let all = probe::run_all(jobs);
    let at = clock::since_boot();
    let mut results = BTreeMap::new();
    for (no, targets) in all {
        let Some(uplink) = context.config.uplinks.get(&no) else { continue };
        match targets {
            Ok(targets) => {
                let is_healthy = probes::is_healthy(&targets, uplink.probe.need);
                results.insert(no, (is_healthy, probes::summarise(&targets, at)));
            }
            // The device went away meanwhile. That says nothing about the line.
            Err(error) if is_no_device(&error) => {}
            Err(error) => failures.push(format!("uplink {no} ({}): {error}", uplink.dev)),
        }
    }
    results
}

fn is_no_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ENODEV)
}

fn conclude(
    context: &Context,
    probed_devices: &Devices,
    results: Results,
    default_targets: &DefaultTargets,
    began: Duration,
) -> Result<()> {
    let mut run = Run::begin_for_uplinks(context, WHAT, ReadScope::Changed)?;
    let config = &context.config;
    let status = run.inet().current();
    run.update_records(&status);
    let mut probed = UplinkSet::default();
    for (no, (is_healthy, result)) in results {
        let Some(record) = run.health.get_mut(&no) else { continue };
        let asked = default_targets.get(&no).copied();
        if probes::is_new(record, probed_devices, began) {
            if is_healthy {
                record.heard = asked.or(record.heard);
            }
            if probes::is_evidence(record, asked) {
                probes::count(record, is_healthy, result);
                probed.insert(no);
            } else {
                tell_never_heard(context, no, asked, record.last.is_none());
                record.last = Some(result);
            }
        }
        run.print_steps(&[describe(context, no, is_healthy, &result)]);
    }
    let intent = probes::intent(config, &status, &run.health, probed);
    run.finish_uplinks(intent)
}

/// A timer tells it once.
fn tell_never_heard(context: &Context, no: UplinkNo, asked: Option<Ipv4Addr>, is_first: bool) {
    let Some(asked) = asked.filter(|_| is_first || !context.options.hook) else { return };
    print_error(format!(
        "uplink {no} ({}): its peer or gateway {asked} has never answered a probe, which says nothing \
         about the line; set targets in [probe]",
        context.dev(no)
    ));
}

/// For `--verbose`: a comment, so that the output of `--dry-run` can still be pasted into a shell.
fn describe(context: &Context, no: UplinkNo, is_healthy: bool, result: &ProbeResult) -> String {
    let word = if is_healthy { "healthy" } else { "unhealthy" };
    let mut line = format!("# uplink {no} {} {word}: loss {} %", context.dev(no), result.loss);
    if let Some(rtt) = result.rtt_ms() {
        line += &format!(", rtt {rtt:.3} ms");
    }
    line
}
