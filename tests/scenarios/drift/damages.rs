//! What is done to an object, and whether it is found and mended.

use std::collections::BTreeMap;

use crate::lab::{Lab, Run};

/// One damage to one object.
#[derive(Clone)]
pub struct Deed {
    pub kind: Kind,
    pub object: String,
    /// Lines of the shell.
    pub damage: String,
    /// Each is in a step that the check prints.
    pub named: String,
    /// Takes away, after the mending, what can no longer be proved to be ours, and so is left.
    pub undo: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Deleted,
    Altered,
    Doubled,
}

impl Deed {
    pub fn new(kind: Kind, object: &str, damage: String, named: &str) -> Deed {
        let (object, named) = (object.to_owned(), named.to_owned());
        Deed { kind, object, damage, named, undo: String::new() }
    }

    pub fn undone_by(self, undo: String) -> Deed {
        Deed { undo, ..self }
    }
}

/// The command that must mend.
#[derive(Clone, Copy)]
pub enum Mender {
    Restore,
    /// What leaves alone an uplink that was failed over.
    Assign,
}

/// Does each deed in turn. They must be so many at least: a list read from the kernel could be
/// empty for the wrong reason.
#[track_caller]
pub fn try_all(lab: &Lab, deeds: &[Deed], mender: Mender, at_least: usize) {
    let right = picture(lab);
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for deed in deeds {
        *counts.entry(deed.kind).or_default() += 1;
        if let Err(why) = try_one(lab, deed, mender, &right) {
            faults.push(format!("{:?}: {}\n  {}\n  {why}", deed.kind, deed.object, deed.damage));
            // The next one is to find all in order.
            lab.wanpool(["flush"]).ok();
            mend(lab, mender).ok();
            assert!(picture(lab) == right, "{}", faults.join("\n"));
        }
    }
    println!("{} deeds on {} objects: {counts:?}", deeds.len(), objects(deeds));
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), deeds.len(), faults.join("\n"));
    assert!(deeds.len() >= at_least, "{counts:?}");
    lab.wanpool(["restore"]);
    lab.wanpool(["restore"]).silent();
}

fn objects(deeds: &[Deed]) -> usize {
    deeds.iter().map(|deed| &deed.object).collect::<std::collections::BTreeSet<_>>().len()
}

fn mend(lab: &Lab, mender: Mender) -> Run {
    match mender {
        Mender::Restore => lab.wanpool(["restore"]),
        Mender::Assign => lab.wanpool(["assign"]),
    }
}

fn try_one(lab: &Lab, deed: &Deed, mender: Mender, right: &[String]) -> Result<(), String> {
    lab.gateway.sh(&deed.damage);
    let check = lab.wanpool(["pools", "--check"]);
    let mut steps = check.stdout.lines().filter(|line| !line.starts_with("# "));
    if check.status != 3 || !steps.any(|step| step.contains(&deed.named)) {
        return Err(format!("no step names {:?}: {check}", deed.named));
    }
    let run = mend(lab, mender);
    if run.status != 0 {
        return Err(format!("not mended: {run}"));
    }
    lab.gateway.sh(&deed.undo);
    let now = picture(lab);
    if now != right {
        let lost: Vec<_> = right.iter().filter(|line| !now.contains(line)).collect();
        let gained: Vec<_> = now.iter().filter(|line| !right.contains(line)).collect();
        return Err(format!("not mended by {check}: lost {lost:#?}, gained {gained:#?}"));
    }
    match lab.wanpool(["pools", "--check"]) {
        check if check.status == 0 => Ok(()),
        check => Err(format!("not content after the mending: {check}")),
    }
}

/// What there is, whatever the order among rules of one preference; counters do not count.
fn picture(lab: &Lab) -> Vec<String> {
    let sysctls = super::set::KEYS.map(|key| format!("/proc/sys/{key}")).join(" ");
    let text = lab.gateway.sh(&format!(
        "ip -4 rule show; ip -4 route show table all; ip nexthop show
         iptables-save | sed '/^#/d; s/ \\[[0-9:]*\\]$//' | awk '/^\\*/ {{ t = $0 }} {{ print t, $0 }}'
         ipset save | sed 's/ initval [^ ]*//; s/ packets [0-9]* bytes [0-9]*//'
         grep . {sysctls}"
    ));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
