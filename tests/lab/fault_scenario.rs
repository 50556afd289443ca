//! A gateway with clients in service, and one command about to change something: the stage on
//! which that command is killed, or one of its system calls fails. Every take begins the same.

use std::fs;
use std::net::Ipv4Addr;

use super::pool_files::{Files, places};
use super::{Lab, Run, State, Trace, three, uplinks};

pub struct FaultScenario {
    pub lab: Lab,
    pub command: &'static [&'static str],
    /// The calls of the command when nothing is in its way.
    pub trace: Trace,
    before: Files,
    /// What of a commit another run had left to be put in place.
    begun: Files,
    after: Files,
    /// Who has his uplink before the command.
    served: Files,
    /// The gateway's kernel when the command is done.
    done: State,
    kernel: Kernel,
}

/// How the kernel is brought back to what it was before the command.
enum Kernel {
    /// Only the set has changed: these are its entries.
    Entries(String),
    /// There was nothing of ours.
    Empty,
    /// An uplink was in service.
    InService(&'static str),
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
        FaultScenario::shot(lab, &["assign"], Kernel::Entries(String::new()))
    }

    /// `assign`, after a run that was killed in the middle of its commit, and one that was killed
    /// when it wrote its files: five new clients are in two of three files.
    pub fn recovery() -> FaultScenario {
        let mut scene = FaultScenario::assign();
        scene.before.insert("pool1".to_owned(), scene.after["pool1"].clone());
        let begun = ["pool2", "pool3"].map(|name| (name.to_owned(), scene.after[name].clone()));
        scene.begun = begun.into();
        scene.reset();
        scene.trace = scene.lab.trace(scene.command);
        scene
    }

    /// `restore`, with a kernel that knows nothing and files that do: a boot.
    pub fn restore() -> FaultScenario {
        let lab = Lab::with().without_ethernet().rp_filter(1).raise();
        lab.serve(&three(""));
        FaultScenario::shot(lab, &["restore"], Kernel::Empty)
    }

    /// `failover 1`, with a memory and somebody to be told.
    pub fn failover() -> FaultScenario {
        let lab = served("\n[hook]\nexec = \"/bin/true\"\n");
        FaultScenario::shot(lab, &["failover", "1"], Kernel::InService("1"))
    }

    /// `assign --rebalance`, with ten clients to be moved out of two pools into a third.
    pub fn rebalance() -> FaultScenario {
        let lab = Lab::with().without_ethernet().raise();
        lab.serve(&uplinks("", &["ppp0", "ppp1"]));
        lab.config(&three(""));
        lab.wanpool(["restore"]).ok();
        FaultScenario::shot(lab, &["assign", "--rebalance"], Kernel::Entries(String::new()))
    }

    /// `assign CLIENT… --pool`: one client of each of two pools into the third.
    pub fn to_pool() -> FaultScenario {
        let command = &["assign", "192.168.7.10", "192.168.7.11", "--pool", "ppp2"];
        FaultScenario::shot(served(""), command, Kernel::Entries(String::new()))
    }

    /// `assign CLIENT… --release`: one client of each of two pools into none.
    pub fn release() -> FaultScenario {
        let command = &["assign", "192.168.7.10", "192.168.7.11", "--release"];
        FaultScenario::shot(served(""), command, Kernel::Entries(String::new()))
    }

