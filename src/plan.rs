//! Wanted against found → ordered steps. Pure: knows neither the kernel nor the files, so that
//! every case of it can be tested without either.
//!
//! [`service`] decides which uplinks are in service, [`placement`] who belongs where; [`wanted`]
//! builds the slice that follows from both, and [`steps`] finds the way from what is there to it.
//! The order is such that a stop between any two steps is safe: nexthops and tables, then rules,
//! then marks, forwarding last; taking away runs the other way round.

use crate::config::Config;
use crate::model::{Family, UplinkNo};
use crate::model::STATE::{Observed, Set, Slice};
use crate::model::change::Step;

pub mod balance;
pub mod failback;
pub mod findings;
mod layout;
pub mod marking;
pub mod ownership;
pub mod path;
pub mod placement;
pub mod probing;
pub mod routing;
pub mod service;
pub mod sysctl;

use service::{Intent, Services, State};

/// The slice as it should be, with as much of the set as is to be compared.
pub fn wanted(config: &Config, set: Set, services: &Services, family: Family) -> Slice {
    Slice {
        family,
        set: Some(set),
        chains: marking::chains(config),
        jumps: marking::jumps(config),
        ..routing::slice(config, services)
    }
}

/// The steps from what is found to what is wanted.
pub fn steps(config: &Config, found: &Observed, wanted: &Slice) -> Vec<Step> {
    let sysctls = sysctl::settings(config, &found.sysctls);
    let (forwarding, others) = sysctls.into_iter().partition::<Vec<_>, _>(sysctl::is_forwarding);
    let modules = config.helpers.iter().map(|helper| helper.nat_module());
    let unloaded = modules.filter(|module| found.unloaded.contains(module)).map(Step::LoadModule);

    let routing = routing::diff(&found.slice, wanted, config.kernel_ids.protocol);
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

/// Whose flows are to end now that their way has moved: those of uplinks that are out, and only if
/// there is another to go by.
pub fn flows_to_end(services: &Services, intent: Intent) -> Vec<UplinkNo> {
    let carries_none = |no: &UplinkNo| services.uplinks[no].state != State::Up;
    let all = intent.ends_flows_of().iter().filter(carries_none);
    all.filter(|_| services.up().next().is_some()).collect()
}

/// What stands in our way: an object that bears a name or number of ours and is not ours, or is
/// not as it must be.
pub fn in_our_way(found: &Observed) -> Option<String> {
    let too_small = |set: &Set| set.max < marking::SET_ROOM;
    let set = found.slice.set.as_ref().filter(|set| too_small(set)).map(|set| {
        format!("the set wanpool has room for {} only; wanpool flush makes way", set.max)
    });
    found.taken.first().cloned().or(set)
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
