//! Our chains in every state that they may be found in, and others' under the same names.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// With these bits of the mark, with and without LAN devices named and helpers.
fn config(shift: u32, lan: bool, helpers: bool) -> Config {
    let lan = if lan { "lan = [\"br0\", \"br1\"]\n" } else { "" };
    let helpers = if helpers { "helpers = [\"ftp\"]\n" } else { "" };
    let uplinks = "[uplink.1]\ndev = \"ppp0\"\n[uplink.50]\ndev = \"eth1\"\n";
    let text = format!("{lan}{helpers}{uplinks}[kernel]\nmark-mask = {}\n", 0xffu32 << shift);
    Config::parse(&text, Path::new("test.toml")).unwrap()
}

fn found(config: &Config) -> Observed {
    let (chains, jumps) = (marking::chains(config), marking::jumps(config));
    let slice = Slice { chains, jumps, ..Slice::default() };
    Observed { slice, ..Observed::default() }
}

fn some_config() -> impl Strategy<Value = Config> {
    (0..=24u32, any::<bool>(), any::<bool>())
        .prop_map(|(shift, lan, helpers)| config(shift, lan, helpers))
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) }
}

proptest! {
    #![proptest_config(settings())]

    /// Of whichever configuration we were, and whatever was done to a rule.
    #[test]
    fn a_chain_of_ours_is_known_whatever_was_done_to_one_rule_of_it(
        before in some_config(), now in some_config(),
        at in any::<(prop::sample::Index, prop::sample::Index)>(), deed in 0..5, jump in any::<bool>(),
    ) {
        let mut found = found(&before);
        let chains: Vec<Chain> = found.slice.chains.keys().copied().collect();
        let chain = *at.0.get(&chains);
        let rules = found.slice.chains.get_mut(&chain).unwrap();
        let rule = at.1.index(rules.len());
        match deed {
            0 => drop(rules.remove(rule)),
            1 => rules.push(rules[rule].clone()),
            2 => rules.insert(rule, "-s 10.0.0.0/8 -j ACCEPT".into()),
            3 => rules.clear(),
            _ => rules[rule] = "-j RETURN".into(),
        }
        // Where one rule is all there is, the jump must speak for it; and so it must for a helper's
        // chain whose only rule of ours has gone.
        if jump && deed != 0 && deed != 4 {
            found.slice.jumps.retain(|jump| jump.to != chain);
        }
        let right = found.slice.clone();
        let judge = if deed == 0 || deed == 4 { &before } else { &now };
        set_apart(judge, &mut found);
        prop_assert_eq!(&found.taken, &Vec::<String>::new());
        prop_assert_eq!(found.slice, right);
    }
}

/// What others may keep under our names.
const THEIRS: [(Chain, &str); 12] = [
    (Chain::SET_MARK, "-s 10.0.0.0/8 -j RETURN"),
    // How scripts for several uplinks do it everywhere.
    (Chain::SET_MARK, "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"),
    (Chain::SET_MARK, "-i ppp0 -j MARK --set-xmark 0x1/0xffffffff"),
    (Chain::SET_MARK, "-i ppp0 -j MARK --set-xmark 0x1/0xff"),
    (Chain::SET_MARK, "-m mark ! --mark 0x0/0x3f00 -j RETURN"),
    (Chain::SET_MARK, "-i br0 -j SET --map-set wanpools src --map-mark"),
    (Chain::RESTORE_MARK, "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff"),
    (Chain::SAVE_MARK, "-o ppp0 -j CONNMARK --set-xmark 0x100/0xff00"),
    (Chain::MASQUERADE, "-s 10.0.0.0/8 -o ppp0 -j MASQUERADE"),
    (Chain::MASQUERADE, "-o ppp0 -j MASQUERADE --random"),
    (Chain::CLAMP_MSS, "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"),
    (Chain::HELPERS, "-i ppp0 -j RETURN"),
];

#[test]
fn a_chain_without_any_rule_of_ours_is_somebody_elses_and_so_are_the_jumps_to_it() {
    let config = config(0, true, true);
    for (chain, rule) in THEIRS {
        let mut found = Observed::default();
        found.slice.chains.insert(chain, vec![rule.into()]);
        found.slice.jumps = marking::jumps(&config);
        found.slice.jumps.retain(|jump| jump.to == chain);
        set_apart(&config, &mut found);
        assert_eq!(found.slice, Slice::default(), "{rule}");
        let name =
            format!("the chain {} of table {} holds no rule of ours", chain.name, chain.table);
        assert!(found.taken.len() == 1 && found.taken[0].starts_with(&name), "{:?}", found.taken);
    }
}

#[test]
fn beside_our_own_marks_only_a_jump_that_we_want_makes_a_strange_chain_ours() {
    let with_helpers = config(0, true, true);
    let strange = |found: &mut Observed| {
        found.slice.chains.insert(Chain::HELPERS, vec!["-s 10.9.9.9/32 -j NOTRACK".into()]);
    };
    let mut altered = found(&with_helpers);
    strange(&mut altered);
    set_apart(&with_helpers, &mut altered);
    assert!(altered.taken.is_empty(), "{:?}", altered.taken);

    let mut unhooked = found(&with_helpers);
    unhooked.slice.jumps.retain(|jump| jump.to != Chain::HELPERS);
    strange(&mut unhooked);
    set_apart(&with_helpers, &mut unhooked);
    assert_eq!(unhooked.taken.len(), 1);

    // Somebody else's, with the jump that we would make, were there helpers.
    let without = config(0, true, false);
    let mut foreign = found(&without);
    let jumps = marking::jumps(&with_helpers).into_iter();
    foreign.slice.jumps.extend(jumps.filter(|jump| jump.to == Chain::HELPERS));
    strange(&mut foreign);
    set_apart(&without, &mut foreign);
    assert_eq!(foreign.taken.len(), 1);
    assert_eq!(foreign.slice, found(&without).slice);
}