    /// Runs the command once as it should be.
    fn shot(lab: Lab, command: &'static [&'static str], kernel: Kernel) -> FaultScenario {
        let entries = |lab: &Lab| lab.gateway.sh("echo flush wanpool; ipset save | grep ^add");
        let kernel = match kernel {
            Kernel::Entries(_) => Kernel::Entries(entries(&lab)),
            other => other,
        };
        let before = lab.pool_files();
        let empty = || (Files::new(), State(String::new()), Trace(Vec::new()));
        let (after, done, trace) = empty();
        let (begun, served) = (Files::new(), before.clone());
        let mut scene =
            FaultScenario { lab, command, trace, before, begun, after, served, done, kernel };
        scene.reset();
        scene.trace = scene.lab.trace(command);
        scene.after = scene.lab.pool_files();
        scene.done = scene.lab.kernel_state();
        scene
    }

    /// All as it was before the command.
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
        if !self.begun.is_empty() {
            for left in [".next", ".commit"] {
                fs::create_dir(dir.join(left)).expect("to begin a commit");
            }
            for (name, text) in &self.begun {
                fs::write(dir.join(".commit").join(name), text).expect("to begin a commit");
            }
            fs::write(dir.join(".next/pool1"), "192.168.7").expect("to write half a file");
        }
        match &self.kernel {
            Kernel::Entries(entries) => {
                let run = format!("ipset -exist restore <<END\n{entries}END\n");
                self.lab.gateway.sh(&run);
            }
            Kernel::Empty => {
                self.lab.wanpool(["flush"]).ok();
                for name in ["ip_forward", "ip_dynaddr", "conf/all/src_valid_mark"] {
                    self.lab.gateway.sysctl(&format!("net/ipv4/{name}"), "0");
                }
            }
            Kernel::InService(uplink) => {
                self.lab.wanpool(["restore", uplink]).ok();
            }
        }
    }

    /// After a run that did not come to its end: the files are whole, and all or nothing; who was
    /// served is served.
    #[track_caller]
    pub fn assert_unharmed(&self, what: &str) {
        let (seen, files) = (self.lab.pools_as_read(), self.lab.pool_files());
        for (name, text) in &files {
            let whole = [&self.before, &self.after].map(|files| files.get(name));
            assert!(whole.contains(&Some(text)), "{what}: {name} is torn: {text:?}");
        }
        let mut first = self.before.clone();
        first.extend(self.begun.clone());
        let whole = seen == first || seen == self.after;
        assert!(whole, "{what}: neither as before nor as after: {seen:#?}");
        let rows = self.lab.wanpool(["-j", "pools"]).json();
        for row in rows.as_array().expect("rows") {
            let name = format!("pool{}", row["pool"]);
            let lines = seen.get(&name).map_or(0, |text| text.lines().count());
            assert_eq!(row["clients"], lines, "{what}: what a reader sees of {name}");
        }
        match self.kernel {
            Kernel::Empty => {}
            // The kernel follows the files, and is never ahead of them.
            Kernel::Entries(_) if seen != self.after => self.assert_served(&[&self.served], what),
            _ => self.assert_served(&[&self.served, &self.after], what),
        }
    }

    /// What cron runs comes next, and ends as it should.
    #[track_caller]
    pub fn assert_cron_mends(&self, what: &str) {
        if self.command.contains(&"--release") {
            // Who is heard would be given a pool again.
            return;
        }
        let cron = self.lab.wanpool(["assign"]);
        assert!(cron.status == 0 && cron.stderr.is_empty(), "{what}: then {cron}");
        let check = self.lab.wanpool(["pools", "--check"]);
        assert!(check.status == 0, "{what}: then assign, then {check}");
        self.lab.wanpool(["assign"]).silent();
    }

    /// The same command once more ends as it should.
    #[track_caller]
    pub fn assert_mended(&self, what: &str) {
        // Whom to move depends on who has a live flow.
        if self.command.contains(&"--rebalance") {
            self.lab.forget_flows();
        }
        let again = self.run();
        assert!(again.status == 0 && again.stderr.is_empty(), "{what}: then {again}");
        assert_eq!(self.visible(), self.after, "{what}: the files after the next run");
        self.lab.kernel_state().assert_is(&self.done, format!("{what}: the next run"));
        let check = self.lab.wanpool(["pools", "--check"]);
        assert!(check.status == 0, "{what}: then {check}");
        self.assert_served(&[&self.after], what);
    }

    /// Whether the admin's own command is run in the end.
    pub fn tells_somebody(&self) -> bool {
        matches!(self.kernel, Kernel::InService(_))
    }

    fn run(&self) -> Run {
        let command = self.command.join(" ");
        self.lab.script(&format!("exec \"$WANPOOL\" {command}"))
    }

    /// The first client of each pool, and the first two of all, leave by the uplink that one of
    /// these says; the set has each client that they all say, and none that none of them says.
    #[track_caller]
    fn assert_served(&self, files: &[&Files], what: &str) {
        let marks = self.lab.marks();
        let places = files.iter().map(|files| places(files)).collect::<Vec<_>>();
        for client in
            places[0].keys().filter(|client| places.iter().all(|p| p.contains_key(client)))
        {
            let right = places.iter().map(|places| format!("{:#x}/0xff", places[client]));
            let mark = marks.get(client);
            assert!(
                right.map(Some).any(|right| mark == right.as_ref()),
                "{what}: {client} has the mark {mark:?}"
            );
        }
        let known = |client: &Ipv4Addr| places.iter().any(|places| places.contains_key(client));
        let stray = marks.keys().find(|client| !known(client));
        assert!(stray.is_none(), "{what}: the set has {stray:?}, the files have not");
        for client in self.witnesses() {
            let pools: Vec<u8> =
                places.iter().filter_map(|places| places.get(&client)).copied().collect();
            if pools.len() < places.len() {
                continue;
            }
            let failed_over = matches!(self.kernel, Kernel::InService(_)) && pools.contains(&1);
            let allowed: Vec<u8> = if failed_over { vec![1, 2, 3] } else { pools };
            let allowed = allowed.iter().map(|&pool| Ok(self.lab.uplink_address(pool)));
            let seen = self.lab.client(client).seen();
            assert!(allowed.into_iter().any(|right| right == seen), "{what}: {client}: {seen:?}");
        }
    }

    /// Some clients of all pools, of those that move and of those that stay.
    fn witnesses(&self) -> Vec<Ipv4Addr> {
        let (before, after) = (places(&self.before), places(&self.after));
        let stays = |pool: u8| {
            let mut clients = after.iter();
            clients.find(|(client, at)| **at == pool && before.get(client) == Some(&pool))
        };
        let moved = before.iter().find(|(client, at)| after.get(client).is_some_and(|p| p != *at));
        let stay = (1..=3).filter_map(stays).map(|(client, _)| *client);
        stay.chain(moved.map(|(client, _)| *client)).collect()
    }

    /// What is in the folder besides the lock.
    fn visible(&self) -> Files {
        let text = |(name, bytes)| (name, String::from_utf8(bytes).expect("text"));
        self.lab.files().into_iter().map(text).collect()
    }
}

/// Three uplinks, thirty clients in service.
fn served(more: &str) -> Lab {
    let lab = Lab::with().without_ethernet().raise();
    lab.serve(&(three("") + more));
    lab
}
