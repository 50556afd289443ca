//! A tour: what a text shows of the command line, done in a lab and compared line by line.
//!
//! ```text
//! # wanpool failover ppp0         a command of root's
//! uplink 1 ppp0 failed-over       what it prints, stdout and stderr, to the letter
//! $ wanpool scan --new            one of an ordinary user's
//! ...                             any lines
//! # wanpool assign \              goes on in the next line
//!     --prune
//! ```
//!
//! A command that fails must show what it prints. The files are where the text says:
//! `/etc/wanpool.toml`, `/var/lib/wanpool`, `/run/wanpool` are the tour's own, in mount namespaces.
//! In a man page a block stands between `.EX` and `.EE`, in Markdown it is fenced as `console`.
//! Between blocks the text may carry stage directions, which its readers do not see (`.\" lab: …` in
//! a man page, `<!-- lab: … -->` in Markdown):
//!
//! | direction | what |
//! | --- | --- |
//! | `fresh` | a new lab with three lines and six clients heard, in which no command was run |
//! | `served` | the same, restored, and the clients assigned: so a tour begins |
//! | `ppp 2` | a new lab with two lines and eth1, in which no command was run |
//! | `config` | the next block is /etc/wanpool.toml |
//! | `commands only` | the next block shows no output; its commands must not fail |
//! | `redial N`, `swallow N` | line N is dialled again, or goes dead while its device stays up |

use std::fs;
use std::os::unix::fs::symlink;

use super::{Lab, Run, binary, three};

/// What is read of /etc by the programs of a tour.
const ETC: &str = "ld.so.cache nsswitch.conf passwd group protocols services hosts iproute2 \
                   alternatives ethertypes";

pub enum Piece {
    Direction(String),
    /// A block of text, and the line it begins on.
    Block(usize, Vec<String>),
}

/// What a direction said of the block behind it.
#[derive(Default)]
struct Next {
    is_config: bool,
    shows_no_output: bool,
}

/// One text's way through its labs.
pub struct Doctest<'text> {
    name: &'text str,
    stage: Option<Stage>,
    next: Next,
    faults: Vec<String>,
}

/// A lab with files of its own where the text says they are.
struct Stage {
    lab: Lab,
}

impl Doctest<'_> {
    /// Goes through the scenes; returns what was otherwise than the text says.
    pub fn run(name: &str, scenes: &[Piece]) -> Vec<String> {
        let mut tour = Doctest { name, stage: None, next: Next::default(), faults: vec![] };
        for scene in scenes {
            match scene {
                Piece::Direction(direction) => tour.follow(direction),
                Piece::Block(line, lines) => tour.play(*line, lines),
            }
        }
        tour.faults
    }

    fn follow(&mut self, direction: &str) {
        let words: Vec<&str> = direction.split(' ').collect();
        match words[..] {
            ["config"] => self.next.is_config = true,
            ["commands", "only"] => self.next.shows_no_output = true,
            ["fresh"] => self.stage = Some(Stage::raise(3, false)),
            ["served"] => self.stage = Some(Stage::raise(3, true)),
            ["ppp", lines] => self.stage = Some(Stage::raise(number(lines), false)),
            ["redial", line] => self.stage().lab.redial(number(line)),
            ["swallow", line] => self.stage().lab.swallow(number(line), true),
            _ => panic!("{}: no such direction: {direction}", self.name),
        }
    }

    fn stage(&mut self) -> &Stage {
        self.stage.get_or_insert_with(|| Stage::raise(3, true))
    }

    fn play(&mut self, line: usize, lines: &[String]) {
        let next = std::mem::take(&mut self.next);
        if next.is_config {
            self.stage().lab.config(&(lines.join("\n") + "\n"));
            return;
        }
        for (command, mut expected) in exchanges(lines) {
            if next.shows_no_output {
                expected = vec!["...".to_owned()];
            }
            if let Some(said) = self.stage().differs(&command, &expected) {
                self.faults.push(format!("{}:{line}: {said}", self.name));
            }
        }
    }
}

