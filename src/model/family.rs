//! The two address families. A slice of kernel objects belongs to one of them.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Inet,
    Inet6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::Inet } else { Family::Inet6 }
    }

    pub fn of_net(net: IpNet) -> Self {
        Self::of(net.addr())
    }

    /// The prefix length of a single address.
    pub fn host_length(self) -> u8 {
        match self {
            Family::Inet => 32,
            Family::Inet6 => 128,
        }
    }

    /// The destination of a default route.
    pub fn whole_internet(self) -> IpNet {
        match self {
            Family::Inet => Ipv4Net::default().into(),
            Family::Inet6 => Ipv6Net::default().into(),
        }
    }

    /// The name of the program for the packet filter.
    pub fn iptables(self) -> &'static str {
        match self {
            Family::Inet => "iptables",
            Family::Inet6 => "ip6tables",
        }
    }

    /// The family of the tables that this program makes, in the words of `nft`.
    pub fn nft(self) -> &'static str {
        match self {
            Family::Inet => "ip",
            Family::Inet6 => "ip6",
        }
    }

    /// What follows `ip` in a command: nothing, or ` -6`.
    pub fn ip_option(self) -> &'static str {
        match self {
            Family::Inet => "",
            Family::Inet6 => " -6",
        }
    }
}

/// The words of `ipset` and of metrics.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        })
    }
}
