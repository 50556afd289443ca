//! What the rules of another program do with the first packet of a flow from a client to the Internet.
//! Where a rule may or may not match, the outcome is the better one for the client: a finding must be
//! certain.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::Client;
use crate::model::filter::DeviceMatch;
use crate::model::foreign_filter::{Condition, Effect, ForeignRule, ForeignTable, HookedChain};
use crate::model::pools::Pools;

pub struct Packet<'a> {
    pub sources: &'a Sources,
    pub input: &'a str,
    /// Not known before routing.
    pub output: Option<&'a str>,
    pub mark: u32,
}

/// The addresses of all clients, in order.
pub struct Sources(Vec<IpAddr>);

impl Sources {
    pub fn of(pools: &Pools) -> Self {
        let mut addresses: Vec<IpAddr> = pools.clients().map(Client::address).collect();
        addresses.sort_unstable();
        Self(addresses)
    }

    /// Whether the source of a packet is in this network.
    fn fit(&self, net: &IpNet) -> Fit {
        let first = self.0.partition_point(|address| *address < net.network());
        let inside = self.0[first..].partition_point(|address| *address <= net.broadcast());
        match inside {
            _ if self.0.is_empty() => Fit::Perhaps,
            0 => Fit::Never,
            inside if inside == self.0.len() => Fit::Always,
            _ => Fit::Perhaps,
        }
    }
}

/// Whether a packet like this meets a condition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Never,
    Perhaps,
    Always,
}

impl Fit {
    fn certain(holds: bool) -> Self {
        if holds { Fit::Always } else { Fit::Never }
    }

    fn negated_if(self, negated: bool) -> Self {
        match self {
            Fit::Never if negated => Fit::Always,
            Fit::Always if negated => Fit::Never,
            fit => fit,
        }
    }
}

/// What becomes of a packet in a chain.
#[derive(Clone, Copy)]
enum Fate<'a> {
    /// A rule that it may meet accepts it.
    Accepted,
    Dropped(&'a ForeignRule),
    /// It comes to the end of the chain.
    Falls,
}

/// What drops a packet.
pub enum DroppedBy<'a> {
    Policy,
    Rule(&'a ForeignRule),
}

/// What certainly drops the packet in this chain.
pub fn dropped_by<'a>(
    packet: &Packet,
    table: &'a ForeignTable,
    hooked: &'a HookedChain,
) -> Option<DroppedBy<'a>> {
    match fate(packet, table, &hooked.chain, &mut BTreeMap::new()) {
        Fate::Accepted => None,
        Fate::Dropped(rule) => Some(DroppedBy::Rule(rule)),
        Fate::Falls => hooked.drops.then_some(DroppedBy::Policy),
    }
}

/// The rules that the packet may meet in this chain and those it leads to.
pub fn met_rules<'a>(
    packet: &Packet,
    table: &'a ForeignTable,
    chain: &'a str,
) -> Vec<&'a ForeignRule> {
    let (mut met, mut visited, mut pending) = (vec![], vec![], vec![chain]);
    while let Some(chain) = pending.pop() {
        if visited.contains(&chain) {
            continue;
        }
        visited.push(chain);
        for rule in table.chains.get(chain).into_iter().flatten() {
            if fit(packet, rule) == Fit::Never {
                continue;
            }
            met.push(rule);
            if let Effect::Jump(to) | Effect::Goto(to) = &rule.effect {
                pending.push(to);
            }
            let ends = matches!(
                rule.effect,
                Effect::Accept | Effect::Drop | Effect::Return | Effect::Goto(_)
            );
            if ends && fit(packet, rule) == Fit::Always {
                break;
            }
        }
    }
    met
}

/// The fates of chains that were walked already are kept: many rules can lead to one chain.
fn fate<'a>(
    packet: &Packet,
    table: &'a ForeignTable,
    chain: &'a str,
    known: &mut BTreeMap<&'a str, Fate<'a>>,
) -> Fate<'a> {
    if let Some(&fate) = known.get(chain) {
        return fate;
    }
    // A chain cannot lead to itself. If it seems to, it ends here.
    known.insert(chain, Fate::Falls);
    let found = walk(packet, table, chain, known);
    known.insert(chain, found);
    found
}

fn walk<'a>(
    packet: &Packet,
    table: &'a ForeignTable,
    chain: &str,
    known: &mut BTreeMap<&'a str, Fate<'a>>,
) -> Fate<'a> {
    for rule in table.chains.get(chain).into_iter().flatten() {
        let fit = fit(packet, rule);
        if fit == Fit::Never {
            continue;
        }
        let is_certain = fit == Fit::Always;
        let fate = match &rule.effect {
            Effect::Accept => Fate::Accepted,
            Effect::Drop => Fate::Dropped(rule),
            Effect::Jump(to) | Effect::Goto(to) => fate(packet, table, to, known),
            Effect::Return => Fate::Falls,
            Effect::SetMark { .. } | Effect::Other => continue,
        };
        match (&fate, &rule.effect) {
            (Fate::Accepted, _) => return fate,
            (Fate::Falls, Effect::Jump(_)) => {}
            _ if is_certain => return fate,
            _ => {}
        }
    }
    Fate::Falls
}

fn fit(packet: &Packet, rule: &ForeignRule) -> Fit {
    let fits = rule.conditions.iter().map(|condition| fit_of(packet, condition));
    fits.min().unwrap_or(Fit::Always)
}

fn fit_of(packet: &Packet, condition: &Condition) -> Fit {
    let device =
        |device: &DeviceMatch, dev: &str| Fit::certain(device.covers(dev) != device.negated);
    match condition {
        Condition::Input(input) => device(input, packet.input),
        Condition::Output(output) => match packet.output {
            Some(dev) => device(output, dev),
            None => Fit::Perhaps,
        },
        Condition::Source { net, negated } => packet.sources.fit(net).negated_if(*negated),
        Condition::Mark { mark, negated } => Fit::certain(mark.matches(packet.mark) != *negated),
        Condition::NewFlow(meets) => Fit::certain(*meets),
        Condition::OtherTraffic => Fit::Never,
        Condition::Any(conditions) => {
            conditions.iter().map(|it| fit_of(packet, it)).max().unwrap_or(Fit::Never)
        }
        Condition::Unknown => Fit::Perhaps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::pools;

    #[test]
    fn the_source_of_a_packet_is_one_of_the_clients() {
        let some = Sources::of(&pools(&[(1, "10.0.0.7"), (2, "10.0.1.1"), (1, "10.0.0.9")]));
        let none = Sources::of(&pools(&[]));
        for (net, is_never, is_always) in [
            ("10.0.0.0/8", false, true),
            ("10.0.0.0/23", false, true),
            ("10.0.0.0/24", false, false),
            ("10.0.1.1/32", false, false),
            ("10.0.0.8/32", true, false),
            ("172.17.0.0/16", true, false),
            ("9.0.0.0/8", true, false),
            ("0.0.0.0/0", false, true),
        ] {
            let net = net.parse().unwrap();
            let fit = some.fit(&net);
            assert_eq!((fit == Fit::Never, fit == Fit::Always), (is_never, is_always), "{net}");
            assert!(none.fit(&net) == Fit::Perhaps);
        }
    }
}
