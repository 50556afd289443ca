//! The command line: its options, its output format, and what it refuses.

mod bad_input;
mod output_format;
mod refused_commands;
