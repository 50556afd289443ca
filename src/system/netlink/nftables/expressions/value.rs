//! The values that expressions load into registers, and what it means to compare them.

use crate::model::Mark;
use crate::model::filter::DeviceMatch;
use crate::model::foreign_filter::Condition;
use crate::system::netlink::DeviceIndex;
use crate::system::netlink::message::native_u32;

// linux/netfilter/nf_tables.h
pub const NFT_META_MARK: u32 = 3;
pub const NFT_META_IIF: u32 = 4;
pub const NFT_META_OIF: u32 = 5;
pub const NFT_META_IIFNAME: u32 = 6;
pub const NFT_META_OIFNAME: u32 = 7;
pub const NFT_META_NFPROTO: u32 = 15;
pub const NFT_META_L4PROTO: u32 = 16;
pub const NFT_CT_STATE: u32 = 0;
pub const NFT_CT_STATUS: u32 = 2;
pub const NFT_CT_MARK: u32 = 3;
/// `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h.
pub const STATUS_DNAT: u32 = 1 << 5;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 8;
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
pub const NFPROTO_IPV4: u8 = 2;

/// What a register holds.
#[derive(Clone, PartialEq)]
pub enum Value {
    InputName,
    OutputName,
    InputIndex,
    OutputIndex,
    /// The bits of the state of the flow that a mask keeps.
    State(u32),
    /// The bits of the status of the flow that a mask keeps.
    Status(u32),
    /// The bits of the mark that a mask keeps, and the bits that are set beside them.
    Mark {
        kept: u32,
        set: u32,
    },
    /// The connmark, whose byte for wanpool is that of the mark.
    Connmark {
        kept: u32,
        set: u32,
    },
    Protocol,
    Family,
    Bytes(Vec<u8>),
    Unknown,
}

impl Value {
    /// What `meta KEY` loads.
    pub fn meta(key: Option<u32>) -> Self {
        match key {
            Some(NFT_META_MARK) => Value::Mark { kept: u32::MAX, set: 0 },
            Some(NFT_META_IIF) => Value::InputIndex,
            Some(NFT_META_OIF) => Value::OutputIndex,
            Some(NFT_META_IIFNAME) => Value::InputName,
            Some(NFT_META_OIFNAME) => Value::OutputName,
            Some(NFT_META_NFPROTO) => Value::Family,
            Some(NFT_META_L4PROTO) => Value::Protocol,
            _ => Value::Unknown,
        }
    }

    /// What `ct KEY` loads.
    pub fn ct(key: Option<u32>) -> Self {
        match key {
            Some(NFT_CT_STATE) => Value::State(u32::MAX),
            Some(NFT_CT_STATUS) => Value::Status(u32::MAX),
            Some(NFT_CT_MARK) => Value::Connmark { kept: u32::MAX, set: 0 },
            _ => Value::Unknown,
        }
    }

    /// The condition that a comparison is, or `None` if it always holds.
    pub fn compare(&self, right: &[u8], negated: bool, devices: &DeviceIndex) -> Option<Condition> {
        Some(match self {
            Value::InputName => Condition::Input(device(right, negated)),
            Value::OutputName => Condition::Output(device(right, negated)),
            Value::InputIndex => Condition::Input(device_of(devices, right, negated)),
            Value::OutputIndex => Condition::Output(device_of(devices, right, negated)),
            Value::State(kept) => match native_u32(right)? {
                // `ct state new` is: the masked state is not 0.
                0 => Condition::NewFlow((kept & STATE_NEW != 0) == negated),
                state => Condition::NewFlow((kept & STATE_NEW == state) != negated),
            },
            Value::Status(STATUS_DNAT) if negated && right == [0; 4] => Condition::OtherTraffic,
            Value::Mark { kept, set: 0 } => {
                Condition::Mark { mark: Mark { value: native_u32(right)?, mask: *kept }, negated }
            }
            Value::Protocol if negated => Condition::Unknown,
            Value::Protocol => match right {
                [IPPROTO_TCP | IPPROTO_UDP, ..] => Condition::Unknown,
                _ => Condition::OtherTraffic,
            },
            Value::Family if (right.first() == Some(&NFPROTO_IPV4)) != negated => return None,
            Value::Family => Condition::OtherTraffic,
            _ => Condition::Unknown,
        })
    }
}

fn device_of(devices: &DeviceIndex, index: &[u8], negated: bool) -> DeviceMatch {
    let name = native_u32(index).and_then(|index| devices.name(index));
    DeviceMatch { pattern: name.map_or(String::new(), |name| name.to_string()), negated }
}

/// A name that is not ended by NUL is the beginning of a name.
fn device(name: &[u8], negated: bool) -> DeviceMatch {
    let end = name.iter().position(|&byte| byte == 0);
    let mut pattern = String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]).into_owned();
    if end.is_none() {
        pattern.push('+');
    }
    DeviceMatch { pattern, negated }
}
