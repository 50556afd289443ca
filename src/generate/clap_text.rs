//! What the definition of the command line says, as roff.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// As in ip(8): a line a form, words that are typed in bold, values in italics.
pub fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let forms = usage.trim_start_matches("Usage:").lines().map(str::trim);
    let mut text = String::from(".SH SYNOPSIS\n.ad l\n");
    let program = command.get_name() == "wanpool";
    let own = |form: &&str| !form.is_empty() && !program;
    for form in forms.filter(own) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, ".HP\n{}", form_of(form));
    }
    if program {
        text += &form_lines("wanpool [ OPTIONS ] [ COMMAND ]");
        text += &form_lines("wanpool help [ COMMAND ]");
        text += &form_lines("wanpool { -V | --version }");
        let names: Vec<&str> = shown(command).map(Command::get_name).collect();
        text += &form_lines(&format!("COMMAND := {{ {} }}", names.join(" | ")));
        let options: Vec<String> = command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set() && arg.is_global_set())
            .map(plain)
            .collect();
        text += &form_lines(&format!("OPTIONS := {{ {} }}", options.join(" | ")));
    }
    text + ".ad b\n"
}

fn form_lines(form: &str) -> String {
    format!(".HP\n{}\n", form_of(form))
}

/// `wanpool assign CLIENT... [--from FILE]` with its fonts.
fn form_of(form: &str) -> String {
    let mut text = String::new();
    for piece in form.split_inclusive([' ', '[', ']', '|', '=']) {
        let word = piece.trim_end_matches([' ', '[', ']', '|', '=', '.', ':']);
        let rest = &piece[word.len()..];
        let is_value = !word.starts_with('-') && word.chars().any(char::is_uppercase);
        let font = if is_value { "I" } else { "B" };
        match word.is_empty() || word == "{" || word == "}" {
            true => text += &dashes(piece),
            false => {
                let _ = write!(text, "\\f{font}{}\\fR{}", dashes(word), dashes(rest));
            }
        }
    }
    text
}

/// An option as it is typed.
fn plain(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let value = match (value(arg), arg.is_require_equals_set()) {
        (None, _) => String::new(),
        (Some(value), true) => format!("[={value}]"),
        (Some(value), false) => format!(" {value}"),
    };
    names.join(" | ") + &value
}

/// The name of its value, for one that takes any.
fn value(arg: &Arg) -> Option<String> {
    let takes = arg.get_action().takes_values();
    let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    name.filter(|_| takes)
}

pub fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| command.get_name() != "help")
}

/// Each with the page about it.
pub fn commands(command: &Command) -> String {
    let mut text = String::new();
    for command in shown(command) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let name = command.get_name();
        let _ = writeln!(text, ".TP\n.BR wanpool\\-{name} (8)\n{}", sentence(&about));
    }
    text
}

/// Those of this command alone; of the program, those of every command.
pub fn options(command: &Command) -> String {
    let program = command.get_name() == "wanpool";
    let of_it = |arg: &&Arg| {
        let help = matches!(arg.get_id().as_str(), "help");
        !arg.is_hide_set() && !help && (program || !arg.is_global_set())
    };
    let mut text = String::new();
    for arg in command.get_arguments().filter(of_it) {
        text += &item(arg);
    }
    text
}

fn item(arg: &Arg) -> String {
    let name = match (arg.get_long(), value(arg)) {
        (None, Some(name)) => format!("\\fI{}\\fR", dashes(&name)),
        _ => form_of(&plain(arg).replace(" | ", ", ")),
    };
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| format!("\\fB{}\\fR", value.get_name()))
        .filter(|_| arg.get_action().takes_values())
        .collect();
    let name = match arg.get_long() {
        None if !possible.is_empty() => possible.join(", "),
        _ => name,
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(".TP\n{name}\n{}", sentence(&help));
    if arg.get_long().is_some() && !possible.is_empty() {
        let _ = writeln!(text, "\n\\fIWHEN\\fR is {}.", possible.join(", "));
    }
    if let Some(env) = arg.get_env() {
        let _ = writeln!(text, "\nEnvironment: \\fB{}\\fR.", env.to_string_lossy());
    }
    if let ([default], true) = (arg.get_default_values(), arg.get_action().takes_values()) {
        let _ = writeln!(text, "\nDefault: \\fB{}\\fR.", dashes(&default.to_string_lossy()));
    }
    text.replace("\n\n", "\n") + "\n"
}

/// Paragraphs with a blank line between.
pub fn sentences(text: &str) -> String {
    let paragraphs: Vec<String> = text.split("\n\n").map(sentence).collect();
    paragraphs.join("\n.PP\n") + "\n"
}

/// One paragraph, with its full stop, each sentence on a line of its own; a line that begins with
/// a dot would be a request.
fn sentence(text: &str) -> String {
    let text = dashes(text.trim()).replace(". ", ".\n");
    let stop = if text.ends_with(['.', ':']) { "" } else { "." };
    format!("{}{text}{stop}", if text.starts_with('.') { "\\&" } else { "" })
}

pub fn dashes(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
