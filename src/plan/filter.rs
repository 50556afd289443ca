//! The chains that mark, masquerade, clamp and help, with the rules that should be in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::uplinks::{GatewayStatus, is_multipath_on};
use crate::config::{Config, Lan, Uplink};
use crate::model::filter::{Chain, Filter, FilterRule, Jump, Match, Verdict};
use crate::model::snapshot::Snapshot;
use crate::model::{DevName, Family, UplinkNo};

/// What the rules depend on besides the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    /// The MTUs of the uplinks that exist.
    mtus: Vec<(UplinkNo, u32)>,
    /// Whether multipath is on.
    multipath: bool,
}

impl Dependencies {
    /// As they are now.
    pub fn current(config: &Config, found: &Snapshot) -> Self {
        let mut mtus = Vec::new();
        for (&no, uplink) in &config.uplinks {
            mtus.extend(found.devices.link(&uplink.dev).map(|link| (no, link.mtu)));
        }
        Self { mtus, multipath: is_multipath_on(&found.routing.rules) }
    }
}

pub fn wanted(config: &Config, found: &Snapshot, status: &GatewayStatus) -> Filter {
    let mut chains = BTreeMap::from([
        (Chain::SET_MARK, set_mark(config)),
        (Chain::RESTORE_MARK, restore_mark(config, status.multipath)),
        (Chain::SAVE_MARK, save_mark(config)),
        (Chain::MASQUERADE, masquerade(config)),
        (Chain::CLAMP_MSS, clamp_mss(config, found)),
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
    // The mark is saved at once: a rule of another program may overwrite it before the packet leaves.
    let save_if_marked = FilterRule::new([is_marked], Verdict::SaveMark { mask });
    let mut rules =
        vec![FilterRule::new([], Verdict::RestoreMark { mask }), return_if_marked.clone()];
    // Each rule costs every packet that reaches it, and most flows begin in the LAN. If its devices
    // are known, their packets are finished before those of the uplinks are examined.
    if let Lan::Devices(devices) = &config.lan {
        for dev in devices {
            rules.push(FilterRule::new(
                [Match::InputDevice(dev.clone())],
                Verdict::MarkFromClientSet(config.family),
            ));
        }
        rules.extend([save_if_marked.clone(), return_if_marked.clone()]);
    }
    for (&no, uplink) in &config.uplinks {
        rules.push(FilterRule::new(
            [Match::InputDevice(uplink.dev.clone())],
            Verdict::SetMark(ids.uplink_mark(no)),
        ));
    }
    rules.push(save_if_marked.clone());
    if config.lan == Lan::AllButUplinks {
        rules.push(return_if_marked);
        rules.push(FilterRule::new([], Verdict::MarkFromClientSet(config.family)));
        rules.push(save_if_marked);
    }
    rules
}

/// From OUTPUT. The router's own answers leave by the uplink by which the request came in. A packet that
/// has any mark is left alone: its sender or another program may compare the whole mark, as the rules
/// of wg-quick do.
///
/// While the gateway has no default route for itself, it cannot be reached from outside. The rules for
/// bound sockets lead its answers out, too, and so these are dropped.
fn restore_mark(config: &Config, multipath: bool) -> Vec<FilterRule> {
    let ids = &config.kernel_ids;
    let mut rules = Vec::new();
    // A route of IPv6 has no realm by which they could be recognised.
    if !multipath && config.family == Family::Inet {
        let came_in_by_uplink = Match::Connmark(ids.uplink_mark_bit());
        let matches = [came_in_by_uplink, Match::UplinkRealm, Match::Answer];
        rules.push(FilterRule::new(matches, Verdict::Drop));
    }
    let restore = Verdict::RestoreMark { mask: ids.mark_mask };
    let is_known = Match::NotConnmark(ids.unmarked());
    rules.push(FilterRule::new([Match::NoMark, is_known], restore));
    let begins = [Match::NoMark, Match::NewFlow];
    rules.push(FilterRule::new(begins, Verdict::SetMark(ids.bound_mark())));
    rules
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
        let output = Match::OutputDevice(uplink.dev.clone());
        if config.family == Family::Inet6 {
            for &prefix in &uplink.inet6.prefixes {
                let matches = [Match::Source(prefix.into()), output.clone()];
                rules.push(FilterRule::new(matches, Verdict::Return));
            }
        }
        if uplink.nat {
            // What IPsec encrypts keeps its source address, or the policies would not match it.
            let matches = [output, Match::NoIpsecPolicy];
            rules.push(FilterRule::new(matches, Verdict::Masquerade));
        }
    }
    rules
}

/// From POSTROUTING. Connections that leave by an uplink are clamped to the MTU of the path. Those that
/// have come in by it need its MTU in a number: the way back could be found only with the mark.
fn clamp_mss(config: &Config, found: &Snapshot) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    for (&no, uplink) in &config.uplinks {
        if !uplink.clamp_mss {
            continue;
        }
        let output = Match::OutputDevice(uplink.dev.clone());
        rules.push(FilterRule::new([output, Match::TcpSyn], Verdict::ClampMss));
        if let Some(mss) = mss_of(config, uplink, found) {
            let elsewhere = Match::NotOutputDevice(uplink.dev.clone());
            let mark = Match::Mark(config.kernel_ids.uplink_mark(no));
            let matches = [elsewhere, Match::TcpSyn, mark];
            rules.push(FilterRule::new(matches, Verdict::SetMss(mss)));
        }
    }
    rules
}

/// The length of the headers of IP and TCP.
fn headers(family: Family) -> u32 {
    match family {
        Family::Inet => 40,
        Family::Inet6 => 60,
    }
}

/// The MSS for what comes in by an uplink. While its device does not exist, the rule stays as it is.
fn mss_of(config: &Config, uplink: &Uplink, found: &Snapshot) -> Option<u16> {
    if let Some(link) = found.devices.link(&uplink.dev) {
        return u16::try_from(link.mtu.saturating_sub(headers(config.family)))
            .ok()
            .filter(|mss| *mss > 0);
    }
    let elsewhere = Match::NotOutputDevice(uplink.dev.clone());
    for rule in found.filter.get()?.chains.get(&Chain::CLAMP_MSS)? {
        if let FilterRule::Known { matches, verdict: Verdict::SetMss(mss) } = rule {
            if matches.first() == Some(&elsewhere) {
                return Some(*mss);
            }
        }
    }
    None
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
