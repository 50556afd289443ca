//! A gateway that serves clients, and one command that is about to change something: it is killed,
//! or one of its system calls fails. Every run begins in the same state.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use super::pool_files::{Files, places};
use super::{Lab, State, Trace, three, two};

pub struct FaultScenario {
    pub lab: Lab,
    pub command: &'static str,
    /// The calls of the command without any fault.
    pub trace: Trace,
    /// The pool files before the command.
    before: Files,
    /// The files of a commit that another run has left unfinished.
    unfinished: Files,
    /// The pool files after the command.
    after: Files,
    /// The pools that the kernel knows before the command.
    served: Files,
    /// The gateway's kernel after the command.
    kernel_after: State,
    reset: Reset,
}

/// How the kernel is brought back to its state before the command.
enum Reset {
    /// The command changes the set only: these are its entries.
    SetEntries(String),
    /// The slice does not exist.
    Flush,
    /// This uplink is in service.
    RestoreUplink(&'static str),
}

impl FaultScenario {
    /// `assign`, with five new clients for three pools.
    pub fn assign() -> FaultScenario {
        let lab = served("");
        for pool in 1..=3 {
            let old = lab.members(pool).into_iter().filter(|client| client.octets()[3] < 35);
            lab.write_pool(pool, old);
        }
        lab.wanpool(["restore"]).ok();
        FaultScenario::of_the_set(lab, "assign")
    }

    /// `assign`, after a run that was killed in the middle of its commit, and another one that was
    /// killed while it wrote its files: five new clients are in two of three files.
    pub fn recovery() -> FaultScenario {
        let mut scenario = FaultScenario::assign();
        scenario.before.insert("pool1".to_owned(), scenario.after["pool1"].clone());
        let rest = ["pool2", "pool3"].map(|name| (name.to_owned(), scenario.after[name].clone()));
        scenario.unfinished = rest.into();
        scenario.reset();
        scenario.trace = scenario.lab.trace(scenario.command);
        scenario
    }

    /// `restore` at boot: the pool files are there, and the kernel is empty. A third uplink would add no
    /// other call.
    pub fn restore() -> FaultScenario {
        let lab = Lab::with().without_ethernet().rp_filter(1).serving(&two());
        FaultScenario::record(lab, "restore", Reset::Flush)
    }

    /// `failover 1` over both families, which writes the runtime state and runs a hook.
    pub fn failover() -> FaultScenario {
        let lab = Lab::with().without_ethernet().raise();
        lab.with_inet6();
        lab.serve(&(three("ipv6 = true") + "\n[hook]\nexec = \"/bin/true\"\n"));
        FaultScenario::record(lab, "failover 1", Reset::RestoreUplink("1"))
    }

    /// `assign --rebalance`, which moves ten clients of two pools to a third one.
    pub fn rebalance() -> FaultScenario {
        let lab = Lab::with().without_ethernet().serving(&two());
        lab.config(&three(""));
        lab.wanpool(["restore"]).ok();
        FaultScenario::of_the_set(lab, "assign --rebalance")
    }

    /// One client of each of two pools moves to the third one.
    pub fn move_to_pool() -> FaultScenario {
        let command = "assign 192.168.7.10 192.168.7.11 --pool ppp2";
        FaultScenario::of_the_set(served(""), command)
    }

    /// One client of each of two pools is released.
    pub fn release() -> FaultScenario {
        FaultScenario::of_the_set(served(""), "assign 192.168.7.10 192.168.7.11 --release")
    }

    /// A command that changes, of the kernel, the set only.
    fn of_the_set(lab: Lab, command: &'static str) -> FaultScenario {
        let entries = lab.gateway.sh("echo flush wanpool; ipset save | grep ^add");
        FaultScenario::record(lab, command, Reset::SetEntries(entries))
    }

    /// Runs the command once without any fault.
    fn record(lab: Lab, command: &'static str, reset: Reset) -> FaultScenario {
        let before = lab.pool_files();
        let mut scenario = FaultScenario {
            lab,
            command,
            trace: Trace(Vec::new()),
            served: before.clone(),
            before,
            unfinished: Files::new(),
            after: Files::new(),
            kernel_after: State(String::new()),
            reset,
        };
        scenario.reset();
        scenario.trace = scenario.lab.trace(command);
        scenario.after = scenario.lab.pool_files();
        scenario.kernel_after = scenario.lab.kernel_state();
        scenario
    }

    /// Everything as it was before the command.
    pub fn reset(&self) {
        self.lab.forget_flows();
        let dir = self.lab.pool_dir();
        for left in [".next", ".commit"] {
            let _ = fs::remove_dir_all(dir.join(left));
        }
        for name in self.lab.pool_files().keys() {
            fs::remove_file(dir.join(name)).expect("to remove a pool file");
        }
        for (name, text) in &self.before {
            fs::write(dir.join(name), text).expect("to write a pool file");
        }
        if !self.unfinished.is_empty() {
            for folder in [".next", ".commit"] {
                fs::create_dir(dir.join(folder)).expect("to begin a commit");
            }
            for (name, text) in &self.unfinished {
                fs::write(dir.join(".commit").join(name), text).expect("to begin a commit");
            }
            fs::write(dir.join(".next/pool1"), "192.168.7").expect("to write half a file");
        }
        match &self.reset {
            Reset::SetEntries(entries) => {
                self.lab.gateway.sh(&format!("ipset -exist restore <<END\n{entries}END\n"));
            }
            Reset::Flush => {
                self.lab.wanpool(["flush"]).ok();
                for name in ["ip_forward", "ip_dynaddr", "conf/all/src_valid_mark"] {
                    self.lab.gateway.sysctl(&format!("net/ipv4/{name}"), "0");
                }
            }
            Reset::RestoreUplink(uplink) => {
                self.lab.wanpool(["restore", uplink]).ok();
            }
        }
    }

