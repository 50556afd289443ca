//! The texts agree with each other and with the tree: both READMEs have the same structure, the files
//! that they name exist, and dependencies and versions are listed. `doctests.rs` runs the commands.

use std::collections::BTreeSet;
use std::process::Command;

use crate::documents::doctests::{project, read};

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];
const TEXTS: [&str; 4] = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"];

fn text(name: &str) -> String {
    read(&project(name))
}

/// What is the same in any language: blocks and directions, levels of headings, the number of table
/// cells and list items.
fn structure(text: &str) -> Vec<String> {
    let (mut structure, mut in_block) = (Vec::new(), false);
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        if in_block || is_fence || line.starts_with("<!--") {
            structure.push(line.to_owned());
        } else if line.starts_with('#') {
            structure.push(line.split(' ').next().unwrap_or_default().to_owned());
        } else if line.starts_with('|') {
            structure.push("|".repeat(line.matches('|').count()));
        } else if line.starts_with("- ") {
            structure.push("-".to_owned());
        }
    }
    structure
}

/// Every text between these two, as `](` and `)` of a link.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> BTreeSet<&'a str> {
    let ends = |part: &'a str| part.split_once(end).map(|(inside, _)| inside);
    text.split(begin).skip(1).filter_map(ends).collect()
}

#[test]
fn both_readmes_have_the_same_structure() {
    let [english, chinese] = READMES.map(text);
    let (english_structure, chinese_structure) = (structure(&english), structure(&chinese));
    for (one, other) in english_structure.iter().zip(&chinese_structure) {
        assert_eq!(one, other, "{READMES:?} differ here");
    }
    assert_eq!(english_structure.len(), chinese_structure.len(), "one of {READMES:?} is longer");
    assert_eq!(between(&english, "<http", ">"), between(&chinese, "<http", ">"));
    assert_eq!(between(&english, "[^", "]"), between(&chinese, "[^", "]"));
}

#[test]
fn every_footnote_is_defined_once_and_used() {
    for name in READMES {
        let text = text(name);
        for note in between(&text, "[^", "]") {
            let (defined, used) = (format!("\n[^{note}]: "), format!("[^{note}]"));
            assert_eq!(text.matches(&defined).count(), 1, "{name}: {used}");
            assert!(text.matches(&used).count() > 1, "{name}: nothing refers to {used}");
        }
    }
}

/// Whether a word is a path of this tree.
fn is_path(word: &str) -> bool {
    ["src/", "tests/", "scripts/", "man/", "completions/"].iter().any(|at| word.starts_with(at))
}

#[test]
fn every_file_that_is_named_exists() {
    for name in TEXTS {
        let text = text(name);
        let is_around = |c: char| c.is_whitespace() || "`'\"()<>|,;:、，；。（）".contains(c);
        let words: BTreeSet<&str> = text.split(is_around).filter(|word| is_path(word)).collect();
        let links = between(&text, "](", ")");
        let files = links.into_iter().filter(|link| !link.starts_with("http"));
        for path in words.into_iter().chain(files) {
            let path = path.trim_end_matches('.');
            assert!(project(path).exists(), "{name}: there is no {path}");
        }
    }
}

#[test]
fn every_dependency_is_explained_in_the_readme() {
    let manifest = text("Cargo.toml");
    let mut wanted = BTreeSet::new();
    for part in manifest.split("\n[").filter(|part| {
        let is = |name: &str| part.starts_with(name);
        is("dependencies]") || is("dev-dependencies]")
    }) {
        let lines = part.lines().skip(1);
        wanted.extend(lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name));
    }
    assert!(wanted.len() > 10, "{wanted:?}");
    for name in READMES {
        let text = text(name);
        let table = text.split_once("| crate |").expect("a table of crates").1;
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let listed: BTreeSet<&str> =
            cells.flat_map(|cell| cell.split(',')).map(str::trim).collect();
        assert_eq!(listed, wanted, "{name}");
    }
}

#[test]
fn the_changes_begin_with_this_version() {
    let changes = text("CHANGELOG.md");
    let first = changes.lines().find(|line| line.starts_with("## ")).expect("a version");
    let version = env!("CARGO_PKG_VERSION");
    assert!(first.starts_with(&format!("## {version} - 20")), "{first}");
}

#[test]
fn the_picture_is_well_formed_and_accessible() {
    let path = project("scripts/packet.svg");
    let parse = "import sys, xml.dom.minidom as dom; dom.parse(sys.argv[1])";
    let status = Command::new("python3").args(["-c", parse]).arg(&path).status();
    assert!(status.expect("python3 (apt install python3)").success(), "not well-formed");
    let picture = read(&path);
    for part in ["<title", "<desc", "fill=\"#f6f7f9\""] {
        assert!(picture.contains(part), "no {part}, for a screen reader or a dark background");
    }
}
