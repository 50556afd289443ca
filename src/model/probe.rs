//! How an uplink is probed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The settings of `[probe]` and `[uplink.N.probe]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// If empty: the peer of a point-to-point device, or else the gateway.
    pub targets: Vec<Target>,
    /// How many probes a target gets at once.
    pub count: u8,
    /// The minimum number of targets that must answer.
    pub need: u8,
    pub timeout: Duration,
    /// After this many unhealthy runs in a row the uplink is taken out of service.
    pub down: u8,
    /// After this many healthy runs in a row it is put back in service.
    pub up: u8,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        let timeout = Duration::from_secs(1);
        Self { targets: vec![], count: 3, need: 1, timeout, down: 2, up: 3 }
    }
}

/// What is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An ICMP echo.
    Echo(Ipv4Addr),
    /// A TCP connection.
    Tcp(SocketAddrV4),
    /// The IPv4 address of a name, asked of a DNS server over UDP.
    Dns { server: SocketAddrV4, name: String },
    /// An HTTP page. A status of 200 to 299 is an answer.
    Http { server: SocketAddrV4, path: String },
}

/// As in the configuration.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Echo(address) => address.fmt(f),
            Target::Tcp(server) => write!(f, "tcp:{server}"),
            Target::Dns { server, name } => write!(f, "dns:{server}:{name}"),
            Target::Http { server, path } => write!(f, "http://{server}{path}"),
        }
    }
}
