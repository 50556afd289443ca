//! Whose chains are these? A chain has no protocol number to tell by, only its name and its rules.
//!
//! One that is empty is ours: there is nothing in it to lose. One that holds a rule of the form that
//! we write is ours, whatever else is in it by now: an earlier version or configuration made it, or
//! somebody altered it by hand. One that holds none is ours only if all the rest says so: the marks
//! are ours, and the very jump leads to it that we make and want. Any other is somebody else's.

use super::marking;
use crate::config::Config;
use crate::model::UplinkNo;
use crate::model::STATE::{Chain, Observed, Slice};

/// The forms of our rules, as `iptables-save` prints them. `DEV`, `PORT` and `HELPER` are any word,
/// `BITS` is eight adjacent bits, `UNMARKED` and `CARRIER` are marks under such a mask, `CARRIED` is
/// the highest bit of one. Rules that
/// anybody might write, as `-i DEV -j RETURN`, prove nothing and are not here.
const FORMS: [(Chain, &str); 12] = [
    (Chain::SET_MARK, "-j CONNMARK --restore-mark --nfmask BITS --ctmask BITS"),
    (Chain::SET_MARK, "-m mark ! --mark UNMARKED -j RETURN"),
    (Chain::SET_MARK, "-i DEV -j MARK --set-xmark CARRIER"),
    (
        Chain::SET_MARK,
        "-m mark ! --mark UNMARKED -j CONNMARK --save-mark --nfmask BITS --ctmask BITS",
    ),
    (Chain::SET_MARK, "-i DEV -j SET --map-set wanpool src --map-mark"),
    (Chain::SET_MARK, "-j SET --map-set wanpool src --map-mark"),
    (
        Chain::RESTORE_MARK,
        "-m connmark ! --mark UNMARKED -j CONNMARK --restore-mark --nfmask BITS --ctmask BITS",
    ),
    (Chain::SAVE_MARK, "-m mark --mark CARRIED -j RETURN"),
    (Chain::SAVE_MARK, "-o DEV -j CONNMARK --set-xmark CARRIER"),
    (Chain::MASQUERADE, "-o DEV -j MASQUERADE"),
    (Chain::CLAMP_MSS, "-o DEV -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"),
    (Chain::HELPERS, "-p tcp -m tcp --dport PORT -j CT --helper HELPER"),
];

/// Takes the chains of others, and the jumps to them, out of the slice: they stand in our way.
pub fn set_apart(config: &Config, found: &mut Observed) {
    for chain in foreign(config, &found.slice) {
        found.slice.chains.remove(&chain);
        found.slice.jumps.retain(|jump| jump.to != chain);
        let Chain { table, name } = chain;
        found.taken.push(format!(
            "the chain {name} of table {table} holds no rule of ours; \
             rename it: iptables -w -t {table} -E {name} OTHER"
        ));
    }
}

fn foreign(config: &Config, slice: &Slice) -> Vec<Chain> {
    let proven = |chain: Chain, rules: &[String]| rules.iter().any(|rule| is_ours(chain, rule));
    let marks_are_ours =
        slice.chains.get(&Chain::SET_MARK).is_some_and(|rules| proven(Chain::SET_MARK, rules));
    let wanted = marking::jumps(config);
    let is_led_to = |chain: Chain| {
        slice.jumps.iter().any(|jump| jump.to == chain && wanted.contains(jump)) && marks_are_ours
    };
    let chains = slice.chains.iter().filter(|(_, rules)| !rules.is_empty());
    let theirs = chains.filter(|(chain, rules)| !proven(**chain, rules) && !is_led_to(**chain));
    theirs.map(|(&chain, _)| chain).collect()
}

/// Whether a rule of this chain has a form of ours.
fn is_ours(chain: Chain, rule: &str) -> bool {
    // Behind a LAN device or not.
    let selected = || rule.strip_prefix("-i ").and_then(|rest| Some(rest.split_once(' ')?.1));
    let has = |form: &str, rule: &str| {
        let words = || rule.split(' ');
        form.split(' ').count() == words().count()
            && form.split(' ').zip(words()).all(|(form, word)| fits(form, word))
    };
    FORMS.iter().filter(|(of, _)| *of == chain).any(|(_, form)| {
        let helped = || chain == Chain::HELPERS && selected().is_some_and(|rest| has(form, rest));
        has(form, rule) || helped()
    })
}

fn fits(form: &str, word: &str) -> bool {
    match form {
        "DEV" | "PORT" | "HELPER" => true,
        "BITS" => number(word).is_some_and(|bits| byte(0, bits).is_some()),
        "UNMARKED" => marked(word) == Some(0),
        "CARRIED" => word
            .split_once('/')
            .and_then(|(value, mask)| Some((number(value)?, number(mask)?)))
            .is_some_and(|(value, mask)| value == mask && mask.is_power_of_two() && mask >= 0x80),
        "CARRIER" => marked(word).is_some_and(|byte| {
            byte.checked_sub(0x80).is_some_and(|number| UplinkNo::new(number).is_some())
        }),
        literal => literal == word,
    }
}

/// Our byte of a mark in the form `0x81/0xff`, if its mask could be ours.
fn marked(word: &str) -> Option<u8> {
    let (value, mask) = word.split_once('/')?;
    byte(number(value)?, number(mask)?)
}

fn byte(value: u32, mask: u32) -> Option<u8> {
    let low = mask.trailing_zeros();
    let is_byte = mask.checked_shr(low)? == 0xff && value & !mask == 0;
    is_byte.then_some((value >> low) as u8)
}

fn number(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests;
