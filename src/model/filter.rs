//! The packet filter: chains and rules as types. No text of iptables stands here; a back end renders
//! these types and reads them back (`system/netfilter`).

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

use super::{DevName, Family, Mark};

/// A table of the packet filter that wanpool has chains in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Nat,
    Raw,
    Mangle,
}

impl Table {
    pub const ALL: [Table; 3] = [Table::Nat, Table::Raw, Table::Mangle];

    pub fn name(self) -> &'static str {
        match self {
            Table::Nat => "nat",
            Table::Raw => "raw",
            Table::Mangle => "mangle",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A chain of wanpool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub table: Table,
    pub name: &'static str,
}

impl Chain {
    pub const MASQUERADE: Chain = Chain { table: Table::Nat, name: "WANPOOL" };
    pub const HELPERS: Chain = Chain { table: Table::Raw, name: "WANPOOL" };
    /// From PREROUTING: gives packets their mark.
    pub const SET_MARK: Chain = Chain { table: Table::Mangle, name: "WANPOOL" };
    /// From OUTPUT: restores the mark of the router's own answers.
    pub const RESTORE_MARK: Chain = Chain { table: Table::Mangle, name: "WANPOOL-OUT" };
    /// From POSTROUTING: saves the uplink of a new flow in its connmark.
    pub const SAVE_MARK: Chain = Chain { table: Table::Mangle, name: "WANPOOL-POST" };
    pub const CLAMP_MSS: Chain = Chain { table: Table::Mangle, name: "WANPOOL-MSS" };

    /// Whether clients are served without it too. A kernel without helpers refuses theirs.
    pub fn is_optional(self) -> bool {
        self == Self::HELPERS
    }

    /// All chains, in the order in which the jumps to them are added: the one that sets marks is last,
    /// and only optional ones follow it.
    pub const ALL: [Chain; 6] = [
        Self::MASQUERADE,
        Self::SAVE_MARK,
        Self::RESTORE_MARK,
        Self::CLAMP_MSS,
        Self::SET_MARK,
        Self::HELPERS,
    ];

    /// The chain of wanpool with this name in this table.
    pub fn find(table: Table, name: &str) -> Option<Chain> {
        Self::ALL.into_iter().find(|chain| chain.table == table && chain.name == name)
    }
}

/// A condition that a packet must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    InputDevice(DevName),
    OutputDevice(DevName),
    NotOutputDevice(DevName),
    /// No bit of the mark is set, not one of other programs either.
    NoMark,
    Mark(Mark),
    NotMark(Mark),
    Connmark(Mark),
    NotConnmark(Mark),
    /// The source address is in this prefix.
    Source(IpNet),
    /// The packet goes to the host that began the flow.
    Answer,
    /// The first packet of a flow.
    NewFlow,
    /// The route of the packet has the realm of uplinks.
    UplinkRealm,
    /// The first packet of a TCP connection in either direction: SYN set, RST not set.
    TcpSyn,
    TcpDestinationPort(u16),
    /// IPsec does not encrypt the packet.
    NoIpsecPolicy,
}

/// What happens to a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Return,
    Drop,
    Masquerade,
    /// The MSS option is lowered to what the path MTU allows.
    ClampMss,
    /// The MSS option is lowered to this value.
    SetMss(u16),
    SetMark(Mark),
    SetConnmark(Mark),
    /// The bits of the mask are copied from the mark to the connmark.
    SaveMark {
        mask: u32,
    },
    /// The bits of the mask are copied from the connmark to the mark.
    RestoreMark {
        mask: u32,
    },
    /// The mark that the client set of this family has for the source address.
    MarkFromClientSet(Family),
    /// The conntrack helper of this name watches the flow.
    Helper(String),
    Jump(Chain),
}

/// A rule of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterRule {
    /// A rule that consists of matches and a verdict that wanpool itself uses.
    Known { matches: Vec<Match>, verdict: Verdict },
    /// Any other rule, in the words of the back end.
    Other(String),
}

impl FilterRule {
    pub fn new(matches: impl Into<Vec<Match>>, verdict: Verdict) -> Self {
        FilterRule::Known { matches: matches.into(), verdict }
    }
}

/// A rule in a chain that is not wanpool's which leads to one that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    pub from: String,
    pub to: Chain,
    pub rule: FilterRule,
}

/// The chains of wanpool with their rules, and the jumps to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub chains: BTreeMap<Chain, Vec<FilterRule>>,
    pub jumps: Vec<Jump>,
    /// Tables that could not be read, and why. Nothing in them is known, and nothing is changed.
    pub unreadable: BTreeMap<Table, String>,
}

/// A rule of another program that accepts packets before they reach a jump to wanpool's chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptingRule {
    pub input: Option<DeviceMatch>,
    pub output: Option<DeviceMatch>,
    /// Table, chain and rule, in the words of the back end.
    pub text: String,
}

/// A match on a device name. A name that ends in `+` matches every name that begins with the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMatch {
    pub pattern: String,
    pub negated: bool,
}

impl DeviceMatch {
    /// Whether the pattern itself, negated or not, covers this name.
    pub fn covers(&self, dev: &str) -> bool {
        match self.pattern.strip_suffix('+') {
            Some(start) => dev.starts_with(start),
            None => dev == self.pattern,
        }
    }
}
