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

    /// Whether the rule excepts packets to some networks, or those that IPsec encrypts, from
    /// masquerading. Without it, what belongs in a tunnel would leave in clear.
    fn exempts_from_nat(&self) -> bool {
        let words = words(self.text);
        let has_destination =
            words.windows(2).any(|pair| pair[0] == "-d" && pair[1] != "0.0.0.0/0");
        let is_for_ipsec = words.windows(2).any(|pair| pair == ["--pol", "ipsec"]);
        let is_source_nat = self.table == Table::Nat && self.chain == "POSTROUTING";
        is_source_nat && (has_destination || is_for_ipsec)
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
pub(super) fn words(rule: &str) -> Vec<&str> {
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
            if !is_before_jump || rule.jumps_to().is_some() || rule.exempts_from_nat() {
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
mod tests;
