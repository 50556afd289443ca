//! Reads what `iptables-save` prints: wanpool's chains and the jumps to them, and the rules of other
//! programs that accept packets before such a jump.

use std::collections::{HashMap, HashSet};

use super::iptables_text;
use crate::model::filter::{AcceptingRule, Chain, DeviceMatch, Filter, Jump, Table};

/// One rule of a table that wanpool has chains in.
struct SavedRule<'a> {
    table: Table,
    chain: &'a str,
    /// Without `-A CHAIN`.
    text: &'a str,
}

impl<'a> SavedRule<'a> {
    /// The word behind `-j` or `-g`.
    fn target(&self) -> Option<&'a str> {
        let mut words = words(self.text).into_iter();
        words.find(|word| *word == "-j" || *word == "-g")?;
        words.next()
    }

    /// The chain of wanpool that the rule leads to.
    fn jumps_to(&self) -> Option<Chain> {
        Chain::find(self.table, self.target()?)
    }

    /// Whether a packet that the rule matches leaves its chain and does not return to it. In a built-in
    /// chain, the policy of the chain then applies.
    fn leaves_chain(&self) -> bool {
        self.target() == Some("RETURN") || words(self.text).contains(&"-g")
    }

    /// The match on a device that an option (`-i`, `-o`) of the rule makes.
    fn device(&self, option: &str) -> Option<DeviceMatch> {
        let words = words(self.text);
        let at = words.iter().position(|word| *word == option)?;
        let pattern = (*words.get(at + 1)?).to_owned();
        Some(DeviceMatch { pattern, negated: at > 0 && words[at - 1] == "!" })
    }
}

/// The words of a rule. A text in double quotes, such as a comment, is one word.
fn words(rule: &str) -> Vec<&str> {
    let (mut words, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in rule.char_indices() {
        match c {
            ' ' if !is_quoted => {
                words.push(&rule[start..at]);
                start = at + 1;
            }
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    words.push(&rule[start..]);
    words
}

/// Wanpool's chains with their rules, and the jumps to them. The text has lines `*table`,
/// `:CHAIN policy [counters]` and `-A CHAIN rule`.
pub fn parse(text: &str) -> Filter {
    let mut filter = Filter::default();
    for (table, line) in lines(text) {
        if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or_default();
            if let Some(chain) = Chain::find(table, name) {
                filter.chains.entry(chain).or_default();
            }
        } else if let Some(rule) = saved_rule(table, line) {
            add_rule(&mut filter, &rule);
        }
    }
    filter
}

/// The lines of the tables that wanpool has chains in, each with its table.
fn lines(text: &str) -> Vec<(Table, &str)> {
    let mut lines = Vec::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            current = Table::ALL.into_iter().find(|table| table.name() == name);
        } else if let Some(table) = current {
            lines.push((table, line));
        }
    }
    lines
}

fn saved_rule(table: Table, line: &str) -> Option<SavedRule<'_>> {
    let (chain, text) = line.strip_prefix("-A ")?.split_once(' ')?;
    Some(SavedRule { table, chain, text })
}

fn add_rule(filter: &mut Filter, saved: &SavedRule) {
    let rule = || iptables_text::parse(saved.table, saved.text);
    if let Some(chain) = Chain::find(saved.table, saved.chain) {
        filter.chains.entry(chain).or_default().push(rule());
    } else if let Some(to) = saved.jumps_to() {
        filter.jumps.push(Jump { from: saved.chain.to_owned(), to, rule: rule() });
    }
}

/// The rules that stand before a jump to wanpool's chains and accept packets, themselves or in a
/// chain that they lead to.
pub fn accepting_rules(text: &str) -> Vec<AcceptingRule> {
    let mut found = Vec::new();
    let lines = lines(text);
    for table in Table::ALL {
        let rules = rules_of(table, &lines);
        let mut chains: HashMap<&str, Vec<&SavedRule>> = HashMap::new();
        let mut last_jump: HashMap<&str, usize> = HashMap::new();
        for (at, rule) in rules.iter().enumerate() {
            chains.entry(rule.chain).or_default().push(rule);
            if rule.jumps_to().is_some() {
                last_jump.insert(rule.chain, at);
            }
        }
        for (at, rule) in rules.iter().enumerate() {
            let is_before_jump = last_jump.get(rule.chain).is_some_and(|&last| at < last);
            if !is_before_jump || rule.jumps_to().is_some() {
                continue;
            }
            if rule.leaves_chain() || accepts(&chains, rule) {
                found.push(AcceptingRule {
                    input: rule.device("-i"),
                    output: rule.device("-o"),
                    text: format!("{table} {} {}", rule.chain, rule.text),
                });
            }
        }
    }
    found
}

fn rules_of<'a>(wanted: Table, lines: &[(Table, &'a str)]) -> Vec<SavedRule<'a>> {
    let lines = lines.iter().filter(|(table, _)| *table == wanted);
    lines.filter_map(|(table, line)| saved_rule(*table, line)).collect()
}

