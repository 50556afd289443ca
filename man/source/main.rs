//! Writes the man pages into a directory: `cargo run --example man -- DIR`. The shipped program
//! does not contain them.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result};

mod clap_text;
mod page;

fn main() -> Result<()> {
    let dir = env::args_os().nth(1).context("usage: cargo run --example man -- DIR")?;
    let dir = Path::new(&dir);
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for (name, text) in page::all()? {
        let file = dir.join(name);
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
