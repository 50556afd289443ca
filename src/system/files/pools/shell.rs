//! What a commit does, in the words of a shell, for `--dry-run`.

use std::fs;
use std::path::Path;

use super::{PoolFiles, has};
use crate::model::pools::Pools;
use crate::model::{Client, UplinkNo};

impl PoolFiles {
    /// What [`PoolFiles::commit`] does, as the shell commands that would do it.
    pub fn commands(&self, before: &Pools, after: &Pools) -> Vec<String> {
        let mut commands = Vec::new();
        if !self.dir.is_dir() && after.iter().any(|(pool, _)| !has(before, pool)) {
            commands.push(format!("mkdir -p {}", quoted(&self.dir)));
        }
        let gone: Vec<_> = before.iter().filter(|&(pool, _)| !has(after, pool)).collect();
        let differs = |&(pool, members): &(UplinkNo, &[Client])| {
            !has(before, pool) || before.members(pool) != members || !has(after, pool)
        };
        for (pool, _) in after.iter().chain(gone.iter().copied()).filter(differs) {
            let file = quoted(&self.pool_path(pool));
            let left = |client: &&Client| after.pool_of(**client) != Some(pool);
            let pattern = |client: &Client| client.to_string().replace('.', "\\.");
            for client in before.members(pool).iter().filter(left) {
                commands.push(format!("sed -i '/^{}$/d' {file}", pattern(client)));
            }
            let came = |client: &&Client| before.pool_of(**client) != Some(pool);
            let adds = after.members(pool).iter().any(|client| came(&client));
            if adds && lacks_newline(&self.pool_path(pool)) {
                commands.push(format!("echo >>{file}"));
            }
            for client in after.members(pool).iter().filter(came) {
                commands.push(format!("echo {client} >>{file}"));
            }
            if !has(before, pool) && after.members(pool).is_empty() {
                commands.push(format!("touch {file}"));
            }
        }
        commands.extend(
            gone.into_iter().map(|(pool, _)| format!("rm {}", quoted(&self.pool_path(pool)))),
        );
        commands
    }
}

/// Whether an editor left the last line without its end.
fn lacks_newline(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.last().is_some_and(|&last| last != b'\n'))
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
