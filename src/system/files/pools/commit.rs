//! Changes several files as one: they are written to `.next/`, which is renamed to `.commit`, and
//! then moved into place. If a run is killed in between, the next run finishes or discards its work.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result};
use nix::sys::stat::SFlag;

use super::super::dir::Dir;
use super::super::{Lock, pool_text, trusted};
use super::{COMMIT, PoolFiles, open_commit, pool_name, pool_numbers};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

pub(super) const NEXT: &str = ".next";

impl PoolFiles {
    /// Finishes the commit of a run that was killed, and discards an unfinished preparation. On a disk
    /// that has become read-only, both stay: readers see the files of a commit in their places.
    pub fn recover(&self, _lock: &Lock) -> Result<()> {
        let Some(dir) = self.open()? else {
            return Ok(());
        };
        match finish_commit(dir).and_then(|()| discard_next(dir)) {
            Err(error) if is_read_only(&error) => Ok(()),
            recovered => recovered,
        }
    }

    /// Changes the files, which hold `before`, so that they hold `after`. Returns whether anything
    /// changed.
    pub fn commit(&self, _lock: &Lock, before: &Pools, after: &Pools) -> Result<bool> {
        let removed = before.pools_not_in(after);
        let changed = changed_pools(before, after, &removed);
        if changed.is_empty() && removed.is_empty() {
            return Ok(false);
        }
        let creating = || format!("creating {}", self.dir.path().display());
        let dir = self.dir.create().with_context(creating)?;
        if !changed.is_empty() {
            if let Err(error) = prepare(dir, &changed) {
                // The disk may be full. The next run discards what cannot be removed now.
                let _ = discard_next(dir);
                return Err(error);
            }
            finish_commit(dir)?;
        }
        for &pool in &removed {
            let removing = || format!("removing {}", self.pool_path(pool).display());
            dir.remove_file(&pool_name(pool)).with_context(removing)?;
        }
        Ok(true)
    }
}

/// Writes `.next/` and renames it to `.commit`. With the rename, the change has happened.
fn prepare(dir: &Dir, changed: &[(UplinkNo, &[Client])]) -> Result<()> {
    discard_next(dir)?;
    let creating = || format!("creating {}", dir.path_of(NEXT).display());
    let next = dir.create_dir(NEXT).with_context(creating)?;
    for &(pool, members) in changed {
        let name = pool_name(pool);
        next.write_synced(&name, &pool_text::write(members))
            .with_context(|| format!("writing {}", next.path_of(&name).display()))?;
    }
    sync(&next)?;
    rename(dir, NEXT, dir, COMMIT)?;
    sync(dir)
}

/// Moves the files of `.commit/`, if it exists, into place.
fn finish_commit(dir: &Dir) -> Result<()> {
    let Some(commit) = open_commit(dir)? else {
        return Ok(());
    };
    for pool in pool_numbers(&commit)? {
        let name = pool_name(pool);
        rename(&commit, &name, dir, &name)?;
    }
    remove_dir(dir, COMMIT)?;
    sync(dir)
}

/// Removes `.next`, if it exists.
fn discard_next(dir: &Dir) -> Result<()> {
    let removing = || format!("removing {}", dir.path_of(NEXT).display());
    let Some(meta) = dir.metadata(NEXT).with_context(removing)? else {
        return Ok(());
    };
    if trusted::kind(&meta) != SFlag::S_IFDIR {
        // A symlink is removed itself, not the folder that it leads to.
        return dir.remove_file(NEXT).with_context(removing);
    }
    let next = dir.open_dir(NEXT).with_context(removing)?;
    for pool in pool_numbers(&next)? {
        next.remove_file(&pool_name(pool)).with_context(removing)?;
    }
    remove_dir(dir, NEXT)
}

fn remove_dir(dir: &Dir, name: &str) -> Result<()> {
    let removed = dir.remove_dir(name);
    let reason = match &removed {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            ", which has files that wanpool did not create; move them away"
        }
        _ => "",
    };
    removed.with_context(|| format!("removing {}{reason}", dir.path_of(name).display()))
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

fn rename(dir: &Dir, name: &str, to_dir: &Dir, to: &str) -> Result<()> {
    dir.rename(name, to_dir, to).with_context(|| {
        let (from, to) = (dir.path_of(name), to_dir.path_of(to));
        format!("renaming {} to {}", from.display(), to.display())
    })
}

fn sync(dir: &Dir) -> Result<()> {
    dir.sync().with_context(|| format!("syncing {}", dir.path().display()))
}
