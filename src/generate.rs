//! The man page and the completions, from the same clap types that parse the command line.

use std::io::{self, Write};

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, Generate};

mod man;

pub fn run(kind: Generate) -> Result<()> {
    let mut text = Vec::new();
    match kind {
        Generate::Man => man::page(&mut text)?,
        Generate::Bash => completions(Shell::Bash, &mut text),
        Generate::Zsh => completions(Shell::Zsh, &mut text),
        Generate::Fish => completions(Shell::Fish, &mut text),
    }
    io::stdout().write_all(&text)?;
    Ok(())
}

fn completions(shell: Shell, text: &mut Vec<u8>) {
    generate(shell, &mut Cli::command(), "wanpool", text);
}
