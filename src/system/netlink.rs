//! Netlink: the sockets, the messages, and one file for each kind of kernel object.
//!
//! These files know how the kernel represents an object. They do not know which objects should
//! exist. In each of them `build…` functions return the message of a request and `parse…` functions
//! read an answer; neither touches the kernel.

pub mod conntrack;
pub mod ipset;
pub mod link;
mod message;
pub mod neighbour;
pub mod nexthop;
pub mod nftables;
pub mod route;
pub mod rule;
mod rule_watch;
mod socket;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;

pub use link::DeviceIndex;
pub use socket::NetlinkSocket;

/// `NETLINK_ROUTE` and `NETLINK_NETFILTER` of `linux/netlink.h`.
pub const ROUTE: isize = 0;
pub const NETFILTER: isize = 12;
