//! The packet filter's back end: [`iptables_text`] renders and parses rules as iptables writes them,
//! [`iptables`] runs the programs. Another back end would stand beside them.

pub mod foreign_text;
pub mod iptables;
pub mod iptables_text;
pub mod save_text;
