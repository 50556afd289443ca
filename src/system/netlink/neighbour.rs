//! The neighbour table: the hosts that the kernel knows on a device.

use std::time::Duration;

use anyhow::{Context, Result};

use super::NetlinkSocket;
use super::message::{
    AF_INET, Message, MessageBuilder, address_bytes, find, ip_address, native_u32,
};
use super::socket::if_exists;
use crate::model::link::{Link, Neighbour};
use crate::model::{Client, LinkAddress};

// linux/rtnetlink.h, linux/neighbour.h
const RTM_GETNEIGH: u16 = 30;
const RTM_GETNEIGHTBL: u16 = 66;
/// The lengths of `struct ndmsg` and `struct ndtmsg`.
const NDMSG: usize = 12;
const NDTMSG: usize = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
const NDA_IFINDEX: u16 = 8;
const NDTA_NAME: u16 = 1;
const NDTA_THRESH3: u16 = 4;
const ARP_TABLE: &[u8] = b"arp_cache\0";
/// `ndm_type` of a host; broadcast and multicast addresses have other types.
const RTN_UNICAST: u8 = 1;

/// The states in which the kernel keeps an age. Other entries were made by a person or by a device
/// without ARP.
const AGES: [&str; 4] = ["reachable", "stale", "delay", "probe"];

/// What `keep` returns for the reachable hosts on one device, in the order of the kernel.
pub fn on_device<T>(
    socket: &NetlinkSocket,
    link: &Link,
    keep: impl Fn(Neighbour) -> Option<T>,
) -> Result<Vec<T>> {
    let take = |kept: &mut Vec<T>, message: &Message<&[u8]>| {
        if let Some(neighbour) = parse(message, link)? {
            kept.extend(keep(neighbour));
        }
        Ok(())
    };
    socket
        .dump_into(build_list(link), take)
        .with_context(|| format!("listing the neighbours on {}", link.name))
}

