//! Files: the pool files and their lock in `/var/lib/wanpool`, the runtime state in `/run/wanpool`,
//! the configuration, lists of clients, and the rules on which files are trusted.

pub mod client_list;
pub mod config;
mod dir;
mod lock;
mod pool_text;
mod pools;
mod runtime;
pub(super) mod trusted;

pub use lock::Lock;
pub use pools::PoolFiles;
pub use runtime::RuntimeState;
