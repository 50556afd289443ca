//! Finds a command by what was typed, where no parser of clap runs: for `help` and for completions.
//! The parser itself accepts the same prefixes (`infer_subcommands`).

/// The name of the command that was typed: a full name, or a prefix that no other command has.
pub fn resolve_command<'a>(program: &'a clap::Command, typed: &str) -> Option<&'a str> {
    let mut with_prefix = Vec::new();
    for command in program.get_subcommands() {
        let name = command.get_name();
        if name == typed {
            return Some(name);
        }
        if name.starts_with(typed) {
            with_prefix.push(name);
        }
    }
    if let [only] = with_prefix[..] { Some(only) } else { None }
}
