//! Writes what the definition of the command line says as roff, in the style of ip(8): typed words
//! in bold, values in italics. Knows nothing of pages.

use clap::{Arg, Command};

pub fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The short help of a command, as the NAME section has it.
pub fn summary(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut chars = about.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => about,
    }
}

/// One line for each form of the usage; for the program, the commands and options as well.
pub fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let mut forms: Vec<String> = Vec::new();
    for form in usage.trim_start_matches("Usage:").lines() {
        forms.push(form.trim().to_owned());
    }
    if command.has_subcommands() {
        let names: Vec<&str> = subcommands(command).map(Command::get_name).collect();
        forms.push(format!("COMMAND := {{ {} }}", names.join(" | ")));
        let options: Vec<String> = command
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| option(arg, " | "))
            .collect();
        forms.push(format!("OPTIONS := {{ {} }}", options.join(" | ")));
    }
    let mut text = String::from(".SH SYNOPSIS\n");
    for form in forms {
        text += &format!(".HP\n{}\n", typeset(&form));
    }
    text
}

/// The paragraphs of the long help, without its first line, which is the summary.
pub fn long_about(command: &Command) -> String {
    let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<String> = about.split("\n\n").skip(1).map(sentences).collect();
    paragraphs.join(".PP\n")
}

/// Each command with the page that describes it.
pub fn commands(program: &Command) -> String {
    let mut text = String::new();
    for command in subcommands(program) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let name = command.get_name();
        text += &format!(".TP\n.BR wanpool\\-{name} (8)\n{}", sentences(&about));
    }
    text
}

/// The options of this command alone; for the program, those of every command.
pub fn options(command: &Command) -> String {
    let mut text = String::new();
    for arg in command.get_arguments() {
        let is_own = command.has_subcommands() || !arg.is_global_set();
        if is_own && arg.get_id() != "help" {
            text += &item(arg);
        }
    }
    text
}

fn subcommands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| command.get_name() != "help")
}

fn item(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(".TP\n{}\n{}", typeset(&option(arg, ", ")), sentences(&help));
    if let Some(env) = arg.get_env() {
        text += &format!(
            "The environment variable \\fB{}\\fR has the same effect.\n",
            env.to_string_lossy()
        );
    }
    if let ([default], true) = (arg.get_default_values(), arg.get_action().takes_values()) {
        text += &format!("The default is \\fB{}\\fR.\n", escape(&default.to_string_lossy()));
    }
    text
}

/// An option as it is typed, with the name of its value; for an argument, that name alone.
fn option(arg: &Arg, between: &str) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let names = names.join(between);
    let is_optional =
        arg.get_num_args().is_some_and(|range| range.min_values() == 0 && range.max_values() > 0);
    match arg.get_value_names() {
        Some([value]) if names.is_empty() => value.to_string(),
        Some([value]) if arg.is_require_equals_set() => format!("{names}[={value}]"),
        Some([value]) if is_optional => format!("{names} [{value}]"),
        Some([value]) if arg.get_action().takes_values() => format!("{names} {value}"),
        _ => names,
    }
}

/// A form of usage with its fonts: words in capitals are values, other words are typed.
fn typeset(form: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '-';
    let mut text = String::new();
    let mut rest = form;
    while !rest.is_empty() {
        let is_word = rest.starts_with(is_of_word);
        let end = rest.find(|c| is_of_word(c) != is_word).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        let is_value = piece.starts_with(char::is_uppercase);
        text += &match (is_word, is_value) {
            (true, true) => format!("\\fI{}\\fR", escape(piece)),
            (true, false) => format!("\\fB{}\\fR", escape(piece)),
            (false, _) => piece.to_owned(),
        };
        rest = behind;
    }
    text
}

/// A paragraph with its full stop, each sentence on a line of its own.
fn sentences(text: &str) -> String {
    let text = escape(text.trim()).replace(". ", ".\n");
    let stop = if text.ends_with('.') { "" } else { "." };
    format!("{text}{stop}\n")
}
