//! `help`: prints the help of the program, or of a command by its name or an unambiguous prefix of it.
//! Needs no configuration.

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{self, Cli, Help};
use crate::error::Error;
use crate::output;

pub fn run(args: &Help) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let Some(typed) = &args.command else {
        return output::print(&program.render_help().to_string());
    };
    let name = cli::resolve_command(&program, typed).map(str::to_owned);
    let Some(command) = name.and_then(|name| program.find_subcommand_mut(name)) else {
        let why = format!("{typed}: no such command; see wanpool help");
        return Err(Error::usage("help", why).into());
    };
    let text = match command.get_long_about() {
        Some(_) => command.render_long_help(),
        None => command.render_help(),
    };
    output::print(&text.to_string())
}
