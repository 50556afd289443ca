//! What others' rules do to packets before they reach ours, read from `iptables-save` text.

use std::collections::{HashMap, HashSet};

use super::ours;
use crate::state::Table;

/// The rules, as `table CHAIN rule`, that stand in front of a jump of ours and accept packets,
/// themselves or in a chain that they lead to.
pub fn accepted_before(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (table, rules) in tables(text) {
        let mut chains: Chains = HashMap::new();
        for (chain, rule) in &rules {
            chains.entry(chain).or_default().push(rule);
        }
        let leads_to_ours = |rule: &str| target(rule).is_some_and(|to| ours(table, to).is_some());
        let ours = rules.iter().enumerate().filter(|(_, (_, rule))| leads_to_ours(rule));
        let last: HashMap<&str, usize> = ours.map(|(at, &(chain, _))| (chain, at)).collect();
        let before = rules.iter().enumerate().filter(|(at, (chain, _))| last.get(chain) > Some(at));
        let theirs = before.map(|(_, rule)| rule).filter(|(_, rule)| !leads_to_ours(rule));
        let accepting = theirs.filter(|(_, rule)| ends_here(rule) || accepts(&chains, rule));
        found.extend(accepting.map(|(chain, rule)| format!("{table} {chain} {rule}")));
    }
    found
}

type Rules<'a> = Vec<(&'a str, &'a str)>;

/// The rules of the tables that we have chains in, each with its chain, in order.
fn tables(text: &str) -> Vec<(Table, Rules<'_>)> {
    let mut tables: Vec<(Table, Rules)> = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            let table = Table::ALL.into_iter().find(|table| table.name() == name);
            wanted = table.is_some();
            tables.extend(table.map(|table| (table, Vec::new())));
        } else if let (true, Some(rule), Some((_, rules))) =
            (wanted, line.strip_prefix("-A "), tables.last_mut())
        {
            rules.extend(rule.split_once(' '));
        }
    }
    tables
}

/// In a built-in chain: left for its policy, from which nothing comes back.
fn ends_here(rule: &str) -> bool {
    target(rule) == Some("RETURN") || rule.split(' ').any(|word| word == "-g")
}

/// What a rule leads to: the word behind `-j` or `-g`.
fn target(rule: &str) -> Option<&str> {
    let mut words = rule.split(' ');
    words.find(|word| *word == "-j" || *word == "-g")?;
    words.next()
}

/// The rules of each chain.
type Chains<'a> = HashMap<&'a str, Vec<&'a str>>;

/// Whether a rule accepts, itself or in a chain that it leads to. Each chain is looked into once,
/// however many rules lead to it.
fn accepts(chains: &Chains, rule: &str) -> bool {
    let mut seen = HashSet::new();
    let mut ahead = vec![rule];
    while let Some(rule) = ahead.pop() {
        match target(rule) {
            Some("ACCEPT") => return true,
            Some(chain) if seen.insert(chain) => {
                ahead.extend(chains.get(chain).into_iter().flatten());
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_front_and_accepts_is_found() {
        let text = "*mangle\n-A PREROUTING -i eth9 -j MARK --set-xmark 0x1/0x1\n\
                    -A PREROUTING -i eth8 -j vpn\n-A PREROUTING -i eth6 -j RETURN\n\
                    -A PREROUTING -i eth5 -j quiet\n-A quiet -j RETURN\n-A PREROUTING -j WANPOOL\n\
                    -A PREROUTING -i eth7 -j ACCEPT\n-A vpn -p esp -j ACCEPT\nCOMMIT\n\
                    *filter\n-A FORWARD -j ACCEPT\n-A FORWARD -j WANPOOL\nCOMMIT\n\
                    *nat\n-A POSTROUTING -d 10.9.0.0/16 -j ACCEPT\n-A POSTROUTING -j WANPOOL\n";
        assert_eq!(
            accepted_before(text),
            [
                "mangle PREROUTING -i eth8 -j vpn",
                "mangle PREROUTING -i eth6 -j RETURN",
                "nat POSTROUTING -d 10.9.0.0/16 -j ACCEPT"
            ]
        );
    }
}
