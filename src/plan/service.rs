//! Which uplinks are in service: a line that lives is, unless somebody took it out on purpose.
//! [`judge`] reads one uplink's state; here it is put together with what a command wants.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::config::{Config, Role};
use crate::model::{UplinkNo, UplinkSet};
use crate::state::{Observed, Rule};

use super::layout::{MULTIPATH_LOCAL, MULTIPATH_REST};

mod judge;

use judge::{detour, judge};

/// What a command has to say about who is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Nothing: what lives is in service, what was failed over stays so.
    Keep,
    /// All that live, whatever was failed over; multipath as configured.
    RestoreAll,
    /// This one again, by this gateway if one is given.
    Restore {
        uplink: UplinkNo,
        via: Option<Ipv4Addr>,
    },
    /// This one out, its pool to that one if one is given.
    FailOver {
        uplink: UplinkNo,
        to: Option<UplinkNo>,
    },
    /// A hook says that this one is there, by this gateway if one is given: in service if it is,
    /// unless somebody took it out.
    Returned {
        uplink: UplinkNo,
        via: Option<Ipv4Addr>,
    },
    /// A hook says that this one is lost: its flows end unless it is back by now.
    Lost {
        uplink: UplinkNo,
    },
    /// Probes found these dead and those sound: out, but never the last one, and back, but only
    /// what a probe took out.
    Probed {
        out: UplinkSet,
        back: UplinkSet,
    },
    Multipath(bool),
}

impl Intent {
    /// Whether this looks for the uplink's gateway anew, rather than keep the one used last.
    fn asks_for_gateway(self, no: UplinkNo) -> bool {
        match self {
            Intent::RestoreAll => true,
            Intent::Restore { uplink, .. } | Intent::Returned { uplink, .. } => uplink == no,
            Intent::Probed { back, .. } => back.contains(no),
            _ => false,
        }
    }

    /// The gateway that came with it.
    fn gateway(self, no: UplinkNo) -> Option<Ipv4Addr> {
        match self {
            Intent::Restore { uplink, via } | Intent::Returned { uplink, via } if uplink == no => {
                via
            }
            _ => None,
        }
    }

    /// The uplinks whose flows are to end, once they have another way.
    pub fn ends_flows_of(self) -> UplinkSet {
        match self {
            Intent::FailOver { uplink, .. } | Intent::Lost { uplink } => {
                UplinkSet::from_iter([uplink])
            }
            Intent::Probed { out, .. } => out,
            _ => UplinkSet::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    pub uplinks: BTreeMap<UplinkNo, Service>,
    /// Whether everything else goes over all uplinks in service too.
    pub multipath: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub state: State,
    pub via: Option<Ipv4Addr>,
    /// Where the pool goes while its uplink is out, if not over all that are in service.
    pub to: Option<UplinkNo>,
    /// Of one that is failed over: a probe did it, and may undo it.
    pub by_probe: bool,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    FailedOver,
    Down(Why),
}

impl State {
    /// The word in `pools`.
    pub fn word(self) -> &'static str {
        match self {
            State::Up => "up",
            State::FailedOver => "failed-over",
            State::Down(_) => "down",
        }
    }
}

/// Why a line cannot be in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NoDevice,
    NotUp,
    NoCarrier,
    NoAddress,
    NoGateway,
    /// It lives; the next `assign` or `restore` puts it in service.
    NotInService,
}

impl Why {
    pub fn text(self) -> &'static str {
        match self {
            Why::NoDevice => "no such device",
            Why::NotUp => "the device is not up",
            Why::NoCarrier => "the device has no carrier",
            Why::NoAddress => "the device has no address",
            Why::NoGateway => "no gateway is known; set via in the configuration, or give --via",
            Why::NotInService => "not yet in service",
        }
    }
}

impl Services {
    /// The uplinks that carry a pool: its own, the one it was sent to, or all in service.
    pub fn carriers(&self, pool: UplinkNo) -> Vec<UplinkNo> {
        match &self.uplinks[&pool] {
            Service { state: State::Up, .. } => vec![pool],
            Service { to: Some(to), .. } => vec![*to],
            _ => self.serving().collect(),
        }
    }

    /// The uplinks in service that share what is nobody's own: the primaries, or the backups while
    /// there is no other.
    pub fn serving(&self) -> impl Iterator<Item = UplinkNo> {
        let role = |role| self.up().filter(move |no| self.uplinks[no].role == role);
        let none = role(Role::Primary).next().is_none();
        role(if none { Role::Backup } else { Role::Primary })
    }

    /// The backups in service.
    pub fn backups(&self) -> impl Iterator<Item = UplinkNo> {
        self.up().filter(|no| self.uplinks[no].role == Role::Backup)
    }

