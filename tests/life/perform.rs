//! Makes an event happen, in the lab and in the model.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;

use super::checks::Flows;
use super::events::{Event, Manner};
use super::model::{Command, Line, Model};
use super::random::Random;
use crate::lab::{Iptables, Lab, wait_until};

pub struct Life {
    pub lab: Lab,
    pub model: Model,
    pub random: Random,
    pub flows: Flows,
    /// What goes wrong after each run, as if the program had done it.
    pub sabotage: &'static str,
    devices: u32,
}

impl Life {
    pub fn begin(seed: u64, iptables: Iptables) -> Life {
        let lab = Lab::with().client_addresses(9).iptables(iptables).raise();
        let mut random = Random::new(seed);
        let mut lines = std::collections::BTreeMap::new();
        for no in 1..=4 {
            let line = Line {
                dev: lab.uplink_dev(no),
                via: (no == 4).then_some("10.65.4.1"),
                weight: 1,
                backup: no == 4 && random.below(2) == 1,
                device: u32::from(no),
                up: true,
                carrier: true,
                address: true,
                has_rule: false,
                answers: true,
                in_service: false,
                out: None,
                has_bound_rules: false,
                has_old_mark: false,
                to: None,
                counters: Default::default(),
            };
            lines.insert(no, line);
        }
        let model = Model {
            lines,
            pools: Default::default(),
            everyone: lab.everyone(),
            multipath: false,
            slice: false,
            held: false,
            bad_file: false,
            group: vec![],
            is_damaged: false,
            nexthop_base: 8700,
        };
        let mut life =
            Life { lab, model, random, flows: Flows::default(), sabotage: "", devices: 4 };
        life.write_config();
        life.lab.discover(&life.lab.everyone());
        // Records are kept from the first probe on.
        for command in [Command::Restore, Command::Assign, Command::Probe] {
            life.live_through(&Event::Run(command, Manner::Plainly)).expect("the first runs");
        }
        life
    }

    pub fn next_event(&mut self) -> Event {
        Event::random(&mut self.random, &self.model)
    }

    pub fn model_text(&self) -> String {
        format!("{:#?}", self.model)
    }

    fn write_config(&self) {
        let mut text = String::from("lan = [\"br0\"]\n");
        for (no, line) in &self.model.lines {
            let _ =
                writeln!(text, "[uplink.{no}]\ndev = \"{}\"\nweight = {}", line.dev, line.weight);
            if let Some(via) = line.via {
                let _ = writeln!(text, "via = \"{via}\"");
            }
            if line.backup {
                text += "role = \"backup\"\n";
            }
        }
        let _ = write!(text, "{PROBES}[kernel]\nnexthop-base = {}\n", self.model.nexthop_base);
        self.lab.config(&text);
    }

    /// Makes it happen, and compares the world with the model.
    pub fn live_through(&mut self, event: &Event) -> Result<(), String> {
        let mut has_run = false;
        match event {
            Event::Run(command, manner) => {
                has_run = self.run(*command, *manner)?;
            }
            Event::Weight(no, weight) => {
                self.model.line(*no).weight = *weight;
                has_run = self.apply_config()?;
            }
            Event::NexthopBase(base) => {
                self.model.nexthop_base = *base;
                has_run = self.apply_config()?;
            }
            Event::Damage(script) => self.damage(script),
            Event::Edit(client, to) => self.edit(*client, *to),
            Event::BadFile(is_bad) => {
                // Meanwhile, clients are not repaired.
                (self.model.bad_file, self.model.is_damaged) = (*is_bad, true);
                self.write_pool_files();
            }
            Event::ForeignRule => drop(self.lab.script(FOREIGN_RULE)),
            _ => self.happen_to_line(event),
        }
        self.check(has_run)
    }