/// Whether a rule accepts packets, itself or in a chain that it leads to. Each chain is visited once,
/// however many rules lead to it.
fn accepts<'a>(chains: &HashMap<&str, Vec<&'a SavedRule<'a>>>, rule: &'a SavedRule<'a>) -> bool {
    let mut visited = HashSet::new();
    let mut pending = vec![rule];
    while let Some(rule) = pending.pop() {
        match rule.target() {
            Some("ACCEPT") => return true,
            Some(chain) if visited.insert(chain) => {
                pending.extend(chains.get(chain).into_iter().flatten());
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn texts(found: &[AcceptingRule]) -> Vec<&str> {
        found.iter().map(|rule| rule.text.as_str()).collect()
    }

    #[test]
    fn only_the_chains_of_wanpool_and_the_jumps_to_them_are_read() {
        let filter = parse(
            "# Generated\n*filter\n:WANPOOL - [0:0]\n-A FORWARD -j WANPOOL\nCOMMIT\n\
             *nat\n:PREROUTING ACCEPT [0:0]\n:WANPOOL - [0:0]\n:DOCKER - [0:0]\n\
             -A POSTROUTING -j WANPOOL\n-A POSTROUTING -j DOCKER\n-A DOCKER -g WANPOOL\n\
             -A WANPOOL -o ppp0 -j MASQUERADE\nCOMMIT\n*security\n:WANPOOL - [0:0]\nCOMMIT\n",
        );
        assert_eq!(filter.chains.len(), 1);
        let rules: Vec<_> =
            filter.chains[&Chain::MASQUERADE].iter().map(iptables_text::render).collect();
        assert_eq!(rules, ["-o ppp0 -j MASQUERADE"]);
        let jumps: Vec<_> = filter
            .jumps
            .iter()
            .map(|jump| (jump.from.as_str(), iptables_text::render(&jump.rule)))
            .collect();
        assert_eq!(
            jumps,
            [("POSTROUTING", "-j WANPOOL".to_owned()), ("DOCKER", "-g WANPOOL".to_owned())]
        );
    }

    #[test]
    fn a_text_in_quotes_is_one_word() {
        for (rule, target) in [
            (r#"-m comment --comment "to -j ACCEPT" -j WANPOOL"#, "WANPOOL"),
            (r#"-m comment --comment "a \" -j b" -j WANPOOL"#, "WANPOOL"),
            (r#"-j LOG --log-prefix "x -j ACCEPT ""#, "LOG"),
            (r#"-m comment --comment plain -g WANPOOL"#, "WANPOOL"),
        ] {
            let saved = SavedRule { table: Table::Mangle, chain: "PREROUTING", text: rule };
            assert_eq!(saved.target(), Some(target), "{rule}");
        }
    }

    #[test]
    fn a_rule_is_reported_if_it_accepts_packets_before_a_jump_to_wanpool() {
        let text = "*mangle\n-A PREROUTING -i eth9 -j MARK --set-xmark 0x1/0x1\n\
                    -A PREROUTING -i eth8 -j vpn\n-A PREROUTING ! -i eth6 -j RETURN\n\
                    -A PREROUTING -i eth5 -j quiet\n-A quiet -j RETURN\n-A PREROUTING -j WANPOOL\n\
                    -A PREROUTING -i eth7 -j ACCEPT\n-A vpn -p esp -j ACCEPT\nCOMMIT\n\
                    *filter\n-A FORWARD -j ACCEPT\n-A FORWARD -j WANPOOL\nCOMMIT\n\
                    *nat\n-A POSTROUTING -d 10.9.0.0/16 -j ACCEPT\n-A POSTROUTING -j WANPOOL\n";
        let found = accepting_rules(text);
        assert_eq!(
            texts(&found),
            [
                "nat POSTROUTING -d 10.9.0.0/16 -j ACCEPT",
                "mangle PREROUTING -i eth8 -j vpn",
                "mangle PREROUTING ! -i eth6 -j RETURN",
            ]
        );
        let device =
            |pattern: &str, negated| Some(DeviceMatch { pattern: pattern.into(), negated });
        let inputs: Vec<_> = found.into_iter().map(|rule| rule.input).collect();
        assert_eq!(inputs, [None, device("eth8", false), device("eth6", true)]);
    }

    /// Thirty chains, each of which leads to the next one three times: to follow every way through
    /// them would never end.
    #[test]
    fn each_chain_is_visited_once() {
        let mut text = String::from("*mangle\n-A PREROUTING -j c0\n-A PREROUTING -j WANPOOL\n");
        for at in 0..30 {
            text += &format!("-A c{at} -j c{next}\n", next = at + 1).repeat(3);
        }
        assert!(accepting_rules(&text).is_empty());
        text += "-A c30 -j c0\n";
        assert!(accepting_rules(&text).is_empty(), "a loop");
        text += "-A c30 -j ACCEPT\n";
        assert_eq!(texts(&accepting_rules(&text)), ["mangle PREROUTING -j c0"]);
    }

    /// Lines as `iptables-save` prints them, and lines that it never would.
    fn saved() -> impl Strategy<Value = String> {
        let word = prop::sample::select(
            &[
                "WANPOOL",
                "PREROUTING",
                "-j",
                "-g",
                "ACCEPT",
                "RETURN",
                "-i",
                "!",
                "é",
                "\"",
                "a",
                "",
            ][..],
        );
        let rule = vec(word, 0..8).prop_map(|words| format!("-A {}", words.join(" ")));
        let fixed =
            ["*mangle", "*nat", "*", ":WANPOOL - [0:0]", ":", ": ", "COMMIT", "-A", "-A ", "#"];
        let line = prop_oneof![4 => rule, 2 => prop::sample::select(fixed.to_vec()).prop_map(String::from),
            1 => any::<String>()];
        vec(line, 0..40).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn any_text_is_read_without_a_panic(text in saved()) {
            let filter = parse(&text);
            let rules: usize = filter.chains.values().map(Vec::len).sum();
            prop_assert!(rules + filter.jumps.len() <= text.lines().count());
            prop_assert!(accepting_rules(&text).len() <= text.lines().count());
        }
    }
}
