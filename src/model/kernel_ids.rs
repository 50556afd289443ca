//! Marks, and the ids of kernel objects: tables, rule priorities, nexthop ids. All are computed from
//! `[kernel]` in the configuration.

use std::fmt;

use super::UplinkNo;

/// A mark value with its mask, as `skb->mark` and `ct->mark` are matched and set.
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

/// The ids that wanpool uses in the kernel: `[kernel]` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelIds {
    /// Eight adjacent bits of fwmark and connmark.
    pub mark_mask: u32,
    pub table_base: u32,
    pub uplink_table_base: u32,
    pub rule_pref: u32,
    /// `rtm_protocol` of our rules, routes and nexthops.
    pub protocol: u8,
    pub nexthop_base: u32,
}

impl Default for KernelIds {
    fn default() -> Self {
        Self {
            mark_mask: 0xff,
            table_base: 200,
            uplink_table_base: 300,
            rule_pref: 20000,
            protocol: 87,
            nexthop_base: 8700,
        }
    }
}

impl Mark {
    /// The value of our byte of the mark, if this mask can be a `mark-mask`: eight adjacent bits.
    pub fn byte(self) -> Option<u8> {
        let low = self.mask.trailing_zeros();
        if !is_mark_mask(self.mask) || self.value & !self.mask != 0 {
            return None;
        }
        Some((self.value >> low) as u8)
    }

    /// The uplink that this is the mark of, whatever `mark-mask` it was made with.
    pub fn uplink(self) -> Option<UplinkNo> {
        UplinkNo::new(self.byte()?.checked_sub(UPLINK_BIT)?)
    }

    /// Whether this matches the mark of every uplink, whatever `mark-mask` it was made with.
    pub fn is_uplink_mark_bit(self) -> bool {
        self.value == self.mask && self.mask.is_power_of_two() && self.mask >= u32::from(UPLINK_BIT)
    }

    /// Whether a packet with this whole mark matches.
    pub fn matches(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

/// Whether a mask is eight adjacent bits, as `mark-mask` must be.
pub fn is_mark_mask(mask: u32) -> bool {
    mask != 0 && mask >> mask.trailing_zeros() == 0xff
}

/// Marks a packet of the gateway itself that begins a flow. No pool and no policy has it.
const BOUND: u8 = 0x7f;

/// This bit of our byte distinguishes "leaves by uplink N" from "belongs to pool N".
const UPLINK_BIT: u8 = 0x80;

impl KernelIds {
    fn mark(&self, byte: u8) -> Mark {
        Mark { value: u32::from(byte) << self.mark_mask.trailing_zeros(), mask: self.mark_mask }
    }

    /// The mark of a packet that belongs to no pool and to no uplink.
    pub fn unmarked(&self) -> Mark {
        self.mark(0)
    }

    /// "Belongs to pool N": the client set gives this mark to the packets of a client.
    pub fn pool_mark(&self, pool: UplinkNo) -> Mark {
        self.mark(pool.get())
    }

    /// "Leaves by uplink N": the connmark of a flow holds this mark.
    pub fn uplink_mark(&self, uplink: UplinkNo) -> Mark {
        self.mark(UPLINK_BIT + uplink.get())
    }

    /// "A socket of the gateway began this flow": its source address says by which uplink it leaves.
    pub fn bound_mark(&self) -> Mark {
        self.mark(BOUND)
    }

    /// Matches the uplink mark of every uplink.
    pub fn uplink_mark_bit(&self) -> Mark {
        let bit = self.mark(UPLINK_BIT).value;
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

    /// The nexthop group of all active uplinks.
    pub fn group(&self) -> u32 {
        self.nexthop_base
    }

    pub fn nexthop(&self, uplink: UplinkNo) -> u32 {
        self.nexthop_base + u32::from(uplink.get())
    }

    /// The nexthop group of the backups. Its id follows that of the last possible uplink.
    pub fn backup_group(&self) -> u32 {
        self.nexthop_base + u32::from(UplinkNo::MAX) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_uses_only_the_byte_of_its_mask() {
        let uplink = UplinkNo::new(5).unwrap();
        let ids = KernelIds { mark_mask: 0xff00, ..KernelIds::default() };
        assert_eq!(ids.pool_mark(uplink).to_string(), "0x500/0xff00");
        assert_eq!(ids.uplink_mark(uplink).to_string(), "0x8500/0xff00");
        assert_eq!(ids.uplink_mark_bit().to_string(), "0x8000/0x8000");
        assert_eq!(KernelIds::default().pool_mark(uplink).to_string(), "0x5/0xff");
        assert_eq!(ids.pool_mark(uplink).uplink(), None);
        assert_eq!(ids.uplink_mark(uplink).uplink(), Some(uplink));
        assert!(ids.uplink_mark_bit().is_uplink_mark_bit());
        assert!(ids.uplink_mark(uplink).matches(0x7_8503) && !ids.unmarked().matches(0x100));
    }
}
