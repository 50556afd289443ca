//! Runs that are killed, calls that fail, disks that are full, and things that happen at the same
//! time.

mod changing_dumps;
mod concurrent_hooks;
mod concurrent_runs;
mod full_disk;
mod lock;
mod matrix;
mod read_only_disk;
mod vanishing_devices;
