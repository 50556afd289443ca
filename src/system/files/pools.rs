//! The state folder: `pool1`, `pool2` …, read and written whole.
//!
//! A change of several files is one commit: the new files are written to `.next/` and synced,
//! `.next` is renamed to `.commit` (from here on the change has happened), then each file is renamed
//! into place. If a run is killed, the next run finishes or discards its commit
//! ([`PoolFiles::recover`]). Readers take no lock and read the files in `.commit` as if they were in
//! place.
//!
//! Knows nothing of the kernel or of which client belongs to which pool.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::{FileStat, SFlag};

use super::dir::{Dir, LazyDir};
use super::{pool_text, trusted};
use crate::model::UplinkNo;
use crate::model::pools::Pools;

mod commit;
mod shell;

const COMMIT: &str = ".commit";

/// How many times the files are read while a writer changes them in the meantime.
const READ_ATTEMPTS: usize = 100;

pub struct PoolFiles {
    pub(super) dir: LazyDir,
}

impl PoolFiles {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir: LazyDir::new(dir) }
    }

    pub fn pool_path(&self, pool: UplinkNo) -> PathBuf {
        self.dir.path().join(pool_name(pool))
    }

    /// Reads all pools. While a writer is at work, the result is the state before or after its
    /// commit, never a mixture.
    pub fn read(&self) -> Result<Pools> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.current_files()?;
            let result = read_once(&before);
            // If the files have changed, the result is a mixture, or the error of a missing file.
            if self.current_files()?.has_same_versions(&before) {
                return result;
            }
        }
        bail!("reading {}: the files keep changing; try again", self.dir.path().display());
    }

    /// A text that differs as soon as a pool file has changed.
    pub fn version(&self) -> Result<String> {
        let mut text = String::new();
        for (pool, PoolFile { version, .. }) in self.current_files()?.files {
            text += &format!("pool{pool} {version}\n");
        }
        Ok(text)
    }

    fn open(&self) -> Result<Option<&Dir>> {
        self.dir.open().with_context(|| format!("opening {}", self.dir.path().display()))
    }

    /// The files that hold the pools now. A folder that does not exist has none.
    fn current_files(&self) -> Result<CurrentFiles<'_>> {
        let Some(dir) = self.open()? else {
            return Ok(CurrentFiles::default());
        };
        let mut files = pool_files(dir)?;
        let commit = open_commit(dir)?;
        if let Some(commit) = &commit {
            files.extend(pool_files(commit)?);
        }
        Ok(CurrentFiles { dir: Some(dir), commit, files })
    }
}

/// The folder of a commit that is not finished. It is an error if another user can have created it or
/// a file in it, because such a commit must not be finished.
fn open_commit(dir: &Dir) -> Result<Option<Dir>> {
    let path = dir.path_of(COMMIT);
    let checking = || format!("checking {}", path.display());
    match dir.metadata(COMMIT).with_context(checking)? {
        None => return Ok(None),
        Some(meta) if trusted::kind(&meta) != SFlag::S_IFDIR => {
            bail!("{}: it is not a folder; move it away", path.display());
        }
        Some(_) => {}
    }
    let commit = match dir.open_dir(COMMIT) {
        // It has just been finished.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(checking)?,
    };
    let meta = commit.own_metadata().with_context(checking)?;
    trusted::require_trusted(&meta, &path).with_context(checking)?;
    for pool in pool_numbers(&commit)? {
        let name = pool_name(pool);
        let path = commit.path_of(&name);
        let checking = || format!("checking {}", path.display());
        // A file that is missing has just been moved into place.
        if let Some(meta) = commit.metadata(&name).with_context(checking)? {
            trusted::require_plain(&meta).with_context(checking)?;
            trusted::require_trusted(&meta, &path).with_context(checking)?;
        }
    }
    Ok(Some(commit))
}

fn read_once(current: &CurrentFiles) -> Result<Pools> {
    let mut pools = Pools::default();
    for (&pool, file) in &current.files {
        let path = file.path.display();
        let bytes = current.read_pool(pool).map_err(|error| anyhow!("reading {path}: {error}"))?;
        let clients = pool_text::parse(&bytes)
            .map_err(|bad| anyhow!("{path}:{}:{}: {}", bad.line, bad.column, bad.reason))?;
        pools.reserve(pool, clients.len());
        for (index, client) in clients.into_iter().enumerate() {
            if let Err(other) = pools.insert(client, pool) {
                let position = pools.members(other).iter().position(|&known| known == client);
                bail!(
                    "{path}:{}:1: {client} is in {}:{} already; delete one of the two lines",
                    index + 1,
                    current.files[&other].path.display(),
                    position.unwrap_or_default() + 1,
                );
            }
        }
    }
    Ok(pools)
}

/// The files that hold the pools at one moment.
#[derive(Default)]
struct CurrentFiles<'a> {
    dir: Option<&'a Dir>,
    commit: Option<Dir>,
    files: BTreeMap<UplinkNo, PoolFile>,
}

#[derive(PartialEq, Eq)]
struct PoolFile {
    path: PathBuf,
    /// Differs after each change of the file. Empty if the file is missing by now.
    version: String,
}

impl CurrentFiles<'_> {
    fn has_same_versions(&self, other: &CurrentFiles) -> bool {
        self.files == other.files
    }

    fn read_pool(&self, pool: UplinkNo) -> io::Result<Vec<u8>> {
        let name = pool_name(pool);
        if let Some(commit) = &self.commit {
            match commit.read(&name) {
                // It is not in the commit, or has just been moved into place.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                read => return read,
            }
        }
        match self.dir {
            Some(dir) => dir.read(&name),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

/// The pools that have a file in a folder, in order.
fn pool_numbers(dir: &Dir) -> Result<BTreeSet<UplinkNo>> {
    let names = dir.names().with_context(|| format!("reading {}", dir.path().display()))?;
    Ok(names.iter().filter_map(|name| pool_number(name)).collect())
}

/// The pool files in a folder.
fn pool_files(dir: &Dir) -> Result<BTreeMap<UplinkNo, PoolFile>> {
    let mut files = BTreeMap::new();
    for pool in pool_numbers(dir)? {
        let name = pool_name(pool);
        let version = dir.metadata(&name).ok().flatten().map(|meta| version(&meta));
        let file = PoolFile { path: dir.path_of(&name), version: version.unwrap_or_default() };
        files.insert(pool, file);
    }
    Ok(files)
}

fn version(meta: &FileStat) -> String {
    format!("{} {} {}.{:09}", meta.st_ino, meta.st_size, meta.st_ctime, meta.st_ctime_nsec)
}

fn pool_name(pool: UplinkNo) -> String {
    format!("pool{pool}")
}

/// The number in the name of a pool file. Files such as `pool51` and `poolx` are not pool files.
fn pool_number(name: &str) -> Option<UplinkNo> {
    name.strip_prefix("pool")?.parse().ok()
}

#[cfg(test)]
mod tests;
