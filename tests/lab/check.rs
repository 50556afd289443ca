//! `pools --check`, in a world of its own: with the gateway's network, and no process or file of
//! this machine that could tell of other things than the lab's.

use super::{Lab, Run};

/// What a check said.
pub struct Check {
    /// 0, or 3 where it found drift.
    pub status: i32,
    /// What is wrong, each with its remedy behind it.
    pub findings: Vec<String>,
    /// The steps, as a script.
    pub steps: String,
}

impl Lab {
    #[track_caller]
    pub fn check(&self) -> Check {
        self.check_where("")
    }

    /// Behind a `prelude`: lines of the shell, in mount and process namespaces of its own.
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

    /// The program behind a prelude, in mount and process namespaces of its own.
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

    /// It found just this, which has these words in it, and no drift.
    #[track_caller]
    pub fn found(&self, words: &[&str]) {
        assert!(self.status == 0 && self.steps.is_empty(), "{self}");
        assert_eq!(self.findings.len(), 1, "{self}");
        self.naming(words);
    }

    /// A finding has all these words in it.
    #[track_caller]
    pub fn naming(&self, words: &[&str]) {
        let has_all = |finding: &String| words.iter().all(|word| finding.contains(word));
        assert!(self.findings.iter().any(has_all), "no finding with {words:?}: {self}");
    }

    /// It found drift, and says what would mend it.
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
