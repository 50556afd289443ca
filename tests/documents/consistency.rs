//! What the texts say of each other and of the tree: the two READMEs are one text, what they name
//! is there, and what there is of crates and versions is in them. What their commands print is in
//! `documents.rs`.

use std::collections::BTreeSet;
use std::process::Command;

use crate::documents::doctests::{project, read};

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];
const TEXTS: [&str; 4] = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"];

fn text(name: &str) -> String {
    read(&project(name))
}

/// What is the same in any language: blocks with their directions, headings' levels, the number of
/// a table's cells and of a list's items, where links and footnotes lead.
fn bones(text: &str) -> Vec<String> {
    let (mut bones, mut in_block) = (Vec::new(), false);
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        if in_block || is_fence || line.starts_with("<!--") {
            bones.push(line.to_owned());
        } else if line.starts_with('#') {
            bones.push(line.split(' ').next().unwrap_or_default().to_owned());
        } else if line.starts_with('|') {
            bones.push("|".repeat(line.matches('|').count()));
        } else if line.starts_with("- ") {
            bones.push("-".to_owned());
        }
    }
    bones
}

/// What stands between these two, wherever they do: `](` and `)` of a link, a pair of backticks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> BTreeSet<&'a str> {
    let ends = |part: &'a str| part.split_once(end).map(|(inside, _)| inside);
    text.split(begin).skip(1).filter_map(ends).collect()
}

#[test]
fn both_readmes_have_the_same_structure() {
    let [english, chinese] = READMES.map(text);
    let (english_bones, chinese_bones) = (bones(&english), bones(&chinese));
    for (one, other) in english_bones.iter().zip(&chinese_bones) {
        assert_eq!(one, other, "{READMES:?} part here");
    }
    assert_eq!(english_bones.len(), chinese_bones.len(), "one of {READMES:?} goes on");
    assert_eq!(between(&english, "<http", ">"), between(&chinese, "<http", ">"));
    assert_eq!(between(&english, "[^", "]"), between(&chinese, "[^", "]"));
}

#[test]
fn every_footnote_is_defined_once_and_used() {
    for name in READMES {
        let text = text(name);
        for note in between(&text, "[^", "]") {
            let (told, named) = (format!("\n[^{note}]: "), format!("[^{note}]"));
            assert_eq!(text.matches(&told).count(), 1, "{name}: {named}");
            assert!(text.matches(&named).count() > 1, "{name}: nothing refers to {named}");
        }
    }
}

/// Whether a word is a path of this tree, and not the beginning of one.
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
        let told: BTreeSet<&str> = cells.flat_map(|cell| cell.split(',')).map(str::trim).collect();
        assert_eq!(told, wanted, "{name}");
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
        assert!(
            picture.contains(part),
            "no {part}: whoever cannot see it, or has it dark, reads it"
        );
    }
}
