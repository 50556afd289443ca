//! Runs the command lines that a text shows, in order, and compares their output line by line.
//!
//! ```text
//! # wanpool failover ppp0         a command of root
//! uplink 1 ppp0 failed-over       its exact output, stdout and stderr
//! $ wanpool scan --new            a command of an ordinary user
//! ...                             any lines
//! # wanpool assign \              continues on the next line
//!     --prune
//! ```
//!
//! A command that fails must show its output. The files are where the text says:
//! `/etc/wanpool.toml`, `/var/lib/wanpool` and `/run/wanpool` are mounted in a namespace.
//! In a man page a block stands between `.EX` and `.EE`, in Markdown it is fenced as `console`.
//! Between blocks there may be directions that readers do not see (`.\" lab: …` in a man page,
//! `<!-- lab: … -->` in Markdown):
//!
//! | direction | what |
//! | --- | --- |
//! | `fresh` | a new lab with three uplinks and six discovered clients, where no command has run |
//! | `served` | the same after `restore` and `assign`; this is the default |
//! | `ppp 2` | a new lab with two uplinks and eth1, where no command has run |
//! | `config` | the next block is /etc/wanpool.toml |
//! | `commands only` | the next block shows no output; its commands must not fail |
//! | `redial N` | uplink N is redialled |
//! | `swallow N` | after a probe has heard it, uplink N loses all packets while its device stays up |

use std::fs;
use std::os::unix::fs::symlink;

use super::{Lab, Run, binary, three};

/// The files of /etc that the programs read.
const ETC: &str = "ld.so.cache nsswitch.conf passwd group protocols services hosts iproute2 \
                   alternatives ethertypes";

pub enum Piece {
    Direction(String),
    /// A block of text, and the line it begins on.
    Block(usize, Vec<String>),
}

/// What a direction says about the next block.
#[derive(Default)]
struct Next {
    is_config: bool,
    shows_no_output: bool,
}

/// One text, with the lab in which its commands run.
pub struct Doctest<'text> {
    name: &'text str,
    lab: Option<Lab>,
    next: Next,
    faults: Vec<String>,
}

impl Doctest<'_> {
    /// Runs all pieces of a text; returns where the output differs.
    pub fn run(name: &str, pieces: &[Piece]) -> Vec<String> {
        let mut doctest = Doctest { name, lab: None, next: Next::default(), faults: vec![] };
        for piece in pieces {
            match piece {
                Piece::Direction(direction) => doctest.follow(direction),
                Piece::Block(line, lines) => doctest.run_block(*line, lines),
            }
        }
        doctest.faults
    }

    fn follow(&mut self, direction: &str) {
        let words: Vec<&str> = direction.split(' ').collect();
        match words[..] {
            ["config"] => self.next.is_config = true,
            ["commands", "only"] => self.next.shows_no_output = true,
            ["fresh"] => self.lab = Some(raise(3, false)),
            ["served"] => self.lab = Some(raise(3, true)),
            ["ppp", uplinks] => self.lab = Some(raise(number(uplinks), false)),
            ["redial", uplink] => self.lab().redial(number(uplink)),
            ["swallow", uplink] => {
                run_as_shown(self.lab(), "wanpool failover --probe").silent();
                self.lab().swallow(number(uplink), true);
            }
            _ => panic!("{}: no such direction: {direction}", self.name),
        }
    }

    fn lab(&mut self) -> &Lab {
        self.lab.get_or_insert_with(|| raise(3, true))
    }

    fn run_block(&mut self, line: usize, lines: &[String]) {
        let next = std::mem::take(&mut self.next);
        if next.is_config {
            self.lab().config(&(lines.join("\n") + "\n"));
            return;
        }
        for (command, mut expected) in exchanges(lines) {
            if next.shows_no_output {
                expected = vec!["...".to_owned()];
            }
            if let Some(difference) = differs(self.lab(), &command, &expected) {
                self.faults.push(format!("{}:{line}: {difference}", self.name));
            }
        }
    }
}

