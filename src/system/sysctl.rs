//! Sysctls: the files under `/proc/sys`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

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
