//! The limit of open files (getrlimit(2)) while the uplinks are probed. Each TCP probe has a socket of
//! its own, and the usual soft limit of 1024 is too low for 50 uplinks.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Runs a function while the soft limit is as high as the hard limit. Then the limit is restored,
/// because the programs that wanpool starts inherit it. Failure is not an error: if too many sockets
/// are opened, opening them fails with EMFILE.
pub fn with_raised_limit<T>(run: impl FnOnce() -> T) -> T {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return run() };
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let result = run();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    result
}
