//! Damages to objects of the slice, and whether each is found and repaired.

use crate::lab::{CHAINS, Check, Lab, Run, State};

/// One damage to one object.
#[derive(Clone)]
pub struct Damage {
    pub kind: Kind,
    pub object: String,
    /// Lines of the shell that do it.
    pub commands: String,
    /// Part of a step that the check prints.
    pub step: String,
    /// Removes, after the repair, what cannot be proved to be ours and is kept.
    pub cleanup: String,
    /// The printed `ip` command cannot repair it, only the program itself can.
    is_beyond_ip: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Deleted,
    Altered,
    Doubled,
}

impl Damage {
    pub fn new(kind: Kind, object: &str, commands: String, step: &str) -> Damage {
        let (object, step) = (object.to_owned(), step.to_owned());
        Damage { kind, object, commands, step, cleanup: String::new(), is_beyond_ip: false }
    }

    pub fn with_cleanup(self, cleanup: String) -> Damage {
        Damage { cleanup, ..self }
    }

    pub fn beyond_ip(self) -> Damage {
        Damage { is_beyond_ip: true, ..self }
    }
}

/// What repairs it.
#[derive(Clone, Copy, Debug)]
pub enum Repair {
    Restore,
    Assign,
    /// The steps that the check prints, in a root shell.
    Steps,
}

impl Repair {
    pub fn run(self, lab: &Lab, check: &Check) -> Run {
        match self {
            Repair::Restore => lab.wanpool(["restore"]),
            Repair::Assign => lab.wanpool(["assign"]),
            Repair::Steps => lab.script(&format!("set -e\n{}", check.steps)),
        }
    }
}

/// Does each damage in turn, and repairs it in each of these ways in turn. There are at least so
/// many: a list that was read from the kernel could be empty for a wrong reason.
#[track_caller]
pub fn assert_repaired(lab: &Lab, damages: &[Damage], repairs: &[Repair], at_least: usize) {
    let right = state(lab);
    let mut faults = Vec::new();
    for (damage, &repair) in damages.iter().zip(repairs.iter().cycle()) {
        let repair = if damage.is_beyond_ip { repairs[0] } else { repair };
        if let Err(why) = try_one(lab, damage, repair, &right) {
            let Damage { kind, object, commands, .. } = damage;
            faults.push(format!("{kind:?}: {object}, {repair:?}\n  {commands}\n  {why}"));
            lab.wanpool(["flush"]).ok();
            repairs[0].run(lab, &lab.check()).ok();
            assert!(state(lab) == right, "{}", faults.join("\n"));
        }
    }
    println!("{} damages", damages.len());
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), damages.len(), faults.join("\n"));
    assert!(damages.len() >= at_least, "only {} damages", damages.len());
    lab.wanpool(["restore"]);
    lab.wanpool(["restore"]).silent();
}

fn try_one(lab: &Lab, damage: &Damage, repair: Repair, right: &State) -> Result<(), String> {
    lab.gateway.sh(&damage.commands);
    let check = lab.check();
    if check.status != 3 || !check.steps.lines().any(|step| step.contains(&damage.step)) {
        return Err(format!("no step has {:?}: {check}", damage.step));
    }
    let run = repair.run(lab, &check);
    if run.status != 0 {
        return Err(format!("not repaired: {run}"));
    }
    lab.gateway.sh(&damage.cleanup);
    if let Some(diff) = state(lab).diff(right) {
        return Err(format!("not repaired by {check}\n{diff}"));
    }
    match lab.check() {
        check if check.status == 0 => Ok(()),
        check => Err(format!("after the repair: {check}")),
    }
}

/// What the slice consists of; the order of rules with one preference does not matter.
pub fn state(lab: &Lab) -> State {
    let sysctls = super::set::KEYS.map(|key| format!("/proc/sys/{key}")).join(" ");
    State(lab.state().0 + &lab.gateway.sh(&format!("grep . {sysctls}"))).sorted()
}

/// These iptables commands, separated by semicolons, for every chain of ours: `CHAIN` is its name,
/// `FROM` the chain that jumps to it.
pub fn for_each_chain(commands: &str) -> String {
    let mut script = String::new();
    for (table, from, chain) in CHAINS {
        for command in commands.replace("FROM", from).replace("CHAIN", chain).split(';') {
            script += &format!("iptables -w -t {table} {command}\n");
        }
    }
    script
}
