//! The limit of open files (getrlimit(2)) while the uplinks are probed. Each TCP probe has a socket of
//! its own, and the usual soft limit of 1024 is too low for 50 uplinks.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// While it lives, the soft limit is the hard limit. Afterwards it is as before, because the programs
/// that wanpool starts inherit it.
pub struct RaisedLimit {
    before: Option<(rlim_t, rlim_t)>,
}

impl RaisedLimit {
    /// Where the limit cannot be raised, a socket that is one too many says so.
    pub fn raise() -> Self {
        let before = getrlimit(Resource::RLIMIT_NOFILE).ok();
        if let Some((_, hard)) = before {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        Self { before }
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.before {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
        }
    }
}
