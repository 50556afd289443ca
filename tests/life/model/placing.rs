//! Which client belongs to which pool.

use std::net::Ipv4Addr;

use super::Model;

impl Model {
    /// Everybody who was heard goes to the lightest pool, in order of address.
    pub(super) fn place_everyone(&mut self) {
        for client in self.everyone.clone() {
            if self.pool_of(client).is_none() {
                let lightest = self.lightest();
                self.place(client, lightest);
            }
        }
    }

    /// The pool with the fewest clients for its weight; the lowest number of several. A backup gets
    /// nobody.
    fn lightest(&self) -> u8 {
        let mut best: Option<(u8, u32, u32)> = None;
        for (&no, line) in self.lines.iter().filter(|(_, line)| !line.backup) {
            let clients = self.pools.get(&no).map_or(0, Vec::len) as u32;
            if best.is_none_or(|(_, least, weight)| clients * weight < least * line.weight) {
                best = Some((no, clients, line.weight));
            }
        }
        best.expect("a line that is no backup").0
    }

    pub(super) fn place(&mut self, client: Ipv4Addr, no: u8) {
        if self.pool_of(client) != Some(no) {
            self.release(client);
            self.pools.entry(no).or_default().push(client);
        }
    }

    pub(super) fn release(&mut self, client: Ipv4Addr) {
        for members in self.pools.values_mut() {
            members.retain(|&member| member != client);
        }
    }

    /// Each pool has its share of the clients, rounded up or down.
    pub fn is_level(&self) -> bool {
        let primaries = || self.lines.iter().filter(|(_, line)| !line.backup);
        let clients = |no: &u8| self.pools.get(no).map_or(0, Vec::len) as u32;
        let all: u32 = primaries().map(|(no, _)| clients(no)).sum();
        let weights: u32 = primaries().map(|(_, line)| line.weight).sum();
        primaries().all(|(no, line)| {
            let share = all * line.weight;
            (share / weights..=share.div_ceil(weights)).contains(&clients(no))
        })
    }
}
