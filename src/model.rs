//! Plain data types that every layer shares. They do no I/O and use nothing but `std`, `ipnet`,
//! `serde` and a hash function.
//!
//! A type that has a rule ("an uplink number is 1 to 50") cannot hold a value that breaks it.

pub mod address;
pub mod change;
pub mod client_set;
pub mod family;
pub mod filter;
pub mod foreign_filter;
pub mod health;
pub mod kernel_ids;
pub mod link;
pub mod pools;
pub mod probe;
pub mod routing;
pub mod snapshot;
pub mod uplink;

pub use address::{Client, DevName, LinkAddress};
pub use family::Family;
pub use kernel_ids::{KernelIds, Mark};
pub use uplink::{UplinkNo, UplinkSet};
