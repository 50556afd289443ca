//! Shell completion. The completion scripts run `wanpool --complete WORD…` with the words up to the
//! cursor, of which the last may be incomplete. Each candidate is printed on a line of its own, with
//! its description after a tab.
//!
//! Commands and options come from the definition of the command line. Uplinks, clients and devices
//! come from the configuration, the pool files and the kernel; the name of a value in the definition
//! says which. Completion needs no root and takes no lock. It prints no error, because that would
//! appear in the line that is being typed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use crate::cli::{self, Cli};
use crate::config::Config;
use crate::model::{Client, Family, UplinkNo};
use crate::output;
use crate::system::Kernel;
use crate::system::files::{PoolFiles, config};

/// The option that asks for completions, in place of a command.
pub const COMPLETE: &str = "--complete";

/// If more clients than these begin with what is typed, they are offered up to their next dot. An
/// address has four bytes, so there are at most 256 such prefixes.
const MAX_CLIENTS: usize = 256;

pub fn run(words: &[OsString]) {
    let mut text = String::new();
    for candidate in candidates(words) {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        if !value.contains(['\t', '\n']) {
            text += &format!("{value}\t{}\n", help.lines().next().unwrap_or_default());
        }
    }
    // There is nobody to report a failure to.
    let _ = output::print(&text);
}

fn candidates(words: &[OsString]) -> Vec<CompletionCandidate> {
    let Some((typed, before)) = words.split_last() else { return vec![] };
    let Some(mut words) = expand_prefixes(before) else { return vec![] };
    let sources = Arc::new(Sources::named_in(words.clone()));
    words.push(typed.clone());
    let at = words.len() - 1;
    let mut command = with_values(Cli::command(), &sources);
    let here = std::env::current_dir().ok();
    let mut found = complete(&mut command, words, at, here.as_deref()).unwrap_or_default();
    // Options are offered if one has begun, or if there is nothing else.
    if typed.is_empty() && !found.iter().all(is_option) {
        found.retain(|candidate| !is_option(candidate));
    }
    found
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_value().as_encoded_bytes().starts_with(b"-")
}

/// The words with the full name of the command, as the parser understands them. `None` if there is no
/// such command.
fn expand_prefixes(words: &[OsString]) -> Option<Vec<OsString>> {
    let program = Cli::command();
    let mut words = words.to_vec();
    // The first word is the name of the program.
    let mut is_value = true;
    for word in &mut words {
        let text = word.to_str()?;
        if is_value {
            is_value = false;
        } else if text.starts_with('-') {
            is_value = program.get_arguments().any(|arg| takes_next_word(arg, text));
        } else {
            *word = cli::resolve_command(&program, text)?.into();
            break;
        }
    }
    Some(words)
}

/// Whether this is the option that was typed, and its value is the next word.
fn takes_next_word(arg: &Arg, typed: &str) -> bool {
    let is_long = arg.get_long().is_some_and(|long| typed == format!("--{long}"));
    let is_short = arg.get_short().is_some_and(|short| typed == format!("-{short}"));
    (is_long || is_short) && arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// Gives each argument a source of values, by the name of its value in the definition.
fn with_values(command: Command, sources: &Arc<Sources>) -> Command {
    let with_source = |arg: Arg| {
        let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let values: fn(&Sources, &str) -> Vec<CompletionCandidate> = match name.as_deref() {
            Some("UPLINK") => Sources::uplinks,
            Some("CLIENT") => Sources::clients,
            Some("UPLINK|CLIENT") => Sources::uplinks_and_clients,
            Some("DEV") => Sources::devices,
            Some("COMMAND") => Sources::commands,
            _ => return arg,
        };
        let sources = Arc::clone(sources);
        let completer = move |typed: &OsStr| {
            typed.to_str().map(|typed| values(&sources, typed)).unwrap_or_default()
        };
        arg.add(ArgValueCompleter::new(completer))
    };
    command.mut_args(with_source).mut_subcommands(|command| with_values(command, sources))
}

/// Where the values are: as the options on the line or the environment say.
#[derive(Default)]
struct Sources {
    config: PathBuf,
    state_dir: PathBuf,
}

impl Sources {
    fn named_in(words: Vec<OsString>) -> Self {
        let Ok(line) = Cli::command().ignore_errors(true).try_get_matches_from(words) else {
            return Self::default();
        };
        let path = |name| line.try_get_one::<PathBuf>(name).ok().flatten().cloned();
        Self {
            config: path("config").unwrap_or_default(),
            state_dir: path("state_dir").unwrap_or_default(),
        }
    }

    fn config(&self) -> Option<Config> {
        Config::parse(&config::read(&self.config).ok()?, &self.config).ok()
    }

    fn uplinks(&self, typed: &str) -> Vec<CompletionCandidate> {
        let (mut devices, mut numbers) = (Vec::new(), Vec::new());
        for uplink in self.config().iter().flat_map(|config| config.uplinks.values()) {
            let (no, dev) = (uplink.no.to_string(), uplink.dev.to_string());
            devices.push(candidate(&dev, &format!("uplink {no}")));
            numbers.push(candidate(&no, &dev));
        }
        devices.extend(numbers);
        with_prefix(typed, devices)
    }

    fn clients(&self, typed: &str) -> Vec<CompletionCandidate> {
        let pools = PoolFiles::new(self.state_dir.clone()).read().unwrap_or_default();
        let mut clients: Vec<(Client, String, UplinkNo)> = Vec::new();
        for (pool, members) in pools.iter() {
            for &client in members {
                let address = client.to_string();
                if address.starts_with(typed) {
                    clients.push((client, address, pool));
                }
            }
        }
        clients.sort_unstable_by_key(|(client, ..)| *client);
        let mut candidates = Vec::new();
        if clients.len() <= MAX_CLIENTS {
            for (_, address, pool) in &clients {
                candidates.push(candidate(address, &format!("pool {pool}")));
            }
            return candidates;
        }
        let mut prefixes = Vec::new();
        for (_, address, _) in &clients {
            if let Some(dot) = address[typed.len()..].find('.') {
                prefixes.push(&address[..=typed.len() + dot]);
            }
        }
        prefixes.dedup();
        prefixes.into_iter().map(|prefix| candidate(prefix, "clients")).collect()
    }

    fn uplinks_and_clients(&self, typed: &str) -> Vec<CompletionCandidate> {
        let mut candidates = self.uplinks(typed);
        candidates.extend(self.clients(typed));
        candidates
    }

    /// The LAN devices; without a configuration, all devices.
    fn devices(&self, typed: &str) -> Vec<CompletionCandidate> {
        let config = self.config();
        // The protocol of routing objects does not matter here.
        let devices =
            Kernel::open(Family::Inet, 0).and_then(|kernel| kernel.devices()).unwrap_or_default();
        let mut candidates = Vec::new();
        for link in &devices.links {
            let name = link.name.as_str();
            if config.as_ref().is_none_or(|config| config.is_lan(name)) {
                candidates.push(candidate(name, "device"));
            }
        }
        with_prefix(typed, candidates)
    }

    fn commands(&self, typed: &str) -> Vec<CompletionCandidate> {
        let mut candidates = Vec::new();
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            candidates.push(candidate(command.get_name(), &about));
        }
        with_prefix(typed, candidates)
    }
}

fn candidate(value: &str, description: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(description.to_owned().into()))
}

fn with_prefix(typed: &str, mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    candidates.retain(|it| it.get_value().as_encoded_bytes().starts_with(typed.as_bytes()));
    candidates
}
