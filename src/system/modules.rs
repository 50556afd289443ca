//! Kernel modules: which are not loaded, and loading one. Does not know what they are needed for.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The given modules that exist for this kernel and are not loaded.
pub fn unloaded(modules: &[&'static str]) -> BTreeSet<&'static str> {
    modules.iter().copied().filter(|module| is_unloaded(module)).collect()
}

/// Whether a module exists for this kernel and is not loaded. A module that is built in or does not
/// exist has no file and need not be loaded.
fn is_unloaded(module: &str) -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    if loaded.lines().any(|line| line.split(' ').next() == Some(module)) {
        return false;
    }
    let index = format!("/lib/modules/{}/modules.dep", release.trim_end());
    let name = format!("/{module}.ko");
    let index = fs::read_to_string(index).unwrap_or_default();
    index.lines().any(|line| line.split(':').next().unwrap_or_default().contains(&name))
}

pub fn load(module: &str) -> Result<()> {
    let places = ["/sbin/modprobe", "/usr/sbin/modprobe"];
    let program = places.into_iter().find(|path| fs::metadata(path).is_ok());
    let program = program.context("looking for modprobe: not in /sbin; install kmod")?;
    let output = Command::new(program).arg(module).output().context("running modprobe")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
