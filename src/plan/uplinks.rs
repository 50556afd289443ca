//! Decides which uplinks are in service. [`evaluate`] reads the condition of one uplink from the
//! snapshot; this file combines it with the intent of the command.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};

use super::priorities::{MULTIPATH, MULTIPATH_LOCAL};
use crate::config::{Config, Role};
use crate::model::routing::Rule;
use crate::model::snapshot::Snapshot;
use crate::model::uplink::State;
use crate::model::{UplinkNo, UplinkSet};

mod evaluate;
#[cfg(test)]
mod tests;

use evaluate::{evaluate, override_uplink};

/// What a command wants to change about the uplinks in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing: every usable uplink is in service, and a failover stays as it is.
    Keep,
    /// Every usable uplink is put in service, and multipath is as configured.
    RestoreAll,
    /// This uplink is put back in service, by this gateway if one is given.
    Restore {
        uplink: UplinkNo,
        via: Option<Ipv4Addr>,
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
        via: Option<Ipv4Addr>,
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
    /// Whether the gateway of an uplink is determined anew rather than kept.
    fn renews_gateway(self, no: UplinkNo) -> bool {
        match self {
            Intent::RestoreAll => true,
            Intent::Restore { uplink, .. } | Intent::Returned { uplink, .. } => uplink == no,
            Intent::Probed { back, .. } => back.contains(no),
            _ => false,
        }
    }

    /// The gateway that the command was given for an uplink.
    fn gateway(self, no: UplinkNo) -> Option<Ipv4Addr> {
        match self {
            Intent::Restore { uplink, via } | Intent::Returned { uplink, via } if uplink == no => {
                via
            }
            _ => None,
        }
    }
}

/// Which uplinks are in service, and whether multipath is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Every configured uplink.
    pub uplinks: BTreeMap<UplinkNo, UplinkStatus>,
    pub multipath: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkStatus {
    pub condition: Condition,
    pub via: Option<Ipv4Addr>,
    /// Where `failover --to` sends the pool while its own uplink is out of service.
    pub override_uplink: Option<UplinkNo>,
    pub role: Role,
}

impl UplinkStatus {
    pub fn state(&self) -> State {
        self.condition.state()
    }

    pub fn is_up(&self) -> bool {
        self.condition == Condition::Up
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Up,
    FailedOver(FailoverCause),
    Down(DownReason),
}

impl Condition {
    pub fn state(self) -> State {
        match self {
            Condition::Up => State::Up,
            Condition::FailedOver(_) => State::FailedOver,
            Condition::Down(_) => State::Down,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverCause {
    /// `wanpool failover`.
    Manual,
    /// `wanpool failover --probe`.
    Probe,
}

/// Why an uplink cannot be in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    NoDevice,
    NotUp,
    NoCarrier,
    NoAddress,
    NoGateway,
    /// The uplink is usable; the next `assign` or `restore` puts it in service.
    NotInService,
}

impl DownReason {
    pub fn text(self) -> &'static str {
        match self {
            DownReason::NoDevice => "no such device",
            DownReason::NotUp => "the device is not up",
            DownReason::NoCarrier => "the device has no carrier",
            DownReason::NoAddress => "the device has no address",
            DownReason::NoGateway => {
                "no gateway is known; set via in the configuration, or give --via"
            }
            DownReason::NotInService => "not yet in service",
        }
    }
}

impl GatewayStatus {
    pub fn is_up(&self, no: UplinkNo) -> bool {
        self.uplinks.get(&no).is_some_and(UplinkStatus::is_up)
    }

    pub fn condition(&self, no: UplinkNo) -> Option<Condition> {
        self.uplinks.get(&no).map(|status| status.condition)
    }

    pub fn state(&self, no: UplinkNo) -> Option<State> {
        self.condition(no).map(Condition::state)
    }

    /// The uplinks in service.
    pub fn up(&self) -> impl Iterator<Item = UplinkNo> {
        self.uplinks.iter().filter(|(_, status)| status.is_up()).map(|(&no, _)| no)
    }

