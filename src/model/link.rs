//! Network devices, the addresses of the gateway, and its neighbours.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Client, DevName, LinkAddress};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: DevName,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The layer below is up (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// The device needs no gateway: `IFF_POINTOPOINT` or `IFF_NOARP`.
    pub point_to_point: bool,
    pub mtu: u32,
    /// The device is part of a VRF.
    pub in_vrf: bool,
    /// Names besides the first (`ip link property`).
    pub other_names: Vec<String>,
}

/// An address of the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub dev: DevName,
    pub local: IpAddr,
    /// The address of the other end, where one was configured.
    pub peer: Option<IpAddr>,
    pub broadcast: Option<IpAddr>,
    /// The prefix length of the network that the address is in.
    pub prefix: u8,
}

impl Address {
    /// The network address and the broadcast address, which no host has. A prefix of 31 or 32 bits
    /// has neither (RFC 3021), and IPv6 has none.
    pub fn reserved(&self) -> Option<[IpAddr; 2]> {
        match self.network()? {
            IpNet::V4(net) if net.prefix_len() <= 30 => {
                Some([net.network().into(), net.broadcast().into()])
            }
            _ => None,
        }
    }

    /// The network that the address is in, if there can be other hosts in it.
    pub fn network(&self) -> Option<IpNet> {
        let net = IpNet::new(self.local, self.prefix).ok()?;
        if net.prefix_len() < net.max_prefix_len() { Some(net) } else { None }
    }

    /// Whether the kernel has a route to this address by the device, because of this address.
    pub fn reaches(&self, address: IpAddr) -> bool {
        self.peer == Some(address) || self.network().is_some_and(|net| net.contains(&address))
    }
}

/// The devices and the addresses of the gateway at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
}

impl Devices {
    pub fn link(&self, dev: &DevName) -> Option<&Link> {
        self.links.iter().find(|link| link.name == *dev)
    }

    /// The device that has this name besides its first one.
    pub fn named_otherwise(&self, dev: &DevName) -> Option<&Link> {
        self.links.iter().find(|link| link.other_names.iter().any(|name| name == dev.as_str()))
    }

    pub fn addresses_of<'a>(&'a self, dev: &'a DevName) -> impl Iterator<Item = &'a Address> {
        self.addresses.iter().filter(move |address| address.dev == *dev)
    }

    /// The first address of the other end that a device was configured with.
    pub fn peer_of(&self, dev: &DevName) -> Option<IpAddr> {
        self.addresses_of(dev).find_map(|address| address.peer)
    }
}

/// The gateway that a device had last, and the addresses that the device had then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGateway {
    /// The index of the device. A device that was created again starts afresh.
    pub index: u32,
    pub via: IpAddr,
    pub addresses: Vec<IpAddr>,
    /// The gateway of the main table at the time when another one was told. It is out of date as long
    /// as the main table has it.
    #[serde(default)]
    pub instead_of: Option<IpAddr>,
}

pub type LastGateways = BTreeMap<DevName, LastGateway>;

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub client: Client,
    pub lladdr: LinkAddress,
    pub dev: DevName,
    /// `reachable`, `stale` and so on: the words of `ip neigh`.
    pub state: &'static str,
    /// How long ago the host was last heard. `None` if the kernel does not say.
    pub silent_for: Option<Duration>,
}

impl Neighbour {
    pub fn sighting(&self) -> Sighting {
        Sighting { client: self.client, silent_for: self.silent_for }
    }
}

/// A client that was discovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub client: Client,
    pub silent_for: Option<Duration>,
}

/// When clients were last heard, since boot.
pub type LastHeard = BTreeMap<Client, Duration>;
