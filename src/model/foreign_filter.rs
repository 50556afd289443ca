//! The rules of other programs in the packet filter that packets of clients pass, as far as they are
//! understood. What is not understood is a condition that may or may not hold.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Mark;
use super::filter::DeviceMatch;

/// A table of iptables or nftables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignTable {
    /// The family and the name as nft takes them (`inet filter`). Empty for a table of iptables.
    pub nft: String,
    pub chains: BTreeMap<String, Vec<ForeignRule>>,
    pub hooks: Vec<HookedChain>,
}

/// A chain that the kernel calls for packets of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookedChain {
    pub chain: String,
    pub hook: Hook,
    /// The policy of the chain is to drop packets.
    pub drops: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Behind the marks of wanpool and before routing.
    Prerouting,
    Forward,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRule {
    pub conditions: Vec<Condition>,
    pub effect: Effect,
    /// The rule as the admin finds it: table, chain and rule as `iptables-save` prints them, or table,
    /// chain and handle of nftables.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Input(DeviceMatch),
    Output(DeviceMatch),
    Source {
        net: IpNet,
        negated: bool,
    },
    Mark {
        mark: Mark,
        negated: bool,
    },
    /// Whether the first packet of a flow meets it.
    NewFlow(bool),
    /// ICMP, or a flow whose destination was translated: not what clients send to the Internet.
    OtherTraffic,
    /// One of several.
    Any(Vec<Condition>),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Sets bits of the mark or the connmark.
    SetMark {
        bits: u32,
    },
    Other,
}
