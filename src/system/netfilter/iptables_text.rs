//! The grammar of iptables: a typed rule as text, exactly as `iptables-save` prints it, and back.
//!
//! For every rule that consists of known matches and a known verdict, `parse(render(rule))` is the
//! rule. A text that is anything else parses as [`FilterRule::Other`] and renders as it was.

use std::fmt::Write;

use ipnet::IpNet;

use crate::model::client_set::{set_family, set_name};
use crate::model::filter::{Chain, FilterRule, Jump, Match, Table, Verdict};
use crate::model::routing::UPLINK_REALM;
use crate::model::{DevName, Mark};

const ANSWER: &str = "-m conntrack --ctstate ESTABLISHED --ctdir REPLY";
const SYN: &str = "-p tcp -m tcp --tcp-flags SYN,RST SYN";

/// `None` for a spelling that would not render as it was.
fn prefix(text: &str) -> Option<IpNet> {
    text.parse().ok().filter(|net: &IpNet| net.to_string() == text)
}

/// The text of a rule without `-A CHAIN`.
pub fn render(rule: &FilterRule) -> String {
    let (matches, verdict) = match rule {
        FilterRule::Other(text) => return text.clone(),
        FilterRule::Known { matches, verdict } => (matches, verdict),
    };
    let mut text = String::new();
    for condition in matches {
        text += &render_match(condition);
        text.push(' ');
    }
    text + &render_verdict(verdict)
}

fn render_match(condition: &Match) -> String {
    match condition {
        Match::InputDevice(dev) => format!("-i {dev}"),
        Match::OutputDevice(dev) => format!("-o {dev}"),
        Match::NotOutputDevice(dev) => format!("! -o {dev}"),
        Match::NoMark => "-m mark --mark 0x0".to_owned(),
        Match::Mark(mark) => format!("-m mark --mark {mark}"),
        Match::NotMark(mark) => format!("-m mark ! --mark {mark}"),
        Match::Connmark(mark) => format!("-m connmark --mark {mark}"),
        Match::NotConnmark(mark) => format!("-m connmark ! --mark {mark}"),
        Match::Source(net) => format!("-s {net}"),
        Match::Answer => ANSWER.to_owned(),
        Match::NewFlow => "-m conntrack --ctstate NEW".to_owned(),
        Match::UplinkRealm => format!("-m realm --realm {UPLINK_REALM:#x}"),
        Match::TcpSyn => SYN.to_owned(),
        Match::TcpDestinationPort(port) => format!("-p tcp -m tcp --dport {port}"),
        Match::NoIpsecPolicy => "-m policy --dir out --pol none".to_owned(),
    }
}

fn render_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Masquerade => "-j MASQUERADE".to_owned(),
        Verdict::ClampMss => "-j TCPMSS --clamp-mss-to-pmtu".to_owned(),
        Verdict::SetMss(mss) => format!("-j TCPMSS --set-mss {mss}"),
        Verdict::SetMark(mark) => format!("-j MARK --set-xmark {mark}"),
        Verdict::SetConnmark(mark) => format!("-j CONNMARK --set-xmark {mark}"),
        Verdict::SaveMark { mask } => {
            format!("-j CONNMARK --save-mark --nfmask {mask:#x} --ctmask {mask:#x}")
        }
        Verdict::RestoreMark { mask } => {
            format!("-j CONNMARK --restore-mark --nfmask {mask:#x} --ctmask {mask:#x}")
        }
        Verdict::MarkFromClientSet(family) => {
            format!("-j SET --map-set {} src --map-mark", set_name(*family))
        }
        Verdict::Helper(name) => format!("-j CT --helper {name}"),
        Verdict::Jump(chain) => format!("-j {}", chain.name),
    }
}

/// Reads a rule of a table, without `-A CHAIN`.
pub fn parse(table: Table, text: &str) -> FilterRule {
    let words: Vec<&str> = text.split(' ').collect();
    match parse_words(table, &words) {
        Some((matches, verdict)) => FilterRule::Known { matches, verdict },
        None => FilterRule::Other(text.to_owned()),
    }
}

fn parse_words(table: Table, words: &[&str]) -> Option<(Vec<Match>, Verdict)> {
    let mut matches = Vec::new();
    let mut rest = words;
    while !rest.starts_with(&["-j"]) {
        let (condition, length) = parse_match(rest)?;
        matches.push(condition);
        rest = &rest[length..];
    }
    Some((matches, parse_verdict(table, &rest[1..])?))
}

