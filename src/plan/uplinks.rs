//! Decides which uplinks are in service. [`evaluate`] reads the condition of one uplink from the
//! snapshot; this file combines it with the intent of the command.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, bail};

use super::priorities::{MULTIPATH, MULTIPATH_LOCAL};
use crate::config::Config;
use crate::model::routing::Rule;
use crate::model::snapshot::Snapshot;
use crate::model::{Family, UplinkNo, UplinkSet};

mod evaluate;
mod gateway;
mod status;
#[cfg(test)]
mod tests;

use evaluate::{down_reason, evaluate, nexthop_of, override_uplink};
pub use gateway::last_gateways;
pub use status::{Condition, Device, DownReason, FailoverCause, GatewayStatus, UplinkStatus};

/// What a command wants to change about the uplinks in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing: every usable uplink is in service, and a failover stays as it is.
    Keep,
    /// Every usable uplink is put in service, and multipath is as configured. A unit that is reloaded
    /// (`by_hook`) undoes no failover.
    RestoreAll {
        by_hook: bool,
    },
    /// This uplink is put back in service, by this gateway if one is given.
    Restore {
        uplink: UplinkNo,
        via: Option<IpAddr>,
    },
    /// This uplink is taken out of service; its pool goes to that one if one is given.
    FailOver {
        uplink: UplinkNo,
        to: Option<UplinkNo>,
    },
    /// A hook reports that this uplink is there, with this gateway if one is given. It is put in
    /// service, but a failover by hand stays.
    Returned {
        uplink: UplinkNo,
        via: Option<IpAddr>,
    },
    /// A hook reports that this uplink is lost. Its flows end, unless it is back already.
    Lost {
        uplink: UplinkNo,
    },
    /// Probes found these uplinks unhealthy and those healthy. The last uplink in service is never
    /// taken out, and only what a probe took out is put back.
    Probed {
        out: UplinkSet,
        back: UplinkSet,
    },
    Multipath(bool),
}

impl Intent {
    /// A person restores everything.
    #[cfg(test)]
    pub const RESTORE_ALL: Intent = Intent::RestoreAll { by_hook: false };

    pub fn is_restore_all(self) -> bool {
        matches!(self, Intent::RestoreAll { .. })
    }

    /// What this means for the slice of a family: a gateway has the family of its address.
    pub fn for_family(self, family: Family) -> Intent {
        let of_family = |via: Option<IpAddr>| via.filter(|via| Family::of(*via) == family);
        match self {
            Intent::Restore { uplink, via } => Intent::Restore { uplink, via: of_family(via) },
            Intent::Returned { uplink, via } => Intent::Returned { uplink, via: of_family(via) },
            intent => intent,
        }
    }

    /// Whether the gateway of an uplink is determined anew rather than kept.
    fn renews_gateway(self, no: UplinkNo) -> bool {
        match self {
            Intent::RestoreAll { .. } => true,
            Intent::Restore { uplink, .. } | Intent::Returned { uplink, .. } => uplink == no,
            Intent::Probed { back, .. } => back.contains(no),
            _ => false,
        }
    }

    /// The gateway that the command was given for an uplink.
    fn gateway(self, no: UplinkNo) -> Option<IpAddr> {
        match self {
            Intent::Restore { uplink, via } | Intent::Returned { uplink, via } if uplink == no => {
                via
            }
            _ => None,
        }
    }
}

/// Decides. The error says why the command cannot be followed.
pub fn decide(config: &Config, found: &Snapshot, intent: Intent) -> Result<GatewayStatus> {
    decide_if(config, found, intent, false)
}

/// The same. If `is_lenient`, the command is followed as far as possible.
pub fn decide_if(
    config: &Config,
    found: &Snapshot,
    intent: Intent,
    is_lenient: bool,
) -> Result<GatewayStatus> {
    let multipath = match intent {
        Intent::Multipath(on) => on,
        Intent::RestoreAll { .. } => config.multipath.enable,
        _ if found.routing.rules.is_empty() => config.multipath.enable,
        _ => is_multipath_on(&found.routing.rules),
    };
    let mut status = GatewayStatus { uplinks: evaluate_all(config, found, intent), multipath };
    put_back_if_none_is_up(config, found, &mut status);
    match intent {
        Intent::Restore { uplink, .. } if !is_lenient => require_usable(config, &status, uplink)?,
        Intent::FailOver { uplink, to } => {
            if !is_lenient {
                check_failover(config, &status, uplink, to)?;
            }
            fail_over(&mut status, uplink, to);
        }
        Intent::Probed { out, .. } => take_out(&mut status, out),
        _ => {}
    }
    drop_dead_overrides(&mut status);
    Ok(status)
}

