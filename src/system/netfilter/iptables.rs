//! Runs the programs of iptables, nft or legacy, whichever this machine has.
//!
//! One `iptables-save` reads all tables. One `iptables-restore` replaces chains, each table in one
//! transaction, and adds or deletes single rules: a rule of another program may contain quotes, which
//! the crate `iptables` does not understand. The crate empties and deletes chains. No shell is
//! involved, and PATH is not needed. Does not know which chains should exist.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use iptables::IPTables;
use nix::unistd::geteuid;

use super::{foreign_text, iptables_text, save_text};
use crate::error::Error;
use crate::model::Family;
use crate::model::filter::{AcceptingRule, Chain, Filter, FilterRule, Jump, Table};
use crate::model::foreign_filter::ForeignTable;

/// Where programs are searched after PATH. A ppp hook has no PATH.
const USUAL_PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The line with which `iptables-save` begins the table `filter`.
const FILTER_TABLE: &str = "*filter\n";

pub struct Iptables {
    save: PathBuf,
    restore: PathBuf,
    single: IPTables,
}

impl Iptables {
    /// The programs for a family.
    pub fn find(family: Family) -> Result<Self> {
        let name = family.iptables();
        let program = find_program(name).with_context(|| {
            format!("looking for {name}: neither in PATH nor in /usr/sbin; install iptables")
        })?;
        // The other programs must be of the same kind, so they are taken from the same folder.
        let companion = |suffix: &str| {
            let program = program.with_file_name(format!("{name}-{suffix}"));
            if !is_executable(&program) {
                bail!("looking for {}: not found; install iptables", program.display());
            }
            Ok(program)
        };
        Ok(Self {
            save: companion("save")?,
            restore: companion("restore")?,
            // `iptables::new` would start a process to ask for the version. The name of the program
            // must be 'static and is leaked once in a run.
            single: IPTables {
                cmd: program.display().to_string().leak(),
                has_check: true,
                has_wait: true,
                is_numeric: false,
            },
        })
    }

    /// The chains of wanpool and the jumps to them.
    pub fn read(&self) -> Result<Filter> {
        let (text, unreadable) = self.saved()?;
        Ok(Filter { unreadable, ..save_text::parse(&text) })
    }

    /// The rules of other programs that accept packets before a jump to wanpool's chains, and the tables
    /// with the rules that packets of clients pass.
    pub fn foreign_rules(&self) -> Result<(Vec<AcceptingRule>, Vec<ForeignTable>)> {
        let (mut text, _) = self.saved()?;
        if !text.contains(FILTER_TABLE) {
            // It is not one of wanpool's tables, and may be one that cannot be read.
            text += &run(&self.save, &["-t", "filter"], "").unwrap_or_default();
        }
        Ok((save_text::accepting_rules(&text), foreign_text::parse(&text)))
    }

    /// What `iptables-save` prints, and the tables of wanpool that it cannot print, with the reason.
    /// Other tables may be among it.
    fn saved(&self) -> Result<(String, BTreeMap<Table, String>)> {
        let (mut text, mut unreadable) = (String::new(), BTreeMap::new());
        // iptables-legacy shows its list of tables to root only, whatever the capabilities.
        if geteuid().is_root() {
            match run(&self.save, &[], "") {
                // One rule that nft made, in whatever table, makes iptables-nft-save fail.
                Err(error) if is_failure_of_program(&error) => {}
                saved => return Ok((saved?, unreadable)),
            }
        }
        // The tables of wanpool can be read by their names.
        for table in Table::ALL {
            match run(&self.save, &["-t", table.name()], "") {
                Ok(saved) => text += &saved,
                Err(error) if is_failure_of_program(&error) => {
                    unreadable.insert(table, format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        if unreadable.len() == Table::ALL.len() {
            bail!("{}", unreadable.into_values().next().unwrap_or_default());
        }
        Ok((text, unreadable))
    }

    /// Whether the rules are kept in nftables. All programs of that kind are one file,
    /// `xtables-nft-multi`.
    pub fn is_nft(&self) -> bool {
        self.real_name().is_some_and(|name| name.contains("nft"))
    }

    fn real_name(&self) -> Option<String> {
        Some(self.save.canonicalize().ok()?.file_name()?.to_str()?.to_owned())
    }

    /// The other kind of iptables, if it has rules too.
    pub fn other_with_rules(&self) -> Option<&'static str> {
        let is_legacy = self.real_name()?.contains("legacy");
        let other = if is_legacy { "iptables-nft" } else { "iptables-legacy" };
        let save = find_program(&format!("{other}-save"))?;
        let text = run(&save, &[], "").ok()?;
        if text.lines().any(|line| line.starts_with("-A ")) { Some(other) } else { None }
    }

    pub fn replace_chains(&self, chains: &[(Chain, Vec<FilterRule>)]) -> Result<()> {
        self.restore(&iptables_text::restore(chains))
    }

    pub fn delete_chain(&self, chain: Chain) -> Result<()> {
        let (table, name) = (chain.table.name(), chain.name);
        self.single.flush_chain(table, name).map_err(plain)?;
        self.single.delete_chain(table, name).map_err(plain)
    }

    pub fn add_jump(&self, jump: &Jump) -> Result<()> {
        self.restore(&iptables_text::add(jump))
    }

    pub fn delete_jump(&self, jump: &Jump) -> Result<()> {
        self.restore(&iptables_text::delete(jump))
    }

    fn restore(&self, text: &str) -> Result<()> {
        run(&self.restore, &["-w", "--noflush"], text)?;
        Ok(())
    }
}

/// The error of the crate as one line; the `Display` of the crate prints its debug form.
fn plain(error: Box<dyn std::error::Error>) -> anyhow::Error {
    match error.downcast::<iptables::error::IptablesError>() {
        Ok(error) => anyhow!("{}", one_line(&error.msg)),
        Err(error) => anyhow!("{error}"),
    }
}

fn is_failure_of_program(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Program { .. }))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(USUAL_PLACES.split(':')).filter(|dir| !dir.is_empty());
    folders.map(|dir| Path::new(dir).join(name)).find(|program| is_executable(program))
}

fn is_executable(program: &Path) -> bool {
    program.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a program with this input and returns what it printed.
fn run(program: &Path, args: &[&str], input: &str) -> Result<String> {
    let tried = || format!("running {}", program.display());
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(tried)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // The program ended early. Its status and its message tell why.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(error).with_context(tried);
            }
            _ => {}
        }
    }
    let output = child.wait_with_output().with_context(tried)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = one_line(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Program { program: program.to_owned(), status: output.status, stderr }.into())
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}
