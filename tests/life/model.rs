//! What should be: lines, pools, and what each command makes of them. The model knows the manual, the
//! kernel's own reactions and nothing of the program's source.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// How a line was taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    ByHand,
    ByProbe,
}

/// The counters of the probes: they belong to one device in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    of: (u32, String),
    healthy: u32,
    unhealthy: u32,
}

/// An uplink.
#[derive(Clone, Debug)]
pub struct Line {
    pub dev: String,
    pub via: Option<&'static str>,
    pub weight: u32,
    pub backup: bool,
    /// Which device it is, from dial to dial; 0 while there is none.
    pub device: u32,
    pub up: bool,
    pub carrier: bool,
    pub address: bool,
    /// The rule by which probes leave by it is in the kernel.
    pub has_rule: bool,
    /// The provider forwards.
    pub answers: bool,
    /// Its nexthop is in the kernel.
    pub in_service: bool,
    pub out: Option<Out>,
    /// The rules for sockets that are bound to its address are in the kernel.
    pub has_bound_rules: bool,
    /// The mark of a failover by hand is left from a device that is gone.
    pub has_old_mark: bool,
    /// The line of `failover --to`.
    pub to: Option<u8>,
    pub counters: Counters,
}

impl Line {
    pub fn exists(&self) -> bool {
        self.device != 0
    }

    pub fn is_usable(&self) -> bool {
        self.exists() && self.up && self.carrier && self.address
    }

    /// Packets by it reach the far server.
    pub fn carries(&self) -> bool {
        self.is_usable() && self.answers
    }

    /// As `pools` shows it.
    pub fn state(&self) -> &'static str {
        if self.in_service && self.address {
            "up"
        } else if self.out.is_some() && self.exists() && !self.in_service {
            "failed-over"
        } else {
            "down"
        }
    }
}

/// What a command does, as far as the model is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Assign,
    Restore,
    RestoreOne(u8),
    FailOver(u8, Option<u8>),
    Probe,
    Multipath(bool),
    Flush,
    /// `restore` and `failover` of a hook.
    HookUp(u8),
    HookDown(u8),
    /// What a timer runs.
    TimerAssign,
    Place(Ipv4Addr, u8),
    Release(Ipv4Addr),
    Rebalance,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub lines: BTreeMap<u8, Line>,
    /// The clients of each pool file, in order.
    pub pools: BTreeMap<u8, Vec<Ipv4Addr>>,
    pub everyone: Vec<Ipv4Addr>,
    pub multipath: bool,
    /// The slice is in the kernel.
    pub slice: bool,
    /// `flush` holds against hooks and timers.
    pub held: bool,
    /// A pool file has a line that is no address.
    pub bad_file: bool,
    /// The members of the group of all active lines, as the last run made it.
    pub group: Vec<u8>,
    /// Somebody altered the slice since the last run.
    pub is_damaged: bool,
    pub nexthop_base: u32,
}

impl Model {
    pub fn line(&mut self, no: u8) -> &mut Line {
        self.lines.get_mut(&no).expect("a line")
    }

    pub fn in_service(&self) -> impl Iterator<Item = u8> {
        self.lines.iter().filter(|(_, line)| line.in_service).map(|(no, _)| *no)
    }

    pub fn backups(&self) -> Vec<u8> {
        self.in_service().filter(|no| self.lines[no].backup).collect()
    }

    /// The lines of the group, as far as they are left, or the backups.
    pub fn active(&self) -> Vec<u8> {
        let group: Vec<u8> = self.in_service().filter(|no| self.group.contains(no)).collect();
        if group.is_empty() { self.backups() } else { group }
    }

    /// The lines that carry a pool.
    pub fn carriers(&self, pool: u8) -> Vec<u8> {
        match self.lines.get(&pool) {
            Some(line) if line.in_service => vec![pool],
            Some(Line { to: Some(to), .. }) => vec![*to],
            _ => self.active(),
        }
    }

    pub fn pool_of(&self, client: Ipv4Addr) -> Option<u8> {
        let mut pools = self.pools.iter();
        pools.find(|(_, members)| members.contains(&client)).map(|(no, _)| *no)
    }

