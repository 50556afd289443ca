//! The pool files, as a reader of the script of 2003 expects them.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File};
use std::net::Ipv4Addr;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::{Lab, Run};

/// Pool files: each one's name and text.
pub type Files = BTreeMap<String, String>;

impl Lab {
    /// The pool files of the folder itself.
    pub fn pool_files(&self) -> Files {
        files_in(&self.pool_dir())
    }

    /// The pools as the program reads them: an unfinished commit counts as done.
    pub fn pools_as_read(&self) -> Files {
        let mut files = self.pool_files();
        files.extend(files_in(&self.pool_dir().join(".commit")));
        files
    }

    /// Takes the lock, as another run would, until the value is dropped.
    pub fn hold_lock(&self) -> Flock<File> {
        let path = self.pool_dir().join(".lock");
        let file = File::options().create(true).append(true).open(path).expect("the lock file");
        Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("the lock")
    }

    /// Runs a shell script with the state folder, `$DIR`, on a file system of its own that holds a copy
    /// of it. `limit` is an option of tmpfs, or empty. `$DIR.kept` is the folder as it was.
    pub fn on_own_disk(&self, limit: &str, script: &str) -> Run {
        let inside = format!(
            "rm -rf $DIR.kept
             cp -a $DIR $DIR.kept
             mount -t tmpfs -o mode=755,{limit} tmpfs $DIR
             cp -a $DIR.kept/. $DIR
             {script}"
        );
        let inside = inside.replace('\'', r"'\''");
        self.script(&format!(
            "export DIR={}
             exec unshare --mount --propagation private sh -c '{inside}'",
            self.pool_dir().display()
        ))
    }

    pub fn write_pool(&self, pool: u8, clients: impl Iterator<Item = Ipv4Addr>) {
        let text: String = clients.map(|client| format!("{client}\n")).collect();
        fs::write(self.pool_dir().join(format!("pool{pool}")), text).expect("to write a pool file");
    }
}

fn files_in(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry"));
    let file = |entry: DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        let is_pool = name.starts_with("pool");
        is_pool.then(|| (name, fs::read_to_string(entry.path()).expect("a pool file")))
    };
    entries.filter_map(file).collect()
}

/// Each client's pool. Each line is complete, an address, and unique.
#[track_caller]
pub fn places(files: &Files) -> BTreeMap<Ipv4Addr, u8> {
    let mut places = BTreeMap::new();
    for (name, text) in files {
        assert!(text.is_empty() || text.ends_with('\n'), "{name} is torn: {text:?}");
        let pool = name.trim_start_matches("pool").parse().expect("a number");
        for line in text.lines() {
            let client = line.parse().unwrap_or_else(|why| panic!("{name}: {line:?}: {why}"));
            let other = places.insert(client, pool);
            assert!(other.is_none(), "{client} is in {pool} and in {other:?}");
        }
    }
    places
}
