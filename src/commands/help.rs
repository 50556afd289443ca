//! `help`: that of the program, or of a command by its name or an unambiguous prefix of it. Needs
//! no configuration.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context as _, Result};
use clap::CommandFactory;

use crate::cli::{self, Cli, Help};
use crate::config::Fault;

pub fn run(args: &Help) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let text = match &args.command {
        None => command.render_help(),
        Some(typed) => {
            let name = cli::meant(&command, typed).map(str::to_owned);
            let found = name.and_then(|name| command.find_subcommand_mut(name));
            let unknown =
                || Fault::of("help", format!("{typed}: no such command; see wanpool help"));
            let command = found.ok_or_else(unknown)?;
            match command.get_long_about().is_some() {
                true => command.render_long_help(),
                false => command.render_help(),
            }
        }
    };
    match io::stdout().write_all(text.to_string().as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the help"),
    }
}
