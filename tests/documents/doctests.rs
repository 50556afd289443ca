//! Every command line of the man pages and the README is run in a lab, in order (see
//! `lab/doctest.rs`), and the man pages are made from their sources.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Doctest, Piece, exchanges, matches};
use crate::manual;

/// Commands of the README that cannot be run here, and why.
const NOT_RUN: [(&str, &str); 8] = [
    ("apt ", "changes the packages of this machine"),
    ("cargo ", "builds what these tests test"),
    ("install ", "writes to the system's folders; tests of the package do that in a chroot"),
    ("systemctl ", "needs systemd as PID 1"),
    ("rm ", "deletes the program under test"),
    ("cd /usr/share/doc/", "is there once the package is installed"),
    ("echo '* * * * *", "writes a line for cron"),
    ("scripts/", "is a test of its own"),
];

pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The man pages, by name.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(project("man")).expect("man/") {
        let path = entry.expect("an entry of man/").path();
        if path.is_file() {
            let name = path.file_name().and_then(OsStr::to_str).expect("UTF-8");
            pages.push((name.to_owned(), read(&path)));
        }
    }
    pages.sort();
    pages
}

/// A verbatim line as a terminal shows it.
fn rendered(line: &str) -> String {
    let line = line.strip_prefix("\\&").unwrap_or(line);
    let names = [("\\-", "-"), ("\\(aq", "'"), ("\\(ga", "`"), ("\\(ha", "^"), ("\\(ti", "~")];
    let text = names.iter().fold(line.to_owned(), |text, (name, is)| text.replace(name, is));
    text.replace("\\e", "\\")
}

fn pieces_of_page(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut block, line) {
            (None, ".EX") => block = Some(vec![]),
            (Some(_), ".EE") => {
                let lines = block.take().unwrap_or_default();
                pieces.push(Piece::Block(at + 1 - lines.len(), lines));
            }
            (Some(lines), _) => lines.push(rendered(line)),
            (None, _) => {
                let direction = line.strip_prefix(".\\\" lab: ");
                pieces.extend(direction.map(|text| Piece::Direction(text.to_owned())));
            }
        }
    }
    pieces
}

fn pieces_of_markdown(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut block: Option<(String, Vec<String>)> = None;
    let mut is_config = false;
    for (at, line) in text.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind.to_owned(), vec![])),
            (Some(_), Some(_)) => {
                let (kind, lines) = block.take().unwrap_or_default();
                if kind == "console" || is_config {
                    pieces.push(Piece::Block(at + 1 - lines.len(), lines));
                }
                is_config = false;
            }
            (Some((_, lines)), None) => lines.push(line.to_owned()),
            (None, None) => {
                let direction = line.strip_prefix("<!-- lab: ");
                let direction = direction.and_then(|text| text.strip_suffix(" -->"));
                is_config |= direction == Some("config");
                pieces.extend(direction.map(|text| Piece::Direction(text.to_owned())));
            }
        }
    }
    pieces
}

/// Without the commands that are not run here.
fn runnable(pieces: Vec<Piece>) -> Vec<Piece> {
    let is_exempt = |line: &String| {
        let command = line.trim_start_matches(['#', '$']).trim_start();
        line.starts_with(['#', '$']) && NOT_RUN.iter().any(|(begin, _)| command.starts_with(begin))
    };
    let keep = |piece| match piece {
        Piece::Block(at, lines) => {
            Piece::Block(at, lines.into_iter().filter(|line| !is_exempt(line)).collect())
        }
        direction => direction,
    };
    pieces.into_iter().map(keep).collect()
}

fn commands(pieces: &[Piece]) -> usize {
    let count = |piece: &Piece| match piece {
        Piece::Block(_, lines) => exchanges(lines).len(),
        Piece::Direction(_) => 0,
    };
    pieces.iter().map(count).sum()
}

#[track_caller]
fn assert_output_matches(name: &str, pieces: &[Piece]) {
    let faults = Doctest::run(name, pieces);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One test for each page, so that they run in parallel.
macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        $(
            #[test]
            fn $name() {
                let pieces = pieces_of_page(&read(&project("man").join($page)));
                assert!(commands(&pieces) > 0, "no command line in {}", $page);
                assert_output_matches($page, &pieces);
            }
        )*

        #[test]
        fn every_man_page_is_tested() {
            let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
            let mut tested = vec![$($page),*];
            tested.sort_unstable();
            assert_eq!(names, tested);
        }
    };
}

