//! The status of the uplinks: what [`super::decide`] and [`super::current`] return.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{Config, Ipv6Missing, Role};
use crate::model::UplinkNo;
use crate::model::routing::MainRoute;
use crate::model::uplink::State;

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
    /// `None` if it does not exist.
    pub device: Option<Device>,
    /// The device that was failed over by hand and does not exist any more.
    pub former_device: Option<u32>,
    pub via: Option<IpAddr>,
    /// The addresses of the device. Those that a down uplink had stay until it has others.
    pub addresses: Vec<IpAddr>,
    /// The routes of the main table by its device that lead elsewhere than its default route.
    pub routes: Vec<MainRoute>,
    /// Where `failover --to` sends the pool while its own uplink is out of service.
    pub override_uplink: Option<UplinkNo>,
    /// No other uplink carries its pool: it is in service, but not over this family.
    pub is_refused: bool,
    pub role: Role,
}

/// The device of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    /// Administratively up.
    pub up: bool,
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
    /// The configuration has an alternative name of the device.
    OtherName,
    NotUp,
    NoCarrier,
    NoAddress,
    /// The same, but the kernel still sends packets to the device. The next run ends that.
    AddressLost,
    NoGateway,
    /// The configuration says `ipv6 = false`.
    NotUsed,
    /// The uplink is usable; the next `assign` or `restore` puts it in service.
    NotInService,
}

impl DownReason {
    pub fn text(self) -> &'static str {
        match self {
            DownReason::NoDevice => "no such device",
            DownReason::OtherName => {
                "dev is another name of a device; write the name that wanpool pools --check prints"
            }
            DownReason::NotUp => "the device is not up",
            DownReason::NoCarrier => "the device has no carrier",
            DownReason::NoAddress | DownReason::AddressLost => "the device has no address",
            DownReason::NoGateway => {
                "no gateway is known; set via in the configuration, or give --via"
            }
            DownReason::NotUsed => "the configuration has ipv6 = false for it",
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
            Some(UplinkStatus { is_refused: true, .. }) => vec![],
            Some(UplinkStatus { override_uplink: Some(to), .. }) => vec![*to],
            _ => self.active(),
        }
    }

    /// Refuses what the pools of uplinks send over IPv6 while these are in service over IPv4 alone, so
    /// that a client does not leave by two uplinks. The configuration may want otherwise.
    pub fn refuse_where_ipv6_is_missing(&mut self, config: &Config, inet: &GatewayStatus) {
        if config.ipv6_missing == Ipv6Missing::Carry {
            return;
        }
        for (no, uplink) in &mut self.uplinks {
            let is_missing = matches!(uplink.condition, Condition::Down(_));
            uplink.is_refused = is_missing && inet.is_up(*no);
        }
    }

    /// Whether another uplink than this one is in service.
    pub fn is_another_up(&self, no: UplinkNo) -> bool {
        self.up().any(|other| other != no)
    }
}