    /// After a run that did not end: each file is whole, all of them are as before or all as after,
    /// and clients that were served are served.
    #[track_caller]
    pub fn assert_unharmed(&self, what: &str) {
        let (seen, files) = (self.lab.pools_as_read(), self.lab.pool_files());
        for (name, text) in &files {
            let whole = [&self.before, &self.after].map(|files| files.get(name));
            assert!(whole.contains(&Some(text)), "{what}: {name} is torn: {text:?}");
        }
        let mut first = self.before.clone();
        first.extend(self.unfinished.clone());
        let is_whole = seen == first || seen == self.after;
        assert!(is_whole, "{what}: neither as before nor as after: {seen:#?}");
        let rows = self.lab.wanpool(["-j", "pools"]).json();
        for row in rows.as_array().expect("rows") {
            let name = format!("pool{}", row["pool"]);
            let lines = seen.get(&name).map_or(0, |text| text.lines().count());
            assert_eq!(row["clients"], lines, "{what}: the clients of {name}");
        }
        match self.reset {
            Reset::Flush => {}
            // The kernel follows the files, and is never ahead of them.
            Reset::SetEntries(_) if seen != self.after => self.assert_served(&[&self.served], what),
            _ => self.assert_served(&[&self.served, &self.after], what),
        }
    }

    /// `assign`, which cron runs, repairs everything.
    #[track_caller]
    pub fn assert_assign_repairs(&self, what: &str) {
        // It would assign the released clients again.
        if self.command.contains("--release") {
            return;
        }
        let assign = self.lab.wanpool(["assign"]);
        assert!(assign.status == 0 && assign.stderr.is_empty(), "{what}: then {assign}");
        let check = self.lab.wanpool(["pools", "--check"]);
        assert!(check.status == 0, "{what}: then assign, then {check}");
        self.lab.wanpool(["assign"]).silent();
    }

    /// The same command once more ends as it should.
    #[track_caller]
    pub fn assert_same_command_repairs(&self, what: &str) {
        // Which clients are moved depends on their live flows.
        if self.command.contains("--rebalance") {
            self.lab.forget_flows();
        }
        let again = self.lab.run(self.command);
        assert!(again.status == 0 && again.stderr.is_empty(), "{what}: then {again}");
        let text = |(name, bytes)| (name, String::from_utf8(bytes).expect("text"));
        let files: Files = self.lab.files().into_iter().map(text).collect();
        assert_eq!(files, self.after, "{what}: the files after the next run");
        self.lab.kernel_state().assert_is(&self.kernel_after, format!("{what}: the next run"));
        let check = self.lab.wanpool(["pools", "--check"]);
        assert!(check.status == 0, "{what}: then {check}");
        self.assert_served(&[&self.after], what);
    }

    pub fn runs_hook(&self) -> bool {
        matches!(self.reset, Reset::RestoreUplink(_))
    }

    /// The set has every client that is in all of these files, with the mark of its pool in one of
    /// them, and no client that is in none of them. A sample of clients leaves by that uplink.
    #[track_caller]
    fn assert_served(&self, files: &[&Files], what: &str) {
        let marks = self.lab.marks();
        let pools: Vec<BTreeMap<Ipv4Addr, u8>> = files.iter().map(|files| places(files)).collect();
        let pools_of = |client: &Ipv4Addr| -> Vec<u8> {
            pools.iter().filter_map(|pools| pools.get(client)).copied().collect()
        };
        for client in pools[0].keys() {
            let expected = pools_of(client);
            let mark = marks.get(client);
            let is_right = |pool: &u8| mark == Some(&format!("{pool:#x}/0xff"));
            let in_all = expected.len() == pools.len();
            assert!(!in_all || expected.iter().any(is_right), "{what}: {client} has {mark:?}");
        }
        let stray = marks.keys().find(|client| pools_of(client).is_empty());
        assert!(stray.is_none(), "{what}: {stray:?} is in the set and not in the files");
        for client in self.sample_clients() {
            let mut allowed = pools_of(&client);
            if allowed.len() < pools.len() {
                continue;
            }
            if self.runs_hook() && allowed.contains(&1) {
                allowed = vec![1, 2, 3];
            }
            let seen = self.lab.client(client).seen();
            let is_right = allowed.iter().any(|&pool| seen == Ok(self.lab.uplink_address(pool)));
            assert!(is_right, "{what}: {client} leaves as {seen:?}");
        }
    }

    /// A client of each pool that stays there, and one that moves.
    fn sample_clients(&self) -> Vec<Ipv4Addr> {
        let (before, after) = (places(&self.before), places(&self.after));
        let mut sample = Vec::new();
        for pool in 1..=3 {
            let stays =
                |(client, at): &(&Ipv4Addr, &u8)| **at == pool && before.get(client) == Some(&pool);
            sample.extend(after.iter().find(stays).map(|(client, _)| *client));
        }
        let moves =
            |(client, at): &(&Ipv4Addr, &u8)| after.get(client).is_some_and(|other| other != *at);
        sample.extend(before.iter().find(moves).map(|(client, _)| *client));
        sample
    }
}

/// Three uplinks, with thirty clients.
fn served(more: &str) -> Lab {
    Lab::with().without_ethernet().serving(&(three("") + more))
}
