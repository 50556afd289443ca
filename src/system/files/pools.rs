//! The state folder: `pool1`, `pool2` …, read and written whole.
//!
//! A change of several files is one commit: the new files are written to `.next/` and synced,
//! `.next` is renamed to `.commit` (from here on the change has happened), then each file is renamed
//! into place. If a run is killed, the next run finishes or discards its commit
//! ([`PoolFiles::recover`]). Readers take no lock and read the files in `.commit` as if they were in
//! place.
//!
//! Knows nothing of the kernel or of which client belongs to which pool.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
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

/// How many times the files are read while a writer changes them in the meantime.
const READ_ATTEMPTS: usize = 100;

pub struct PoolFiles {
    pub(super) dir: PathBuf,
}

impl PoolFiles {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn pool_path(&self, pool: UplinkNo) -> PathBuf {
        self.dir.join(pool_name(pool))
    }

    /// Reads all pools. While a writer is at work, the result is the state before or after its
    /// commit, never a mixture.
    pub fn read(&self) -> Result<Pools> {
        for _ in 0..READ_ATTEMPTS {
            let before = self.current_files()?;
            let result = self.read_once(&before);
            // If the files have changed, the result is a mixture, or the error of a missing file.
            if self.current_files()? == before {
                return result;
            }
        }
        bail!("reading {}: the files keep changing; try again", self.dir.display());
    }

    /// A text that differs as soon as a pool file has changed.
    pub fn version(&self) -> Result<String> {
        let mut text = String::new();
        for (pool, PoolFile { version, .. }) in self.current_files()? {
            text += &format!("pool{pool} {version}\n");
        }
        Ok(text)
    }

    /// The files that hold the pools now.
    fn current_files(&self) -> Result<BTreeMap<UplinkNo, PoolFile>> {
        let mut paths = pool_files(&self.dir)?;
        paths.extend(self.committed_files()?);
        let mut files = BTreeMap::new();
        for (pool, path) in paths {
            let version = fs::symlink_metadata(&path).map_or(String::new(), |meta| version(&meta));
            files.insert(pool, PoolFile { path, version });
        }
        Ok(files)
    }

    fn read_once(&self, files: &BTreeMap<UplinkNo, PoolFile>) -> Result<Pools> {
        let mut pools = Pools::default();
        for (&pool, PoolFile { path, .. }) in files {
            let bytes = trusted::read_own(path)
                .map_err(|error| anyhow!("reading {}: {error}", path.display()))?;
            let clients = pool_text::parse(&bytes).map_err(|bad| {
                anyhow!("{}:{}:{}: {}", path.display(), bad.line, bad.column, bad.reason)
            })?;
            pools.reserve(pool, clients.len());
            for (index, client) in clients.into_iter().enumerate() {
                if let Err(other) = pools.insert(client, pool) {
                    let position = pools.members(other).iter().position(|&known| known == client);
                    bail!(
                        "{}:{}:1: {client} is in {}:{} already; delete one of the two lines",
                        path.display(),
                        index + 1,
                        files[&other].path.display(),
                        position.unwrap_or_default() + 1,
                    );
                }
            }
        }
        Ok(pools)
    }

    /// The files of a commit that is not finished. It is an error if another user can have created
    /// the folder or a file in it, because such a commit must not be finished.
    fn committed_files(&self) -> Result<BTreeMap<UplinkNo, PathBuf>> {
        let commit = self.dir.join(COMMIT);
        let Some(meta) = metadata(&commit)? else {
            return Ok(BTreeMap::new());
        };
        if !meta.is_dir() {
            bail!("{}: it is not a folder; move it away", commit.display());
        }
        trusted::require_trusted(&meta, &commit).with_context(|| checking(&commit))?;
        let files = pool_files(&commit)?;
        for path in files.values() {
            // A file that is missing has just been moved into place.
            if let Some(meta) = metadata(path)? {
                trusted::require_plain(&meta).with_context(|| checking(path))?;
                trusted::require_trusted(&meta, path).with_context(|| checking(path))?;
            }
        }
        Ok(files)
    }
}

#[derive(PartialEq, Eq)]
struct PoolFile {
    path: PathBuf,
    /// Differs after each change of the file. Empty if the file is missing by now.
    version: String,
}

fn version(meta: &Metadata) -> String {
    format!("{} {} {}.{:09}", meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec())
}

fn pool_name(pool: UplinkNo) -> String {
    format!("pool{pool}")
}

/// The number in the name of a pool file. Files such as `pool51` and `poolx` are not pool files.
fn pool_number(name: &str) -> Option<UplinkNo> {
    name.strip_prefix("pool")?.parse().ok()
}

/// The pool files in a folder. A folder that does not exist has none.
fn pool_files(dir: &Path) -> Result<BTreeMap<UplinkNo, PathBuf>> {
    let reading = || format!("reading {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.with_context(reading)?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.with_context(reading)?;
        if let Some(pool) = entry.file_name().to_str().and_then(pool_number) {
            files.insert(pool, entry.path());
        }
    }
    Ok(files)
}

/// The metadata of a file or of a symlink, if it exists.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| checking(path)),
    }
}

fn checking(path: &Path) -> String {
    format!("checking {}", path.display())
}

#[cfg(test)]
mod tests;
