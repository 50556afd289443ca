//! README, man pages and shell completions: they show what the program does.

mod consistency;
pub mod doctests;
mod shell_completion;
