//! Kernel modules.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Those of the modules that exist for this kernel and are not loaded.
pub fn unloaded(modules: &[&'static str]) -> BTreeSet<&'static str> {
    modules.iter().copied().filter(|module| is_unloaded(module)).collect()
}

/// Whether a module exists for this kernel and is not loaded. One that is built in counts as
/// loaded; so does one that the kernel cannot have.
fn is_unloaded(module: &str) -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    if loaded.lines().any(|line| line.split(' ').next() == Some(module)) {
        return false;
    }
    let index = format!("/lib/modules/{}/modules.dep", release.trim_end());
    let name = format!("/{module}.ko");
    fs::read_to_string(index).is_ok_and(|index| {
        let file = |line: &str| line.split(':').next().unwrap_or_default().contains(&name);
        index.lines().any(file)
    })
}

pub fn load(module: &str) -> Result<()> {
    let program = ["/sbin/modprobe", "/usr/sbin/modprobe"];
    let found = program.into_iter().find(|path| fs::metadata(path).is_ok());
    let program = found.context("looking for modprobe: not in /sbin; install kmod")?;
    let output = Command::new(program).arg(module).output().context("running modprobe")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