impl Stage {
    fn raise(lines: u8, served: bool) -> Stage {
        let shape = Lab::with().point_to_point(lines).client_addresses(6);
        let lab = if lines == 3 { shape.without_ethernet() } else { shape }.raise();
        lab.config(&three(""));
        // The addresses of examples, of RFC 7042, and all heard for hours to come.
        lab.gateway.sysctl("net/ipv4/neigh/br0/base_reachable_time_ms", "36000000");
        for client in lab.everyone() {
            let lladdr = format!("00:00:5e:00:53:{:02x}", client.octets()[3]);
            lab.gateway
                .sh(&format!("ip neigh replace {client} dev br0 lladdr {lladdr} nud reachable"));
        }
        let at = |name: &str| lab.scratch().join(name);
        for dir in ["etc", "state", "run", "programs"] {
            fs::create_dir_all(at(dir)).expect("a folder of the tour's");
        }
        symlink(binary(), at("programs").join("wanpool")).expect("a link to the program");
        lab.gateway.sh(&format!(
            "for name in {ETC}; do [ ! -e /etc/$name ] || cp -a /etc/$name {}; done",
            at("etc").display()
        ));
        let stage = Stage { lab };
        if served {
            for command in ["wanpool restore", "wanpool assign"] {
                let run = stage.command(command);
                assert_eq!(run.status, 0, "{run}");
            }
        }
        stage
    }

    /// A line as the shell of an admin takes it: stdout and stderr are one.
    fn command(&self, command: &str) -> Run {
        let dir = self.lab.scratch().display();
        let (line, who) = match command.strip_prefix("$ ") {
            Some(line) => {
                self.let_everybody_run_it();
                (
                    line,
                    "setpriv --reuid 65534 --regid 65534 --clear-groups \
                                  --bounding-set -all --inh-caps -all",
                )
            }
            None => (command, ""),
        };
        let line = line.replace('\'', r"'\''");
        self.lab.script(&format!(
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

    /// The folder in which it was built may be closed to others.
    fn let_everybody_run_it(&self) {
        let program = self.lab.scratch().join("programs/wanpool");
        if program.is_symlink() {
            fs::remove_file(&program).expect("the link");
            super::copy_to(&program);
        }
    }

    fn differs(&self, command: &str, expected: &[String]) -> Option<String> {
        let run = self.command(command);
        let said: Vec<&str> = run.stdout.lines().map(str::trim_end).collect();
        // What went wrong must be seen in what is shown.
        let failed = run.status != 0 && expected.iter().all(|line| line == "...");
        (failed || !matches(expected, &said)).then(|| {
            format!(
                "{command}\n--- the text says\n{}\n--- it is (exit {})\n{}\n---\n",
                expected.join("\n"),
                run.status,
                said.join("\n")
            )
        })
    }
}

fn number(word: &str) -> u8 {
    word.parse().unwrap_or_else(|why| panic!("{word}: {why}"))
}

/// The commands of a block, those of users with `$ ` before them, each with what it prints.
pub fn exchanges(lines: &[String]) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let command = match (goes_on, line.strip_prefix("# ")) {
            (true, _) => {
                let (last, _) = found.last_mut().expect("its beginning");
                last.push_str(line.trim().trim_end_matches('\\'));
                goes_on = line.ends_with('\\');
                continue;
            }
            (false, Some(command)) => Some(command),
            (false, None) => line.starts_with("$ ").then_some(line.as_str()),
        };
        match (command, found.last_mut()) {
            (Some(command), _) => {
                goes_on = command.ends_with('\\');
                found.push((command.trim_end_matches('\\').to_owned(), vec![]));
            }
            (None, Some((_, said))) => said.push(line.trim_end().to_owned()),
            (None, None) => {}
        }
    }
    for (_, said) in &mut found {
        while said.last().is_some_and(String::is_empty) {
            said.pop();
        }
    }
    found
}

/// Whether this was said, where `...` stands for any lines.
pub fn matches(expected: &[String], said: &[&str]) -> bool {
    match expected.split_first() {
        None => said.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=said.len()).any(|skipped| matches(rest, &said[skipped..]))
        }
        Some((line, rest)) => said.first() == Some(&line.as_str()) && matches(rest, &said[1..]),
    }
}
