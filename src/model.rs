//! The words of the trade, each a type that cannot hold a wrong value: uplink numbers, clients,
//! device names, marks and the numbers of the kernel objects that follow from them.
//!
//! Pure: no I/O, nothing but `std`. Everything else in the crate may use these types; they know
//! of nothing else.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

mod numbers;
mod set;

pub use numbers::{Mark, Numbers};
pub use set::UplinkSet;

/// An address family. IPv4 is the one there is so far; whatever would differ in another asks this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Family {
    #[default]
    Inet,
}

impl Family {
    /// `AF_INET`, as it stands in netlink headers.
    pub fn number(self) -> u8 {
        match self {
            Family::Inet => 2,
        }
    }
}

/// The number of an uplink and of its pool: 1..=50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkNo(u8);

impl UplinkNo {
    /// The most uplinks there can be; with it the default tables stay below the reserved 253..=255.
    pub const MAX: u8 = 50;

    /// `None` unless 1..=50.
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for UplinkNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UplinkNo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let canonical = !text.starts_with(['0', '+']);
        text.parse()
            .ok()
            .filter(|_| canonical)
            .and_then(Self::new)
            .ok_or_else(|| format!("{text:?} is no uplink number; they are 1..={}", Self::MAX))
    }
}

/// A host behind a LAN device, known by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(Ipv4Addr);

/// As one number, which takes a hasher one step.
impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0.to_bits());
    }
}

impl Client {
    /// Refuses what no host can have for an address of its own: unspecified, loopback, multicast,
    /// reserved and broadcast.
    pub fn new(address: Ipv4Addr) -> Result<Self, String> {
        let kind = match address.octets()[0] {
            0 => "an unspecified",
            127 => "a loopback",
            224..=239 => "a multicast",
            240..=255 => "a reserved",
            _ => return Ok(Self(address)),
        };
        Err(format!("{address} is {kind} address, never a client's"))
    }

    pub fn address(self) -> Ipv4Addr {
        self.0
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => Self::new(address),
            Ok(IpAddr::V6(_)) => Err(format!("{text} is an IPv6 address; clients are IPv4 so far")),
            Err(_) => Err(format!("not an IPv4 address: {text:?}")),
        }
    }
}

/// The name of a network device. A copy costs no more than a number's: each of a hundred thousand
/// neighbours has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevName(Arc<str>);

impl DevName {
    /// A name as the kernel reports it: taken as it is.
    pub fn from_kernel(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DevName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A name as a person writes it: at most 15 bytes (`IFNAMSIZ` less the NUL) and only characters
/// that `iptables` and a shell take for themselves. `+` is a wildcard to iptables.
impl FromStr for DevName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if text.is_empty() || text.len() > 15 {
            return Err(format!("{text:?} is no device name: it must have 1 to 15 characters"));
        }
        if text == "." || text == ".." || text.starts_with('-') || !text.chars().all(plain) {
            return Err(format!(
                "{text:?} is no device name we can use: letters, digits and . _ - @ only"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// A link-layer address, at most as long as the kernel's longest (`MAX_ADDR_LEN`); none is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkAddress {
    bytes: [u8; 32],
    length: u8,
}

impl LinkAddress {
    /// What is longer than an address can be is none.
    pub fn new(bytes: &[u8]) -> Self {
        let mut address = Self::default();
        if let Some(room) = address.bytes.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            address.length = bytes.len() as u8;
        }
        address
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// `02:00:00:00:00:01`.
impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.bytes[..self.length.into()].iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for LinkAddress {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
        Ok(Self::new(&bytes.collect::<Result<Vec<u8>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uplink_numbers_are_1_to_50_in_their_one_spelling() {
        for good in ["1", "9", "50"] {
            assert_eq!(good.parse::<UplinkNo>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "51", "256", "01", "+1", "-1", "1 ", "ppp0"] {
            assert!(bad.parse::<UplinkNo>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_that_a_host_can_have() {
        for good in ["192.168.7.10", "1.0.0.0", "223.255.255.255", "10.0.0.255"] {
            assert_eq!(good.parse::<Client>().unwrap().to_string(), good);
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:10.0.0.1",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.01",
            "10.0.0.1/32",
            " 10.0.0.1",
            "",
        ] {
            assert!(bad.parse::<Client>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn device_names_hold_nothing_that_iptables_or_a_shell_would_read() {
        for good in ["ppp0", "eth0.10", "br-lan", "wg_x", "fifteen-letters"] {
            assert_eq!(good.parse::<DevName>().unwrap().as_str(), good);
        }
        for bad in ["", "sixteen-letters-", "ppp+", "a b", "a\"b", "a/b", "..", "-i", "a%d", "é"] {
            assert!(bad.parse::<DevName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn link_addresses_read_back_as_written() {
        let address: LinkAddress = "02:00:5e:00:00:1f".parse().unwrap();
        assert_eq!(address.to_string(), "02:00:5e:00:00:1f");
        assert_eq!(LinkAddress::new(&[1; 33]), LinkAddress::default());
        assert!(
            "02:00:5e:00:00:1g".parse::<LinkAddress>().is_err() && LinkAddress::new(&[]).is_empty()
        );
    }
}
