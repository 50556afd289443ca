//! The state most tests begin with: a config, clients heard and placed.

use std::net::Ipv4Addr;

use super::Lab;

/// Three equal uplinks behind `br0`. `top` are further keys, in front of the first table.
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

impl Lab {
    /// All clients heard, placed and served as this config says.
    #[track_caller]
    pub fn serve(&self, config: &str) {
        self.config(config);
        self.hear(&self.everyone());
        self.wanpool(["restore"]).ok();
        self.wanpool(["assign"]).ok();
    }

    /// Client number `at` of a pool's file.
    pub fn member(&self, pool: u8, at: usize) -> Ipv4Addr {
        self.members(pool)[at]
    }

    /// Every client of these pools is seen by the far server from its own uplink's address, over
    /// several connections.
    #[track_caller]
    pub fn assert_each_leaves_by_its_own_uplink(&self, pools: &[u8]) {
        for &pool in pools {
            for client in self.members(pool) {
                for _ in 0..3 {
                    let seen = self.client(client).seen();
                    assert_eq!(seen, Ok(self.uplink_address(pool)), "{client} of pool {pool}");
                }
            }
        }
    }
}
