//! Which clients are in which pool: the contents of the pool files, in memory.
//!
//! Pure. A client is in at most one pool. The clients of a pool stand in order of arrival.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::{Client, UplinkNo};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    members: BTreeMap<UplinkNo, Vec<Client>>,
    /// The fast hash is safe here: only hosts on the LAN choose these keys.
    pool_of: FxHashMap<Client, UplinkNo>,
}

impl Pools {
    /// The pool that a client is in.
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

    /// The number of clients in all pools.
    pub fn len(&self) -> usize {
        self.pool_of.len()
    }

    /// The pools that exist, in order of number. A pool may be empty.
    pub fn iter(&self) -> impl Iterator<Item = (UplinkNo, &[Client])> {
        self.members.iter().map(|(&pool, members)| (pool, members.as_slice()))
    }

    pub fn exists(&self, pool: UplinkNo) -> bool {
        self.members.contains_key(&pool)
    }

    /// The pools that exist here and not in `other`, in order of number.
    pub fn pools_not_in(&self, other: &Pools) -> Vec<UplinkNo> {
        self.members.keys().copied().filter(|&pool| !other.exists(pool)).collect()
    }

    /// Creates an empty pool unless the pool exists.
    pub fn create(&mut self, pool: UplinkNo) {
        self.members.entry(pool).or_default();
    }

    /// Reserves memory for that many more clients in a pool.
    pub fn reserve(&mut self, pool: UplinkNo, clients: usize) {
        self.pool_of.reserve(clients);
        self.members.entry(pool).or_default().reserve(clients);
    }

    /// Appends a client to a pool. If the client is in a pool already, returns that pool and
    /// changes nothing.
    pub fn insert(&mut self, client: Client, pool: UplinkNo) -> Result<(), UplinkNo> {
        match self.pool_of.entry(client) {
            Entry::Occupied(present) => Err(*present.get()),
            Entry::Vacant(free) => {
                free.insert(pool);
                self.members.entry(pool).or_default().push(client);
                Ok(())
            }
        }
    }

    /// Removes clients from the pools that they are in.
    pub fn remove(&mut self, clients: &FxHashSet<Client>) {
        let changed: HashSet<UplinkNo> =
            clients.iter().filter_map(|client| self.pool_of.remove(client)).collect();
        for pool in changed {
            if let Some(members) = self.members.get_mut(&pool) {
                members.retain(|client| !clients.contains(client));
            }
        }
    }

    /// Removes a pool if it is empty.
    pub fn drop_empty(&mut self, pool: UplinkNo) {
        if self.members(pool).is_empty() {
            self.members.remove(&pool);
        }
    }
}
