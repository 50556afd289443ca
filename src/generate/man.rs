//! wanpool(8): synopsis and options from clap, the rest from `man.roff` beside this file.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;

pub fn page(out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(Cli::command()).section("8").manual("System Administration");
    man.render(out)
}