/// The match at the beginning of a rule, and how many words it has.
fn parse_match(words: &[&str]) -> Option<(Match, usize)> {
    Some(match *words {
        ["-s", net, ..] => (Match::Source(prefix(net)?), 2),
        ["-i", dev, ..] => (Match::InputDevice(device(dev)?), 2),
        ["-o", dev, ..] => (Match::OutputDevice(device(dev)?), 2),
        ["!", "-o", dev, ..] => (Match::NotOutputDevice(device(dev)?), 3),
        ["-m", "mark", "--mark", "0x0", ..] => (Match::NoMark, 4),
        ["-m", "mark", "--mark", value, ..] => (Match::Mark(mark(value)?), 4),
        ["-m", "mark", "!", "--mark", value, ..] => (Match::NotMark(mark(value)?), 5),
        ["-m", "conntrack", "--ctstate", "ESTABLISHED", "--ctdir", "REPLY", ..] => {
            (Match::Answer, 6)
        }
        ["-m", "conntrack", "--ctstate", "NEW", ..] => (Match::NewFlow, 4),
        ["-m", "realm", "--realm", realm, ..]
            if hexadecimal(realm) == Some(UPLINK_REALM.into()) =>
        {
            (Match::UplinkRealm, 4)
        }
        ["-m", "connmark", "--mark", value, ..] => (Match::Connmark(mark(value)?), 4),
        ["-m", "connmark", "!", "--mark", value, ..] => (Match::NotConnmark(mark(value)?), 5),
        ["-p", "tcp", "-m", "tcp", "--tcp-flags", "SYN,RST", "SYN", ..] => (Match::TcpSyn, 7),
        ["-p", "tcp", "-m", "tcp", "--dport", port, ..] => {
            (Match::TcpDestinationPort(decimal(port)?), 6)
        }
        ["-m", "policy", "--dir", "out", "--pol", "none", ..] => (Match::NoIpsecPolicy, 6),
        _ => return None,
    })
}

fn parse_verdict(table: Table, words: &[&str]) -> Option<Verdict> {
    Some(match *words {
        ["RETURN"] => Verdict::Return,
        ["DROP"] => Verdict::Drop,
        ["MASQUERADE"] => Verdict::Masquerade,
        ["TCPMSS", "--clamp-mss-to-pmtu"] => Verdict::ClampMss,
        ["TCPMSS", "--set-mss", mss] => Verdict::SetMss(decimal(mss)?),
        ["MARK", "--set-xmark", value] => Verdict::SetMark(mark(value)?),
        ["CONNMARK", "--set-xmark", value] => Verdict::SetConnmark(mark(value)?),
        ["CONNMARK", "--save-mark", "--nfmask", nfmask, "--ctmask", ctmask] if nfmask == ctmask => {
            Verdict::SaveMark { mask: hexadecimal(nfmask)? }
        }
        ["CONNMARK", "--restore-mark", "--nfmask", nfmask, "--ctmask", ctmask]
            if nfmask == ctmask =>
        {
            Verdict::RestoreMark { mask: hexadecimal(nfmask)? }
        }
        ["SET", "--map-set", name, "src", "--map-mark"] => {
            Verdict::MarkFromClientSet(set_family(name)?)
        }
        ["CT", "--helper", name] => Verdict::Helper(name.to_owned()),
        [name] => Verdict::Jump(Chain::find(table, name)?),
        _ => return None,
    })
}

/// A wildcard (`ppp+`) is no device.
fn device(word: &str) -> Option<DevName> {
    word.parse().ok()
}

/// `0x1/0xff`. The canonical form is required, so that the text renders as it was.
fn mark(word: &str) -> Option<Mark> {
    let (value, mask) = word.split_once('/')?;
    Some(Mark { value: hexadecimal(value)?, mask: hexadecimal(mask)? })
}

fn hexadecimal(word: &str) -> Option<u32> {
    let number = u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
    if format!("{number:#x}") == word { Some(number) } else { None }
}

fn decimal(word: &str) -> Option<u16> {
    let number: u16 = word.parse().ok()?;
    if number.to_string() == word { Some(number) } else { None }
}

