//! What the kernel says of one uplink: whether its line lives, by which gateway, and whether it was
//! taken out on purpose.
//!
//! What was done on purpose is remembered by the kernel alone: `failover` adds a second default
//! route to the uplink's own table (300+N), with [`FAILED_OVER_METRIC`], or [`PROBED_OUT_METRIC`]
//! where a probe found it dead. It vanishes with the device, so that a line dialled anew starts
//! afresh; a nexthop that is merely missing (the carrier was lost for a moment, somebody deleted
//! it) does not look like one failed over.

use std::net::Ipv4Addr;

use super::{Intent, Service, State, Why};
use crate::config::{Config, Uplink};
use crate::model::UplinkNo;
use crate::plan::layout::{DETOUR_METRIC, FAILED_OVER_METRIC, PROBED_OUT_METRIC};
use crate::state::{Nexthop, Observed, Route, Way};

/// What the kernel says of one uplink, read in the light of the intent.
pub fn judge(
    config: &Config,
    found: &Observed,
    no: UplinkNo,
    uplink: &Uplink,
    intent: Intent,
) -> Service {
    let memory = Memory::of(config, found, no, uplink);
    let via = gateway(found, uplink, no, &memory, intent);
    let state = match ailment(found, uplink, via) {
        // A failover cut short before its nexthop went has not happened.
        _ if memory.out.is_some() && !memory.yields_to(intent, no, via) => State::FailedOver,
        Some(why) => State::Down(why),
        None => State::Up,
    };
    let to = match state {
        State::Up => None,
        _ => detour(config, found, no),
    };
    let by_probe = state == State::FailedOver && memory.out == Some(Out::ByProbe);
    Service { state, via, to, by_probe, role: uplink.role }
}

/// What our own objects of the last run say of an uplink, as far as they are about its device: the
/// number may have been another line's.
struct Memory {
    /// Who took it out of service, if anybody did.
    out: Option<Out>,
    /// The gateway that route and nexthop agree on: where they do not, somebody altered one.
    agreed: Option<Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Out {
    ByHand,
    ByProbe,
}

impl Memory {
    /// Whether the intent undoes what was done; `via` is the gateway by this intent.
    fn yields_to(&self, intent: Intent, no: UplinkNo, via: Option<Ipv4Addr>) -> bool {
        let by_probe = self.out == Some(Out::ByProbe);
        match intent {
            Intent::RestoreAll => true,
            Intent::Restore { uplink, .. } => uplink == no,
            Intent::Probed { back, .. } => by_probe && back.contains(no),
            // A line that was dialled anew has lost our mark. Where the mark is still there, the
            // hook reports a renewed lease, or that a device is up which never went away. That is
            // no reason to undo what a person did. Nor does it refute a probe, which found the line
            // dead while it was up, and puts it back by itself; but a probe by another gateway has
            // not been made yet.
            Intent::Returned { uplink, .. } => uplink == no && by_probe && via != self.last,
            Intent::Keep | Intent::FailOver { .. } | Intent::Lost { .. } | Intent::Multipath(_) => {
                false
            }
        }
    }

    fn of(config: &Config, found: &Observed, no: UplinkNo, uplink: &Uplink) -> Self {
        let table = config.numbers.uplink_table(no);
        let own = |route: &&Route| {
            let on_dev = matches!(&route.way, Way::Device { dev, .. } if *dev == uplink.dev);
            route.table == table && on_dev
        };
        let routes: Vec<&Route> = found.slice.routes.iter().filter(own).collect();
        let nexthop = found.slice.nexthops.get(&config.numbers.nexthop(no));
        let of_route = routes.first().and_then(|route| match &route.way {
            Way::Device { via, .. } => *via,
            _ => None,
        });
        let of_nexthop = match nexthop {
            Some(Nexthop::Device { dev, via }) if *dev == uplink.dev => *via,
            _ => None,
        };
        let agrees = nexthop.is_none() || of_nexthop == of_route;
        let marked = |metric| routes.iter().any(|route| route.metric == metric);
        let out = match nexthop {
            Some(_) => None,
            None if marked(FAILED_OVER_METRIC) => Some(Out::ByHand),
            None => marked(PROBED_OUT_METRIC).then_some(Out::ByProbe),
        };
        Self { out, agreed: of_route.filter(|_| agrees), last: of_nexthop.or(of_route) }
    }
}

/// The gateway of an uplink. A restore, and a hook's word that a device is there, go by what is said:
/// the gateway just given, the configured one, that of a default route in main (from DHCP), in the
/// end the last one used. Any other run keeps the last one used, if there is one.
fn gateway(
    found: &Observed,
    uplink: &Uplink,
    no: UplinkNo,
    memory: &Memory,
    intent: Intent,
) -> Option<Ipv4Addr> {
    let kept = memory.agreed.filter(|_| !intent.asks_for_gateway(no));
    let of_main = || found.gateways.get(&uplink.dev).copied();
    let given = intent.gateway(no).or(kept).or(uplink.via);
    given.or_else(of_main).or(memory.last)
}

/// What keeps a line from being in service: up and with an address is what says it lives.
fn ailment(found: &Observed, uplink: &Uplink, via: Option<Ipv4Addr>) -> Option<Why> {
    let Some(link) = found.link(&uplink.dev) else { return Some(Why::NoDevice) };
    let mut addresses = found.addresses_of(&uplink.dev).peekable();
    if !link.up {
        Some(Why::NotUp)
    } else if !link.carrier {
        Some(Why::NoCarrier)
    } else if addresses.peek().is_none() {
        Some(Why::NoAddress)
    } else if via.is_none() && !link.point_to_point && addresses.all(|own| own.peer.is_none()) {
        Some(Why::NoGateway)
    } else {
        None
    }
}

/// The uplink that a pool was sent to by `failover --to`, if it still is.
pub fn detour(config: &Config, found: &Observed, no: UplinkNo) -> Option<UplinkNo> {
    let table = config.numbers.pool_table(no);
    let route = found
        .slice
        .routes
        .iter()
        .find(|route| route.table == table && route.metric == DETOUR_METRIC)?;
    config.uplinks.keys().copied().find(|&to| route.way == Way::Nexthop(config.numbers.nexthop(to)))
}
