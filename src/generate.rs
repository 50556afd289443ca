//! The man pages, from the same clap types that parse the command line and the texts in
//! `generate/pages`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::Cli;

mod clap_text;
mod page;

/// Writes every page into this directory.
pub fn run(dir: &Path) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for page in &page::PAGES {
        let file = dir.join(page.file());
        fs::write(&file, page.text(&program)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
