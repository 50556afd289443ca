//! Wanted against found → ordered steps. Pure: knows neither the kernel nor the files, so that
//! every case of it can be tested without either.
//!
//! [`service`] decides which uplinks are in service, [`placement`] who belongs where; [`wanted`]
//! builds the slice that follows from both, and [`steps`] finds the way from what is there to it.
//! The order is such that a stop between any two steps is safe: nexthops and tables, then rules,
//! then marks, forwarding last; taking away runs the other way round.

use crate::config::Config;
use crate::model::Family;
use crate::pools::Pools;
use crate::state::{Observed, Slice};
use crate::step::Step;

pub mod balance;
pub mod findings;
mod layout;
pub mod marking;
pub mod placement;
pub mod routing;
pub mod service;
pub mod sysctl;

use service::{Intent, Services, State};

/// The slice as it should be.
pub fn wanted(config: &Config, pools: &Pools, services: &Services, family: Family) -> Slice {
    Slice {
        family,
        nexthops: routing::nexthops(config, services),
        routes: routing::routes(config, services),
        rules: routing::rules(config, services.multipath),
        set: Some(marking::set(config, pools)),
        chains: marking::chains(config),
        jumps: marking::jumps(config),
    }
}

/// The steps from what is found to what is wanted.
pub fn steps(config: &Config, found: &Observed, wanted: &Slice) -> Vec<Step> {
    let sysctls = sysctl::settings(config, &found.sysctls);
    let (forwarding, others) = sysctls.into_iter().partition::<Vec<_>, _>(sysctl::is_forwarding);
    let modules = config.helpers.iter().map(|helper| helper.nat_module());
    let unloaded = modules.filter(|module| found.unloaded.contains(module)).map(Step::LoadModule);

    let routing = routing::diff(&found.slice, wanted, config.numbers.protocol);
    let marking = marking::diff(&found.slice, wanted);
    let mut steps: Vec<Step> = others.into_iter().map(sysctl::step).collect();
    steps.extend(routing.build);
    steps.extend(unloaded);
    steps.extend(marking.build);
    steps.extend(forwarding.into_iter().map(sysctl::step));
    steps.extend(marking.tear_down);
    steps.extend(routing.tear_down);
    steps
}

/// Ends the flows of an uplink that was failed over, once their way has moved, and only if there
/// is another.
pub fn end_flows(
    config: &Config,
    found: &Observed,
    services: &Services,
    intent: Intent,
) -> Option<Step> {
    let uplink = intent.ends_flows_of()?;
    let carries_none = services.uplinks[&uplink].state != State::Up;
    let somewhere_to_go = services.up().next().is_some();
    (found.flows > 0 && carries_none && somewhere_to_go)
        .then(|| Step::FlowsEnd { mark: config.numbers.carrier_mark(uplink) })
}

/// The steps that take the whole slice away. Sysctls stay: whoever else forwards relies on them.
pub fn removal(found: &Slice, protocol: u8) -> Vec<Step> {
    let nothing = Slice { family: found.family, ..Slice::default() };
    let routing = routing::diff(found, &nothing, protocol).tear_down;
    // Before the marks go, the rules that would then catch the packets of open flows and send
    // them out by another uplink.
    let (mut steps, routing): (Vec<_>, Vec<_>) = routing.into_iter().partition(
        |step| matches!(step, Step::RuleDelete { rule, .. } if routing::catches_unmarked(rule)),
    );
    steps.extend(marking::diff(found, &nothing).tear_down);
    steps.extend(routing);
    steps
}

/// The two halves of a way: what is made or changed, in order, and then what is taken away.
#[derive(Debug, Default)]
pub struct Diff {
    pub build: Vec<Step>,
    pub tear_down: Vec<Step>,
}

#[cfg(test)]
mod life;
#[cfg(test)]
mod tests;
