//! `scripts/need-rust` uses a cargo that is new enough, or installs that of Debian, or prints one
//! line that says how to get Rust. The programs that it runs are stand-ins.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::lab::write_script;

const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// What the script did: its exit status, its stderr, and the arguments of apt-get.
type Outcome = (Option<i32>, String, String);

/// Runs the script as root with this cargo, where apt has these versions of cargo and cargo-web.
fn need_rust(cargo: &str, debian: &str, web: &str) -> Outcome {
    need_rust_as(0, cargo, debian, web)
}

fn need_rust_as(id: u32, cargo: &str, debian: &str, web: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path();
    for program in ["bash", "cut", "dirname", "head", "sed", "sort"] {
        symlink(Path::new("/usr/bin").join(program), bin.join(program)).expect("a link");
    }
    put(bin, "cargo", cargo);
    put(bin, "id", &format!("echo {id}"));
    put(bin, "dpkg-query", "exit 1");
    let versions = format!("case $2 in cargo) v='{debian}' ;; cargo-web) v='{web}' ;; esac");
    put(bin, "apt-cache", &format!("{versions}\necho \"  Candidate: $v\""));
    put(bin, "apt-get", "echo \"$*\" >>\"${0%/*}/asked\"");
    let mut command = Command::new(bin.join("bash"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/need-rust")).args(["fmt", "clippy"]);
    let output = command.env_clear().env("PATH", bin).output().expect("the script");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr, fs::read_to_string(bin.join("asked")).unwrap_or_default())
}

/// A stand-in: a program of this name in the folder `bin`.
pub fn put(bin: &Path, program: &str, script: &str) {
    write_script(&bin.join(program), &format!("#!/bin/sh\n{script}\n"));
}

#[track_caller]
fn assert_installs((status, stderr, asked): Outcome, packages: &str) {
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(asked.contains("install") && asked.ends_with(packages), "{asked}");
}

#[track_caller]
fn assert_recommends_rustup((status, stderr, asked): &Outcome) {
    assert_eq!((*status, stderr.lines().count()), (Some(1), 1), "{stderr}");
    for part in [&format!("Rust {RUST} or newer"), "apt-get install", "rustup"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!asked.contains("install"), "{asked}");
}

const NO_CARGO: &str = "exit 127";
/// The version of cargo in Debian 12.
const OLD: &str = "0.66.0+ds1-1";
const NONE: &str = "(none)";

#[test]
fn an_installed_cargo_that_is_new_enough_is_used() {
    for version in [RUST.to_owned(), format!("{RUST}.1"), "1.100.0".to_owned()] {
        let run = need_rust(&format!("echo 'cargo {version} (abc 2030-01-01)'"), NONE, NONE);
        assert_eq!(run, (Some(0), String::new(), String::new()), "{version}");
    }
}

#[test]
fn an_installed_cargo_that_is_too_old_is_refused() {
    let new = format!("{RUST}.1+dfsg1-1");
    let outcome = need_rust("echo cargo 1.63.0", &new, &new);
    assert_recommends_rustup(&outcome);
    assert!(outcome.1.contains("1.63.0"), "{}", outcome.1);
}

#[test]
fn without_cargo_a_debian_package_that_is_new_enough_is_installed() {
    for web in [NONE, "1.96.0+dfsg1-1"] {
        let outcome = need_rust(NO_CARGO, &format!("{RUST}.1+dfsg1-1+deb13u1"), web);
        assert_installs(outcome, " ca-certificates cargo rustfmt rust-clippy\n");
    }
    for web in [format!("{RUST}.0+dfsg3-1~deb12u3"), "1.96.0+dfsg1-1~deb12u2".to_owned()] {
        let outcome = need_rust(NO_CARGO, OLD, &web);
        assert_installs(outcome, " ca-certificates cargo-web rustfmt-web rust-web-clippy\n");
    }
    for (debian, web) in [(OLD, NONE), (OLD, "1.78.0+dfsg1-2"), (NONE, NONE)] {
        assert_recommends_rustup(&need_rust(NO_CARGO, debian, web));
    }
}

#[test]
fn without_root_the_apt_command_is_printed() {
    let (status, printed, asked) = need_rust_as(1000, NO_CARGO, OLD, "1.96.0+dfsg1-1~deb12u2");
    assert_eq!((status, asked.as_str(), printed.lines().count()), (Some(1), "", 1), "{printed}");
    let line = "As root: apt-get install -y -qq --no-install-recommends --no-remove";
    assert!(
        printed.contains(&format!("{line} ca-certificates cargo-web rustfmt-web")),
        "{printed}"
    );
}

#[test]
fn missing_components_of_rustup_are_named() {
    let cargo = format!("[ \"$1\" = --version ] || exit 101\necho cargo {RUST}.0");
    let new = format!("{RUST}.1+dfsg1-1");
    let (status, printed, asked) = need_rust(&cargo, &new, &new);
    assert_eq!((status, asked.as_str()), (Some(1), ""), "{printed}");
    assert!(printed.contains("rustup component add rustfmt clippy"), "{printed}");
}
