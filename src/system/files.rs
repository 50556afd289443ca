//! Files: the pool files and their lock in `/var/lib/wanpool`, what may be lost in `/run/wanpool`, and
//! the rules about which files are trusted.

pub mod client_list;
pub mod config;
mod lock;
mod pool_text;
mod pools;
mod runtime;
mod trusted;

pub use lock::Lock;
pub use pools::PoolFiles;
pub use runtime::RuntimeState;