    /// The uplinks that share traffic which has no uplink of its own: the primaries in service, or
    /// the backups while there is no primary.
    pub fn active(&self) -> Vec<UplinkNo> {
        let primaries = self.up_with(Role::Primary);
        if primaries.is_empty() { self.backups() } else { primaries }
    }

    /// The backups in service.
    pub fn backups(&self) -> Vec<UplinkNo> {
        self.up_with(Role::Backup)
    }

    fn up_with(&self, role: Role) -> Vec<UplinkNo> {
        self.up().filter(|no| self.uplinks[no].role == role).collect()
    }

    /// The uplinks that carry a pool: its own, the one of `failover --to`, or all active ones.
    pub fn active_uplinks(&self, pool: UplinkNo) -> Vec<UplinkNo> {
        match self.uplinks.get(&pool) {
            Some(own) if own.is_up() => vec![pool],
            Some(UplinkStatus { override_uplink: Some(to), .. }) => vec![*to],
            _ => self.active(),
        }
    }

    /// Whether another uplink than this one is in service.
    fn is_another_up(&self, no: UplinkNo) -> bool {
        self.up().any(|other| other != no)
    }
}

/// Decides. The error says why the command cannot be followed.
pub fn decide(config: &Config, found: &Snapshot, intent: Intent) -> Result<GatewayStatus> {
    let multipath = match intent {
        Intent::Multipath(on) => on,
        Intent::RestoreAll => config.multipath.enable,
        _ if found.routing.rules.is_empty() => config.multipath.enable,
        _ => is_multipath_on(&found.routing.rules),
    };
    let mut status = GatewayStatus { uplinks: evaluate_all(config, found, intent), multipath };
    match intent {
        Intent::Restore { uplink, .. } => require_usable(config, &status, uplink)?,
        Intent::FailOver { uplink, to } => fail_over(config, &mut status, uplink, to)?,
        Intent::Probed { out, .. } => take_out(&mut status, out),
        _ => {}
    }
    drop_dead_overrides(&mut status);
    Ok(status)
}

/// What is in service now, by the objects in the kernel: an uplink is in service if its nexthop
/// exists.
pub fn current(config: &Config, found: &Snapshot) -> GatewayStatus {
    let mut status = GatewayStatus {
        uplinks: evaluate_all(config, found, Intent::Keep),
        multipath: is_multipath_on(&found.routing.rules),
    };
    for (&no, uplink) in &mut status.uplinks {
        let has_nexthop = found.routing.nexthops.contains_key(&config.kernel_ids.nexthop(no));
        uplink.condition = match uplink.condition {
            Condition::FailedOver(cause) => Condition::FailedOver(cause),
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

fn require_usable(config: &Config, status: &GatewayStatus, no: UplinkNo) -> Result<()> {
    if let Some(Condition::Down(reason)) = status.condition(no) {
        bail!("{}: {}", name(config, no), reason.text());
    }
    Ok(())
}

fn fail_over(
    config: &Config,
    status: &mut GatewayStatus,
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
    let Some(uplink) = status.uplinks.get_mut(&no) else { return Ok(()) };
    match uplink.condition {
        // The kernel remembers a failover by a route through the device, so an uplink that has no
        // carrier or no address for the moment can be failed over too.
        Condition::Up
        | Condition::FailedOver(_)
        | Condition::Down(DownReason::NoCarrier | DownReason::NoAddress) => {
            uplink.condition = Condition::FailedOver(FailoverCause::Manual);
        }
        Condition::Down(_) => {}
    }
    uplink.override_uplink = to.or(uplink.override_uplink);
    Ok(())
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

fn is_multipath_on(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| [MULTIPATH_LOCAL, MULTIPATH].contains(&rule.pref))
}

fn name(config: &Config, no: UplinkNo) -> String {
    match config.uplinks.get(&no) {
        Some(uplink) => format!("uplink {no} ({})", uplink.dev),
        None => format!("uplink {no}"),
    }
}
