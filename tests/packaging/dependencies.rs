//! The dependencies: every one is used, from the registry, under a compatible licence, and works with
//! our oldest Rust; the lockfile is current. Needs cargo, but no network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Licences that are compatible with MIT and Apache-2.0, in the words of the dependencies.
const COMPATIBLE: [&str; 14] = [
    "(MIT OR Apache-2.0) AND Unicode-3.0",
    "Apache-2.0 / MIT",
    "Apache-2.0 OR MIT",
    "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
    "Apache-2.0/MIT",
    "BSD-2-Clause OR Apache-2.0 OR MIT",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT OR Apache-2.0",
    "MIT/Apache-2.0",
    "Unicode-3.0",
    "Unlicense OR MIT",
    "Zlib",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All packages of the lockfile for this machine.
fn metadata() -> Value {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", &target])
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "the lockfile is not current, or a dependency is not there:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The packages that the build uses: the metadata lists those of other systems, too.
fn used(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["id"].as_str().expect("an id"))
        .collect();
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().filter(|package| ids.contains(package["id"].as_str().expect("an id"))).collect()
}

#[test]
fn every_dependency_is_from_the_registry_and_has_a_compatible_licence() {
    let metadata = metadata();
    let packages = used(&metadata);
    assert!(packages.len() > 20, "{}", packages.len());
    for package in packages.iter().filter(|package| package["name"] != "wanpool") {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(COMPATIBLE.contains(&licence), "{name}: {licence:?}");
        let source = package["source"].as_str().unwrap_or("a path");
        assert!(source.starts_with("registry+"), "{name} is from {source}");
    }
}

/// The numbers of a version of Rust: of `1.85`, `1.85.0` alike.
fn rust_version(text: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(text.split('.')) {
        *number = digits.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
    }
    numbers
}

#[test]
fn no_dependency_needs_a_newer_rust() {
    let ours = env!("CARGO_PKG_RUST_VERSION");
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        // Of a package without rust-version, only a build shows what it needs.
        let theirs = package["rust_version"].as_str().unwrap_or(ours);
        let (name, version) = (&package["name"], &package["version"]);
        let is_enough = rust_version(theirs) <= rust_version(ours);
        assert!(is_enough, "{name} {version} needs Rust {theirs}, and rust-version is {ours}");
    }
}

/// All Rust code below a folder.
fn code(folder: PathBuf) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &code(path);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let lines = fs::read_to_string(path).expect("a file");
            let lines = lines.lines().filter(|line| !line.trim_start().starts_with("//"));
            text += &lines.collect::<Vec<_>>().join("\n");
        }
    }
    text
}

/// A line of a let chain, as rustfmt formats it: `if let …` that continues with `&&`.
fn let_chain(code: &str) -> Option<&str> {
    let and_let = ["&&", "let "].join(" ");
    let mut open_condition = None;
    for line in code.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let goes_on = text.starts_with("&& ") && open_condition == indent.checked_sub(4);
        if text.contains(&and_let) || goes_on {
            return Some(line);
        }
        let statement = text.strip_prefix("} else ").unwrap_or(text);
        if statement.starts_with("if let ") || statement.starts_with("while let ") {
            open_condition = Some(indent);
        }
        if text.ends_with('{') {
            open_condition = None;
        }
    }
    None
}

/// Let chains need Rust 1.88. Clippy reports newer functions, but not newer syntax.
#[test]
fn no_let_chain_is_used() {
    for folder in ["src", "tests"] {
        assert_eq!(let_chain(&code(root().join(folder))), None, "in {folder}/");
    }
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = packages.iter().find(|package| package["name"] == "wanpool").expect("our own");
    let (src, tests) = (code(root().join("src")), code(root().join("tests")));
    for dependency in ours["dependencies"].as_array().expect("dependencies") {
        let name = dependency["name"].as_str().expect("a name");
        let path = format!("{}::", name.replace('-', "_"));
        let is_used = src.contains(&path) || (dependency["kind"] == "dev" && tests.contains(&path));
        assert!(is_used, "nothing uses {name}: remove it from Cargo.toml");
    }
}
