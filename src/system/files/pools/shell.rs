//! What a commit does, as shell commands, for `--dry-run`.

use std::fs;
use std::path::Path;

use super::PoolFiles;
use crate::model::UplinkNo;
use crate::model::pools::Pools;

impl PoolFiles {
    /// The shell commands that do the same as [`PoolFiles::commit`].
    pub fn commands(&self, before: &Pools, after: &Pools) -> Vec<String> {
        let mut commands = Vec::new();
        if !self.dir.path().is_dir() && !after.pools_not_in(before).is_empty() {
            commands.push(format!("mkdir -p {}", quoted(self.dir.path())));
        }
        for (pool, _) in after.iter() {
            commands.extend(self.edits(pool, before, after));
        }
        let removed = before.pools_not_in(after);
        for &pool in &removed {
            commands.extend(self.edits(pool, before, after));
        }
        for &pool in &removed {
            commands.push(format!("rm {}", quoted(&self.pool_path(pool))));
        }
        commands
    }

    /// The commands that change the lines of one pool file.
    fn edits(&self, pool: UplinkNo, before: &Pools, after: &Pools) -> Vec<String> {
        let mut commands = Vec::new();
        let path = self.pool_path(pool);
        let file = quoted(&path);
        for &client in before.members(pool) {
            if after.pool_of(client) != Some(pool) {
                let pattern = client.to_string().replace('.', "\\.");
                commands.push(format!("sed -i '/^{pattern}$/d' {file}"));
            }
        }
        let mut additions = Vec::new();
        for &client in after.members(pool) {
            if before.pool_of(client) != Some(pool) {
                additions.push(format!("echo {client} >>{file}"));
            }
        }
        if !additions.is_empty() && lacks_newline(&path) {
            commands.push(format!("echo >>{file}"));
        }
        commands.extend(additions);
        if !before.exists(pool) && after.members(pool).is_empty() {
            commands.push(format!("touch {file}"));
        }
        commands
    }
}

/// Whether the last line has no newline, as an editor may have left it.
fn lacks_newline(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.last().is_some_and(|&last| last != b'\n'))
}

/// A path as one word of a shell command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:,@".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
