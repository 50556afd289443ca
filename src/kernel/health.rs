//! What surrounds the slice: others' rules, limits that are nearly reached, programs that delete
//! what they do not know. Only looks; what of it is bad, `plan` says.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::iptables::Iptables;
use super::netlink::{Channel, NFGENMSG, Raw, Writer, find, native_u32};
use super::{route, rule};
use crate::model::Family;
use crate::state::Health;

/// `RTM_GETNEIGHTBL` of `linux/rtnetlink.h`; `NDTA_*` of `linux/neighbour.h`. The sysctl file
/// exists in the first network namespace only, the netlink dump in all.
const RTM_GETNEIGHTBL: u16 = 66;
const NDTMSG: usize = 4;
const NDTA_NAME: u16 = 1;
const NDTA_THRESH3: u16 = 4;
const ARP_TABLE: &[u8] = b"arp_cache\0";

/// `NFT_MSG_GETFLOWTABLE` of `NFNL_SUBSYS_NFTABLES`; `NFTA_FLOWTABLE_NAME`.
const GETFLOWTABLE: u16 = (10 << 8) | 23;
const NFTA_FLOWTABLE_NAME: u16 = 2;

pub fn look(
    route: &Channel,
    netfilter: &Channel,
    iptables: &Iptables,
    family: Family,
    protocol: u8,
    tables: &[u32],
) -> Result<Health> {
    let mut foreign_defaults = Vec::new();
    for &table in tables {
        let metrics = route::foreign_defaults(route, family, table, protocol)?;
        foreign_defaults.extend(metrics.into_iter().map(|metric| (table, metric)));
    }
    Ok(Health {
        foreign_rules: rule::list_foreign(route, family, protocol)?,
        foreign_defaults,
        accepted_before: iptables.accepted_before()?,
        other_iptables: iptables.other_with_rules(),
        flowtables: flowtables(netfilter),
        conntrack: number("nf_conntrack_count").zip(number("nf_conntrack_max")),
        neighbour_limit: neighbour_limit(route, family)?,
        networkd_deletes: is_networkd_running() && networkd_deletes(),
    })
}

fn number(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
}

/// A kernel without nftables has no flowtables either.
fn flowtables(netfilter: &Channel) -> Vec<String> {
    let request = Writer::new(&[0; NFGENMSG]).into_message(GETFLOWTABLE);
    let answers = netfilter.dump(request).unwrap_or_default();
    answers.iter().filter_map(flowtable_name).collect()
}

pub(super) fn flowtable_name(answer: &Raw) -> Option<String> {
    let name = find(&answer.attributes(NFGENMSG).ok()?, NFTA_FLOWTABLE_NAME)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

fn neighbour_limit(route: &Channel, family: Family) -> Result<Option<u32>> {
    let request = Writer::new(&[family.number(), 0, 0, 0]).into_message(RTM_GETNEIGHTBL);
    for answer in route.dump(request)? {
        if let Some(limit) = parse_limit(&answer)? {
            return Ok(Some(limit));
        }
    }
    Ok(None)
}

/// A table comes once for itself and once for each device; only the first has limits.
pub(super) fn parse_limit(answer: &Raw) -> Result<Option<u32>> {
    let attributes = answer.attributes(NDTMSG)?;
    let limit = find(&attributes, NDTA_THRESH3).and_then(native_u32);
    Ok(limit.filter(|_| find(&attributes, NDTA_NAME) == Some(ARP_TABLE)))
}

/// By the process: its run-time folder is there on machines that do not use it.
fn is_networkd_running() -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    // The kernel keeps 15 characters of a name.
    let ours = fs::read_link("/proc/self/ns/net").ok();
    let is_networkd = |process: fs::DirEntry| {
        let comm = fs::read(process.path().join("comm"));
        // One in a container sees other rules than ours.
        let here = || fs::read_link(process.path().join("ns/net")).ok() == ours;
        comm.is_ok_and(|name| name == b"systemd-network\n") && here()
    };
    processes.into_iter().any(is_networkd)
}

/// Whether networkd's configuration lets it delete the rules or routes of others, as it does
/// unless told otherwise (networkd.conf(5)). The last file that says something counts.
fn networkd_deletes() -> bool {
    let mut files = vec![PathBuf::from("/etc/systemd/networkd.conf")];
    let mut snippets: Vec<PathBuf> = ["/usr/lib", "/run", "/etc"]
        .into_iter()
        .filter_map(|dir| fs::read_dir(format!("{dir}/systemd/networkd.conf.d")).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect();
    snippets.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    files.extend(snippets);
    let read = |file: &PathBuf| Some(fs::read_to_string(file).ok()? + "\n");
    let text: String = files.iter().filter_map(read).collect();
    let kept = |key: &str| {
        let mut value =
            text.lines().filter_map(|line| line.trim().strip_prefix(key)?.split_once('='));
        let last = value.next_back().map(|(_, value)| value.trim().to_lowercase());
        last.is_some_and(|value| ["no", "n", "false", "f", "off", "0"].contains(&value.as_str()))
    };
    !(kept("ManageForeignRoutingPolicyRules") && kept("ManageForeignRoutes"))
}