    fn happen_to_line(&mut self, event: &Event) {
        let (lab, model) = (&self.lab, &mut self.model);
        match *event {
            Event::HangUp(no) => {
                lab.hang_up(no);
                model.hang_up(no);
                self.flows.end(no);
            }
            Event::Dial(no) => {
                lab.redial(no);
                self.devices += 1;
                model.dial(no, self.devices);
                self.flows.end(no);
            }
            Event::Link(no, up) => {
                let state = if up { "up" } else { "down" };
                lab.gateway.sh(&format!("ip link set {} {state}", lab.uplink_dev(no)));
                model.set_link(no, up);
                self.flows.end(no);
            }
            Event::Carrier(no, on) => {
                let has_nexthop = model.lines[&no].in_service;
                lab.carrier(no, on);
                model.set_carrier(no, on);
                let id = format!("id {} ", model.nexthop_base + u32::from(no));
                if !on && has_nexthop {
                    wait_until("the kernel drops the nexthop", || {
                        !lab.gateway.sh("ip nexthop show").contains(&id)
                    });
                }
                self.flows.end(no);
            }
            Event::Address(no, has) => {
                let (dev, address) = (lab.uplink_dev(no), lab.uplink_address(no));
                lab.gateway.sh(&match (has, no) {
                    (false, _) => format!("ip addr flush dev {dev}"),
                    (true, 4) => format!("ip addr add {address}/24 dev {dev}"),
                    (true, _) => {
                        format!("ip addr add {address} peer {} dev {dev}", lab.uplink_gateway(no))
                    }
                });
                model.set_address(no, has);
                self.flows.end(no);
            }
            Event::Answers(no, answers) => {
                lab.swallow(no, !answers);
                model.line(no).answers = answers;
                self.flows.end(no);
            }
            _ => {}
        }
    }

    /// A route of `failover --to` and multipath are remembered by the kernel alone.
    fn damage(&mut self, script: &str) {
        // The kernel refuses a blackhole in a group of several.
        let has_worked = self.lab.script(script).status == 0;
        self.model.is_damaged = true;
        self.flows.end_all();
        let base = self.model.nexthop_base;
        for (no, line) in &mut self.model.lines {
            // `ip route flush` may stop at a route that it does not know how to delete.
            let table = 200 + u32::from(*no);
            let has_override =
                || self.lab.table(table).iter().any(|route| route.ends_with("metric 15"));
            if script == format!("ip route flush table {table}") && !has_override() {
                line.to = None;
            }
            if script == format!("ip rule del pref {}", 1100 + u32::from(*no))
                || script.starts_with("ip rule flush")
            {
                line.has_rule = false;
            }
            let id = base + u32::from(*no);
            let blackhole = format!("ip nexthop replace id {id} blackhole protocol 87");
            if script == blackhole && has_worked {
                line.in_service = false;
            }
        }
        if script.starts_with("ip rule flush") {
            self.model.multipath = false;
        }
    }

    fn edit(&mut self, client: Ipv4Addr, to: u8) {
        if self.model.pool_of(client) != Some(to) {
            for members in self.model.pools.values_mut() {
                members.retain(|&member| member != client);
            }
            self.model.pools.entry(to).or_default().push(client);
            self.write_pool_files();
            self.model.is_damaged = true;
        }
    }

    fn write_pool_files(&self) {
        for (&no, members) in &self.model.pools {
            self.lab.write_pool(no, members.iter().copied());
        }
        if self.model.bad_file {
            let file = self.lab.pool_dir().join("pool1");
            let text = fs::read_to_string(&file).unwrap_or_default();
            fs::write(file, text + "no address\n").expect("to write a pool file");
        }
    }

    /// An edit of the configuration is applied by `restore`, as the manual says.
    fn apply_config(&mut self) -> Result<bool, String> {
        self.write_config();
        self.run(Command::Restore, Manner::Plainly)
    }
}

/// Long enough for an answer on a busy machine.
const PROBES: &str = "[probe]\ntargets = [\"100.66.0.1\"]\ntimeout = \"1s\"\n";

/// In a table that wanpool has nothing in. iptables-save fails from then on.
const FOREIGN_RULE: &str = "
nft add table ip filter
nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }'
nft 'add map ip filter m { type ipv4_addr: mark; }'
nft 'add rule ip filter FORWARD meta mark set ip saddr map @m'";
