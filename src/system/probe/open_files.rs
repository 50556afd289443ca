//! The limit of open files (getrlimit(2)) while the uplinks are probed. Each TCP probe has a socket of
//! its own, and the usual soft limit of 1024 is too low for 50 uplinks.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The soft limit is raised to the hard limit until this value is dropped. Then it is restored,
/// because the programs that wanpool starts inherit it.
pub struct RaisedLimit {
    before: Option<(rlim_t, rlim_t)>,
}

impl RaisedLimit {
    /// Failure is not an error: if too many sockets are opened, opening them fails with EMFILE.
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
