//! Sysctls: the files under `/proc/sys`. Does not know which values they should have.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use anyhow::{Context, Result};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Reads the values of these keys; `*` in a key stands for every device. Leaves out keys that do not
/// exist, such as those of a device that is gone.
pub fn read(keys: &[String]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for key in keys.iter().flat_map(|key| expand(key)) {
        if let Ok(value) = fs::read_to_string(format!("/proc/sys/{key}")) {
            values.insert(key, value.trim_end().to_owned());
        }
    }
    values
}

fn expand(key: &str) -> Vec<String> {
    let Some((folder, rest)) = key.split_once("/*/") else { return vec![key.to_owned()] };
    let mut keys = Vec::new();
    for entry in fs::read_dir(format!("/proc/sys/{folder}")).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string() {
            keys.push(format!("{folder}/{name}/{rest}"));
        }
    }
    keys
}

/// Whether the sysctls of the network are read-only. In some containers, only others are.
pub fn are_fixed() -> bool {
    statvfs("/proc/sys/net/ipv4").is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

pub fn write(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{key}");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("writing {path}"))
}
