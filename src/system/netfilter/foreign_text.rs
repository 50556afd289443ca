//! Reads the rules of other programs that `iptables-save` prints: all rules that packets pass while they
//! are forwarded, and those in `mangle PREROUTING` behind the jump to wanpool's chain.

use super::save_text::words;
use crate::model::Mark;
use crate::model::filter::{Chain, DeviceMatch};
use crate::model::foreign_filter::{
    Condition, Effect, ForeignRule, ForeignTable, Hook, HookedChain,
};

/// The tables `filter` and `mangle`.
pub fn parse(text: &str) -> Vec<ForeignTable> {
    let mut tables = Vec::new();
    let hooks = [("filter", "FORWARD", Hook::Forward), ("mangle", "PREROUTING", Hook::Prerouting)];
    for (name, chain, hook) in hooks {
        let mut table = ForeignTable::default();
        let mut current = "";
        for line in text.lines() {
            if let Some(started) = line.strip_prefix('*') {
                current = started;
            } else if current == name {
                read_line(&mut table, name, line, (chain, hook));
            }
        }
        if hook == Hook::Prerouting {
            keep_rules_behind_jump(&mut table, chain);
        }
        tables.push(table);
    }
    tables
}

fn read_line(table: &mut ForeignTable, name: &str, line: &str, (hooked, hook): (&str, Hook)) {
    if let Some(declared) = line.strip_prefix(':') {
        let mut words = declared.split(' ');
        let (chain, policy) = (words.next().unwrap_or_default(), words.next());
        if chain == hooked {
            let drops = policy == Some("DROP");
            table.hooks.push(HookedChain { chain: chain.to_owned(), hook, drops });
        }
        table.chains.entry(chain.to_owned()).or_default();
    } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|it| it.split_once(' ')) {
        let (conditions, effect) = read_rule(rule);
        let rule = ForeignRule { conditions, effect, text: format!("{name} {chain} {rule}") };
        table.chains.entry(chain.to_owned()).or_default().push(rule);
    }
}

/// What wanpool's chain does with a mark overrides the rules in front of it.
fn keep_rules_behind_jump(table: &mut ForeignTable, chain: &str) {
    let ours = Effect::Jump(Chain::SET_MARK.name.to_owned());
    table.chains.remove(Chain::SET_MARK.name);
    let Some(rules) = table.chains.get_mut(chain) else { return };
    match rules.iter().position(|rule| rule.effect == ours) {
        Some(at) => drop(rules.drain(..=at)),
        None => rules.clear(),
    }
}

/// Reads a rule without `-A CHAIN`.
fn read_rule(text: &str) -> (Vec<Condition>, Effect) {
    let mut conditions = Vec::new();
    let mut effect = Effect::Other;
    let words = words(text);
    let mut rest = words.as_slice();
    while let [first, others @ ..] = rest {
        let (negated, words) = if *first == "!" { (true, others) } else { (false, rest) };
        if let ["-j" | "-g", target, options @ ..] = words {
            effect = read_target(words[0], target, options);
            break;
        }
        let (condition, length) = read_condition(words, negated);
        conditions.extend(condition);
        rest = words.get(length..).unwrap_or_default();
    }
    (conditions, effect)
}

fn read_target(option: &str, target: &str, options: &[&str]) -> Effect {
    match (target, options) {
        _ if option == "-g" => Effect::Goto(target.to_owned()),
        // Who reads the queue decides; it is there to let packets pass.
        ("ACCEPT" | "QUEUE" | "NFQUEUE", _) => Effect::Accept,
        ("DROP" | "REJECT", _) => Effect::Drop,
        ("RETURN", _) => Effect::Return,
        ("MARK" | "CONNMARK", ["--set-xmark", mark, ..]) => {
            Effect::SetMark { bits: read_mark(mark).map_or(u32::MAX, |it| it.mask | it.value) }
        }
        // A target of an extension, with options or in capitals, decides nothing.
        (_, []) => Effect::Jump(target.to_owned()),
        _ => Effect::Other,
    }
}

/// The condition at the beginning of a rule, if it is one, and how many words it has.
fn read_condition(words: &[&str], negated: bool) -> (Option<Condition>, usize) {
    let device = |pattern: &str| DeviceMatch { pattern: pattern.to_owned(), negated };
    match *words {
        ["-i", dev, ..] => (Some(Condition::Input(device(dev))), 2),
        ["-o", dev, ..] => (Some(Condition::Output(device(dev))), 2),
        ["-s", net, ..] => match net.parse() {
            Ok(net) => (Some(Condition::Source { net, negated }), 2),
            Err(_) => (Some(Condition::Unknown), 2),
        },
        ["-p", "tcp" | "udp" | "all", ..] => (Some(Condition::Unknown), 2),
        ["-p", ..] => {
            let condition = if negated { Condition::Unknown } else { Condition::OtherTraffic };
            (Some(condition), 2)
        }
        ["--mark", mark, ..] => match read_mark(mark) {
            Some(mark) => (Some(Condition::Mark { mark, negated }), 2),
            None => (Some(Condition::Unknown), 2),
        },
        ["--ctstate" | "--state", states, ..] => {
            let has_new = states.split(',').any(|state| state == "NEW");
            (Some(Condition::NewFlow(has_new != negated)), 2)
        }
        ["--ctstatus", "DNAT", ..] if !negated => (Some(Condition::OtherTraffic), 2),
        // The connmark of a new flow is not known.
        ["-m", "connmark", "!", "--mark", _, ..] => (Some(Condition::Unknown), 5),
        ["-m", "connmark", "--mark", _, ..] => (Some(Condition::Unknown), 4),
        ["-m", "comment", "--comment", _, ..] => (None, 4),
        // The options of the extension follow.
        ["-m", "mark" | "conntrack" | "state" | "tcp" | "udp" | "icmp", ..] => (None, 2),
        _ => (Some(Condition::Unknown), 1),
    }
}

