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

use rtnetlink::packet_route::AddressFamily;

use crate::model::Family;

/// `NETLINK_ROUTE` and `NETLINK_NETFILTER` of `linux/netlink.h`.
pub const ROUTE: isize = 0;
pub const NETFILTER: isize = 12;

/// `AF_INET` or `AF_INET6`, as it stands in netlink headers.
fn address_family(family: Family) -> u8 {
    AddressFamily::from(family).into()
}

/// The family of a message, which is one of the two: no other was asked for.
fn family_of(header: AddressFamily) -> Family {
    if header == AddressFamily::Inet6 { Family::Inet6 } else { Family::Inet }
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Inet => AddressFamily::Inet,
            Family::Inet6 => AddressFamily::Inet6,
        }
    }
}
