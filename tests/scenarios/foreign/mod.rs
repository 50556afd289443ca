//! Other people's firewalls and routing on the same gateway: ours leaves them alone, whatever is
//! done, and comes back after whatever they do.

mod firewalls;
mod objects;
mod random_commands;
mod reloads;
mod snapshot;
