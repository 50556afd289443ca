//! The set, and the chains that mark, masquerade, clamp and help: which should be there, and the
//! way there from what is.
//!
//! Rules are written exactly as `iptables-save` prints them, so that text can be compared.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::Diff;
use crate::config::{Config, Lan};
use crate::model::{Client, Mark};
use crate::model::pools::Pools;
use crate::model::STATE::{Chain, Jump, SET_NAME, Set, Slice};
use crate::model::change::Step;

/// Room in the set, at the least: `maxelem`.
pub const SET_ROOM: u32 = 1 << 20;

/// The whole set.
pub fn set(config: &Config, pools: &Pools) -> Set {
    let mut entries = Vec::with_capacity(pools.len());
    for &no in config.uplinks.keys() {
        let mark = config.kernel_ids.pool_mark(no);
        entries.extend(pools.members(no).iter().map(|client| (client.address(), mark)));
    }
    entries.sort_unstable_by_key(|&(client, _)| client);
    Set { max: room(config, pools), entries }
}

/// The set as far as these clients go.
pub fn set_of(config: &Config, pools: &Pools, clients: &[Client]) -> Set {
    let entry = |&client: &Client| {
        let no = pools.place(client).filter(|no| config.uplinks.contains_key(no))?;
        Some((client.address(), config.kernel_ids.pool_mark(no)))
    };
    let mut entries: Vec<_> = clients.iter().filter_map(entry).collect();
    entries.sort_unstable_by_key(|&(client, _)| client);
    entries.dedup();
    Set { max: room(config, pools), entries }
}

