//! wanpool(8): synopsis, options and commands from clap; files, exit statuses, JSON keys and what
//! else the admin needs at three in the morning from `man.roff` beside this file.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;

/// Everything that is not on the command line.
const TEXT: &str = include_str!("man.roff");

/// The date of the page: that of its last change of substance, so that it can be generated anew.
const DATE: &str = "2026-11-22";

pub fn page(out: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone())
        .title("WANPOOL")
        .section("8")
        .date(DATE)
        .source(concat!("wanpool ", env!("CARGO_PKG_VERSION")))
        .manual("System Administration");
    man.render_title(out)?;
    man.render_name_section(out)?;
    out.write_all(synopsis(&command).as_bytes())?;
    let (description, rest) = TEXT.split_once(".SH COMMANDS\n").unwrap_or((TEXT, ""));
    out.write_all(description.as_bytes())?;
    out.write_all(options(&command).as_bytes())?;
    out.write_all(b".SH COMMANDS\n")?;
    for command in shown(&command) {
        out.write_all(section(command).as_bytes())?;
    }
    out.write_all(rest.as_bytes())
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| command.get_name() != "help")
}

/// A line a command, as in ip(8).
fn synopsis(command: &Command) -> String {
    let mut text = String::from(".SH SYNOPSIS\n.B wanpool\n[\\fIOPTIONS\\fR] [\\fICOMMAND\\fR]\n");
    for command in shown(command) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, ".br\n.B wanpool {}\n{}", command.get_name(), arguments(command));
    }
    text
}

fn arguments(command: &Command) -> String {
    let shown = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
    let args: Vec<String> = command.get_arguments().filter(shown).map(argument).collect();
    args.join(" ")
}

fn argument(arg: &Arg) -> String {
    let value = arg.get_num_args().is_some_and(|range| range.takes_values());
    let name = match arg.get_possible_values() {
        values if values.is_empty() || !value => {
            let names = arg.get_value_names().unwrap_or_default();
            format!("\\fI{}\\fR", names.first().map_or("", |name| name.as_str()))
        }
        values => {
            let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
            names.join(" | ")
        }
    };
    let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1)
        || matches!(arg.get_action(), clap::ArgAction::Append);
    let dots = if many { "…" } else { "" };
    let text = match (arg.get_long(), value) {
        (Some(long), false) => format!("\\fB\\-\\-{}\\fR", dashes(long)),
        (Some(long), true) => format!("\\fB\\-\\-{}\\fR {name}{dots}", dashes(long)),
        (None, _) => format!("{name}{dots}"),
    };
    if arg.is_required_set() { text } else { format!("[{text}]") }
}

fn options(command: &Command) -> String {
    let mut text = String::from(".SH OPTIONS\nThey may stand before or behind the command.\n");
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    for arg in shown {
        text += &item(arg);
    }
    text
}

fn section(command: &Command) -> String {
    let mut text = format!(".SS \"wanpool {} {}\"\n", command.get_name(), arguments(command));
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<String> = about.split("\n\n").map(sentence).collect();
    text += &paragraphs.join(".PP\n");
    for arg in command.get_arguments() {
        if !arg.is_global_set() && arg.get_id() != "help" && arg.get_help().is_some() {
            text += &item(arg);
        }
    }
    text
}

fn item(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("\\fB\\-{short}\\fR, ")).unwrap_or_default();
    let name = argument(arg);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(".TP\n{short}{name}\n{}", sentence(&help));
    if let Some(env) = arg.get_env() {
        let _ = writeln!(text, "Environment: \\fB{}\\fR.", env.to_string_lossy());
    }
    let value = arg.get_num_args().is_some_and(|range| range.takes_values());
    if let ([default], true) = (arg.get_default_values(), value) {
        let _ = writeln!(text, "Default: \\fB{}\\fR.", dashes(&default.to_string_lossy()));
    }
    text
}

/// One paragraph, with its full stop; a line that begins with a dot would be a request.
fn sentence(text: &str) -> String {
    let text = dashes(text.trim());
    let stop = if text.ends_with(['.', ':']) { "" } else { "." };
    format!("{}{text}{stop}\n", if text.starts_with('.') { "\\&" } else { "" })
}

fn dashes(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
