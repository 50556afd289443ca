//! Foreign firewalls and routing on the same gateway: wanpool does not change them, and repairs its
//! own slice after they have changed it.

mod firewalls;
mod objects;
mod random_commands;
mod reloads;
mod snapshot;
