//! The chains that mark, masquerade, clamp and help, with the rules that should be in them.

use std::collections::BTreeMap;

use crate::config::{Config, Lan};
use crate::model::DevName;
use crate::model::filter::{Chain, Filter, FilterRule, Jump, Match, Verdict};

pub fn wanted(config: &Config) -> Filter {
    let mut chains = BTreeMap::from([
        (Chain::SET_MARK, set_mark(config)),
        (Chain::RESTORE_MARK, restore_mark(config)),
        (Chain::SAVE_MARK, save_mark(config)),
        (Chain::MASQUERADE, masquerade(config)),
        (Chain::CLAMP_MSS, clamp_mss(config)),
        (Chain::HELPERS, helpers(config)),
    ]);
    chains.retain(|_, rules| !rules.is_empty());
    let jumps = Chain::ALL.into_iter().filter(|it| chains.contains_key(it)).map(jump_to).collect();
    Filter { chains, jumps, ..Filter::default() }
}

fn jump_to(chain: Chain) -> Jump {
    let from = match chain {
        // CLAMP_MSS is called from a hook that packets pass anyway: a hook of its own in FORWARD
        // would cost each packet more than all of SAVE_MARK.
        Chain::MASQUERADE | Chain::SAVE_MARK | Chain::CLAMP_MSS => "POSTROUTING",
        Chain::RESTORE_MARK => "OUTPUT",
        _ => "PREROUTING",
    };
    let matches = if chain == Chain::CLAMP_MSS { vec![Match::TcpSyn] } else { vec![] };
    Jump { from: from.to_owned(), to: chain, rule: FilterRule::new(matches, Verdict::Jump(chain)) }
}

/// From PREROUTING. A packet of a known flow gets its mark back from the connmark and is done. A new
/// packet from an uplink gets the mark of the uplink, a new packet of a client that of its pool.
fn set_mark(config: &Config) -> Vec<FilterRule> {
    let ids = &config.kernel_ids;
    let is_marked = Match::NotMark(ids.unmarked());
    let return_if_marked = FilterRule::new([is_marked.clone()], Verdict::Return);
    let mask = ids.mark_mask;
    let mut rules =
        vec![FilterRule::new([], Verdict::RestoreMark { mask }), return_if_marked.clone()];
    // Each rule costs every packet that reaches it, and most flows begin in the LAN. If its devices
    // are known, their packets are finished before those of the uplinks are examined.
    if let Lan::Devices(devices) = &config.lan {
        for dev in devices {
            rules.push(FilterRule::new(
                [Match::InputDevice(dev.clone())],
                Verdict::MarkFromClientSet,
            ));
        }
        rules.push(return_if_marked.clone());
    }
    for (&no, uplink) in &config.uplinks {
        rules.push(FilterRule::new(
            [Match::InputDevice(uplink.dev.clone())],
            Verdict::SetMark(ids.uplink_mark(no)),
        ));
    }
    rules.push(FilterRule::new([is_marked], Verdict::SaveMark { mask }));
    if config.lan == Lan::AllButUplinks {
        rules.push(return_if_marked);
        rules.push(FilterRule::new([], Verdict::MarkFromClientSet));
    }
    rules
}

/// From OUTPUT. The router's own answers leave by the uplink by which the request came in. A packet of
/// a flow without a connmark keeps the mark that its sender gave it.
fn restore_mark(config: &Config) -> Vec<FilterRule> {
    let has_connmark = Match::NotConnmark(config.kernel_ids.unmarked());
    vec![FilterRule::new(
        [has_connmark],
        Verdict::RestoreMark { mask: config.kernel_ids.mark_mask },
    )]
}

/// From POSTROUTING. A flow that has no uplink yet belongs from now on to the one it leaves by. A
/// packet of a flow that has one carries its mark; to test the mark costs half of what a test of the
/// connmark would.
fn save_mark(config: &Config) -> Vec<FilterRule> {
    let ids = &config.kernel_ids;
    let has_uplink = Match::Mark(ids.uplink_mark_bit());
    let mut rules = vec![FilterRule::new([has_uplink], Verdict::Return)];
    for (&no, uplink) in &config.uplinks {
        rules.push(FilterRule::new(
            [Match::OutputDevice(uplink.dev.clone())],
            Verdict::SetConnmark(ids.uplink_mark(no)),
        ));
    }
    rules
}

fn masquerade(config: &Config) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    for uplink in config.uplinks.values() {
        if uplink.nat {
            let output = Match::OutputDevice(uplink.dev.clone());
            rules.push(FilterRule::new([output], Verdict::Masquerade));
        }
    }
    rules
}

fn clamp_mss(config: &Config) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    for uplink in config.uplinks.values() {
        if uplink.clamp_mss {
            let output = Match::OutputDevice(uplink.dev.clone());
            rules.push(FilterRule::new([output, Match::TcpSyn], Verdict::ClampMss));
        }
    }
    rules
}

/// From raw PREROUTING. Helpers watch the connections that the LAN opens, never those of strangers.
fn helpers(config: &Config) -> Vec<FilterRule> {
    if config.helpers.is_empty() {
        return vec![];
    }
    let mut rules = Vec::new();
    match &config.lan {
        Lan::Devices(devices) => {
            for dev in devices {
                rules.extend(helper_rules(config, Some(dev)));
            }
        }
        Lan::AllButUplinks => {
            for uplink in config.uplinks.values() {
                let input = Match::InputDevice(uplink.dev.clone());
                rules.push(FilterRule::new([input], Verdict::Return));
            }
            rules.extend(helper_rules(config, None));
        }
    }
    rules
}

fn helper_rules(config: &Config, dev: Option<&DevName>) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    for helper in &config.helpers {
        let mut matches = Vec::new();
        if let Some(dev) = dev {
            matches.push(Match::InputDevice(dev.clone()));
        }
        matches.push(Match::TcpDestinationPort(helper.port()));
        rules.push(FilterRule::new(matches, Verdict::Helper(helper.name().to_owned())));
    }
    rules
}
