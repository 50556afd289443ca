//! Runs that are killed, calls that fail, disks that are full, and things that happen at the same
//! time.

mod concurrent_hooks;
mod concurrent_runs;
mod failing;
mod full_disk;
mod killed;
mod lock;
mod races;