/// What `iptables-restore --noflush` reads to make chains or to replace their rules: one block for
/// each table. To declare a chain empties it.
pub fn restore(chains: &[(Chain, Vec<FilterRule>)]) -> String {
    let mut text = String::new();
    for block in chains.chunk_by(|(one, _), (next, _)| one.table == next.table) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "*{}", block[0].0.table);
        for (chain, _) in block {
            let _ = writeln!(text, ":{} - [0:0]", chain.name);
        }
        for (chain, rules) in block {
            for rule in rules {
                let _ = writeln!(text, "-A {} {}", chain.name, render(rule));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The addition of one rule in the same form.
pub fn add(jump: &Jump) -> String {
    single_rule("-A", jump)
}

/// The deletion of one rule in the same form, in which a rule may contain quotes.
pub fn delete(jump: &Jump) -> String {
    single_rule("-D", jump)
}

fn single_rule(command: &str, Jump { from, to, rule }: &Jump) -> String {
    format!("*{}\n{command} {from} {}\nCOMMIT\n", to.table, render(rule))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Family;

    fn any_mark() -> impl Strategy<Value = Mark> {
        any::<(u32, u32)>().prop_map(|(value, mask)| Mark { value, mask })
    }

    fn any_device() -> impl Strategy<Value = DevName> {
        "[a-z0-9._@][a-z0-9._@-]{0,13}[a-z0-9]".prop_map(|name| name.parse().unwrap())
    }

    fn any_match() -> impl Strategy<Value = Match> {
        prop_oneof![
            any_device().prop_map(Match::InputDevice),
            any_device().prop_map(Match::OutputDevice),
            any_device().prop_map(Match::NotOutputDevice),
            (any::<std::net::Ipv6Addr>(), 0..=128u8).prop_map(|(address, length)| {
                Match::Source(IpNet::new(address.into(), length).unwrap().trunc())
            }),
            Just(Match::NoMark),
            Just(Match::NoIpsecPolicy),
            any_mark().prop_map(Match::Mark),
            any_mark().prop_map(Match::NotMark),
            any_mark().prop_map(Match::Connmark),
            any_mark().prop_map(Match::NotConnmark),
            Just(Match::Answer),
            Just(Match::NewFlow),
            Just(Match::UplinkRealm),
            Just(Match::TcpSyn),
            any::<u16>().prop_map(Match::TcpDestinationPort),
        ]
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Return),
            Just(Verdict::Drop),
            Just(Verdict::Masquerade),
            Just(Verdict::ClampMss),
            Just(Verdict::MarkFromClientSet(Family::Inet)),
            Just(Verdict::MarkFromClientSet(Family::Inet6)),
            any_mark().prop_map(Verdict::SetMark),
            any_mark().prop_map(Verdict::SetConnmark),
            any::<u16>().prop_map(Verdict::SetMss),
            any::<u32>().prop_map(|mask| Verdict::SaveMark { mask }),
            any::<u32>().prop_map(|mask| Verdict::RestoreMark { mask }),
            "[a-z]{1,8}".prop_map(Verdict::Helper),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn a_rule_that_is_rendered_parses_as_itself(
            matches in vec(any_match(), 0..4), verdict in any_verdict(),
        ) {
            let rule = FilterRule::Known { matches, verdict };
            prop_assert_eq!(parse(Table::Mangle, &render(&rule)), rule);
        }

        #[test]
        fn a_text_that_is_parsed_renders_as_itself(
            words in vec(prop_oneof![
                Just("-i"), Just("-o"), Just("ppp0"), Just("ppp+"), Just("-j"), Just("-m"), Just("mark"),
                Just("!"), Just("--mark"), Just("0x1/0xff"), Just("0x01/0xff"), Just("RETURN"), Just("MARK"),
                Just("--set-xmark"), Just("CONNMARK"), Just("WANPOOL"), Just(""), Just("--dport"), Just("021"),
            ], 0..8),
        ) {
            let text = words.join(" ");
            prop_assert_eq!(render(&parse(Table::Mangle, &text)), text);
        }
    }

    #[test]
    fn every_jump_parses_as_itself_in_its_own_table() {
        for chain in Chain::ALL {
            for matches in [vec![], vec![Match::TcpSyn]] {
                let rule = FilterRule::Known { matches, verdict: Verdict::Jump(chain) };
                assert_eq!(parse(chain.table, &render(&rule)), rule);
            }
        }
        assert_eq!(parse(Table::Nat, "-j WANPOOL-OUT"), FilterRule::Other("-j WANPOOL-OUT".into()));
    }
}
