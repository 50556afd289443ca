//! Several files changed as one: written to `.next/`, which is renamed to `.commit`, from which each
//! is moved into place. Whatever a killed run leaves of it, the next one finishes or forgets.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::super::{Lock, pool_text, trusted};
use super::{COMMIT, PoolFiles, has, pool_name};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

pub(super) const NEXT: &str = ".next";

impl PoolFiles {
    /// Finishes the commit and forgets the preparations of a run that was killed.
    pub fn recover(&self, _lock: &Lock) -> Result<()> {
        self.finish_commit()?;
        self.discard_next()
    }

    /// Makes the files hold `after`. `before` is what they hold now. Returns whether they differ.
    pub fn commit(&self, _lock: &Lock, before: &Pools, after: &Pools) -> Result<bool> {
        // A pool that goes is emptied first, in the same commit: a run that is killed before its
        // file is removed leaves nobody in two pools.
        let gone =
            before.iter().filter(|&(pool, members)| !has(after, pool) && !members.is_empty());
        let changed: Vec<(UplinkNo, &[Client])> = after
            .iter()
            .filter(|&(pool, members)| !has(before, pool) || before.members(pool) != members)
            .chain(gone.map(|(pool, _)| (pool, [].as_slice())))
            .collect();
        if !changed.is_empty() {
            self.prepare(&changed).inspect_err(|_| {
                // The disk is full or worse; what we leave is discarded by the next run anyway.
                let _ = fs::remove_dir_all(self.dir.join(NEXT));
            })?;
            self.finish_commit()?;
        }
        let mut differ = !changed.is_empty();
        for (pool, _) in before.iter().filter(|&(pool, _)| !has(after, pool)) {
            let path = self.pool_path(pool);
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            differ = true;
        }
        Ok(differ)
    }

    /// Writes `.next/` whole and turns it into `.commit/`: the commit point.
    fn prepare(&self, changed: &[(UplinkNo, &[Client])]) -> Result<()> {
        let next = self.dir.join(NEXT);
        let owner = self.owner();
        make_next(&next, owner).with_context(|| format!("making {}", next.display()))?;
        for &(pool, members) in changed {
            let path = next.join(pool_name(pool));
            write_synced(&path, &pool_text::write(members), owner)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        sync_dir(&next)?;
        rename(&next, &self.dir.join(COMMIT))?;
        sync_dir(&self.dir)
    }

    /// Moves the files of `.commit/`, if there is one, into place.
    fn finish_commit(&self) -> Result<()> {
        let commit = self.dir.join(COMMIT);
        for path in self.committed()?.values() {
            let name = path.file_name().unwrap_or_default();
            rename(path, &self.dir.join(name))?;
        }
        match fs::remove_dir(&commit) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let not_ours = error.kind() == ErrorKind::DirectoryNotEmpty;
                let why = if not_ours { "; it holds what is not ours" } else { "" };
                Err(error).with_context(|| format!("removing {}{why}", commit.display()))
            }
        }
    }

    fn discard_next(&self) -> Result<()> {
        let next = self.dir.join(NEXT);
        // Nobody else has any business with this name: a link goes, not what it leads to.
        let removed = match fs::symlink_metadata(&next) {
            Ok(meta) if !meta.is_dir() => fs::remove_file(&next),
            _ => fs::remove_dir_all(&next),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", next.display()))
            }
            _ => Ok(()),
        }
    }
}

fn make_next(next: &Path, owner: u32) -> std::io::Result<()> {
    trusted::make_new_dir(next)?;
    trusted::give(File::open(next)?, owner);
    Ok(())
}

/// The whole file; all may read it.
fn write_synced(path: &Path, bytes: &[u8], owner: u32) -> std::io::Result<()> {
    let mut file = trusted::make_new(path, 0o644)?;
    file.write_all(bytes)?;
    trusted::give(&file, owner);
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