fn raise(uplinks: u8, served: bool) -> Lab {
    let shape = Lab::with().point_to_point(uplinks).client_addresses(6);
    let lab = if uplinks == 3 { shape.without_ethernet() } else { shape }.raise();
    lab.config(&three(""));
    // The link-layer addresses for examples of RFC 7042, reachable for hours.
    lab.gateway.sysctl("net/ipv4/neigh/br0/base_reachable_time_ms", "36000000");
    for client in lab.everyone() {
        let lladdr = format!("00:00:5e:00:53:{:02x}", client.octets()[3]);
        lab.gateway.sh(&format!("ip neigh replace {client} dev br0 lladdr {lladdr} nud reachable"));
    }
    lab.gateway.sh(&format!(
        "cd {}
         mkdir etc state run programs
         for name in {ETC}; do [ ! -e /etc/$name ] || cp -a /etc/$name etc; done",
        lab.scratch().display()
    ));
    let program = lab.scratch().join("programs/wanpool");
    symlink(binary(), program).expect("a link to the program");
    if served {
        for command in ["wanpool restore", "wanpool assign"] {
            let run = run_as_shown(&lab, command);
            assert_eq!(run.status, 0, "{run}");
        }
    }
    lab
}

/// Runs a line in the shell of an admin, or of a user; stdout and stderr are one.
fn run_as_shown(lab: &Lab, command: &str) -> Run {
    let dir = lab.scratch().display();
    let (line, who) = match command.strip_prefix("$ ") {
        Some(line) => {
            copy_program(lab);
            let drop = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all";
            (line, format!("{drop} --inh-caps -all"))
        }
        None => (command, String::new()),
    };
    let line = line.replace('\'', r"'\''");
    lab.script(&format!(
        "cp {dir}/wanpool.toml {dir}/etc/wanpool.toml
         unset WANPOOL WANPOOL_CONFIG WANPOOL_STATE_DIR WANPOOL_RUN_DIR
         export PATH={dir}/programs:$PATH
         exec 2>&1 unshare --mount sh -ec '
             mount --bind {dir}/etc /etc
             mount -t tmpfs none /var/lib
             mkdir /var/lib/wanpool
             mount --bind {dir}/state /var/lib/wanpool
             mount --bind {dir}/run /run
             cd {dir}
             exec {who} bash -c \"$0\"' '{line}'"
    ))
}

/// The folder in which the program was built may be closed to others.
fn copy_program(lab: &Lab) {
    let program = lab.scratch().join("programs/wanpool");
    if program.is_symlink() {
        fs::remove_file(&program).expect("the link");
        super::copy_to(&program);
    }
}

fn differs(lab: &Lab, command: &str, expected: &[String]) -> Option<String> {
    let run = run_as_shown(lab, command);
    let output: Vec<&str> = run.stdout.lines().map(str::trim_end).collect();
    // A failure must be visible in the text.
    let is_hidden = run.status != 0 && expected.iter().all(|line| line == "...");
    if !is_hidden && matches(expected, &output) {
        return None;
    }
    Some(format!(
        "{command}\n--- the text\n{}\n--- the output (exit {})\n{}\n---\n",
        expected.join("\n"),
        run.status,
        output.join("\n")
    ))
}

fn number(word: &str) -> u8 {
    word.parse().unwrap_or_else(|why| panic!("{word}: {why}"))
}

/// The commands of a block, each with its output. Those of users begin with `$ `.
pub fn exchanges(lines: &[String]) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut continues = false;
    for line in lines {
        let command = match (continues, line.strip_prefix("# ")) {
            (true, _) => {
                let (last, _) = found.last_mut().expect("its first line");
                last.push_str(line.trim().trim_end_matches('\\'));
                continues = line.ends_with('\\');
                continue;
            }
            (false, Some(command)) => Some(command),
            (false, None) => line.starts_with("$ ").then_some(line.as_str()),
        };
        match (command, found.last_mut()) {
            (Some(command), _) => {
                continues = command.ends_with('\\');
                found.push((command.trim_end_matches('\\').to_owned(), vec![]));
            }
            (None, Some((_, output))) => output.push(line.trim_end().to_owned()),
            (None, None) => {}
        }
    }
    for (_, output) in &mut found {
        while output.last().is_some_and(String::is_empty) {
            output.pop();
        }
    }
    found
}

/// Whether the output is as expected, where `...` stands for any lines.
pub fn matches(expected: &[String], output: &[&str]) -> bool {
    match expected.split_first() {
        None => output.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=output.len()).any(|skipped| matches(rest, &output[skipped..]))
        }
        Some((line, rest)) => output.first() == Some(&line.as_str()) && matches(rest, &output[1..]),
    }
}
