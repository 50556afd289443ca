//! Marks, and the numbers of the kernel objects that follow from `[kernel]` of the configuration.

use std::fmt;

use super::UplinkNo;

/// A value under a mask, as `skb->mark` and `ct->mark` are matched and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

/// `0x1/0xff`, the form of `ip rule` and `iptables`.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

/// The numbers of our kernel objects, `[kernel]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Eight adjacent bits of fwmark and connmark.
    pub mark_mask: u32,
    pub table_base: u32,
    pub uplink_table_base: u32,
    pub rule_pref: u32,
    /// `rtm_protocol` of our rules, routes and nexthops.
    pub protocol: u8,
    pub nexthop_base: u32,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            mark_mask: 0xff,
            table_base: 200,
            uplink_table_base: 300,
            rule_pref: 1000,
            protocol: 87,
            nexthop_base: 8700,
        }
    }
}

impl Numbers {
    fn mark(&self, byte: u8) -> Mark {
        Mark { value: u32::from(byte) << self.mark_mask.trailing_zeros(), mask: self.mark_mask }
    }

    /// No mark of ours.
    pub fn unmarked(&self) -> Mark {
        self.mark(0)
    }

    /// "Belongs to pool N": what the set gives to a client's packets.
    pub fn pool_mark(&self, pool: UplinkNo) -> Mark {
        self.mark(pool.get())
    }

    /// "Leaves by uplink N": what a flow's connmark holds.
    pub fn carrier_mark(&self, uplink: UplinkNo) -> Mark {
        self.mark(0x80 + uplink.get())
    }

    /// Matches every carrier mark, whatever its uplink.
    pub fn any_carrier(&self) -> Mark {
        let bit = self.mark(0x80).value;
        Mark { value: bit, mask: bit }
    }

    pub fn shared_table(&self) -> u32 {
        self.table_base
    }

    pub fn pool_table(&self, pool: UplinkNo) -> u32 {
        self.table_base + u32::from(pool.get())
    }

    pub fn uplink_table(&self, uplink: UplinkNo) -> u32 {
        self.uplink_table_base + u32::from(uplink.get())
    }

    pub fn group(&self) -> u32 {
        self.nexthop_base
    }

    pub fn nexthop(&self, uplink: UplinkNo) -> u32 {
        self.nexthop_base + u32::from(uplink.get())
    }

    /// The group of the backups: behind the last uplink's number.
    pub fn backup_group(&self) -> u32 {
        self.nexthop_base + u32::from(UplinkNo::MAX) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_to_their_byte_wherever_it_is() {
        let uplink = UplinkNo::new(5).unwrap();
        let numbers = Numbers { mark_mask: 0xff00, ..Numbers::default() };
        assert_eq!(numbers.pool_mark(uplink).to_string(), "0x500/0xff00");
        assert_eq!(numbers.carrier_mark(uplink).to_string(), "0x8500/0xff00");
        assert_eq!(numbers.any_carrier().to_string(), "0x8000/0x8000");
        assert_eq!(Numbers::default().pool_mark(uplink).to_string(), "0x5/0xff");
    }
}
