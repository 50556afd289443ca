//! Chains, their rules and the jumps to them, as `iptables-save` lists them.

use super::damages::{Damage, Kind};
use crate::lab::{CHAINS, Lab};

pub fn all(lab: &Lab) -> Vec<Damage> {
    let saved = lab.filter();
    let mut damages = Vec::new();
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
            let is_ours =
                |chain: &str| CHAINS.iter().any(|&(of, _, name)| (of, name) == (table, chain));
            let target = rule.rsplit(' ').next().unwrap_or_default();
            if is_ours(chain) {
                damages.extend(of_rule(table, chain, place, rule));
            } else if is_ours(target) {
                damages.extend(of_jump(table, chain, rule));
                damages.extend(of_chain(table, chain, rule, target));
            }
        }
    }
    damages
}

fn of_rule(table: &str, chain: &str, place: usize, rule: &str) -> Vec<Damage> {
    let object = format!("{table} {chain} {place}: {rule}");
    let damage = |kind, what: String| {
        let step = format!("-A {chain} {rule}");
        Damage::new(kind, &object, format!("iptables -w -t {table} {what}"), &step)
    };
    vec![
        damage(Kind::Deleted, format!("-D {chain} {place}")),
        damage(Kind::Altered, format!("-R {chain} {place} -j RETURN")),
        damage(Kind::Altered, format!("-R {chain} {place} -m comment --comment mine {rule}")),
        damage(Kind::Doubled, format!("-I {chain} {place} {rule}")),
    ]
}

/// An altered jump may be a foreign one: ours is added again, and the altered one is kept.
fn of_jump(table: &str, from: &str, rule: &str) -> Vec<Damage> {
    let object = format!("{table} {from} {rule}");
    let iptables = format!("iptables -w -t {table}");
    let damage = |kind, commands: String, step: &str| {
        Damage::new(kind, &object, commands, &format!("{iptables} {step} {from} {rule}"))
    };
    let altered = format!("-s 192.0.2.1/32 {rule}");
    vec![
        damage(Kind::Deleted, format!("{iptables} -D {from} {rule}"), "-A"),
        damage(
            Kind::Altered,
            format!("{iptables} -D {from} {rule}\n{iptables} -A {from} {altered}"),
            "-A",
        )
        .with_cleanup(format!("{iptables} -D {from} {altered}")),
        damage(Kind::Doubled, format!("{iptables} -I {from} {rule}"), "-D"),
    ]
}

/// A chain cannot be doubled, since its name is unique. Under another name it is not ours.
fn of_chain(table: &str, from: &str, jump: &str, chain: &str) -> Vec<Damage> {
    let iptables = format!("iptables -w -t {table}");
    let damage = |kind, commands: String| {
        Damage::new(kind, &format!("{table} {chain}"), commands, &format!(":{chain} - "))
    };
    let renamed = jump.replace(chain, "RENAMED");
    vec![
        damage(
            Kind::Deleted,
            format!("{iptables} -D {from} {jump}\n{iptables} -F {chain}\n{iptables} -X {chain}"),
        ),
        damage(Kind::Altered, format!("{iptables} -F {chain}")),
        damage(Kind::Altered, format!("{iptables} -E {chain} RENAMED")).with_cleanup(format!(
            "{iptables} -D {from} {renamed}\n{iptables} -F RENAMED\n{iptables} -X RENAMED"
        )),
    ]
}
