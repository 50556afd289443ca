//! A table from addresses and prefixes to values: the longest prefix that contains an address
//! decides, as in a routing table. It must not know what the values mean.
//!
//! A gateway can have a pin for each of 65,536 clients, and looks up each client in every run. A
//! look-up costs one hash look-up for each prefix length that occurs, however many prefixes there
//! are.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTable<T> {
    values: FxHashMap<IpNet, T>,
    /// The prefix lengths that occur, the longest first.
    lengths: Vec<u8>,
}

impl<T> Default for AddressTable<T> {
    fn default() -> Self {
        Self { values: FxHashMap::default(), lengths: Vec::new() }
    }
}

impl<T> AddressTable<T> {
    /// The value of the longest prefix that contains the address.
    pub fn find(&self, address: IpAddr) -> Option<&T> {
        self.find_covering(IpNet::from(address)).map(|(_, value)| value)
    }

    /// The longest prefix that contains the whole of another one, which may be the same, and its
    /// value.
    pub fn find_covering(&self, net: IpNet) -> Option<(IpNet, &T)> {
        for &length in &self.lengths {
            if length > net.prefix_len() {
                continue;
            }
            let Some(key) = prefix(net.addr(), length) else { continue };
            if let Some(value) = self.values.get(&key) {
                return Some((key, value));
            }
        }
        None
    }

    /// The single addresses in the table, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let single = self.values.keys().filter(|net| net.prefix_len() == net.max_prefix_len());
        let mut addresses: Vec<IpAddr> = single.map(|net| net.addr()).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Host bits of the prefix are ignored. Returns the value that the prefix had.
    pub fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        let length = net.prefix_len();
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
            self.lengths.sort_unstable_by(|one, other| other.cmp(one));
        }
        self.values.insert(net.trunc(), value)
    }
}

#[cfg(test)]
impl<T> FromIterator<(IpNet, T)> for AddressTable<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(values: I) -> Self {
        let mut table = Self::default();
        for (net, value) in values {
            table.insert(net, value);
        }
        table
    }
}

/// The prefix of this length that contains the address; `None` if no address
/// is that long.
fn prefix(address: IpAddr, length: u8) -> Option<IpNet> {
    Some(IpNet::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_that_contains_the_address_decides() {
        let prefixes = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "10.1.1.0/24"];
        let table: AddressTable<&str> =
            prefixes.map(|text| (net(text), text)).into_iter().collect();
        for (address, wanted) in [
            ("10.1.1.1", "10.1.1.1/32"),
            ("10.1.1.2", "10.1.1.0/24"),
            ("10.1.2.1", "10.1.0.0/16"),
            ("10.2.0.0", "10.0.0.0/8"),
            ("10.255.255.255", "10.0.0.0/8"),
            ("11.0.0.0", "0.0.0.0/0"),
        ] {
            assert_eq!(table.find(address.parse().unwrap()), Some(&wanted), "{address}");
        }
    }

    #[test]
    fn a_prefix_is_covered_by_itself_and_by_shorter_prefixes_only() {
        let table: AddressTable<()> = [(net("10.1.0.0/16"), ())].into_iter().collect();
        for (given, is_covered) in [
            ("10.1.0.0/16", true),
            ("10.1.9.0/24", true),
            ("10.0.0.0/8", false),
            ("10.2.0.0/16", false),
        ] {
            assert_eq!(table.find_covering(net(given)).is_some(), is_covered, "{given}");
        }
    }

    #[test]
    fn single_addresses_are_listed_in_order() {
        let prefixes = ["10.0.0.9", "10.0.0.0/8", "10.0.0.1", "10.0.0.1/31"];
        let nets = prefixes.map(|text| text.parse().or(format!("{text}/32").parse()).unwrap());
        let table: AddressTable<()> = nets.into_iter().map(|net| (net, ())).collect();
        assert_eq!(table.addresses(), [[10, 0, 0, 1], [10, 0, 0, 9]].map(IpAddr::from));
    }

    #[test]
    fn a_second_value_replaces_the_first() {
        let mut table = AddressTable::default();
        assert_eq!(table.insert(net("10.0.0.0/8"), 1), None);
        assert_eq!(table.insert(net("10.0.0.1/8"), 2), Some(1));
        assert_eq!(table.find([10, 9, 9, 9].into()), Some(&2));
    }

    /// Few enough addresses that prefixes overlap.
    fn address() -> impl Strategy<Value = IpAddr> {
        any::<[u8; 2]>().prop_map(|[b, d]| IpAddr::from([10, b % 4, 0, d % 8]))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_table_finds_what_a_linear_search_finds(
            given in vec((address(), 0..=32u8), 0..40),
            wanted in vec(address(), 1..20),
        ) {
            let nets: Vec<IpNet> =
                given.iter().filter_map(|&(address, length)| prefix(address, length)).collect();
            let table: AddressTable<IpNet> = nets.iter().map(|&net| (net, net)).collect();
            for address in wanted {
                let holding = nets.iter().filter(|net| net.contains(&address));
                let longest = holding.max_by_key(|net| net.prefix_len());
                prop_assert_eq!(table.find(address), longest);
            }
        }
    }
}