/// What is in service now, by the objects in the kernel: an uplink is in service if its nexthop
/// exists and its device has an address.
pub fn current(config: &Config, found: &Snapshot) -> GatewayStatus {
    let mut status = GatewayStatus {
        uplinks: evaluate_all(config, found, Intent::Keep),
        multipath: is_multipath_on(&found.routing.rules),
    };
    for (&no, uplink) in &mut status.uplinks {
        let has_nexthop = nexthop_of(config, found, &config.uplinks[&no]).is_some();
        uplink.condition = match uplink.condition {
            Condition::FailedOver(cause) => Condition::FailedOver(cause),
            // The kernel keeps the nexthop of a device that has lost its address.
            Condition::Down(DownReason::NoAddress) if has_nexthop => {
                Condition::Down(DownReason::AddressLost)
            }
            _ if has_nexthop => Condition::Up,
            Condition::Down(reason) => Condition::Down(reason),
            Condition::Up => Condition::Down(DownReason::NotInService),
        };
        if !uplink.is_up() {
            uplink.override_uplink = override_uplink(config, found, no);
        }
    }
    drop_dead_overrides(&mut status);
    status
}

fn evaluate_all(
    config: &Config,
    found: &Snapshot,
    intent: Intent,
) -> BTreeMap<UplinkNo, UplinkStatus> {
    let mut uplinks = BTreeMap::new();
    for (&no, uplink) in &config.uplinks {
        uplinks.insert(no, evaluate(config, found, no, uplink, intent));
    }
    uplinks
}

/// Puts back what probes took out if no other uplink is in service: an uplink that a probe found
/// unhealthy may serve somebody, and none serves nobody. A failover by hand stays.
fn put_back_if_none_is_up(config: &Config, found: &Snapshot, status: &mut GatewayStatus) {
    if status.up().next().is_some() {
        return;
    }
    for (no, status) in &mut status.uplinks {
        let is_usable = down_reason(found, &config.uplinks[no], status.via).is_none();
        if is_usable && status.condition == Condition::FailedOver(FailoverCause::Probe) {
            status.condition = Condition::Up;
            status.override_uplink = None;
        }
    }
}

fn require_usable(config: &Config, status: &GatewayStatus, no: UplinkNo) -> Result<()> {
    if let Some(Condition::Down(reason)) = status.condition(no) {
        bail!("{}: {}", name(config, no), reason.text());
    }
    Ok(())
}

fn check_failover(
    config: &Config,
    status: &GatewayStatus,
    no: UplinkNo,
    to: Option<UplinkNo>,
) -> Result<()> {
    if let Some(to) = to {
        if to == no {
            bail!("{} cannot replace itself", name(config, no));
        }
        if !status.is_up(to) {
            bail!("{} is not in service; see `wanpool pools`", name(config, to));
        }
    }
    if status.is_up(no) && !status.is_another_up(no) {
        bail!("no other uplink is in service to take over from {}", name(config, no));
    }
    Ok(())
}

fn fail_over(status: &mut GatewayStatus, no: UplinkNo, to: Option<UplinkNo>) {
    let Some(uplink) = status.uplinks.get_mut(&no) else { return };
    // An uplink that is down for the moment can be failed over too, as long as its device exists.
    if uplink.device.is_some() {
        uplink.condition = Condition::FailedOver(FailoverCause::Manual);
    }
    uplink.override_uplink = to.or(uplink.override_uplink);
}

/// Takes uplinks out of service for a probe, as long as another one is left in service.
fn take_out(status: &mut GatewayStatus, out: UplinkSet) {
    for no in out.iter() {
        if status.is_up(no) && status.is_another_up(no) {
            if let Some(uplink) = status.uplinks.get_mut(&no) {
                uplink.condition = Condition::FailedOver(FailoverCause::Probe);
            }
        }
    }
}

/// An override to an uplink that is itself out of service has no effect.
fn drop_dead_overrides(status: &mut GatewayStatus) {
    let up: UplinkSet = status.up().collect();
    for uplink in status.uplinks.values_mut() {
        uplink.override_uplink = uplink.override_uplink.filter(|to| up.contains(*to));
    }
}

pub fn is_multipath_on(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| [MULTIPATH_LOCAL, MULTIPATH].contains(&rule.pref))
}

fn name(config: &Config, no: UplinkNo) -> String {
    match config.uplinks.get(&no) {
        Some(uplink) => format!("uplink {no} ({})", uplink.dev),
        None => format!("uplink {no}"),
    }
}
