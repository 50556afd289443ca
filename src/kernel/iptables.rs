//! Our chains, by whichever `iptables` this machine has: nft or legacy.
//!
//! Read by one `iptables-save` for all tables, chains replaced by one `iptables-restore` (a table
//! in one go), and single rules and the removal of chains by the crate `iptables`. No shell is
//! involved and no PATH is needed.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use iptables::IPTables;
use nix::unistd::geteuid;

use crate::state::{Chain, Jump, Slice, Table};
use crate::step;

pub(super) mod foreign;

/// Where the programs are looked for behind PATH, which a ppp hook does not have.
const USUAL_PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Iptables {
    save: PathBuf,
    restore: PathBuf,
    single: IPTables,
}

impl Iptables {
    pub fn find() -> Result<Self> {
        let program = find_program("iptables")
            .context("looking for iptables: neither in PATH nor in /usr/sbin; install iptables")?;
        // Its companions stand beside it: they must be of the same back end.
        let companion = |name: &str| {
            let program = program.with_file_name(name);
            match is_executable(&program) {
                true => Ok(program),
                false => bail!("looking for {}: not there; install iptables", program.display()),
            }
        };
        Ok(Self {
            save: companion("iptables-save")?,
            restore: companion("iptables-restore")?,
            // Built by hand: `iptables::new` would start a process to ask for the version. The
            // program's name must be 'static, and is leaked, once a run.
            single: IPTables {
                cmd: program.display().to_string().leak(),
                has_check: true,
                has_wait: true,
                is_numeric: false,
            },
        })
    }

    /// Fills in the chains and jumps that are there.
    pub fn read(&self, slice: &mut Slice) -> Result<()> {
        parse_save(&self.saved()?, slice);
        Ok(())
    }

    /// What `iptables-save` prints of the tables that we have chains in, and perhaps of others.
    fn saved(&self) -> Result<String> {
        let text = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
        if geteuid().is_root() {
            return run(&self.save, &[], "").map(text);
        }
        // The list of tables of iptables-legacy is for root's eyes only, whatever the capabilities;
        // each table by its name is not.
        let each = Table::ALL.iter().map(|table| run(&self.save, &["-t", table.name()], ""));
        each.map(|output| output.map(text)).collect()
    }

    /// Rules in front of a jump of ours that accept packets, so that ours never sees them.
    pub fn accepted_before(&self) -> Result<Vec<String>> {
        Ok(foreign::accepted_before(&self.saved()?))
    }

    /// Whether our rules are in nftables: all programs of that kind are one, `xtables-nft-multi`.
    pub fn is_nft(&self) -> bool {
        self.real_name().is_some_and(|name| name.contains("nft"))
    }

    fn real_name(&self) -> Option<String> {
        Some(self.save.canonicalize().ok()?.file_name()?.to_str()?.to_owned())
    }

    /// The other kind of iptables, if it holds rules too.
    pub fn other_with_rules(&self) -> Option<&'static str> {
        let is_legacy = self.real_name()?.contains("legacy");
        let other = if is_legacy { "iptables-nft" } else { "iptables-legacy" };
        let save = find_program(&format!("{other}-save"))?;
        let output = run(&save, &[], "").ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().any(|line| line.starts_with("-A ")).then_some(other)
    }

    pub fn set_chains(&self, chains: &[(Chain, Vec<String>)]) -> Result<()> {
        run(&self.restore, &["-w", "--noflush"], &step::restore_text(chains))?;
        Ok(())
    }

    pub fn delete_chain(&self, chain: Chain) -> Result<()> {
        let (table, name) = (chain.table.name(), chain.name);
        self.single.flush_chain(table, name).map_err(plain)?;
        self.single.delete_chain(table, name).map_err(plain)
    }

    pub fn add_jump(&self, jump: &Jump) -> Result<()> {
        self.single.append(jump.to.table.name(), &jump.from, &jump.rule).map_err(plain)
    }

    /// By `iptables-restore`: somebody else's rule may hold quotes, at which the crate splits.
    pub fn delete_jump(&self, jump: &Jump) -> Result<()> {
        run(&self.restore, &["-w", "--noflush"], &step::delete_text(jump))?;
        Ok(())
    }
}

/// The crate's errors, without their debug form.
fn plain(error: Box<dyn std::error::Error>) -> anyhow::Error {
    match error.downcast::<iptables::error::IptablesError>() {
        Ok(error) => anyhow!("{}", one_line(&error.msg)),
        Err(error) => anyhow!("{error}"),
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(USUAL_PLACES.split(':')).filter(|dir| !dir.is_empty());
    folders.map(|dir| Path::new(dir).join(name)).find(|program| is_executable(program))
}

fn is_executable(program: &Path) -> bool {
    program.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn run(program: &Path, args: &[&str], input: &str) -> Result<Output> {
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
            // It ended early; its status and its words say why.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(error).with_context(tried);
            }
            _ => {}
        }
    }
    let output = child.wait_with_output().with_context(tried)?;
    if !output.status.success() {
        let words = one_line(&String::from_utf8_lossy(&output.stderr));
        bail!("running {}: {words} ({})", program.display(), output.status);
    }
    Ok(output)
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// Reads what `iptables-save` prints: `*table`, `:CHAIN policy [counters]`, `-A CHAIN rule`.
pub(super) fn parse_save(text: &str, slice: &mut Slice) {
    let mut table = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table::ALL.into_iter().find(|table| table.name() == name);
        }
        let Some(table) = table else { continue };
        if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or_default();
            if let Some(chain) = ours(table, name) {
                slice.chains.entry(chain).or_default();
            }
        } else if let Some((name, rule)) =
            line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
        {
            match ours(table, name) {
                Some(chain) => slice.chains.entry(chain).or_default().push(rule.to_owned()),
                None => slice.jumps.extend(jump(table, name, rule)),
            }
        }
    }
}

fn ours(table: Table, name: &str) -> Option<Chain> {
    Chain::ALL.into_iter().find(|chain| chain.table == table && chain.name == name)
}

/// A rule of somebody's chain that leads to one of ours.
fn jump(table: Table, from: &str, rule: &str) -> Option<Jump> {
    let mut words = rule.rsplit(' ');
    let (target, verb) = (words.next()?, words.next()?);
    let to = ours(table, target).filter(|_| verb == "-j" || verb == "-g")?;
    Some(Jump { to, from: from.to_owned(), rule: rule.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_jumps_of_ours_are_read_and_no_others() {
        let mut slice = Slice::default();
        parse_save(
            "# Generated\n*filter\n:WANPOOL - [0:0]\n-A FORWARD -j WANPOOL\nCOMMIT\n\
             *nat\n:PREROUTING ACCEPT [0:0]\n:WANPOOL - [0:0]\n:DOCKER - [0:0]\n\
             -A POSTROUTING -j WANPOOL\n-A POSTROUTING -j DOCKER\n-A DOCKER -g WANPOOL\n\
             -A WANPOOL -o ppp0 -j MASQUERADE\nCOMMIT\n*security\n:WANPOOL - [0:0]\nCOMMIT\n",
            &mut slice,
        );
        assert_eq!(slice.chains.len(), 1);
        assert_eq!(slice.chains[&Chain::MASQUERADE], ["-o ppp0 -j MASQUERADE"]);
        let jumps: Vec<_> = slice.jumps.iter().map(|jump| (&*jump.from, &*jump.rule)).collect();
        assert_eq!(jumps, [("POSTROUTING", "-j WANPOOL"), ("DOCKER", "-g WANPOOL")]);
    }
}
