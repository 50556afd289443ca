//! The client set: the ipset that maps the address of a client to the mark of its pool.

use std::net::IpAddr;

use super::{Family, Mark};

/// The name of the set of a family.
pub fn set_name(family: Family) -> &'static str {
    match family {
        Family::Inet => "wanpool",
        Family::Inet6 => "wanpool6",
    }
}

/// The family of the set with this name.
pub fn set_family(name: &str) -> Option<Family> {
    [Family::Inet, Family::Inet6].into_iter().find(|&family| set_name(family) == name)
}

/// The set with its members. An entry holds an address rather than a client: what is found in the
/// kernel may have been added by somebody else and be the address of no client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSet {
    /// How many members the set has room for.
    pub max: u32,
    /// In order of address.
    pub entries: Vec<(IpAddr, Mark)>,
}

impl ClientSet {
    /// The mark that the packets of this address get, if the address is in the set.
    pub fn mark_of(&self, address: IpAddr) -> Option<Mark> {
        let at = self.entries.binary_search_by_key(&address, |&(entry, _)| entry).ok()?;
        Some(self.entries[at].1)
    }
}

/// What was found under the name of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSet {
    Absent,
    Usable(ClientSet),
    /// A set that cannot hold marks for IPv4 addresses, and what it is instead.
    Unusable(String),
}

impl FoundSet {
    pub fn usable(&self) -> Option<&ClientSet> {
        match self {
            FoundSet::Usable(set) => Some(set),
            FoundSet::Absent | FoundSet::Unusable(_) => None,
        }
    }
}
