//! The options that all commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

/// The default directory of the pool files.
pub const STATE_DIR: &str = "/var/lib/wanpool";

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Common options")]
pub struct Options {
    /// Print JSON on standard output
    #[arg(short, long, global = true)]
    pub json: bool,

    /// Indent the JSON output
    #[arg(short, long, global = true)]
    pub pretty: bool,

    /// Print the changes as shell commands, but do not make them
    #[arg(short = 'n', long, global = true)]
    pub dry_run: bool,

    /// Print only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print each change when it is made
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Change only the state of IPv4
    #[arg(short = '4', global = true, conflicts_with = "inet6")]
    pub inet: bool,

    /// Change only the state of IPv6
    #[arg(short = '6', global = true)]
    pub inet6: bool,

    /// When to color uplink states: always, auto or never; -c alone means always
    #[arg(
        short,
        long,
        value_name = "WHEN",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_value = "auto",
        default_missing_value = "always",
        hide_possible_values = true,
        global = true
    )]
    pub color: Color,

    /// Wait up to SECONDS until another run has finished; 0: fail at once
    #[arg(short, long, value_name = "SECONDS", default_value = "10", global = true)]
    pub wait: u32,

    /// Hook mode: ignore unknown devices and outdated events
    #[arg(
        long,
        env = "WANPOOL_HOOK",
        hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new(),
        global = true
    )]
    pub hook: bool,

    /// Read the configuration from FILE
    #[arg(
        long,
        value_name = "FILE",
        env = "WANPOOL_CONFIG",
        hide_env_values = true,
        default_value = "/etc/wanpool.toml",
        value_hint = ValueHint::FilePath,
        global = true
    )]
    pub config: PathBuf,

    /// Keep the pool files in DIR
    #[arg(
        long,
        value_name = "DIR",
        env = "WANPOOL_STATE_DIR",
        hide_env_values = true,
        default_value = STATE_DIR,
        value_hint = ValueHint::DirPath,
        global = true
    )]
    pub state_dir: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Always,
    Auto,
    Never,
}
