//! Chains, their rules and the jumps to them, as `iptables-save` lists them.

use super::damages::{Deed, Kind};
use crate::lab::Lab;

const CHAINS: [&str; 6] = [
    "mangle WANPOOL",
    "mangle WANPOOL-OUT",
    "mangle WANPOOL-POST",
    "mangle WANPOOL-MSS",
    "nat WANPOOL",
    "raw WANPOOL",
];

pub fn all(lab: &Lab) -> Vec<Deed> {
    let saved = lab.filter();
    let mut deeds = Vec::new();
    let mut table = "";
    let (mut last, mut place) = ("", 0);
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((chain, rule)) =
            line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
        {
            place = if chain == last { place + 1 } else { 1 };
            last = chain;
            let ours = |chain: &str| CHAINS.contains(&format!("{table} {chain}").as_str());
            let target = rule.rsplit(' ').next().unwrap_or_default();
            if ours(chain) {
                deeds.extend(of_rule(table, chain, place, rule));
            } else if ours(target) {
                deeds.extend(of_jump(table, chain, rule));
                deeds.extend(of_chain(table, chain, rule, target));
            }
        }
    }
    deeds
}

fn of_rule(table: &str, chain: &str, place: usize, rule: &str) -> Vec<Deed> {
    let object = format!("{table} {chain} {place}: {rule}");
    let deed = |kind, what: String| {
        let named = format!("-A {chain} {rule}");
        Deed::new(kind, &object, format!("iptables -w -t {table} {what}"), &named)
    };
    vec![
        deed(Kind::Deleted, format!("-D {chain} {place}")),
        deed(Kind::Altered, format!("-R {chain} {place} -s 192.0.2.1/32 {rule}")),
        deed(Kind::Altered, format!("-R {chain} {place} -j RETURN")),
        deed(Kind::Altered, format!("-R {chain} {place} -m comment --comment mine {rule}")),
        deed(Kind::Doubled, format!("-I {chain} {place} {rule}")),
    ]
}

/// A jump that was altered may be somebody else's by now: it is made anew, and the other left.
fn of_jump(table: &str, from: &str, rule: &str) -> Vec<Deed> {
    let object = format!("{table} {from} {rule}");
    let iptables = format!("iptables -w -t {table}");
    let deed = |kind, damage: String, step: &str| {
        Deed::new(kind, &object, damage, &format!("{iptables} {step} {from} {rule}"))
    };
    let altered = format!("-s 192.0.2.1/32 {rule}");
    vec![
        deed(Kind::Deleted, format!("{iptables} -D {from} {rule}"), "-A"),
        deed(
            Kind::Altered,
            format!("{iptables} -D {from} {rule}\n{iptables} -A {from} {altered}"),
            "-A",
        )
        .undone_by(format!("{iptables} -D {from} {altered}")),
        deed(Kind::Doubled, format!("{iptables} -A {from} {rule}"), "-D"),
        deed(Kind::Doubled, format!("{iptables} -I {from} {rule}"), "-D"),
    ]
}

/// A chain cannot be doubled: its name is its own. Under another name it is nobody's.
fn of_chain(table: &str, from: &str, jump: &str, chain: &str) -> Vec<Deed> {
    let iptables = format!("iptables -w -t {table}");
    let deed = |kind, damage: String| {
        Deed::new(kind, &format!("{table} {chain}"), damage, &format!(":{chain} - "))
    };
    let renamed = jump.replace(chain, "RENAMED");
    vec![
        deed(
            Kind::Deleted,
            format!("{iptables} -D {from} {jump}\n{iptables} -F {chain}\n{iptables} -X {chain}"),
        ),
        deed(Kind::Altered, format!("{iptables} -F {chain}")),
        deed(Kind::Altered, format!("{iptables} -E {chain} RENAMED")).undone_by(format!(
            "{iptables} -D {from} {renamed}\n{iptables} -F RENAMED\n{iptables} -X RENAMED"
        )),
    ]
}