/// How many members the whole set has.
pub fn count(config: &Config, pools: &Pools) -> u32 {
    let count: usize = config.uplinks.keys().map(|&no| pools.members(no).len()).sum();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn room(config: &Config, pools: &Pools) -> u32 {
    count(config, pools).saturating_mul(2).max(SET_ROOM)
}

pub fn chains(config: &Config) -> BTreeMap<Chain, Vec<String>> {
    let mut chains = BTreeMap::from([
        (Chain::SET_MARK, classify(config)),
        (Chain::RESTORE_MARK, output(config)),
        (Chain::SAVE_MARK, remember(config)),
        (Chain::MASQUERADE, masquerade(config)),
        (Chain::CLAMP_MSS, clamp(config)),
        (Chain::HELPERS, helpers(config)),
    ]);
    chains.retain(|_, rules| !rules.is_empty());
    chains
}

/// From PREROUTING: a known flow gets its byte back from connmark and is done; what comes in by an
/// uplink is marked with it; the first packet of a client's flow gets the mark of its pool.
fn classify(config: &Config) -> Vec<String> {
    let marked = format!("-m mark ! --mark {}", config.kernel_ids.unmarked());
    let bits = config.kernel_ids.mark_mask;
    let done = format!("{marked} -j RETURN");
    let map = |selector: &str| format!("{selector}-j SET --map-set {SET_NAME} src --map-mark");
    let mut rules = vec![
        format!("-j CONNMARK --restore-mark --nfmask {bits:#x} --ctmask {bits:#x}"),
        done.clone(),
    ];
    // Each rule costs every packet that gets to it, and the LAN begins most flows: where its devices
    // are known, its packets are done before those of the uplinks are looked for.
    if let Lan::Devices(devices) = &config.lan {
        rules.extend(devices.iter().map(|dev| map(&format!("-i {dev} "))));
        rules.push(done.clone());
    }
    for (&no, uplink) in &config.uplinks {
        let mark = config.kernel_ids.uplink_mark(no);
        rules.push(format!("-i {} -j MARK --set-xmark {mark}", uplink.dev));
    }
    rules.push(format!("{marked} -j CONNMARK --save-mark --nfmask {bits:#x} --ctmask {bits:#x}"));
    if config.lan == Lan::AllButUplinks {
        rules.extend([done, map("")]);
    }
    rules
}

/// From OUTPUT: the router's own answers leave by the uplink the question came in by. A packet
/// that its sender marked keeps its mark.
fn output(config: &Config) -> Vec<String> {
    let bits = config.kernel_ids.mark_mask;
    vec![format!(
        "-m connmark ! --mark {} -j CONNMARK --restore-mark --nfmask {bits:#x} --ctmask {bits:#x}",
        config.kernel_ids.unmarked()
    )]
}

/// From POSTROUTING: a flow that has no uplink yet belongs from now on to the one it leaves by. What
/// has one bears it in its mark by now; to ask that costs half of what asking the connmark would.
fn remember(config: &Config) -> Vec<String> {
    let known = format!("-m mark --mark {} -j RETURN", config.kernel_ids.uplink_mark_bit());
    let by_uplink = config.uplinks.iter().map(|(&no, uplink)| {
        format!("-o {} -j CONNMARK --set-xmark {}", uplink.dev, config.kernel_ids.uplink_mark(no))
    });
    std::iter::once(known).chain(by_uplink).collect()
}

fn masquerade(config: &Config) -> Vec<String> {
    let masqueraded = config.uplinks.values().filter(|uplink| uplink.nat);
    masqueraded.map(|uplink| format!("-o {} -j MASQUERADE", uplink.dev)).collect()
}

const SYN: &str = "-p tcp -m tcp --tcp-flags SYN,RST SYN";

fn clamp(config: &Config) -> Vec<String> {
    let clamped = config.uplinks.values().filter(|uplink| uplink.clamp_mss);
    clamped.map(|uplink| format!("-o {} {SYN} -j TCPMSS --clamp-mss-to-pmtu", uplink.dev)).collect()
}

/// From raw PREROUTING: helpers watch what the LAN opens, never what strangers open.
fn helpers(config: &Config) -> Vec<String> {
    let help = |selector: &str| -> Vec<String> {
        let rule = |helper: &crate::config::Helper| {
            let (port, name) = (helper.port(), helper.name());
            format!("{selector}-p tcp -m tcp --dport {port} -j CT --helper {name}")
        };
        config.helpers.iter().map(rule).collect()
    };
    match &config.lan {
        _ if config.helpers.is_empty() => vec![],
        Lan::Devices(devices) => {
            devices.iter().flat_map(|dev| help(&format!("-i {dev} "))).collect()
        }
        Lan::AllButUplinks => {
            let strangers = config.uplinks.values();
            let mut rules: Vec<_> =
                strangers.map(|uplink| format!("-i {} -j RETURN", uplink.dev)).collect();
            rules.extend(help(""));
            rules
        }
    }
}

/// One jump for each chain that there is.
pub fn jumps(config: &Config) -> Vec<Jump> {
    let chains = chains(config);
    let jump = |to: Chain| {
        let (from, selector) = match to {
            Chain::MASQUERADE | Chain::SAVE_MARK => ("POSTROUTING", String::new()),
            Chain::RESTORE_MARK => ("OUTPUT", String::new()),
            // Where packets pass anyway: a hook of its own in FORWARD would cost each of them more
            // than all that WANPOOL-POST does.
            Chain::CLAMP_MSS => ("POSTROUTING", format!("{SYN} ")),
            _ => ("PREROUTING", String::new()),
        };
        Jump { to, from: from.to_owned(), rule: format!("{selector}-j {}", to.name) }
    };
    Chain::ALL.into_iter().filter(|chain| chains.contains_key(chain)).map(jump).collect()
}

pub fn diff(found: &Slice, wanted: &Slice) -> Diff {
    let mut diff = Diff::default();
    diff_set(found.set.as_ref(), wanted.set.as_ref(), &mut diff);
    diff_chains(found, wanted, &mut diff);
    // Taking away runs the other way round: jumps, chains, entries, the set.
    diff.tear_down.reverse();
    diff
}

fn diff_set(found: Option<&Set>, wanted: Option<&Set>, diff: &mut Diff) {
    let nothing = Set::default();
    match (found, wanted) {
        (None, Some(wanted)) => {
            diff.build.push(Step::SetCreate { max: wanted.max, buckets: buckets(wanted) });
        }
        (Some(_), None) => {
            diff.tear_down.push(Step::SetDestroy);
            return;
        }
        _ => {}
    }
    let found = &found.unwrap_or(&nothing).entries;
    let wanted = &wanted.unwrap_or(&nothing).entries;
    let (set, deleted) = diff_entries(found, wanted);
    if !set.is_empty() {
        diff.build.push(Step::EntriesSet(set));
    }
    if !deleted.is_empty() {
        diff.tear_down.push(Step::EntriesDelete(deleted));
    }
}

/// Buckets for those that come at once: while the kernel grows the set, it moves all members again
/// and again. A bucket holds several, and 1024 is what ipset(8) begins with.
fn buckets(set: &Set) -> u32 {
    let members = u32::try_from(set.entries.len()).unwrap_or(u32::MAX);
    (members / 2).clamp(1024, SET_ROOM).next_power_of_two()
}

type Entry = (Ipv4Addr, Mark);

/// Both sides are in order of address: one walk finds what to set and what to delete.
fn diff_entries(found: &[Entry], wanted: &[Entry]) -> (Vec<Entry>, Vec<Ipv4Addr>) {
    let (mut set, mut deleted) = (Vec::new(), Vec::new());
    let mut found = found.iter().peekable();
    for entry in wanted {
        while let Some((gone, _)) = found.next_if(|(client, _)| *client < entry.0) {
            deleted.push(*gone);
        }
        match found.next_if(|(client, _)| *client == entry.0) {
            Some(same) if same == entry => {}
            _ => set.push(*entry),
        }
    }
    deleted.extend(found.map(|(gone, _)| *gone));
    (set, deleted)
}

fn diff_chains(found: &Slice, wanted: &Slice, diff: &mut Diff) {
    let changed: Vec<_> = Chain::ALL
        .into_iter()
        .filter_map(|chain| Some((chain, wanted.chains.get(&chain)?)))
        .filter(|(chain, rules)| found.chains.get(chain) != Some(rules))
        .map(|(chain, rules)| (chain, rules.clone()))
        .collect();
    if !changed.is_empty() {
        diff.build.push(Step::ChainsSet(changed));
    }
    let gone = |chain: &Chain| !wanted.chains.contains_key(chain);
    let gone = found.chains.keys().copied().filter(gone);
    diff.tear_down.extend(gone.map(Step::ChainDelete));

    let mut spare: Vec<&Jump> = found.jumps.iter().collect();
    for jump in &wanted.jumps {
        match spare.iter().position(|candidate| *candidate == jump) {
            Some(at) => drop(spare.remove(at)),
            None => diff.build.push(Step::JumpAdd(jump.clone())),
        }
    }
    // What is left over is ours if it doubles one of ours, or leads to a chain that goes. Others'
    // rules that lead to ours are theirs.
    let goes = |jump: &&Jump| wanted.jumps.contains(jump) || !wanted.chains.contains_key(&jump.to);
    diff.tear_down.extend(spare.into_iter().filter(goes).cloned().map(Step::JumpDelete));
}
