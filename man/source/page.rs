//! Makes each man page from its source, `NAME.SECTION.roff` in this directory. A source is roff; a
//! line that begins with `@` stands for text that is defined elsewhere:
//!
//! | line | text |
//! | --- | --- |
//! | `@name TEXT` | the header and NAME; without TEXT, with the help of the command |
//! | `@synopsis` | the usage of the command |
//! | `@about` | the long help of the command |
//! | `@options` | the options and arguments of the command |
//! | `@common` | where the options of every command are described |
//! | `@commands` | the commands of the program |
//! | `@exit 0 1 …` | what these exit statuses mean |
//! | `@see ip(8) …` | SEE ALSO |
//!
//! Between `.EX` and `.EE` the text is verbatim.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Command, CommandFactory};
use wanpool::cli::Cli;

use super::clap_text::{self, escape};

/// Changes only with the substance of the pages, so that the same sources give the same pages.
const DATE: &str = "2026-11-26";

const STATUSES: [(&str, &str); 5] = [
    ("0", "Success.\nThe command did its work, or there was nothing to do."),
    ("1", "The command failed.\nA message on standard error says what failed and why."),
    ("2", "The command line or the configuration is wrong.\nNothing was changed."),
    ("3", "\\fBwanpool pools \\-\\-check\\fR found differences."),
    ("4", "Another run held the lock for longer than \\fB\\-\\-wait\\fR.\nNothing was changed."),
];

const COMMON: &str = "\
.PP
The options that every command has
.RB ( \\-\\-json ,
.BR \\-\\-dry\\-run ,
.B \\-\\-quiet
and others) are described in
.BR wanpool (8).
";

/// The file name and the text of every page.
pub fn all() -> Result<Vec<(String, String)>> {
    let mut program = Cli::command();
    program.build();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/source");
    let mut pages = Vec::new();
    for entry in fs::read_dir(&sources).context("reading man/source")? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(file) = file.strip_suffix(".roff") {
            let source = fs::read_to_string(&path)?;
            let text =
                page(file, &source, &program).with_context(|| format!("man/source/{file}"))?;
            pages.push((file.to_owned(), text));
        }
    }
    Ok(pages)
}

fn page(file: &str, source: &str, program: &Command) -> Result<String> {
    let (name, section) = file.rsplit_once('.').context("no section in the name")?;
    let subcommand = name.strip_prefix("wanpool-").and_then(|name| program.find_subcommand(name));
    let command = match subcommand {
        Some(subcommand) if section == "8" => subcommand,
        _ => program,
    };
    let mut text = String::new();
    let mut is_verbatim = false;
    for line in source.lines() {
        if line == ".EX" {
            is_verbatim = true;
            // Tables as wide as a terminal should not become wider.
            text += ".in 4\n.EX\n";
        } else if line == ".EE" {
            is_verbatim = false;
            text += ".EE\n.in\n";
        } else if is_verbatim {
            text += &verbatim(line);
        } else if let Some(request) = line.strip_prefix('@') {
            let (request, words) = request.split_once(' ').unwrap_or((request, ""));
            text += &match request {
                "name" => header(name, section, command, words),
                "synopsis" => clap_text::synopsis(command),
                "about" => clap_text::long_about(command),
                "options" => clap_text::options(command),
                "common" => COMMON.to_owned(),
                "commands" => clap_text::commands(command),
                "exit" => exit_statuses(words),
                "see" => see_also(words),
                _ => bail!("unknown line: {line}"),
            };
        } else {
            text += line;
            text.push('\n');
        }
    }
    Ok(text)
}

fn header(name: &str, section: &str, command: &Command, summary: &str) -> String {
    let manual = if section == "5" { "File Formats" } else { "System Administration" };
    let summary = match summary {
        "" => clap_text::summary(command),
        given => given.to_owned(),
    };
    let title = escape(&name.to_uppercase());
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {title} {section} {DATE} \"wanpool {version}\" \"{manual}\"\n.nh\n.ad l\n\
         .SH NAME\n{} \\- {}\n",
        escape(name),
        escape(&summary),
    )
}

fn exit_statuses(wanted: &str) -> String {
    let mut text = String::from(".SH EXIT STATUS\n");
    for (status, meaning) in STATUSES {
        if wanted.split(' ').any(|word| word == status) {
            text += &format!(".TP\n.B {status}\n{meaning}\n");
        }
    }
    text
}

fn see_also(pages: &str) -> String {
    let pages = escape(pages).replace('(', " (").replace(") ", "),\n.BR ");
    format!(".SH SEE ALSO\n.BR {pages}\n")
}

/// Escapes a line so that it is shown as it is typed.
fn verbatim(line: &str) -> String {
    let text = escape(line)
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    let guard = if text.starts_with('.') { "\\&" } else { "" };
    format!("{guard}{text}\n")
}
