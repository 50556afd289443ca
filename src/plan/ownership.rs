//! Which chains are ours? A chain has no protocol number, only its name and its rules.
//!
//! An empty chain is ours: it holds nothing that could be lost. A chain with a rule of a form that
//! wanpool writes is ours, whatever else is in it: an earlier version or configuration made it, or
//! somebody altered it. Any other chain is ours only if the rest of the slice proves it: the chain
//! that sets marks is ours, and exactly the jump that wanpool wants leads to the chain. All other
//! chains belong to somebody else.

use super::{filter, uplinks};
use crate::config::Config;
use crate::model::Mark;
use crate::model::filter::{Chain, Filter, FilterRule, Match, Verdict};
use crate::model::kernel_ids::is_mark_mask;
use crate::model::snapshot::{Conflict, Read, Snapshot};

/// Removes the chains of others, and the jumps to them, from the snapshot. Each is a conflict.
pub fn split_foreign(config: &Config, found: &mut Snapshot) {
    if found.filter.get().is_none() {
        return;
    }
    let wanted = filter::wanted(config, found, &uplinks::current(config, found));
    let Read::Is(filter) = &mut found.filter else { return };
    for chain in foreign_chains(&wanted, filter) {
        filter.chains.remove(&chain);
        filter.jumps.retain(|jump| jump.to != chain);
        let (Chain { table, name }, iptables) = (chain, config.family.iptables());
        found.conflicts.push(Conflict::new(
            format!("the chain {name} of table {table} contains no rule of wanpool"),
            format!("rename it: {iptables} -w -t {table} -E {name} OTHER"),
        ));
    }
}

fn foreign_chains(wanted: &Filter, found: &Filter) -> Vec<Chain> {
    let marks_are_ours =
        found.chains.get(&Chain::SET_MARK).is_some_and(|rules| is_proven(Chain::SET_MARK, rules));
    let mut foreign = Vec::new();
    for (&chain, rules) in &found.chains {
        let has_wanted_jump =
            found.jumps.iter().any(|jump| jump.to == chain && wanted.jumps.contains(jump));
        let is_ours =
            rules.is_empty() || is_proven(chain, rules) || (marks_are_ours && has_wanted_jump);
        if !is_ours {
            foreign.push(chain);
        }
    }
    foreign
}

fn is_proven(chain: Chain, rules: &[FilterRule]) -> bool {
    rules.iter().any(|rule| proves_ownership(chain, rule))
}

/// Whether a rule in this chain has a form that only wanpool writes, with whatever device, mask or
/// uplink. Rules that anybody might write, such as `-i DEV -j RETURN`, prove nothing.
fn proves_ownership(chain: Chain, rule: &FilterRule) -> bool {
    let FilterRule::Known { matches, verdict } = rule else { return false };
    let is_unmarked = |mark: &Mark| mark.byte() == Some(0);
    match (chain, matches.as_slice(), verdict) {
        (Chain::SET_MARK, [], Verdict::RestoreMark { mask }) => is_mark_mask(*mask),
        (Chain::SET_MARK, [Match::NotMark(mark)], Verdict::Return) => is_unmarked(mark),
        (Chain::SET_MARK, [Match::InputDevice(_)], Verdict::SetMark(mark)) => {
            mark.uplink().is_some()
        }
        (Chain::SET_MARK, [Match::NotMark(mark)], Verdict::SaveMark { mask }) => {
            is_unmarked(mark) && is_mark_mask(*mask)
        }
        (Chain::SET_MARK, [] | [Match::InputDevice(_)], Verdict::MarkFromClientSet(_)) => true,
        (
            Chain::RESTORE_MARK,
            // Before version 0.3.0, it restored the mark into marked packets too.
            [Match::NotConnmark(mark)] | [Match::NoMark, Match::NotConnmark(mark)],
            Verdict::RestoreMark { mask },
        ) => is_unmarked(mark) && is_mark_mask(*mask),
        (Chain::SAVE_MARK, [Match::Mark(mark)], Verdict::Return) => mark.is_uplink_mark_bit(),
        (Chain::SAVE_MARK, [Match::OutputDevice(_)], Verdict::SetConnmark(mark)) => {
            mark.uplink().is_some()
        }
        (
            Chain::MASQUERADE,
            [Match::OutputDevice(_)] | [Match::OutputDevice(_), Match::NoIpsecPolicy],
            Verdict::Masquerade,
        ) => true,
        (Chain::CLAMP_MSS, [Match::OutputDevice(_), Match::TcpSyn], Verdict::ClampMss) => true,
        (
            Chain::CLAMP_MSS,
            [Match::NotOutputDevice(_), Match::TcpSyn, Match::Mark(mark)],
            Verdict::SetMss(_),
        ) => mark.uplink().is_some(),
        (
            Chain::HELPERS,
            [Match::TcpDestinationPort(_)] | [Match::InputDevice(_), Match::TcpDestinationPort(_)],
            Verdict::Helper(_),
        ) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