/// `VALUE` or `VALUE/MASK`, as `iptables-save` prints them.
fn read_mark(text: &str) -> Option<Mark> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    match text.split_once('/') {
        Some((value, mask)) => Some(Mark { value: number(value)?, mask: number(mask)? }),
        None => Some(Mark { value: number(text)?, mask: u32::MAX }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rule_is_read_as_conditions_and_an_effect() {
        let device = |pattern: &str, negated| DeviceMatch { pattern: pattern.into(), negated };
        let input = |pattern| Condition::Input(device(pattern, false));
        let jump = |chain: &str| Effect::Jump(chain.to_owned());
        let mark = |value, mask| Condition::Mark { mark: Mark { value, mask }, negated: false };
        for (text, conditions, effect) in [
            ("-j DOCKER-USER", vec![], jump("DOCKER-USER")),
            ("-i br0 -j ACCEPT", vec![input("br0")], Effect::Accept),
            (
                "! -i br0 -o docker0 -j DROP",
                vec![
                    Condition::Input(device("br0", true)),
                    Condition::Output(device("docker0", false)),
                ],
                Effect::Drop,
            ),
            (
                "-o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                vec![Condition::Output(device("br0", false)), Condition::NewFlow(false)],
                Effect::Accept,
            ),
            ("-m state --state NEW -j RETURN", vec![Condition::NewFlow(true)], Effect::Return),
            (
                "-m mark --mark 0x40000/0xff0000 -j ACCEPT",
                vec![mark(0x40000, 0xff_0000)],
                Effect::Accept,
            ),
            (
                "-m comment --comment \"to -j ACCEPT\" -g other",
                vec![],
                Effect::Goto("other".into()),
            ),
            ("-j REJECT --reject-with icmp-port-unreachable", vec![], Effect::Drop),
            (
                "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
                vec![Condition::OtherTraffic, Condition::Unknown, Condition::Unknown],
                Effect::Accept,
            ),
            ("-p udp -j MARK --set-xmark 0xa/0xffffffff", vec![Condition::Unknown], {
                Effect::SetMark { bits: u32::MAX }
            }),
            ("-j MARK --set-xmark 0xa00/0xff00", vec![], Effect::SetMark { bits: 0xff00 }),
            ("-j MARK --set-xmark 0x1/0x0", vec![], Effect::SetMark { bits: 1 }),
            ("-j LOG --log-prefix \"x -j DROP\"", vec![], Effect::Other),
            (
                "-s 10.0.0.0/8 -m connmark --mark 0x1 -j ACCEPT",
                vec![
                    Condition::Source { net: "10.0.0.0/8".parse().unwrap(), negated: false },
                    Condition::Unknown,
                ],
                Effect::Accept,
            ),
        ] {
            assert_eq!(read_rule(text), (conditions, effect), "{text}");
        }
    }

    #[test]
    fn of_prerouting_only_the_rules_behind_the_jump_count() {
        let [filter, mangle] = &parse(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n:WANPOOL - [0:0]\n:qos - [0:0]\n\
             -A PREROUTING -j MARK --set-xmark 0x1/0xffffffff\n-A PREROUTING -j WANPOOL\n\
             -A PREROUTING -j qos\n-A WANPOOL -j RETURN\n-A qos -j MARK --set-xmark 0x2/0xff\n\
             COMMIT\n*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i br0 -j ACCEPT\nCOMMIT\n",
        )[..] else {
            panic!("two tables");
        };
        assert_eq!(mangle.chains["PREROUTING"].len(), 1);
        assert_eq!(mangle.chains["qos"][0].effect, Effect::SetMark { bits: 0xff });
        assert_eq!(mangle.chains["qos"][0].text, "mangle qos -j MARK --set-xmark 0x2/0xff");
        assert_eq!(mangle.hooks[0].hook, Hook::Prerouting);
        assert!(filter.hooks[0].drops && filter.chains["FORWARD"].len() == 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_rule_is_read(words in vec("[-!a-zA-Z0-9/]{0,12}|-[imjgpso]|--mark|\"|!", 0..12)) {
            let rule = words.join(" ");
            let text = format!("*filter\n:FORWARD DROP\n-A FORWARD {rule}\n*mangle\n-A X {rule}\n");
            prop_assert_eq!(parse(&text).len(), 2);
        }
    }
}