pages! {
    wanpool_8: "wanpool.8",
    wanpool_assign_8: "wanpool-assign.8",
    wanpool_failover_8: "wanpool-failover.8",
    wanpool_flush_8: "wanpool-flush.8",
    wanpool_multipath_8: "wanpool-multipath.8",
    wanpool_pools_8: "wanpool-pools.8",
    wanpool_restore_8: "wanpool-restore.8",
    wanpool_scan_8: "wanpool-scan.8",
    wanpool_toml_5: "wanpool.toml.5",
    wanpool_pools_5: "wanpool-pools.5",
}

#[test]
fn the_readme_shows_the_real_output() {
    let pieces = runnable(pieces_of_markdown(&read(&project("README.md"))));
    assert!(commands(&pieces) > 0, "no command line in the README");
    assert_output_matches("README.md", &pieces);
}

#[test]
fn commands_that_are_not_run_are_in_the_readme() {
    let readme = read(&project("README.md"));
    for (begin, why) in NOT_RUN {
        let is_there = readme.lines().any(|line| line.starts_with(&format!("# {begin}")));
        assert!(is_there, "the README no longer has {begin:?}, which {why}");
    }
}

#[test]
fn every_command_of_the_readme_is_in_a_console_block() {
    let programs = [
        "wanpool",
        "apt",
        "cargo",
        "cat",
        "cd",
        "conntrack",
        "install",
        "ip",
        "ipset",
        "iptables",
        "rm",
        "systemctl",
    ];
    let mut kind = None;
    for (at, line) in read(&project("README.md")).lines().enumerate() {
        let fence = line.strip_prefix("```");
        kind = match (&kind, fence) {
            (None, Some(name)) => Some(name.to_owned()),
            (Some(_), Some(_)) => None,
            _ => kind,
        };
        let code = kind.is_some() || line.starts_with("    ");
        let typed = line.trim_start().trim_start_matches(['#', '$']).trim_start();
        let program = typed.split_whitespace().next().unwrap_or_default();
        let is_typed = programs.contains(&program) || program.starts_with("scripts/");
        if code && kind.as_deref() != Some("console") && is_typed {
            panic!("README.md:{}: not in a ```console block: {line}", at + 1);
        }
    }
}

#[test]
fn the_pages_are_those_of_their_sources() {
    let mut made = manual::page::all().expect("the pages");
    made.sort();
    let committed = pages();
    let names = |pages: &[(String, String)]| -> Vec<String> {
        pages.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&made), names(&committed));
    for ((name, made), (_, committed)) in made.iter().zip(&committed) {
        assert!(made == committed, "man/{name} is out of date: run scripts/generate");
    }
}

#[test]
fn every_referenced_man_page_exists() {
    let pages = pages();
    for (name, text) in &pages {
        for word in text.lines().filter_map(|line| line.strip_prefix(".BR wanpool")) {
            let (page, section) = word.split_once(" (").unwrap_or((word, ""));
            let section = section.chars().next().unwrap_or_default();
            let file = format!("wanpool{}.{section}", page.replace("\\-", "-"));
            assert!(pages.iter().any(|(name, _)| *name == file), "{name} refers to {file}");
        }
    }
}

#[test]
fn differences_from_the_text_are_found() {
    let block = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let lines = block("# echo a; echo b\na\nb\n$ true \\\n    --x\n\n# echo c\n...\nc");
    let found = exchanges(&lines);
    assert_eq!(found[0], ("echo a; echo b".to_owned(), block("a\nb")));
    assert_eq!(found[1], ("$ true --x".to_owned(), vec![]));
    assert!(matches(&found[2].1, &["x", "y", "c"]) && !matches(&found[2].1, &["x", "y"]));
    for printed in [&["a"][..], &["a", "b", "c"], &["b", "a"], &[]] {
        assert!(!matches(&found[0].1, printed));
    }
}
