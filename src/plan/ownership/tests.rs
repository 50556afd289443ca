//! Our chains in every state in which they may be found, and chains of others with the same names.

use proptest::prelude::*;

use super::*;
use crate::model::filter::Jump;
use crate::plan::fixtures::{usable, wanted_filter};

/// With these bits of the mark, with and without LAN devices and helpers.
fn config(shift: u32, lan: bool, helpers: bool) -> Config {
    let lan = if lan { "lan = [\"br0\", \"br1\"]\n" } else { "" };
    let helpers = if helpers { "helpers = [\"ftp\"]\n" } else { "" };
    let uplinks = "[uplink.1]\ndev = \"ppp0\"\n[uplink.50]\ndev = \"eth1\"\n";
    let text = format!("{lan}{helpers}{uplinks}[kernel]\nmark-mask = {}\n", 0xffu32 << shift);
    Config::parse(&text, std::path::Path::new("test.toml")).unwrap()
}

/// What remains after the chains of others are split off, and the conflicts.
fn split(config: &Config, filter: Filter) -> (Filter, Vec<String>) {
    let mut found = Snapshot { filter: Read::Is(filter), ..usable(&[]) };
    split_foreign(config, &mut found);
    let Read::Is(filter) = found.filter else { unreachable!() };
    (filter, found.conflicts.into_iter().map(|conflict| conflict.what).collect())
}

fn other(text: &str) -> FilterRule {
    FilterRule::Other(text.into())
}

fn some_config() -> impl Strategy<Value = Config> {
    (0..=24u32, any::<bool>(), any::<bool>())
        .prop_map(|(shift, lan, helpers)| config(shift, lan, helpers))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn a_chain_of_ours_is_recognised_whatever_was_done_to_one_rule_of_it(
        before in some_config(), now in some_config(),
        at in any::<(prop::sample::Index, prop::sample::Index)>(), damage in 0..5, no_jump in any::<bool>(),
    ) {
        let mut found = wanted_filter(&before);
        let chains: Vec<Chain> = found.chains.keys().copied().collect();
        let chain = *at.0.get(&chains);
        let rules = found.chains.get_mut(&chain).unwrap();
        let rule = at.1.index(rules.len());
        match damage {
            0 => drop(rules.remove(rule)),
            1 => rules.push(rules[rule].clone()),
            2 => rules.insert(rule, other("-s 10.0.0.0/8 -j ACCEPT")),
            3 => rules.clear(),
            _ => rules[rule] = FilterRule::new([], Verdict::Return),
        }
        // A chain that has lost its only rule of ours is recognised by the jump that we want.
        let needs_jump = damage == 0 || damage == 4;
        if no_jump && !needs_jump {
            found.jumps.retain(|jump| jump.to != chain);
        }
        let wanted = (found.clone(), vec![]);
        prop_assert_eq!(split(if needs_jump { &before } else { &now }, found), wanted);
    }
}

#[test]
fn a_chain_without_a_rule_of_ours_belongs_to_others_and_so_do_the_jumps_to_it() {
    let dev = |name: &str| name.parse().unwrap();
    let mark = |value, mask| Mark { value, mask };
    let config = config(0, true, true);
    let theirs = [
        (Chain::SET_MARK, other("-s 10.0.0.0/8 -j RETURN")),
        // Many scripts for several uplinks do this.
        (Chain::SET_MARK, FilterRule::new([], Verdict::RestoreMark { mask: u32::MAX })),
        (
            Chain::SET_MARK,
            FilterRule::new([Match::InputDevice(dev("ppp0"))], Verdict::SetMark(mark(1, u32::MAX))),
        ),
        (
            Chain::SET_MARK,
            FilterRule::new([Match::InputDevice(dev("ppp0"))], Verdict::SetMark(mark(1, 0xff))),
        ),
        (Chain::SET_MARK, FilterRule::new([Match::NotMark(mark(0, 0x3f00))], Verdict::Return)),
        (Chain::SET_MARK, other("-i br0 -j SET --map-set wanpools src --map-mark")),
        (Chain::RESTORE_MARK, FilterRule::new([], Verdict::RestoreMark { mask: 0xff })),
        (
            Chain::SAVE_MARK,
            FilterRule::new(
                [Match::OutputDevice(dev("ppp0"))],
                Verdict::SetConnmark(mark(0x100, 0xff00)),
            ),
        ),
        (Chain::MASQUERADE, other("-s 10.0.0.0/8 -o ppp0 -j MASQUERADE")),
        (Chain::MASQUERADE, other("-o ppp0 -j MASQUERADE --random")),
        (Chain::CLAMP_MSS, FilterRule::new([Match::TcpSyn], Verdict::ClampMss)),
        (Chain::HELPERS, FilterRule::new([Match::InputDevice(dev("ppp0"))], Verdict::Return)),
    ];
    for (chain, rule) in theirs {
        let mut jumps = wanted_filter(&config).jumps;
        jumps.retain(|jump| jump.to == chain);
        let found =
            Filter { chains: [(chain, vec![rule.clone()])].into(), jumps, ..Filter::default() };
        let (rest, conflicts) = split(&config, found);
        assert_eq!(rest, Filter::default(), "{rule:?}");
        let Chain { table, name } = chain;
        let wanted = format!("the chain {name} of table {table} contains no rule of wanpool");
        assert_eq!(conflicts, [wanted], "{rule:?}");
    }
}

#[test]
fn beside_our_marks_a_strange_chain_is_ours_only_with_a_jump_that_we_want() {
    let with_helpers = config(0, true, true);
    let strange = |filter: &mut Filter| {
        filter.chains.insert(Chain::HELPERS, vec![other("-s 10.9.9.9/32 -j NOTRACK")]);
    };
    let leads_to_helpers = |jump: &Jump| jump.to == Chain::HELPERS;

    let mut altered = wanted_filter(&with_helpers);
    strange(&mut altered);
    assert_eq!(split(&with_helpers, altered.clone()), (altered, vec![]));

    let mut unhooked = wanted_filter(&with_helpers);
    unhooked.jumps.retain(|jump| !leads_to_helpers(jump));
    strange(&mut unhooked);
    assert_eq!(split(&with_helpers, unhooked).1.len(), 1);

    // Another program's, with the jump that we would make if helpers were configured.
    let without = config(0, true, false);
    let mut foreign = wanted_filter(&without);
    let jumps = wanted_filter(&with_helpers).jumps.into_iter();
    foreign.jumps.extend(jumps.filter(leads_to_helpers));
    strange(&mut foreign);
    let (rest, conflicts) = split(&without, foreign);
    assert_eq!((rest, conflicts.len()), (wanted_filter(&without), 1));
}
