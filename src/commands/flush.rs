//! `flush`: removes the whole slice from the kernel. Files and sysctls stay.

use anyhow::Result;

use super::Context;
use super::transaction::Run;

pub fn run(context: &Context) -> Result<()> {
    Run::begin_without_pools(context, "flush")?.remove()
}