fn build_list(link: &Link) -> Message {
    MessageBuilder::new(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .put(NDA_IFINDEX, &link.index.to_ne_bytes())
        .into_message(RTM_GETNEIGH)
}

/// Whether one client is a neighbour on a device. [`on_device`] may miss entries, without any sign
/// of it, when others come or go while the kernel lists them.
pub fn is_on_device(socket: &NetlinkSocket, link: &Link, client: Client) -> Result<bool> {
    let answers = if_exists(socket.request(build_get(link, client), 0))
        .with_context(|| format!("looking for the neighbour {client}"))?;
    for answer in &answers.unwrap_or_default() {
        if parse(answer, link)?.is_some_and(|found| found.client == client) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn build_get(link: &Link, client: Client) -> Message {
    let [i0, i1, i2, i3] = link.index.to_ne_bytes();
    MessageBuilder::new(&[AF_INET, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0])
        .put(NDA_DST, &address_bytes(client.address()))
        .into_message(RTM_GETNEIGH)
}

/// `None` for an entry of another device, of an unreachable host or of an address that no client
/// can have.
pub(super) fn parse<B: AsRef<[u8]>>(
    message: &Message<B>,
    link: &Link,
) -> Result<Option<Neighbour>> {
    let [_, _, _, _, i0, i1, i2, i3, s0, s1, _, kind] = message.fixed::<NDMSG>()?;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let Some(state) = state_word(u16::from_ne_bytes([s0, s1])) else { return Ok(None) };
    if index != link.index || kind != RTN_UNICAST {
        return Ok(None);
    }
    let (mut client, mut lladdr, mut silent_for) = (None, LinkAddress::default(), None);
    for attribute in message.each_attribute(NDMSG)? {
        match attribute? {
            (NDA_DST, value) => {
                client = ip_address(value).and_then(|address| Client::new(address).ok());
            }
            (NDA_LLADDR, value) => lladdr = LinkAddress::new(value),
            (NDA_CACHEINFO, value) => silent_for = parse_age(value),
            _ => {}
        }
    }
    if !AGES.contains(&state) {
        silent_for = None;
    }
    Ok(client.map(|client| Neighbour { client, lladdr, dev: link.name.clone(), state, silent_for }))
}

/// How long ago the host was last heard: the shorter of the ages in `struct nda_cacheinfo` that say
/// when it was confirmed to be reachable and when its entry last changed, in hundredths of a second
/// (`USER_HZ`). The age between them says when the entry was used, which is no sign of the host.
fn parse_age(value: &[u8]) -> Option<Duration> {
    let confirmed = native_u32(value.get(..4)?)?;
    let updated = native_u32(value.get(8..12)?)?;
    Some(Duration::from_millis(u64::from(confirmed.min(updated)) * 10))
}

/// `gc_thresh3`: the maximum number of neighbours that the kernel keeps. The sysctl file exists
/// only in the first network namespace; netlink answers in all of them.
pub fn limit(socket: &NetlinkSocket) -> Result<Option<u32>> {
    let request = MessageBuilder::new(&[AF_INET, 0, 0, 0]).into_message(RTM_GETNEIGHTBL);
    for answer in socket.dump(request)? {
        if let Some(limit) = parse_limit(&answer)? {
            return Ok(Some(limit));
        }
    }
    Ok(None)
}

/// The dump has one message for the table and one for each device. Only the first has limits.
pub(super) fn parse_limit(answer: &Message) -> Result<Option<u32>> {
    let attributes = answer.attributes(NDTMSG)?;
    if find(&attributes, NDTA_NAME) != Some(ARP_TABLE) {
        return Ok(None);
    }
    Ok(find(&attributes, NDTA_THRESH3).and_then(native_u32))
}

/// The word of `ip neigh` for a state in which the link-layer address is known (`NUD_VALID`).
fn state_word(state: u16) -> Option<&'static str> {
    match state {
        0x02 => Some("reachable"),
        0x04 => Some("stale"),
        0x08 => Some("delay"),
        0x10 => Some("probe"),
        0x40 => Some("noarp"),
        0x80 => Some("permanent"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::golden::{answer, assert_request, links};

    #[test]
    fn a_request_names_the_device_and_may_name_the_client() {
        let [br0, _] = links();
        assert_request(&build_list(&br0), 30, "02000000 00000000 00000000  0800 0800 02000000");
        let client = "192.168.7.10".parse().unwrap();
        assert_request(
            &build_get(&br0, client),
            30,
            "02000000 02000000 00000000  0800 0100 c0a8070a",
        );
    }

    #[test]
    fn a_reachable_host_on_the_device_is_a_neighbour() {
        let entry = |fixed: &str, address: &str| {
            let hex = format!(
                "{fixed}  0800 0100 {address}  0a00 0200 02000000 00110000  0800 0400 00000000"
            );
            parse(&answer(28, &hex), &links()[0]).unwrap()
        };
        let found = entry("02000000 02000000 04000001", "c0a8070b").unwrap();
        assert_eq!(found.client.to_string(), "192.168.7.11");
        assert_eq!(found.lladdr.to_string(), "02:00:00:00:00:11");
        assert_eq!((found.dev.as_str(), found.state), ("br0", "stale"));
        for (reason, fixed, address) in [
            ("it failed", "02000000 02000000 20000001", "c0a8070b"),
            ("it is incomplete", "02000000 02000000 01000001", "c0a8070b"),
            ("it is on another device", "02000000 04000000 04000001", "c0a8070b"),
            ("it is a multicast group", "02000000 02000000 40000005", "e0000016"),
            ("no client has the address", "02000000 02000000 04000001", "e0000016"),
        ] {
            assert_eq!(entry(fixed, address), None, "{reason}");
        }
    }

    #[test]
    fn the_limit_is_that_of_the_arp_table() {
        let arp = "02000000  0e00 0100 6172705f 63616368 65000000";
        let limits = "0800 0200 80000000  0800 0300 00020000  0800 0400 00040000";
        assert_eq!(parse_limit(&answer(64, &format!("{arp} {limits}"))).unwrap(), Some(1024));
        assert_eq!(parse_limit(&answer(64, arp)).unwrap(), None, "the message of a device");
        let ndisc = "02000000  0f00 0100 6e646973 635f6361 63686500";
        assert_eq!(parse_limit(&answer(64, &format!("{ndisc} {limits}"))).unwrap(), None);
    }
}
