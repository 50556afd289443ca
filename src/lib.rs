//! TEMPORARY
#![allow(dead_code, unused_imports)]

pub mod cli;
mod config;
mod error;
mod model;
mod output;
mod plan;
mod system;

pub fn run(_: impl Iterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
