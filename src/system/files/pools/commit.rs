//! Changes several files as one: they are written to `.next/`, which is renamed to `.commit`, and
//! then moved into place. If a run is killed in between, the next run finishes or discards its work.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{AT_FDCWD, renameat};

use super::super::{Lock, pool_text, trusted};
use super::{COMMIT, PoolFiles, metadata, pool_name};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

pub(super) const NEXT: &str = ".next";

impl PoolFiles {
    /// Finishes the commit of a run that was killed, and discards an unfinished preparation. On a disk
    /// that has become read-only, both stay: readers see the files of a commit in their places.
    pub fn recover(&self, _lock: &Lock) -> Result<()> {
        match self.finish_commit().and_then(|()| self.discard_next()) {
            Err(error) if is_read_only(&error) => Ok(()),
            recovered => recovered,
        }
    }

    /// Changes the files, which hold `before`, so that they hold `after`. Returns whether anything
    /// changed.
    pub fn commit(&self, _lock: &Lock, before: &Pools, after: &Pools) -> Result<bool> {
        let removed = before.pools_not_in(after);
        let changed = changed_pools(before, after, &removed);
        if !changed.is_empty() {
            if let Err(error) = self.prepare(&changed) {
                // The disk may be full. The next run discards what cannot be removed now.
                let _ = fs::remove_dir_all(self.dir.join(NEXT));
                return Err(error);
            }
            self.finish_commit()?;
        }
        for &pool in &removed {
            let path = self.pool_path(pool);
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(!changed.is_empty() || !removed.is_empty())
    }

    /// Writes `.next/` and renames it to `.commit`. With the rename, the change has happened.
    fn prepare(&self, changed: &[(UplinkNo, &[Client])]) -> Result<()> {
        let next = self.dir.join(NEXT);
        self.discard_next()?;
        let folder =
            trusted::create_dir(&next).with_context(|| format!("creating {}", next.display()))?;
        for &(pool, members) in changed {
            let name = pool_name(pool);
            write_synced(&folder, &name, &pool_text::write(members))
                .with_context(|| format!("writing {}", next.join(&name).display()))?;
        }
        folder.sync_all().with_context(|| format!("syncing {}", next.display()))?;
        rename(&next, &self.dir.join(COMMIT))?;
        sync_dir(&self.dir)
    }

    /// Moves the files of `.commit/`, if it exists, into place.
    fn finish_commit(&self) -> Result<()> {
        let commit = self.dir.join(COMMIT);
        if metadata(&commit)?.is_none() {
            return Ok(());
        }
        let files = self.committed_files()?;
        // The owner of the state folder could exchange `.commit` for a symlink from here on.
        let folder = trusted::open_dir(&commit)
            .and_then(|folder| {
                trusted::require_trusted(&folder.metadata()?, &commit)?;
                Ok(folder)
            })
            .with_context(|| format!("opening {}", commit.display()))?;
        for (pool, path) in &files {
            let (name, to) = (pool_name(*pool), self.pool_path(*pool));
            renameat(&folder, name.as_str(), AT_FDCWD, &to)
                .map_err(io::Error::from)
                .with_context(|| format!("renaming {} to {}", path.display(), to.display()))?;
        }
        let removed = fs::remove_dir(&commit);
        let reason = match &removed {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                ", which has files that wanpool did not create; move them away"
            }
            _ => "",
        };
        removed.with_context(|| format!("removing {}{reason}", commit.display()))?;
        sync_dir(&self.dir)
    }

    fn discard_next(&self) -> Result<()> {
        let next = self.dir.join(NEXT);
        let Some(meta) = metadata(&next)? else {
            return Ok(());
        };
        // A symlink is removed itself, not the folder that it leads to.
        let removed =
            if meta.is_dir() { fs::remove_dir_all(&next) } else { fs::remove_file(&next) };
        removed.with_context(|| format!("removing {}", next.display()))
    }
}

fn is_read_only(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::ReadOnlyFilesystem)
}

/// The pools whose files must be written, with their new clients.
fn changed_pools<'a>(
    before: &Pools,
    after: &'a Pools,
    removed: &[UplinkNo],
) -> Vec<(UplinkNo, &'a [Client])> {
    let mut changed = Vec::new();
    for (pool, members) in after.iter() {
        if !before.exists(pool) || before.members(pool) != members {
            changed.push((pool, members));
        }
    }
    // The file of a removed pool is emptied in the same commit. If the run is killed before it
    // removes the file, no client is in two pools.
    for &pool in removed {
        if !before.members(pool).is_empty() {
            changed.push((pool, [].as_slice()));
        }
    }
    changed
}

/// Writes a new file, which all users may read, and waits until it is on the disk.
fn write_synced(folder: &File, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = trusted::create_file_in(folder, name, 0o644)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("syncing {}", dir.display()))
}