    /// Follows a command and returns its exit status.
    pub fn run(&mut self, command: Command) -> i32 {
        let before = self.clone();
        // Without a slice there is nothing to probe.
        if self.is_held_from(command) || (command == Command::Probe && !self.slice) {
            return 0;
        }
        let status = self.follow(command);
        match status {
            // A full restore builds routing although it cannot place anybody.
            Err(()) if command != Command::Restore => {
                *self = before;
                return 1;
            }
            _ => {}
        }
        self.is_damaged = false;
        if command != Command::Flush {
            (self.slice, self.held) = (true, false);
            for line in self.lines.values_mut() {
                line.has_rule = true;
            }
            self.count_anew();
        }
        i32::from(status.is_err())
    }

    fn is_held_from(&self, command: Command) -> bool {
        let is_from_hook =
            matches!(command, Command::HookUp(_) | Command::HookDown(_) | Command::TimerAssign);
        is_from_hook && self.held && !self.slice
    }

    fn follow(&mut self, command: Command) -> Result<(), ()> {
        use Command::*;
        if command == Probe {
            self.probe();
            return Ok(());
        }
        if self.bad_file
            && matches!(command, Assign | TimerAssign | Place(..) | Release(_) | Rebalance)
        {
            return Err(());
        }
        match command {
            // A backup has pinned clients only.
            Place(_, no) if self.lines[&no].backup => return Err(()),
            Restore => {
                for line in self.lines.values_mut() {
                    line.out = None;
                }
                self.multipath = false;
            }
            RestoreOne(no) => self.line(no).out = None,
            Multipath(on) => self.multipath = on,
            Flush => {
                self.flush();
                return Ok(());
            }
            _ => {}
        }
        self.settle();
        match command {
            RestoreOne(no) if !self.lines[&no].is_usable() => return Err(()),
            FailOver(no, to) => self.fail_over(no, to)?,
            Assign | TimerAssign => self.place_everyone(),
            Place(client, no) => self.place(client, no),
            Release(client) => self.release(client),
            _ => {}
        }
        self.finish();
        if command == Restore && self.bad_file { Err(()) } else { Ok(()) }
    }

    /// Every usable line is in service unless it was taken out; what a probe took out is put back if
    /// nobody would have service otherwise.
    fn settle(&mut self) {
        for line in self.lines.values_mut() {
            if !line.exists() {
                line.out = None;
            }
            line.has_old_mark &= !line.exists();
            line.in_service = line.is_usable() && line.out.is_none();
        }
        if self.in_service().next().is_none() {
            for line in self.lines.values_mut() {
                if line.is_usable() && line.out == Some(Out::ByProbe) {
                    (line.out, line.in_service) = (None, true);
                }
            }
        }
    }

    fn finish(&mut self) {
        for line in self.lines.values_mut() {
            line.has_bound_rules |= line.exists() && line.address;
            line.in_service &= line.out.is_none();
            if line.in_service {
                line.to = None;
            }
        }
        self.drop_overrides();
        let primaries: Vec<u8> = self.in_service().filter(|no| !self.lines[no].backup).collect();
        self.group = if primaries.is_empty() { self.backups() } else { primaries };
    }

    fn fail_over(&mut self, no: u8, to: Option<u8>) -> Result<(), ()> {
        if to.is_some_and(|to| to == no || !self.lines[&to].in_service) {
            return Err(());
        }
        let is_another = self.in_service().any(|other| other != no);
        let line = self.line(no);
        if line.in_service && !is_another {
            return Err(());
        }
        if line.exists() {
            line.out = Some(Out::ByHand);
        }
        line.to = to.or(line.to);
        Ok(())
    }

    fn flush(&mut self) {
        for line in self.lines.values_mut() {
            (line.in_service, line.out, line.to) = (false, None, None);
            line.has_old_mark = false;
            line.has_bound_rules = false;
        }
        self.group.clear();
        (self.multipath, self.slice, self.held) = (false, false, true);
    }
}

mod placing;
mod probing;
mod world;
