//! Names and addresses: clients, network devices, link-layer addresses.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Family;

/// A client of the gateway: a line of a pool file. It is identified by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(IpAddr);

/// The address is hashed as one number, which is faster than four bytes.
impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpAddr::V4(address) => state.write_u32(address.to_bits()),
            IpAddr::V6(address) => state.write_u128(address.to_bits()),
        }
    }
}

impl Client {
    /// Returns an error for an address that no host can have: unspecified, loopback, multicast,
    /// reserved or broadcast.
    pub fn new(address: IpAddr) -> Result<Self, String> {
        let kind = match address {
            IpAddr::V4(address) => impossible_inet(address),
            IpAddr::V6(address) => impossible_inet6(address),
        };
        match kind {
            None => Ok(Self(address)),
            Some(kind) => Err(format!("{address} is {kind} address, which no client can have")),
        }
    }

    pub fn address(self) -> IpAddr {
        self.0
    }

    pub fn family(self) -> Family {
        Family::of(self.0)
    }
}

fn impossible_inet(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets()[0] {
        0 => Some("an unspecified"),
        127 => Some("a loopback"),
        224..=239 => Some("a multicast"),
        240..=255 => Some("a reserved"),
        _ => None,
    }
}

fn impossible_inet6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("an unspecified IPv6")
    } else if address.is_loopback() {
        Some("a loopback IPv6")
    } else if address.is_multicast() {
        Some("a multicast IPv6")
    } else if address.is_unicast_link_local() {
        Some("a link-local IPv6")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped IPv6")
    } else {
        None
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
            Ok(address) => Self::new(address),
            Err(_) => Err(format!("not an IPv4 or IPv6 address: {text:?}")),
        }
    }
}

/// The name of a network device. Copying one is cheap, because a neighbour table of a hundred
/// thousand entries holds one in each entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct DevName(Arc<str>);

impl From<String> for DevName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<DevName> for String {
    fn from(name: DevName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl DevName {
    /// Takes a name as the kernel reports it, without checking it.
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

/// Parses a name as a person writes it: at most 15 bytes (`IFNAMSIZ` without the NUL), and only
/// characters that have no special meaning to `iptables` and to a shell (`+` is a wildcard of
/// iptables).
impl FromStr for DevName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 15 {
            return Err(format!("{text:?} is no device name: a name has 1 to 15 characters"));
        }
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
        if !is_plain || text == "." || text == ".." || text.starts_with('-') {
            return Err(format!(
                "{text:?} is no device name that wanpool can use: it may have only letters, digits \
                 and . _ - @, and no - at the start"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// A link-layer address of at most 32 bytes (`MAX_ADDR_LEN`). An empty one stands for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkAddress {
    bytes: [u8; 32],
    length: u8,
}

impl LinkAddress {
    /// Returns an empty address if there are more bytes than an address can have.
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
        let mut bytes = Vec::new();
        for byte in text.split(':') {
            bytes.push(u8::from_str_radix(byte, 16)?);
        }
        Ok(Self::new(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_that_a_host_can_have() {
        for good in ["192.168.7.10", "1.0.0.0", "223.255.255.255", "169.254.7.7", "fd07::18"] {
            assert_eq!(good.parse::<Client>().unwrap().to_string(), good);
        }
        for (bad, reason) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("127.255.0.1", "loopback"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.250", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::1", "loopback IPv6"),
            ("::", "unspecified IPv6"),
            ("ff02::1", "multicast IPv6"),
            ("fe80::1", "link-local IPv6"),
            ("::ffff:10.0.0.1", "IPv4-mapped IPv6"),
            ("fe80::1%br0", "not an IPv4 or IPv6 address"),
            ("10.0.0", "not an IPv4 or IPv6 address"),
            ("10.0.0.256", "not an IPv4 or IPv6 address"),
            ("10.0.0.01", "not an IPv4 or IPv6 address"),
            ("0x0a.1.1.1", "not an IPv4 or IPv6 address"),
            ("167838209", "not an IPv4 or IPv6 address"),
            ("10.1.1.1.", "not an IPv4 or IPv6 address"),
            ("10.0.0.1/32", "not an IPv4 or IPv6 address"),
            (" 10.0.0.1", "not an IPv4 or IPv6 address"),
            ("10.0.0.1 ", "not an IPv4 or IPv6 address"),
            ("", "not an IPv4 or IPv6 address"),
        ] {
            let error = bad.parse::<Client>().unwrap_err();
            assert!(error.contains(reason), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_device_name_has_no_character_that_iptables_or_a_shell_interprets() {
        for good in ["ppp0", "eth0.10", "br-lan", "wg_x", "fifteen-letters"] {
            assert_eq!(good.parse::<DevName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "sixteen-letters-",
            "ppp+",
            "a b",
            "a\"b",
            "a'b",
            "a/b",
            "..",
            "../ppp0",
            "-i",
            "a%d",
            "$(id)",
            "ppp0;id",
            "ppp0\n",
            "\u{1b}[2J",
            "é",
        ] {
            assert!(bad.parse::<DevName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_link_address_parses_back_from_its_text() {
        let address: LinkAddress = "02:00:5e:00:00:1f".parse().unwrap();
        assert_eq!(address.to_string(), "02:00:5e:00:00:1f");
        assert_eq!(LinkAddress::new(&[1; 33]), LinkAddress::default());
        assert!(LinkAddress::new(&[]).is_empty());
        assert!("02:00:5e:00:00:1g".parse::<LinkAddress>().is_err());
    }
}
