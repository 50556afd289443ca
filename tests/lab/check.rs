//! `pools --check` in mount and process namespaces of its own, so that no process or file of this
//! machine is found.

use super::{Lab, Run};

/// The result of a check.
pub struct Check {
    /// 0, or 3 where it found drift.
    pub status: i32,
    /// The problems, each with its remedy.
    pub findings: Vec<String>,
    /// The steps, as a script.
    pub steps: String,
}

impl Lab {
    #[track_caller]
    pub fn check(&self) -> Check {
        self.check_where("")
    }

    /// The same after these lines of the shell.
    #[track_caller]
    pub fn check_where(&self, prelude: &str) -> Check {
        let run = self.apart(prelude, "pools --check");
        assert!(matches!(run.status, 0 | 3) && run.stderr.is_empty(), "{run}");
        let is_finding = |line: &&str| line.starts_with("# ");
        let (findings, steps): (Vec<&str>, Vec<&str>) = run.stdout.lines().partition(is_finding);
        Check {
            status: run.status,
            findings: findings.iter().map(|line| line[2..].to_owned()).collect(),
            steps: steps.iter().map(|line| format!("{line}\n")).collect(),
        }
    }

    /// Runs the steps of a check in a root shell that stops at the first one that fails.
    pub fn run_steps(&self, check: &Check) -> Run {
        self.script(&format!("set -e\n{}", check.steps))
    }

    /// Runs the program after a prelude in these namespaces.
    pub fn apart(&self, prelude: &str, command: &str) -> Run {
        let inside = format!("{prelude}\nexec \"$WANPOOL\" {command}").replace('\'', r"'\''");
        let apart = "exec unshare --pid --fork --kill-child --mount-proc";
        self.script(&format!("{apart} sh -ec '{inside}'"))
    }
}

impl Check {
    /// Nothing is wrong.
    #[track_caller]
    pub fn clean(&self) {
        assert!(self.status == 0 && self.findings.is_empty() && self.steps.is_empty(), "{self}");
    }

    /// It has found only one problem, with these words, and no drift.
    #[track_caller]
    pub fn found(&self, words: &[&str]) {
        assert!(self.status == 0 && self.steps.is_empty(), "{self}");
        assert_eq!(self.findings.len(), 1, "{self}");
        self.naming(words);
    }

    /// A finding has all these words.
    #[track_caller]
    pub fn naming(&self, words: &[&str]) {
        let has_all = |finding: &String| words.iter().all(|word| finding.contains(word));
        assert!(self.findings.iter().any(has_all), "no finding with {words:?}: {self}");
    }

    /// It has found drift; returns the steps.
    #[track_caller]
    pub fn drifted(&self) -> &str {
        assert!(self.status == 3 && !self.steps.is_empty(), "{self}");
        &self.steps
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Check { status, findings, steps } = self;
        write!(out, "exit {status}\n--- findings\n{findings:#?}\n--- steps\n{steps}---")
    }
}
