//! `restore --empty-set`: creates the client set before saved rules that need it are loaded. Reads no
//! configuration.

use anyhow::{Context as _, Result};
use nix::libc::EEXIST;

use crate::cli::Options;
use crate::error::errno;
use crate::model::{Family, KernelIds};
use crate::output::Output;
use crate::plan::client_set;
use crate::system::{Kernel, capabilities, shell};

pub fn run(options: &Options) -> Result<()> {
    const WHAT: &str = "restore --empty-set";
    capabilities::require_net_admin(WHAT)?;
    let protocol = KernelIds::default().protocol;
    let change = client_set::create_empty();
    if options.dry_run {
        return Output::new(options).lines(&shell::commands(&change, Family::Inet, protocol));
    }
    match Kernel::open(Family::Inet, protocol)?.apply(&change) {
        Err(error) if errno(&error) == Some(EEXIST) => Ok(()),
        result => result.context(WHAT),
    }
}
