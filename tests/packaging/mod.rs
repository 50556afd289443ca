//! How wanpool is built, packaged, installed and started.

mod bench;
mod debian;
mod demo;
mod dependencies;
mod firewalls;
pub mod install;
pub mod need_rust;
mod networkd;
pub mod package;
mod units;
