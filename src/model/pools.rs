//! Who is in which pool: the truth that the pool files hold, in memory.
//!
//! Pure. A client is in one pool at most; within a pool clients stand in order of arrival.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Client, UplinkNo};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    members: BTreeMap<UplinkNo, Vec<Client>>,
    /// Hashed the quick way: nobody outside the LAN chooses these keys.
    pool_of: FxHashMap<Client, UplinkNo>,
}

impl Pools {
    /// The pool that holds a client.
    pub fn pool_of(&self, client: Client) -> Option<UplinkNo> {
        self.pool_of.get(&client).copied()
    }

    /// The clients of a pool, in order of arrival.
    pub fn members(&self, pool: UplinkNo) -> &[Client] {
        self.members.get(&pool).map_or(&[], Vec::as_slice)
    }

    /// The clients of all pools.
    pub fn clients(&self) -> impl Iterator<Item = Client> {
        self.members.values().flatten().copied()
    }

    /// How many clients there are in all pools.
    pub fn len(&self) -> usize {
        self.pool_of.len()
    }

    /// The pools that exist, empty ones too, by number.
    pub fn iter(&self) -> impl Iterator<Item = (UplinkNo, &[Client])> {
        self.members.iter().map(|(&pool, members)| (pool, members.as_slice()))
    }

    /// Makes sure that a pool exists, if only as an empty one.
    pub fn create(&mut self, pool: UplinkNo) {
        self.members.entry(pool).or_default();
    }

    /// Makes room for so many more clients in a pool.
    pub fn reserve(&mut self, pool: UplinkNo, clients: usize) {
        self.pool_of.reserve(clients);
        self.members.entry(pool).or_default().reserve(clients);
    }

    /// Appends a client to a pool. If one holds it already, that pool is returned and nothing done.
    pub fn insert(&mut self, client: Client, pool: UplinkNo) -> Result<(), UplinkNo> {
        match self.pool_of.entry(client) {
            Entry::Occupied(taken) => Err(*taken.get()),
            Entry::Vacant(free) => {
                free.insert(pool);
                self.members.entry(pool).or_default().push(client);
                Ok(())
            }
        }
    }

    /// Takes clients out of whatever pools hold them.
    pub fn remove(&mut self, clients: &FxHashSet<Client>) {
        let touched: HashSet<UplinkNo> =
            clients.iter().filter_map(|client| self.pool_of.remove(client)).collect();
        for pool in touched {
            if let Some(members) = self.members.get_mut(&pool) {
                members.retain(|client| !clients.contains(client));
            }
        }
    }

    /// Takes an empty pool away.
    pub fn drop_empty(&mut self, pool: UplinkNo) {
        if self.members(pool).is_empty() {
            self.members.remove(&pool);
        }
    }
}
