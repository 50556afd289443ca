//! The selectors of rules that wanpool never makes, in the words of `ip rule`.

use rtnetlink::packet_core::Nla;
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage, RulePortRange};

/// `FRA_PAD`, and `FRA_SPORT_MASK` and `FRA_DPORT_MASK`, which come with a port.
const NO_SELECTORS: [u16; 3] = [18, 28, 29];

/// `None` if the rule has only selectors that wanpool makes.
pub fn unsupported(message: &RuleMessage) -> Option<String> {
    let mut selectors = Vec::new();
    if message.header.tos != 0 {
        selectors.push(format!("tos {:#x}", message.header.tos));
    }
    for attribute in &message.attributes {
        selectors.extend(unsupported_selector(attribute, message.header.dst_len));
    }
    if selectors.is_empty() { None } else { Some(selectors.join(" ")) }
}

fn unsupported_selector(attribute: &RuleAttribute, dst_len: u8) -> Option<String> {
    use RuleAttribute as A;
    Some(match attribute {
        A::Priority(_) | A::Table(_) | A::Goto(_) | A::FwMark(_) | A::FwMask(_) => return None,
        A::Iifname(_) | A::Oifname(_) | A::Source(_) => return None,
        A::Protocol(_) | A::SuppressPrefixLen(_) => return None,
        A::SuppressIfGroup(group) => format!("suppress_ifgroup {group}"),
        A::Destination(to) => format!("to {to}/{dst_len}"),
        A::IpProtocol(protocol) => format!("ipproto {}", u8::from(*protocol)),
        A::SourcePortRange(ports) => format!("sport {}", port_range(ports)),
        A::DestinationPortRange(ports) => format!("dport {}", port_range(ports)),
        A::UidRange(uids) => format!("uidrange {}-{}", uids.start, uids.end),
        A::TunId(id) => format!("tun_id {id}"),
        A::Realm(realm) => format!("realms {}/{}", realm.source, realm.destination),
        A::L3MDev(_) => "l3mdev".to_owned(),
        A::Other(attribute) if NO_SELECTORS.contains(&attribute.kind()) => return None,
        // A selector of a newer kernel. It must be there so that the rule does not look like one
        // that wanpool makes.
        _ => "(unknown selector)".to_owned(),
    })
}

fn port_range(ports: &RulePortRange) -> String {
    if ports.start == ports.end {
        ports.start.to_string()
    } else {
        format!("{}-{}", ports.start, ports.end)
    }
}
