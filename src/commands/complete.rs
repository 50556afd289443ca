//! What may stand at the cursor: `wanpool --complete WORD…` is asked by the shells' completions with
//! the words up to the cursor, the last of them as far as it is typed. A candidate a line, behind
//! a tab what it is.
//!
//! Commands and options come from the definition of the command line; uplinks, clients and devices
//! from configuration, pool files and kernel, by the name that the definition gives a value. It
//! needs no root, takes no lock, and says nothing where something is wrong: an error would be
//! printed into the line that is being typed.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use crate::cli::{self, Cli};
use crate::config::Config;
use crate::system::Kernel;
use crate::model::{Client, Family};
use crate::store::Store;

/// What asks for completions, in the place of a command.
pub const ASK: &str = "--complete";

/// If more clients than these begin with what is typed, they are offered up to their next dot. Of
/// such prefixes there are no more than 256, since an address has four bytes.
const MANY: usize = 256;

pub fn run(words: &[OsString]) {
    let mut text = String::new();
    for candidate in candidates(words) {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        if !value.contains(['\t', '\n']) {
            text += &format!("{value}\t{}\n", help.lines().next().unwrap_or_default());
        }
    }
    // A shell that no longer listens is no error.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn candidates(words: &[OsString]) -> Vec<CompletionCandidate> {
    let Some((typed, before)) = words.split_last() else { return vec![] };
    let Some(mut words) = spelled_out(before) else { return vec![] };
    let places = Arc::new(Places::named_in(words.clone()));
    words.push(typed.clone());
    let at = words.len() - 1;
    let mut command = with_values(Cli::command(), &places);
    let here = std::env::current_dir().ok();
    let mut found = complete(&mut command, words, at, here.as_deref()).unwrap_or_default();
    let is_option = |candidate: &CompletionCandidate| {
        candidate.get_value().as_encoded_bytes().starts_with(b"-")
    };
    // Options are offered where one has begun, or where there is nothing else.
    if typed.is_empty() && !found.iter().all(is_option) {
        found.retain(|candidate| !is_option(candidate));
    }
    found
}

/// With the name of the command for its prefix, as the parser takes it; nothing where no command
/// is meant.
fn spelled_out(words: &[OsString]) -> Option<Vec<OsString>> {
    let program = Cli::command();
    let takes_value = |word: &str| {
        let named = |arg: &&Arg| {
            arg.get_long().is_some_and(|long| word == format!("--{long}"))
                || arg.get_short().is_some_and(|short| word == format!("-{short}"))
        };
        let arg = program.get_arguments().find(named);
        arg.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    };
    let mut words = words.to_vec();
    let mut is_value = true; // the program's own name
    for word in &mut words {
        let text = word.to_str()?;
        if is_value {
            is_value = false;
        } else if text.starts_with('-') {
            is_value = takes_value(text);
        } else {
            *word = cli::resolve_command(&program, text)?.into();
            return Some(words);
        }
    }
    Some(words)
}

/// Each argument learns its values by the name they have on the command line.
fn with_values(command: Command, places: &Arc<Places>) -> Command {
    let arg = |arg: Arg| {
        let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let source: fn(&Places, &str) -> Vec<CompletionCandidate> = match name.as_deref() {
            Some("UPLINK") => Places::uplinks,
            Some("CLIENT") => Places::clients,
            Some("UPLINK|CLIENT") => Places::uplinks_and_clients,
            Some("DEV") => Places::devices,
            Some("COMMAND") => Places::commands,
            _ => return arg,
        };
        let places = Arc::clone(places);
        let completer = move |typed: &std::ffi::OsStr| {
            typed.to_str().map(|typed| source(&places, typed)).unwrap_or_default()
        };
        arg.add(ArgValueCompleter::new(completer))
    };
    command.mut_args(arg).mut_subcommands(|command| with_values(command, places))
}

/// Where the answers are: as the options on the line say, or the environment.
#[derive(Default)]
struct Places {
    config: PathBuf,
    state_dir: PathBuf,
}

impl Places {
    fn named_in(words: Vec<OsString>) -> Self {
        let line = Cli::command().ignore_errors(true).try_get_matches_from(words);
        let path = |name| {
            let line = line.as_ref().ok()?;
            line.try_get_one::<PathBuf>(name).ok().flatten().cloned()
        };
        Self {
            config: path("config").unwrap_or_default(),
            state_dir: path("state_dir").unwrap_or_default(),
        }
    }

    fn config(&self) -> Option<Config> {
        // Nothing that would have to be waited for.
        self.config.is_file().then(|| Config::load(&self.config).ok()).flatten()
    }

    fn uplinks(&self, typed: &str) -> Vec<CompletionCandidate> {
        let config = self.config();
        let uplinks = config.iter().flat_map(|config| &config.uplinks);
        let (numbers, devices): (Vec<_>, Vec<_>) = uplinks
            .map(|(no, uplink)| {
                let dev = uplink.dev.to_string();
                (candidate(&no.to_string(), &dev), candidate(&dev, &format!("uplink {no}")))
            })
            .unzip();
        beginning_with(typed, devices.into_iter().chain(numbers))
    }

    fn clients(&self, typed: &str) -> Vec<CompletionCandidate> {
        let pools = Store::new(self.state_dir.clone()).read().unwrap_or_default();
        let mut clients: Vec<(Client, String, String)> = pools
            .iter()
            .flat_map(|(pool, members)| members.iter().map(move |&client| (client, pool)))
            .map(|(client, pool)| (client, client.to_string(), format!("pool {pool}")))
            .filter(|(_, address, _)| address.starts_with(typed))
            .collect();
        clients.sort_unstable_by_key(|(client, ..)| *client);
        if clients.len() <= MANY {
            return clients.iter().map(|(_, address, pool)| candidate(address, pool)).collect();
        }
        let next_dot = |address: &str| {
            let dot = address[typed.len()..].find('.')?;
            Some(address[..=typed.len() + dot].to_owned())
        };
        let mut prefixes: Vec<String> =
            clients.iter().filter_map(|(_, address, _)| next_dot(address)).collect();
        prefixes.dedup();
        prefixes.iter().map(|prefix| candidate(prefix, "clients")).collect()
    }

    fn uplinks_and_clients(&self, typed: &str) -> Vec<CompletionCandidate> {
        self.uplinks(typed).into_iter().chain(self.clients(typed)).collect()
    }

    /// Those that clients may be behind; without a configuration, all there are.
    fn devices(&self, typed: &str) -> Vec<CompletionCandidate> {
        let found = Kernel::open().and_then(|kernel| kernel.devices(Family::Inet));
        let config = self.config();
        let lan = |name: &str| config.as_ref().is_none_or(|config| config.is_lan(name));
        let links = found.map(|found| found.links).unwrap_or_default();
        let names = links.iter().map(|link| link.name.as_str()).filter(|name| lan(name));
        beginning_with(typed, names.map(|name| candidate(name, "device")))
    }

    fn commands(&self, typed: &str) -> Vec<CompletionCandidate> {
        let program = Cli::command();
        let about = |command: &Command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            candidate(command.get_name(), &about)
        };
        beginning_with(typed, program.get_subcommands().map(about))
    }
}

fn candidate(value: &str, what: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(what.to_owned().into()))
}

fn beginning_with(
    typed: &str,
    candidates: impl Iterator<Item = CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let begins = |candidate: &CompletionCandidate| {
        candidate.get_value().as_encoded_bytes().starts_with(typed.as_bytes())
    };
    candidates.filter(begins).collect()
}
