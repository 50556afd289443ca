//! The program under test, in the gateway's namespace with this lab's files.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::Lab;

/// One run that has ended.
pub struct Run {
    pub command: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program: the one just built, or the one `WANPOOL_BIN` names.
pub fn binary() -> PathBuf {
    env::var_os("WANPOOL_BIN").map_or_else(|| env!("CARGO_BIN_EXE_wanpool").into(), PathBuf::from)
}

/// Writes a script that can run at once. Another process writes it: a child process of another test
/// could inherit the descriptor, and a file that is open for writing cannot run.
pub fn write_script(path: &Path, text: &str) {
    let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let written = Command::new("sh").args(["-c", write]).arg(path).arg(text).status();
    assert!(written.is_ok_and(|status| status.success()), "to write {}", path.display());
}

/// Copies the program to a place where others may run it.
pub fn copy_to(path: &Path) {
    copy(&binary(), path);
}

/// Copies a program that can run at once; by another process, as in [`write_script`].
pub fn copy(program: &Path, path: &Path) {
    let copied = Command::new("cp").arg(program).arg(path).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "to copy {} to {}",
        program.display(),
        path.display()
    );
}

/// Runs a command line without any lab or configuration.
pub fn run_alone(line: &str) -> Run {
    let mut command = Command::new(binary());
    command.args(line.split_whitespace()).env("WANPOOL_CONFIG", "/nowhere/wanpool.toml");
    command.env("WANPOOL_STATE_DIR", "/nowhere/state").env("WANPOOL_RUN_DIR", "/nowhere/run");
    Run::new(format!("wanpool {line}"), command.output().expect("to start the program"))
}

impl Lab {
    pub fn wanpool<const N: usize>(&self, args: [&str; N]) -> Run {
        self.wanpool_reading(args, "")
    }

    /// With `input` on stdin.
    pub fn wanpool_reading<const N: usize>(&self, args: [&str; N], input: &str) -> Run {
        let mut command = self.gateway.command(&binary().display().to_string());
        command.args(args);
        let output = self.gateway.output(command, input);
        Run::new(format!("wanpool {}", args.join(" ")), output)
    }

    /// A command line, split at its spaces.
    pub fn run(&self, line: &str) -> Run {
        let mut command = self.gateway.command(&binary().display().to_string());
        command.args(line.split_whitespace());
        Run::new(format!("wanpool {line}"), self.gateway.output(command, ""))
    }

    /// The same as a user with no privilege at all.
    pub fn run_as_nobody(&self, line: &str) -> Run {
        self.run_as(65534, "", line)
    }

    /// The same as a user with these capabilities (`,+net_admin`) and no others.
    pub fn run_as(&self, user: u32, capabilities: &str, line: &str) -> Run {
        // The folder in which the program was built may be closed to others.
        let copy = self.scratch().join("wanpool");
        if !copy.exists() {
            copy_to(&copy);
        }
        let capabilities = format!("-all{capabilities}");
        self.script(&format!(
            "exec setpriv --reuid {user} --regid {user} --clear-groups --inh-caps={capabilities} \
             --ambient-caps={capabilities} --bounding-set={capabilities} {} {line}",
            copy.display()
        ))
    }

    /// Starts it, without stdin and stdout.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut command = self.gateway.command(&binary().display().to_string());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.gateway.enter(|| command.spawn()).expect("to start the program")
    }

    /// A shell script in the gateway's namespace, in which `$WANPOOL` is the program.
    pub fn script(&self, script: &str) -> Run {
        let mut shell = self.gateway.command("sh");
        shell.env("WANPOOL", binary()).arg("-c").arg(script);
        Run::new(script.to_owned(), self.gateway.output(shell, ""))
    }
}

impl Run {
    /// The status of a run that a signal ended.
    pub const KILLED: i32 = -1;

    pub(super) fn new(command: String, output: Output) -> Run {
        Run {
            command,
            status: output.status.code().unwrap_or(Run::KILLED),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It succeeded without any error or warning.
    #[track_caller]
    pub fn ok(&self) -> &Run {
        assert!(self.status == 0 && self.stderr.is_empty(), "{self}");
        self
    }

    /// It succeeded and printed nothing.
    #[track_caller]
    pub fn silent(&self) -> &Run {
        assert!(self.ok().stdout.is_empty(), "{self}");
        self
    }

    /// It failed with this status and one clear line.
    #[track_caller]
    pub fn refused(&self, status: i32) -> &Run {
        assert_eq!(self.status, status, "{self}");
        assert!(self.stdout.is_empty(), "{self}");
        assert!(self.stderr.starts_with("wanpool: "), "{self}");
        assert_eq!(self.stderr.lines().count(), 1, "{self}");
        self
    }

    /// It failed with status 1 or 2, and its first line is an error.
    #[track_caller]
    pub fn failed(&self) -> &Run {
        assert!(matches!(self.status, 1 | 2) && self.stdout.is_empty(), "{self}");
        assert!(self.stderr.starts_with("wanpool: "), "{self}");
        self
    }

    /// Its errors have these words.
    #[track_caller]
    pub fn naming(&self, words: &[&str]) -> &Run {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in its errors: {self}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.ok().stdout).unwrap_or_else(|why| panic!("{why}: {self}"))
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The rows of a table as words, without the column names.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.lines().iter().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { command, status, stdout, stderr } = self;
        write!(out, "{command}\nexit {status}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}
