//! A man page: its text stands in `pages/`, in the order in which it is read. A line there that
//! begins with `@` is replaced by what is defined elsewhere:
//!
//! | line | what |
//! | --- | --- |
//! | `@synopsis` | how it is called, as `wanpool help` says |
//! | `@about` | what the command does, as `wanpool help COMMAND` says |
//! | `@options`, `@commands` | those of the command, or of the program |
//! | `@exit 0 1 …` | what these statuses mean |
//! | `@see ip(8) …` | SEE ALSO |
//!
//! Between `.EX` and `.EE` the text is verbatim; elsewhere it is roff.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use clap::Command;

use super::clap_text::{commands, dashes, options, sentences, synopsis};

/// The date of the pages: that of their last change of substance, so that they can be generated
/// anew.
const DATE: &str = "2026-11-22";

/// The exit statuses, of which each command has some.
const STATUSES: [(&str, &str); 5] = [
    ("0", "Done, or nothing to do."),
    ("1", "Failed; what and why is on stderr."),
    ("2", "Wrong usage, or a fault in the configuration; nothing was touched."),
    ("3", "\\fBpools \\-\\-check\\fR found that the kernel is not as it should be."),
    ("4", "Another run held the lock for all of \\fB\\-\\-wait\\fR; nothing was touched."),
];

pub struct Page {
    name: &'static str,
    section: &'static str,
    /// What stands behind the name, where no command's help says it.
    about: Option<&'static str>,
    text: &'static str,
}

macro_rules! page {
    ($name:literal, $section:literal, $about:expr) => {
        Page {
            name: $name,
            section: $section,
            about: $about,
            text: include_str!(concat!("pages/", $name, ".", $section, ".roff")),
        }
    };
}

pub const PAGES: [Page; 10] = [
    page!("wanpool", "8", None),
    page!("wanpool-scan", "8", None),
    page!("wanpool-assign", "8", None),
    page!("wanpool-pools", "8", None),
    page!("wanpool-failover", "8", None),
    page!("wanpool-restore", "8", None),
    page!("wanpool-multipath", "8", None),
    page!("wanpool-flush", "8", None),
    page!("wanpool.toml", "5", Some("configuration of wanpool(8)")),
    page!("wanpool-pools", "5", Some("the pool files of wanpool(8), and what else it keeps")),
];

impl Page {
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    pub fn text(&self, program: &Command) -> Result<String> {
        let command = match self.name.strip_prefix("wanpool-").filter(|_| self.section == "8") {
            Some(name) => program.find_subcommand(name).with_context(|| self.file())?,
            None => program,
        };
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let about = self.about.map_or(about, str::to_owned);
        let title = self.name.to_uppercase();
        let mut text = format!(
            ".TH {} {} {DATE} \"wanpool {}\" \"{}\"\n.SH NAME\n{} \\- {}\n",
            dashes(&title),
            self.section,
            env!("CARGO_PKG_VERSION"),
            if self.section == "5" { "File Formats" } else { "System Administration" },
            dashes(self.name),
            dashes(&lower_first(&about)),
        );
        let mut verbatim = false;
        for line in self.text.lines() {
            verbatim = if line == ".EX" { true } else { verbatim && line != ".EE" };
            text += &match line.strip_prefix('@').filter(|_| !verbatim) {
                Some(request) => included(request, command)
                    .with_context(|| format!("{}: @{request}", self.file()))?,
                // Tables as wide as a terminal should not be wider here.
                None if line == ".EX" => String::from(".in 4\n.EX\n"),
                None if line == ".EE" => String::from(".EE\n.in\n"),
                None if verbatim => verbatim_line(line),
                None => format!("{line}\n"),
            };
        }
        Ok(text)
    }
}

fn included(request: &str, command: &Command) -> Result<String> {
    let (name, arguments) = request.split_once(' ').unwrap_or((request, ""));
    let words = arguments.split_whitespace();
    Ok(match name {
        "synopsis" => synopsis(command),
        "about" => {
            let about = command.get_long_about().or_else(|| command.get_about());
            sentences(&about.map(ToString::to_string).unwrap_or_default())
        }
        "options" => options(command),
        "commands" => commands(command),
        "exit" => {
            let mut text = String::from(".SH EXIT STATUS\n");
            for word in words {
                let known = STATUSES.iter().find(|(status, _)| *status == word);
                let (status, meaning) = known.context("no such status")?;
                // Writing to a String cannot fail.
                let _ = writeln!(text, ".TP\n.B {status}\n{meaning}");
            }
            text
        }
        "see" => {
            let name = |word: &str| {
                let (page, section) = word.split_once('(').unwrap_or((word, ""));
                format!(".BR {} ({section}", dashes(page))
            };
            format!(".SH SEE ALSO\n{}\n", words.map(name).collect::<Vec<_>>().join(",\n"))
        }
        _ => bail!("no such request"),
    })
}

/// A line as it is typed and printed: what roff would take for something else is named.
fn verbatim_line(line: &str) -> String {
    let text = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    if text.starts_with('.') { format!("\\&{text}\n") } else { format!("{text}\n") }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
