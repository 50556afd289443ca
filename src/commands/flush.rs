//! `flush`: the whole slice out of the kernel. Files and sysctls stay.

use anyhow::Result;

use super::Context;
use super::change::Run;

pub fn run(context: &Context) -> Result<()> {
    Run::begin_without_pools(context, "flush")?.remove()
}