    /// The uplinks in service.
    pub fn up(&self) -> impl Iterator<Item = UplinkNo> {
        self.uplinks
            .iter()
            .filter(|(_, service)| service.state == State::Up)
            .map(|(&uplink, _)| uplink)
    }
}

/// Decides. The error is a sentence on why the command cannot be followed.
pub fn decide(config: &Config, found: &Observed, intent: Intent) -> Result<Services, String> {
    let mut uplinks = judge_all(config, found, intent);
    match intent {
        Intent::Restore { uplink, .. } => require_alive(config, &uplinks, uplink)?,
        Intent::FailOver { uplink, to } => fail_over(config, &mut uplinks, uplink, to)?,
        Intent::Probed { out, .. } => take_out(&mut uplinks, out),
        _ => {}
    }
    let multipath = match intent {
        Intent::Multipath(on) => on,
        Intent::RestoreAll => config.multipath.enable,
        _ if found.slice.rules.is_empty() => config.multipath.enable,
        _ => is_multipath_on(&found.slice.rules),
    };
    let mut services = Services { uplinks, multipath };
    forget_lost_detours(&mut services);
    Ok(services)
}

/// What is in service now, going by the kernel's objects alone: an uplink is if its nexthop is.
pub fn as_found(config: &Config, found: &Observed) -> Services {
    let mut services = Services {
        uplinks: judge_all(config, found, Intent::Keep),
        multipath: is_multipath_on(&found.slice.rules),
    };
    for (&no, service) in &mut services.uplinks {
        let is_there = found.slice.nexthops.contains_key(&config.numbers.nexthop(no));
        service.state = match service.state {
            State::FailedOver => State::FailedOver,
            _ if is_there => State::Up,
            State::Down(why) => State::Down(why),
            State::Up => State::Down(Why::NotInService),
        };
        if service.state != State::Up {
            service.to = detour(config, found, no);
        }
    }
    forget_lost_detours(&mut services);
    services
}

fn judge_all(config: &Config, found: &Observed, intent: Intent) -> BTreeMap<UplinkNo, Service> {
    let service = |(&no, uplink)| (no, judge(config, found, no, uplink, intent));
    config.uplinks.iter().map(service).collect()
}

fn require_alive(
    config: &Config,
    uplinks: &BTreeMap<UplinkNo, Service>,
    no: UplinkNo,
) -> Result<(), String> {
    match uplinks[&no].state {
        State::Down(why) => {
            Err(format!("uplink {no} ({}): {}", config.uplinks[&no].dev, why.text()))
        }
        _ => Ok(()),
    }
}

fn fail_over(
    config: &Config,
    uplinks: &mut BTreeMap<UplinkNo, Service>,
    no: UplinkNo,
    to: Option<UplinkNo>,
) -> Result<(), String> {
    let dev = |no: UplinkNo| format!("uplink {no} ({})", config.uplinks[&no].dev);
    if to == Some(no) {
        return Err(format!("{} cannot stand in for itself", dev(no)));
    }
    if let Some(to) = to.filter(|to| uplinks[to].state != State::Up) {
        return Err(format!("{} is not in service; see `wanpool pools`", dev(to)));
    }
    let in_service = uplinks[&no].state == State::Up;
    let others = uplinks.iter().any(|(&other, it)| other != no && it.state == State::Up);
    if in_service && !others {
        return Err(format!("no other uplink is in service to take over from {}", dev(no)));
    }
    if let Some(service) = uplinks.get_mut(&no) {
        // A line that lost its carrier or address for the moment is kept out all the same; only
        // what has a device to remember it by can be.
        let remembered = [State::Down(Why::NoCarrier), State::Down(Why::NoAddress)];
        if in_service || remembered.contains(&service.state) {
            service.state = State::FailedOver;
        }
        service.by_probe = false;
        service.to = to.or(service.to);
    }
    Ok(())
}

/// Takes these out as far as others are left in service.
fn take_out(uplinks: &mut BTreeMap<UplinkNo, Service>, out: UplinkSet) {
    for no in out.iter() {
        let others = uplinks.iter().any(|(&other, it)| other != no && it.state == State::Up);
        let Some(service) = uplinks.get_mut(&no) else { continue };
        if others && service.state == State::Up {
            service.state = State::FailedOver;
            service.by_probe = true;
        }
    }
}

/// A detour to an uplink that is itself out is none.
fn forget_lost_detours(services: &mut Services) {
    let up: Vec<UplinkNo> = services.up().collect();
    for service in services.uplinks.values_mut() {
        service.to = service.to.filter(|to| up.contains(to));
    }
}

/// Whether the rules found include multipath's.
fn is_multipath_on(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| [MULTIPATH_LOCAL, MULTIPATH_REST].contains(&rule.pref))
}
