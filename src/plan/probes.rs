//! Probes: which targets are asked, whether their answers make an uplink healthy, and, with what is
//! remembered of earlier runs, which uplinks go out of service and which come back.
//!
//! One run never decides alone. An uplink is taken out after `down` unhealthy runs in a row and put
//! back after `up` healthy ones. Counting restarts whenever the state of the uplink changes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::routing;
use super::uplinks::{Condition, FailoverCause, GatewayStatus, Intent};
use crate::config::Config;
use crate::model::health::{HealthRecords, ProbeResult, TargetResult, UplinkHealth};
use crate::model::link::Devices;
use crate::model::probe::Target;
use crate::model::snapshot::Snapshot;
use crate::model::{DevName, UplinkNo, UplinkSet};

/// The targets to ask by an uplink: the configured ones, or else the peer or the gateway. There are
/// none while the uplink is down, because its table has no route. The error says that no target is
/// known.
pub fn targets(
    config: &Config,
    found: &Snapshot,
    status: &GatewayStatus,
    no: UplinkNo,
) -> Result<Vec<Target>> {
    let (Some(uplink), Some(status)) = (config.uplinks.get(&no), status.uplinks.get(&no)) else {
        return Ok(vec![]);
    };
    let devices = &found.devices;
    // Without this rule, probes would leave by another way. The run adds it again, and the next one
    // probes.
    if !found.routing.rules.contains(&routing::flow_rule(config, no)) {
        return Ok(vec![]);
    }
    // An uplink that was failed over may be down as well.
    let is_down = match status.condition {
        Condition::Down(_) => true,
        Condition::Up | Condition::FailedOver(_) => !can_send(devices, &uplink.dev),
    };
    if is_down {
        return Ok(vec![]);
    }
    if !uplink.probe.targets.is_empty() {
        return Ok(uplink.probe.targets.clone());
    }
    match devices.peer_of(&uplink.dev).or(status.via) {
        Some(IpAddr::V4(address)) => Ok(vec![Target::Echo(address)]),
        _ => Err(anyhow!(
            "uplink {no} ({}) has neither a peer nor a gateway to probe; set targets in [probe]",
            uplink.dev
        )),
    }
}

fn can_send(devices: &Devices, dev: &DevName) -> bool {
    devices.link(dev).is_some_and(|link| link.up && link.carrier)
        && devices.addresses_of(dev).next().is_some()
}

/// Whether an uplink is healthy: whether enough targets answered at least one of their probes.
pub fn is_healthy(results: &[TargetResult], need: u8) -> bool {
    let answered = results.iter().filter(|target| target.received > 0).count();
    answered >= usize::from(need)
}

/// Summarises a run that had its answers at this time.
pub fn summarise(results: &[TargetResult], at: Duration) -> ProbeResult {
    let sent: u32 = results.iter().map(|target| target.sent).sum();
    let received: u32 = results.iter().map(|target| target.received).sum();
    let lost = (sent - received.min(sent)) * 100;
    ProbeResult {
        at,
        // At most 100.
        loss: lost.checked_div(sent).unwrap_or(100) as u8,
        rtt: results.iter().filter_map(|target| target.rtt).min(),
    }
}

/// Brings the records up to date: a new device, or a new state, starts a new record.
pub fn update_records(
    config: &Config,
    found: &Snapshot,
    status: &GatewayStatus,
    records: &mut HealthRecords,
    now: Duration,
) {
    records.retain(|no, _| config.uplinks.contains_key(no));
    for (&no, uplink) in &config.uplinks {
        let Some(state) = status.state(no) else { continue };
        let index = found.devices.link(&uplink.dev).map_or(0, |link| link.index);
        let (mut last, mut heard) = (None, None);
        if let Some(record) = records.get(&no) {
            let is_same_device = record.dev == uplink.dev && record.index == index;
            if is_same_device && record.state == state {
                continue;
            }
            if is_same_device {
                last = record.last;
            }
            if record.dev == uplink.dev {
                heard = record.heard;
            }
        }
        let dev = uplink.dev.clone();
        let record = UplinkHealth {
            dev,
            index,
            state,
            since: now,
            healthy_runs: 0,
            unhealthy_runs: 0,
            last,
            heard,
        };
        records.insert(no, record);
    }
}

/// Whether the result of probes that began at `began` is to be counted. Another run may have counted
/// the same moment, and the device may have been replaced while it was probed.
pub fn is_new(record: &UplinkHealth, probed: &Devices, began: Duration) -> bool {
    let index = probed.link(&record.dev).map(|link| link.index);
    index == Some(record.index) && record.last.is_none_or(|last| last.at <= began)
}

/// Whether a run without any answer says something about the line. A peer or a gateway that has never
/// answered may answer nobody: absence of evidence is no evidence. `asked` is `None` if the
/// configuration names the targets.
pub fn is_evidence(record: &UplinkHealth, asked: Option<Ipv4Addr>) -> bool {
    asked.is_none() || record.heard == asked
}

/// Adds a run to a record.
pub fn count(record: &mut UplinkHealth, is_healthy: bool, result: ProbeResult) {
    if is_healthy {
        record.healthy_runs = record.healthy_runs.saturating_add(1);
        record.unhealthy_runs = 0;
    } else {
        record.healthy_runs = 0;
        record.unhealthy_runs = record.unhealthy_runs.saturating_add(1);
    }
    record.last = Some(result);
}

/// What to do about the uplinks that were probed. One uplink always stays in service: of several
/// unhealthy ones, the one that became unhealthy last.
pub fn intent(
    config: &Config,
    status: &GatewayStatus,
    records: &HealthRecords,
    probed: UplinkSet,
) -> Intent {
    let (mut out, mut back) = (UplinkSet::default(), UplinkSet::default());
    let mut leaving: Vec<(u32, UplinkNo)> = Vec::new();
    for no in probed.iter() {
        let (Some(record), Some(uplink)) = (records.get(&no), config.uplinks.get(&no)) else {
            continue;
        };
        let (down, up) = (u32::from(uplink.probe.down), u32::from(uplink.probe.up));
        match status.condition(no) {
            Some(Condition::Up) if record.unhealthy_runs >= down => {
                leaving.push((record.unhealthy_runs, no));
            }
            Some(Condition::FailedOver(FailoverCause::Probe)) if record.healthy_runs >= up => {
                back.insert(no);
            }
            // It is out of service already; a run that was killed may have left its flows.
            Some(Condition::FailedOver(FailoverCause::Probe)) if record.unhealthy_runs > 0 => {
                out.insert(no);
            }
            _ => {}
        }
    }
    let is_leaving = |no: UplinkNo| leaving.iter().any(|&(_, other)| other == no);
    let has_other = back.iter().next().is_some() || status.up().any(|no| !is_leaving(no));
    if !has_other {
        let last = leaving.iter().min().copied();
        leaving.retain(|candidate| Some(*candidate) != last);
    }
    for (_, no) in leaving {
        out.insert(no);
    }
    Intent::Probed { out, back }
}

#[cfg(test)]
mod tests;
