//! The state that most tests begin with: a configuration, and clients discovered and assigned.

use std::net::Ipv4Addr;

use super::{Lab, Shape};

/// Two equal uplinks, with the LAN `br0`.
pub fn two() -> String {
    uplinks("", &["ppp0", "ppp1"])
}

/// Three equal uplinks, with the LAN `br0`. `top` are further keys, in front of the first table.
pub fn three(top: &str) -> String {
    uplinks(top, &["ppp0", "ppp1", "ppp2"])
}

/// The same with the ethernet uplink as the fourth.
pub fn four(top: &str) -> String {
    three(top) + "\n[uplink.4]\ndev = \"eth1\"\nvia = \"10.65.4.1\"\n"
}

/// Equal uplinks 1, 2 … on these devices.
pub fn uplinks(top: &str, devs: &[&str]) -> String {
    let table = |(at, dev)| format!("\n[uplink.{}]\ndev = \"{dev}\"\n", at + 1);
    let tables: String = devs.iter().enumerate().map(table).collect();
    format!("lan = [\"br0\"]\n{top}\n{tables}")
}

impl Shape {
    /// Raises the lab, with all clients discovered, assigned and served as this config says.
    #[track_caller]
    pub fn serving(self, config: &str) -> Lab {
        let lab = self.raise();
        lab.serve(config);
        lab
    }
}

impl Lab {
    #[track_caller]
    pub fn serving(config: &str) -> Lab {
        Lab::with().serving(config)
    }

    /// Three equal uplinks, ten clients each.
    #[track_caller]
    pub fn three_uplinks() -> Lab {
        Lab::serving(&three(""))
    }

    /// Four equal uplinks, the last one ethernet.
    #[track_caller]
    pub fn four_uplinks() -> Lab {
        Lab::serving(&four(""))
    }

    /// All clients are discovered, assigned and served as this config says.
    #[track_caller]
    pub fn serve(&self, config: &str) {
        self.config(config);
        self.discover(&self.everyone());
        self.wanpool(["restore"]).ok();
        self.wanpool(["assign"]).ok();
    }

    /// Client number `at` of a pool's file.
    pub fn member(&self, pool: u8, at: usize) -> Ipv4Addr {
        self.members(pool)[at]
    }

    /// So many clients are in each pool.
    pub fn pool_sizes<const N: usize>(&self) -> [usize; N] {
        std::array::from_fn(|at| self.pool(at as u8 + 1).len())
    }

    /// Takes the client out of its pool.
    #[track_caller]
    pub fn release(&self, client: Ipv4Addr) {
        self.wanpool(["assign", &client.to_string(), "--release"]).ok();
    }

    /// The far server sees this client from the address of one of these uplinks.
    #[track_caller]
    pub fn assert_leaves_by(&self, client: Ipv4Addr, uplinks: &[u8]) {
        let seen = self.client(client).seen();
        let is_right = uplinks.iter().any(|&number| seen == Ok(self.uplink_address(number)));
        assert!(is_right, "{client} does not leave by {uplinks:?}: {seen:?}");
    }

    #[track_caller]
    pub fn assert_all_leave_by(&self, clients: &[Ipv4Addr], uplinks: &[u8]) {
        for &client in clients {
            self.assert_leaves_by(client, uplinks);
        }
    }

    /// The client is served by an uplink other than this one.
    #[track_caller]
    pub fn assert_leaves_by_another(&self, client: Ipv4Addr, uplink: u8) {
        let seen = self.client(client).seen();
        let is_other = seen.as_ref().is_ok_and(|&seen| seen != self.uplink_address(uplink));
        assert!(is_other, "{client} is seen as {seen:?}");
    }

    /// Every client of these pools leaves by its own uplink, over several connections.
    #[track_caller]
    pub fn assert_each_leaves_by_its_own_uplink(&self, pools: &[u8]) {
        for &pool in pools {
            for client in self.members(pool) {
                for _ in 0..3 {
                    self.assert_leaves_by(client, &[pool]);
                }
            }
        }
    }
}
