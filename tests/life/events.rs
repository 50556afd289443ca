//! What can happen: to the lines, to the kernel and the files by hand, and the runs of the program.

use std::net::Ipv4Addr;

use super::model::{Command, Model};
use super::random::Random;

#[derive(Clone, Debug)]
pub enum Event {
    HangUp(u8),
    Dial(u8),
    Link(u8, bool),
    Carrier(u8, bool),
    Address(u8, bool),
    /// The provider forwards, or swallows everything.
    Answers(u8, bool),
    /// Somebody alters the slice by this script.
    Damage(String),
    /// A client is moved from file to file with an editor.
    Edit(Ipv4Addr, u8),
    /// A line that is no address gets into a pool file, or out of it.
    BadFile(bool),
    /// The configuration is edited, and applied as the manual says.
    Weight(u8, u32),
    NexthopBase(u32),
    /// nft adds a rule that iptables cannot show to a table of somebody else.
    ForeignRule,
    Run(Command, Manner),
}

/// How the program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Plainly,
    /// stdout is full.
    FullOutput,
    /// The disk of the pool files is read-only.
    ReadOnlyDisk,
    /// It is killed at this system call, the one with this number, and run again.
    Killed(&'static str, u32),
}

impl Event {
    pub fn random(random: &mut Random, model: &Model) -> Event {
        let numbers: Vec<u8> = model.lines.keys().copied().collect();
        let no = random.pick(&numbers);
        let line = &model.lines[&no];
        match random.below(100) {
            0..5 if line.exists() => Event::HangUp(no),
            0..14 => Event::Dial(no),
            14..18 if line.exists() => Event::Link(no, !line.up),
            18..22 if line.exists() && line.up => Event::Carrier(no, !line.carrier),
            22..26 if line.exists() && line.up && line.carrier => Event::Address(no, !line.address),
            26..36 => Event::Answers(no, !line.answers),
            36..44 if model.slice => Event::Damage(damage(random, model)),
            44..46 if !model.bad_file => {
                let placed: Vec<Ipv4Addr> = model.pools.values().flatten().copied().collect();
                if placed.is_empty() || line.backup {
                    return Event::run(random, model, &numbers);
                }
                Event::Edit(random.pick(&placed), no)
            }
            46 => Event::BadFile(!model.bad_file),
            47..49 if !model.bad_file => Event::Weight(no, random.below(3) + 1),
            49 if !model.bad_file => Event::NexthopBase(random.pick(&[8700, 8900])),
            50 => Event::ForeignRule,
            _ => Event::run(random, model, &numbers),
        }
    }

    fn run(random: &mut Random, model: &Model, numbers: &[u8]) -> Event {
        let (no, other) = (random.pick(numbers), random.pick(numbers));
        // What must not, or cannot, create the slice again.
        if model.held && random.below(2) == 0 {
            let commands = [
                Command::HookUp(no),
                Command::HookDown(no),
                Command::TimerAssign,
                Command::RestoreOne(no),
                Command::FailOver(no, Some(no)),
            ];
            return Event::Run(random.pick(&commands), Manner::Plainly);
        }
        let client = random.pick(&model.everyone);
        let command = match random.below(40) {
            0..8 => Command::Assign,
            8..12 => Command::Restore,
            12..15 => Command::RestoreOne(no),
            15 => Command::FailOver(no, None),
            16 => Command::FailOver(no, Some(other)),
            17..27 => Command::Probe,
            27 => Command::Multipath(true),
            28 => Command::Multipath(false),
            29 => Command::Flush,
            30..32 => Command::HookUp(no),
            32..34 => Command::HookDown(no),
            34 => Command::TimerAssign,
            35..37 => Command::Place(client, no),
            37 => Command::Release(client),
            38 => Command::Rebalance,
            _ => Command::Restore,
        };
        Event::Run(command, manner(random, model, command))
    }
}

fn manner(random: &mut Random, model: &Model, command: Command) -> Manner {
    use Command::*;
    let can_be_repeated = matches!(
        command,
        Assign | Restore | RestoreOne(_) | FailOver(..) | Multipath(_) | Flush | Place(..)
    );
    // On a read-only disk, only what writes pool files fails.
    let writes_files =
        matches!(command, Assign | TimerAssign | Restore | Place(..) | Release(_) | Rebalance);
    match random.below(10) {
        0 => Manner::FullOutput,
        1 if !writes_files => Manner::ReadOnlyDisk,
        2..4 if can_be_repeated && !model.bad_file => {
            let call = random.pick(&["renameat", "unlinkat", "fsync", "sendto", "mkdirat"]);
            Manner::Killed(call, random.below(8) + 1)
        }
        _ => Manner::Plainly,
    }
}

/// A script that alters the slice.
fn damage(random: &mut Random, model: &Model) -> String {
    let numbers: Vec<u8> = model.lines.keys().copied().collect();
    let no = u32::from(random.pick(&numbers));
    let base = model.nexthop_base;
    let (dev, client) = (&model.lines[&(no as u8)].dev, random.pick(&model.everyone));
    let scripts = [
        format!("ip rule del pref {}", 20200 + no),
        format!("ip rule del pref {}", 20110 + no),
        "ip rule del pref 20190".to_owned(),
        format!("ip rule add pref 20250 fwmark {no} ipproto tcp dport 80 lookup main protocol 87"),
        "ip rule add pref 20251 from 192.168.7.9 iif br0 tos 0x10 unreachable protocol 87"
            .to_owned(),
        format!("ip route flush table {}", 200 + no),
        format!("ip route del unreachable default table {}", 200 + no),
        format!(
            "ip route append unreachable default metric 4294967295 table {} proto 87",
            200 + no
        ),
        format!(
            "ip route add default dev {dev} scope global table {} metric 30 proto 87",
            300 + no
        ),
        format!("ip nexthop del id {base}"),
        format!(
            "ip nexthop add id {0} dev lan0 protocol 87
             ip route replace default nhid {0} table {1} metric 10 proto 87",
            base + 40,
            200 + no
        ),
        format!("ipset del wanpool {client}"),
        "ipset flush wanpool".to_owned(),
        "iptables -t mangle -F WANPOOL-POST".to_owned(),
        "iptables -t mangle -D PREROUTING -j WANPOOL".to_owned(),
        "iptables -t nat -D POSTROUTING -j WANPOOL".to_owned(),
        "iptables -t mangle -F".to_owned(),
        "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default"
            .to_owned(),
        format!("ip nexthop replace id {} blackhole protocol 87", base + no),
    ];
    random.pick(&scripts)
}
