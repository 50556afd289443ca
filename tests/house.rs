//! The arrows of the house: which module may name which.

use std::fs;
use std::path::{Path, PathBuf};

/// A module (with what is below it), and those that it must not reach.
const NEVER: [(&str, &[&str]); 13] = [
    (
        "model",
        &["cli", "cmd", "config", "kernel", "output", "plan", "pools", "state", "step", "store"],
    ),
    (
        "cli",
        &["cmd", "config", "kernel", "model", "output", "plan", "pools", "state", "step", "store"],
    ),
    ("config", &["cli", "cmd", "kernel", "output", "plan", "pools", "state", "step", "store"]),
    ("pools", &["cli", "cmd", "config", "kernel", "output", "plan", "state", "step", "store"]),
    ("state", &["cli", "cmd", "config", "kernel", "output", "plan", "pools", "step", "store"]),
    ("step", &["cli", "cmd", "config", "kernel", "output", "plan", "pools", "store"]),
    ("plan", &["cli", "cmd", "kernel", "output", "store"]),
    ("kernel", &["cli", "cmd", "config", "output", "plan", "pools", "store"]),
    ("store", &["cli", "cmd", "config", "kernel", "output", "plan", "state", "step"]),
    (
        "probe",
        &["cli", "cmd", "kernel", "memory", "output", "plan", "pools", "state", "step", "store"],
    ),
    (
        "memory",
        &["cli", "cmd", "config", "kernel", "output", "plan", "pools", "state", "step", "store"],
    ),
    (
        "record",
        &["cli", "cmd", "config", "kernel", "output", "plan", "pools", "state", "step", "store"],
    ),
    ("output", &["cmd", "config", "kernel", "model", "plan", "pools", "state", "step", "store"]),
];

/// What the pure part must not touch.
const IMPURE: [&str; 6] = ["std::fs", "std::process", "std::env", "std::io", "tokio", "rtnetlink"];
const PURE: [&str; 7] = ["model", "pools", "record", "state", "step", "plan", "cli"];

/// What only a command may reach.
const FOR_COMMANDS: [&str; 2] = ["memory", "probe"];

fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let code = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (file, lines.collect::<Vec<_>>().join("\n"))
    };
    files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "rs"))
        .map(code)
        .collect()
}

#[test]
fn no_module_reaches_what_it_must_not_know() {
    for (module, never) in NEVER {
        for (file, code) in sources(module) {
            for other in never {
                let named = code.contains(&format!("crate::{other}::"));
                assert!(!named, "{} names crate::{other}", file.display());
            }
        }
    }
}

#[test]
fn only_commands_ask_the_lines_and_remember_the_answers() {
    for (module, _) in NEVER {
        for (file, code) in sources(module) {
            for other in FOR_COMMANDS.iter().filter(|other| **other != module) {
                let named = code.contains(&format!("crate::{other}::"));
                assert!(!named, "{} names crate::{other}", file.display());
            }
        }
    }
}

#[test]
fn the_policy_core_touches_nothing() {
    for module in PURE {
        for (file, code) in sources(module) {
            for impure in IMPURE {
                assert!(!code.contains(impure), "{} uses {impure}", file.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_its_job_is() {
    for module in
        NEVER.map(|(module, _)| module).into_iter().chain(["cmd", "complete", "lib", "main"])
    {
        for (file, _) in sources(module) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{} does not", file.display());
        }
    }
}
