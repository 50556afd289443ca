//! The program under `strace`: which system calls a run makes, and the same run with one of them
//! failing, or with a signal just there.
//!
//! Only the program itself is traced; what it starts runs on by itself, as it would in earnest.

use std::fs;
use std::process::Stdio;

use super::{Lab, Run, binary};

/// One system call of a run.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// Which call of this name it is, from 1.
    nth: usize,
    /// Its line, as strace tells it, with the file behind each descriptor.
    line: String,
}

/// The calls of one run, in order.
pub struct Trace(pub Vec<Call>);

/// What is to happen at the entry of a call.
#[derive(Clone, Copy)]
pub enum Inject {
    /// `KILL` keeps the call from being made; after any other it is made, and then the signal acts.
    Signal(&'static str),
    /// The call is not made; this error is what it says.
    Error(&'static str),
}

impl Trace {
    /// Reads what strace wrote: `name(arguments) = result`. A call that the kernel makes again, as
    /// that of a sysctl while somebody else on the machine changes a device, counts once.
    fn parse(text: &str) -> Trace {
        let mut calls: Vec<Call> = Vec::new();
        for line in text.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            if line.ends_with("(To be restarted)") {
                continue;
            }
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            let nth = 1 + calls.iter().filter(|call| call.name == name).count();
            calls.push(Call { name: name.to_owned(), nth, line: line.to_owned() });
        }
        Trace(calls)
    }

    /// The calls that change anything, each with its place in the run.
    pub fn changing(&self) -> Vec<(usize, &Call)> {
        self.0.iter().enumerate().filter(|(_, call)| call.changes()).collect()
    }

    /// How many of these there are that were carried out.
    fn changed(&self) -> usize {
        self.0.iter().filter(|call| call.changes() && call.was_made()).count()
    }
}

impl Call {
    /// Whether it changes a file, the kernel or another process, or lets one begin. What is only
    /// told to the user on stderr changes nothing.
    fn changes(&self) -> bool {
        let has = |word: &str| self.line.contains(word);
        match self.name.as_str() {
            "openat" => has("O_CREAT") || has("O_WRONLY") || has("O_RDWR"),
            "write" => !has("write(2<"),
            // Dumps and other questions ask for no acknowledgement.
            "sendto" | "sendmsg" => has("NLM_F_ACK"),
            "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "rmdir" | "mkdir"
            | "mkdirat" | "chmod" | "fchmod" | "fchmodat" | "ftruncate" | "fsync" | "fdatasync"
            | "flock" | "clone" | "clone3" | "fork" | "vfork" | "kill" => true,
            _ => false,
        }
    }

    /// Whether it only waits for what the kernel or a child has to say.
    pub fn waits(&self) -> bool {
        ["recv", "poll", "ppoll", "wait"].iter().any(|start| self.name.starts_with(start))
    }

    /// A run that is killed at a call's entry leaves it without a result.
    fn was_made(&self) -> bool {
        !self.line.ends_with("= ?") && !self.line.contains("<unfinished")
    }

    /// What it is done to, its first argument, without the numbers that differ from run to run.
    fn object(&self) -> String {
        let arguments = self.line.split_once('(').map_or("", |(_, arguments)| arguments);
        let first = arguments.split([',', ')']).next().unwrap_or_default();
        first.chars().filter(|c| !c.is_ascii_digit()).collect()
    }

    /// Whether its arguments have this in them.
    pub fn names(&self, word: &str) -> bool {
        self.line.contains(word)
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start: String = self.line.chars().take(160).collect();
        write!(f, "{} number {}: {start}", self.name, self.nth)
    }
}

impl Lab {
    /// Runs it, and tells its calls.
    #[track_caller]
    pub fn trace(&self, args: &[&str]) -> Trace {
        let (run, trace) = self.under_strace(args, &[]);
        assert!(run.status == 0 && run.stderr.is_empty(), "{run}");
        assert!(!trace.0.is_empty(), "no trace of {run}");
        trace
    }

    /// Runs it so that this happens at one call. `None` if the run never came to a call that was to
    /// fail, or if that was another one: a run that looks once more than the one in the trace counts
    /// its calls otherwise.
    pub fn inject(&self, args: &[&str], call: &Call, inject: Inject) -> Option<Run> {
        let what = match inject {
            Inject::Signal(signal) => format!("signal={signal}"),
            Inject::Error(error) => format!("error={error}"),
        };
        let expression = format!("inject={}:{what}:when={}", call.name, call.nth);
        let (run, trace) = self.under_strace(args, &["-e", &expression]);
        let is_signal = matches!(inject, Inject::Signal(_));
        let met = |other: &Call| other.names("INJECTED") && other.object() == call.object();
        (is_signal || trace.0.iter().any(met)).then_some(run)
    }

    /// Runs it, and kills it at the entry of call `at` of a trace of the same run. Says whether it
    /// had done then what it had in the trace: where the kernel splits its answers in other ways,
    /// waiting calls are more or fewer.
    pub fn kill_at(&self, args: &[&str], of: &Trace, at: usize) -> Result<(), String> {
        let call = &of.0[at];
        let expression = format!("inject={}:signal=KILL:when={}", call.name, call.nth);
        let (run, trace) = self.under_strace(args, &["-e", &expression]);
        let expected = of.0[..at].iter().filter(|call| call.changes()).count();
        match (run.status, trace.changed()) {
            (Run::KILLED, changed) if changed == expected => Ok(()),
            (_, changed) => Err(format!("{changed} changing calls, not {expected}: {run}")),
        }
    }

    /// What it starts keeps the copy of stdout at 9, and so this waits for all of that too.
    fn under_strace(&self, args: &[&str], options: &[&str]) -> (Run, Trace) {
        let file = self.scratch().join("strace");
        let mut command = self.gateway.command("sh");
        command.args(["-c", "exec \"$@\" 9>&1", "sh", "strace", "-qq", "-y", "-s", "64", "-o"]);
        command.arg(&file).args(options).arg(binary()).args(args).stdin(Stdio::null());
        let output = self.gateway.output(command, "");
        let trace = Trace::parse(&fs::read_to_string(&file).unwrap_or_default());
        (Run::new(format!("strace {options:?} wanpool {}", args.join(" ")), output), trace)
    }
}
