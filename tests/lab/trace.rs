//! The program under `strace`: the system calls of a run, and the same run with a fault at one of
//! them. Only the program itself is traced, not its child processes.

use std::fs;

use super::{Lab, Run, binary};

/// One system call of a run.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// Which call of this name it is, from 1.
    nth: usize,
    /// Its line of strace's output, with the file behind each descriptor.
    line: String,
}

/// The calls of one run, in order.
pub struct Trace(pub Vec<Call>);

/// What happens at the entry of a call.
#[derive(Clone, Copy)]
pub enum Inject {
    /// The process is killed, and the call is not made.
    Kill,
    /// The call is made, and then the signal acts.
    Signal(&'static str),
    /// The call is not made, and returns this error.
    Error(&'static str),
}

impl Trace {
    /// Parses the output of strace: `name(arguments) = result`. A call that the kernel restarts, as
    /// that of a sysctl while another program changes a device, counts once.
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

    /// The calls that change anything, each with its position in the run.
    pub fn changing(&self) -> Vec<(usize, &Call)> {
        self.0.iter().enumerate().filter(|(_, call)| call.changes()).collect()
    }

    /// How many of these were made.
    fn changed(&self) -> usize {
        self.0.iter().filter(|call| call.changes() && call.was_made()).count()
    }
}

impl Call {
    /// Whether it changes a file, the kernel or another process, or starts one. Output on stderr
    /// changes nothing.
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

    /// Whether it only waits for the kernel or a child process.
    pub fn waits(&self) -> bool {
        ["recv", "poll", "ppoll", "wait"].iter().any(|start| self.name.starts_with(start))
    }

    /// A run that is killed at a call's entry leaves it without a result.
    fn was_made(&self) -> bool {
        !self.line.ends_with("= ?") && !self.line.contains("<unfinished")
    }

    /// Its first argument, without the numbers that differ from run to run.
    pub fn object(&self) -> String {
        let arguments = self.line.split_once('(').map_or("", |(_, arguments)| arguments);
        let first = arguments.split([',', ')']).next().unwrap_or_default();
        first.chars().filter(|c| !c.is_ascii_digit()).collect()
    }

    /// Whether its arguments contain this.
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
    /// Runs a command line and returns its calls.
    #[track_caller]
    pub fn trace(&self, line: &str) -> Trace {
        let (run, trace) = self.under_strace(line, &[]);
        assert!(run.status == 0 && run.stderr.is_empty(), "{run}");
        assert!(!trace.0.is_empty(), "no trace of {run}");
        trace
    }

    /// Runs a command line with a fault at call number `at` of a trace of the same run. An error
    /// says that the run came to another call: where the kernel splits its answers in another way,
    /// or is read once more, there are more calls or fewer.
    pub fn inject(&self, line: &str, of: &Trace, at: usize, inject: Inject) -> Result<Run, String> {
        let what = match inject {
            Inject::Kill => "signal=KILL".to_owned(),
            Inject::Signal(signal) => format!("signal={signal}"),
            Inject::Error(error) => format!("error={error}"),
        };
        let call = &of.0[at];
        let expression = format!("inject={}:{what}:when={}", call.name, call.nth);
        let (run, trace) = self.under_strace(line, &["-e", &expression]);
        let is_met = match inject {
            Inject::Kill => {
                let expected = of.0[..at].iter().filter(|call| call.changes()).count();
                run.status == Run::KILLED && trace.changed() == expected
            }
            Inject::Signal(_) => true,
            Inject::Error(_) => trace
                .0
                .iter()
                .any(|other| other.names("INJECTED") && other.object() == call.object()),
        };
        if is_met { Ok(run) } else { Err(format!("another call than {call}: {run}")) }
    }

    /// Runs a command line with these options of strace, which follows its child processes. Returns
    /// what strace wrote, too. The status is 124 where it hangs.
    pub fn strace(&self, options: &str, line: &str) -> (Run, String) {
        let file = self.scratch().join("strace");
        let strace = format!("timeout 60 strace -f -qq -o {} {options}", file.display());
        let run = self.script(&format!("{strace} \"$WANPOOL\" {line}"));
        (run, fs::read_to_string(file).expect("the trace"))
    }

    /// Child processes keep the copy of stdout at 9, and so this waits for them, too.
    fn under_strace(&self, line: &str, options: &[&str]) -> (Run, Trace) {
        let file = self.scratch().join("strace");
        let mut command = self.gateway.command("sh");
        command.args(["-c", "exec \"$@\" 9>&1", "sh", "strace", "-qq", "-y", "-s", "64", "-o"]);
        command.arg(&file).args(options).arg(binary()).args(line.split_whitespace());
        let output = self.gateway.output(command, "");
        let trace = Trace::parse(&fs::read_to_string(&file).unwrap_or_default());
        (Run::new(format!("strace {options:?} wanpool {line}"), output), trace)
    }
}
