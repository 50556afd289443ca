//! Sysctls, and modules: the files under `/proc/sys` and `/sys/module`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Reads those of the keys that there are. A device's go with the device; `*` stands for all.
pub fn read(keys: &[String]) -> BTreeMap<String, String> {
    let value = |key: String| {
        let value = fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
        Some((key, value.trim_end().to_owned()))
    };
    keys.iter().flat_map(|key| expand(key)).filter_map(value).collect()
}

fn expand(key: &str) -> Vec<String> {
    let Some((folder, rest)) = key.split_once("/*/") else { return vec![key.to_owned()] };
    let entries = fs::read_dir(format!("/proc/sys/{folder}")).into_iter().flatten().flatten();
    let path = |entry: fs::DirEntry| {
        Some(format!("{folder}/{}/{rest}", entry.file_name().into_string().ok()?))
    };
    entries.filter_map(path).collect()
}

pub fn write(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{key}");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {path}"))
}

/// Whether a module exists for this kernel and is not loaded. One that is built in counts as
/// loaded; so does one that the kernel cannot have.
pub fn is_unloaded(module: &str) -> bool {
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

pub fn load_module(module: &str) -> Result<()> {
    let program = ["/sbin/modprobe", "/usr/sbin/modprobe"];
    let found = program.into_iter().find(|path| fs::metadata(path).is_ok());
    let program = found.context("looking for modprobe: not in /sbin; install kmod")?;
    let output = Command::new(program).arg(module).output().context("running modprobe")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
