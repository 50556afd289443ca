//! The layers of the source: which module may use which. A module that is not listed here, and a use
//! that is not allowed here, fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src` and the other modules that it may use.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("error", &[]),
    ("model", &[]),
    ("cli", &[]),
    // Its tests parse command lines.
    ("usage_error", &["cli"]),
    ("output", &["cli", "error"]),
    ("config", &["error", "model"]),
    ("plan", &["config", "error", "model"]),
    ("system", &["error", "model"]),
    ("commands", &["cli", "config", "error", "model", "output", "plan", "system"]),
    ("lib", &["cli", "commands", "error", "output", "usage_error"]),
];

/// What the modules that decide must not use.
const IMPURE: [&str; 7] = [
    "std::fs",
    "std::process",
    "std::env",
    "std::io",
    "std::time::SystemTime",
    "nix::",
    "rtnetlink",
];
const PURE: [&str; 4] = ["model", "config", "plan", "cli"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, with the path of its module.
fn files() -> Vec<(PathBuf, Vec<String>)> {
    let (mut found, mut folders) = (Vec::new(), vec![src()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let module = path.strip_prefix(src()).unwrap().with_extension("");
                let names = module.iter().map(|name| name.to_str().unwrap().to_owned());
                found.push((path.clone(), names.collect()));
            }
        }
    }
    found
}

/// The source without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names behind a path that ends in `::`: one name, or the first names of a list in braces.
fn names_after(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(list) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&list[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The modules of the crate that a file uses, by `crate::` or by `super::` up to the root.
fn used(code: &str, module: &[String]) -> BTreeSet<String> {
    used_in("crate::", module.len(), code)
}

/// What a file uses in a module: by the module's full path, or by `super::` so many times.
fn used_in(path: &str, levels: usize, code: &str) -> BTreeSet<String> {
    // In a file, `super` is the module above its own; in its module of tests, the file itself.
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    for path in [path.to_owned(), "super::".repeat(levels)] {
        for (at, _) in code.match_indices(&path) {
            used.extend(names_after(&code[at + path.len()..]));
        }
    }
    used.remove("");
    used
}

#[test]
fn every_module_uses_only_the_layers_below_it() {
    for (file, module) in files() {
        let root = module[0].as_str();
        if root == "main" {
            continue;
        }
        let allowed = ALLOWED.iter().find(|(name, _)| *name == root);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{root} is in no layer"));
        for other in used(&code(&file), &module) {
            let is_allowed = other == root || allowed.contains(&other.as_str());
            assert!(is_allowed, "{} uses crate::{other}", file.display());
        }
    }
}

#[test]
fn no_command_uses_itself_by_way_of_another() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, module) in files() {
        if let [root, name, ..] = module.as_slice() {
            if root == "commands" {
                let found = used_in("crate::commands::", module.len() - 1, &code(&file));
                uses.entry(name.clone()).or_default().extend(found);
            }
        }
    }
    // What uses no other command is done; in a circle nothing ever is.
    while !uses.is_empty() {
        let rest: Vec<String> = uses.keys().cloned().collect();
        let is_open = |name: &String, other: &String| other != name && rest.contains(other);
        uses.retain(|name, used| used.iter().any(|other| is_open(name, other)));
        assert!(uses.len() < rest.len(), "a circle among {rest:?}");
    }
}

#[test]
fn uses_are_found_however_they_are_written() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    for (code, path, wanted) in [
        ("use crate::plan::diff;", "system/apply", &["plan"][..]),
        ("use crate::{model::Mark, plan::{a, b}, system};", "x", &["model", "plan", "system"]),
        ("let a = crate::plan::x();", "system", &["plan"]),
        ("use super::super::plan::x;", "system/apply", &["plan"]),
        ("use super::plan::x;", "system", &["plan"]),
        ("use super::x;", "system/apply", &[]),
    ] {
        let found: Vec<String> = used(code, &module(path)).into_iter().collect();
        assert_eq!(found, wanted, "{code}");
    }
}

#[test]
fn the_modules_that_decide_touch_nothing() {
    for (file, module) in files() {
        // A test file may read what it likes.
        if !PURE.contains(&module[0].as_str()) {
            continue;
        }
        let code = code(&file);
        for impure in IMPURE {
            assert!(!code.contains(impure), "{} uses {impure}", file.display());
        }
    }
}

#[test]
fn every_file_begins_with_its_job() {
    for (file, _) in files() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not", file.display());
    }
}
