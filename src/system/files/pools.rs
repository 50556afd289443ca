//! The state folder: `pool1`, `pool2` …, read and written whole, and the lock that lets one run
//! change things at a time.
//!
//! A change that touches several files is one commit: the new files are written to `.next/` and
//! synced, `.next` is renamed to `.commit` (from here on the change has happened), then each file
//! is renamed into place. A run that was killed is finished or forgotten by the next one
//! ([`PoolFiles::recover`]); readers, who take no lock, see a `.commit` as if it were in place.
//!
//! Knows nothing of the kernel or of who belongs where.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::{pool_text, trusted};
use crate::model::UplinkNo;
use crate::model::pools::Pools;

mod commit;
mod shell;

const COMMIT: &str = ".commit";

/// How often a reader starts over when a writer commits under its eyes.
const READ_ATTEMPTS: usize = 100;

pub struct PoolFiles {
    dir: PathBuf,
}

impl PoolFiles {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn pool_path(&self, pool: UplinkNo) -> PathBuf {
        self.dir.join(pool_name(pool))
    }

    /// Reads all pools. A writer at work is no hindrance: what is read is the state before or
    /// after its commit, never a mixture.
    pub fn read(&self) -> Result<Pools> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.signature()?;
            match self.read_once(&before) {
                // A file went away between listing and reading: a writer is at work.
                Err(error) if self.signature()? == before => return Err(error),
                Ok(pools) if self.signature()? == before => return Ok(pools),
                _ => {}
            }
        }
        bail!("reading {}: the files do not stop changing", self.dir.display());
    }

    /// A text that is another one as soon as a pool file is.
    pub fn version(&self) -> Result<String> {
        let mut text = String::new();
        for (pool, Version { change, .. }) in self.signature()? {
            let (inode, size, seconds, nanoseconds) = change.unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "pool{pool} {inode} {size} {seconds}.{nanoseconds:09}");
        }
        Ok(text)
    }

    /// The files that hold the pools now, and what changes about each when it is replaced.
    fn signature(&self) -> Result<BTreeMap<UplinkNo, Version>> {
        let mut files = pool_files(&self.dir)?;
        files.extend(self.committed()?);
        let version = |(pool, path): (UplinkNo, PathBuf)| {
            let meta = fs::symlink_metadata(&path).ok();
            let change =
                meta.map(|meta| (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
            (pool, Version { path, change })
        };
        Ok(files.into_iter().map(version).collect())
    }

    fn read_once(&self, files: &BTreeMap<UplinkNo, Version>) -> Result<Pools> {
        let mut pools = Pools::default();
        let owner = self.owner();
        for (&pool, Version { path, .. }) in files {
            let bytes = trusted::read_ours(path, owner)
                .map_err(|error| anyhow!("reading {}: {error}", path.display()))?;
            let clients = pool_text::parse(&bytes).map_err(|bad| {
                anyhow!("{}:{}:{}: {}", path.display(), bad.line, bad.column, bad.why)
            })?;
            pools.reserve(pool, clients.len());
            for (index, client) in clients.into_iter().enumerate() {
                if let Err(other) = pools.insert(client, pool) {
                    let at = pools.members(other).iter().position(|&known| known == client);
                    bail!(
                        "{}:{}:1: {client} is in {}:{} already; take one of the two lines out",
                        path.display(),
                        index + 1,
                        files[&other].path.display(),
                        at.unwrap_or_default() + 1,
                    );
                }
            }
        }
        Ok(pools)
    }

    /// The files of a commit that a run was killed in. A folder, or a file in it, that somebody else
    /// could have put there is an error: it is none of ours to finish.
    fn committed(&self) -> Result<BTreeMap<UplinkNo, PathBuf>> {
        let commit = self.dir.join(COMMIT);
        let tried = |path: &Path| format!("looking at {}", path.display());
        let meta = match fs::symlink_metadata(&commit) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            meta => meta.with_context(|| tried(&commit))?,
        };
        if !meta.is_dir() {
            bail!("{}: it is not a folder of ours; move it away", commit.display());
        }
        let owners = [0, self.owner()];
        trusted::require_trusted(&meta, &commit, &owners).with_context(|| tried(&commit))?;
        let files = pool_files(&commit)?;
        for path in files.values() {
            match fs::symlink_metadata(path) {
                // Its run is moving it into place.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                meta => meta
                    .and_then(|meta| {
                        trusted::require_plain(&meta)?;
                        trusted::require_trusted(&meta, path, &owners)
                    })
                    .with_context(|| tried(path))?,
            }
        }
        Ok(files)
    }

    /// The user to whom the folder belongs; root where there is none yet.
    pub(super) fn owner(&self) -> u32 {
        fs::metadata(&self.dir).map_or(0, |meta| meta.uid())
    }
}

/// One state of a pool file: where it lies, and its inode, size and time of change.
#[derive(PartialEq, Eq)]
struct Version {
    path: PathBuf,
    change: Option<(u64, u64, i64, i64)>,
}

fn has(pools: &Pools, wanted: UplinkNo) -> bool {
    pools.iter().any(|(pool, _)| pool == wanted)
}

fn pool_name(pool: UplinkNo) -> String {
    format!("pool{pool}")
}

/// The pool files of a folder; a folder that is not there has none. A file `pool51` or `poolx` is
/// none of ours.
fn pool_files(dir: &Path) -> Result<BTreeMap<UplinkNo, PathBuf>> {
    let tried = || format!("reading {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(tried)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.with_context(tried)?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("pool"))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            files.insert(number, entry.path());
        }
    }
    Ok(files)
}

pub(super) fn make_dir(dir: &Path) -> Result<()> {
    trusted::make_dir(dir).with_context(|| format!("making {}", dir.display()))
}

#[cfg(test)]
mod tests;
