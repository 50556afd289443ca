//! A gateway with clients in service, and one command about to change something: the stage on
//! which that command is killed, or one of its system calls fails. Every take begins the same.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use super::{Lab, Run, State, Trace, three, uplinks};

/// Pool files: each one's name and text.
type Files = BTreeMap<String, String>;

pub struct Scene {
    pub lab: Lab,
    pub command: &'static [&'static str],
    /// The calls of the command when nothing is in its way.
    pub trace: Trace,
    before: Files,
    after: Files,
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

impl Scene {
    /// `assign`, with five new clients for three pools.
    pub fn assign() -> Scene {
        let lab = served("");
        for pool in 1..=3 {
            let old = lab.members(pool).into_iter().filter(|client| client.octets()[3] < 35);
            write_pool(&lab, pool, old);
        }
        lab.wanpool(["restore"]).ok();
        Scene::shot(lab, &["assign"], Kernel::Entries(String::new()))
    }

    /// `restore`, with a kernel that knows nothing and files that do: a boot.
    pub fn restore() -> Scene {
        let lab = Lab::with().without_ethernet().rp_filter(1).raise();
        lab.serve(&three(""));
        Scene::shot(lab, &["restore"], Kernel::Empty)
    }

    /// `failover 1`, with a memory and somebody to be told.
    pub fn failover() -> Scene {
        let lab = served("\n[hook]\nexec = \"/bin/true\"\n");
        Scene::shot(lab, &["failover", "1"], Kernel::InService("1"))
    }

    /// `assign --rebalance`, with ten clients to be moved out of two pools into a third.
    pub fn rebalance() -> Scene {
        let lab = Lab::with().without_ethernet().raise();
        lab.serve(&uplinks("", &["ppp0", "ppp1"]));
        lab.config(&three(""));
        lab.wanpool(["restore"]).ok();
        Scene::shot(lab, &["assign", "--rebalance"], Kernel::Entries(String::new()))
    }

    /// `assign CLIENT… --pool`: one client of each of two pools into the third.
    pub fn to_pool() -> Scene {
        let command = &["assign", "192.168.7.10", "192.168.7.11", "--pool", "ppp2"];
        Scene::shot(served(""), command, Kernel::Entries(String::new()))
    }

    /// `assign CLIENT… --release`: one client of each of two pools into none.
    pub fn release() -> Scene {
        let command = &["assign", "192.168.7.10", "192.168.7.11", "--release"];
        Scene::shot(served(""), command, Kernel::Entries(String::new()))
    }

    /// Runs the command once as it should be.
    fn shot(lab: Lab, command: &'static [&'static str], kernel: Kernel) -> Scene {
        let entries = |lab: &Lab| lab.gateway.sh("echo flush wanpool; ipset save | grep ^add");
        let kernel = match kernel {
            Kernel::Entries(_) => Kernel::Entries(entries(&lab)),
            other => other,
        };
        let before = pool_files(&lab);
        let empty = || (Files::new(), State(String::new()), Trace(Vec::new()));
        let (after, done, trace) = empty();
        let mut scene = Scene { lab, command, trace, before, after, done, kernel };
        scene.reset();
        scene.trace = scene.lab.trace(command);
        scene.after = pool_files(&scene.lab);
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
        for name in pool_files(&self.lab).keys() {
            fs::remove_file(dir.join(name)).expect("to remove a pool file");
        }
        for (name, text) in &self.before {
            fs::write(dir.join(name), text).expect("to write a pool file");
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
        let (seen, files) = (as_read(&self.lab), pool_files(&self.lab));
        for (name, text) in &files {
            let whole = [&self.before, &self.after].map(|files| files.get(name));
            assert!(whole.contains(&Some(text)), "{what}: {name} is torn: {text:?}");
        }
        let whole = seen == self.before || seen == self.after;
        assert!(whole, "{what}: neither as before nor as after: {seen:#?}");
        self.lab.wanpool(["pools"]).ok();
        if !matches!(self.kernel, Kernel::Empty) {
            self.assert_served(&[&self.before, &self.after], what);
        }
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
    /// these says, and the set has each client that they say.
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

fn write_pool(lab: &Lab, pool: u8, clients: impl Iterator<Item = Ipv4Addr>) {
    let text: String = clients.map(|client| format!("{client}\n")).collect();
    fs::write(lab.pool_dir().join(format!("pool{pool}")), text).expect("to write a pool file");
}

/// The pool files of the folder itself.
fn pool_files(lab: &Lab) -> Files {
    files_in(&lab.pool_dir())
}

/// The pools as whoever knows the folder reads them: a commit that has begun counts as done.
fn as_read(lab: &Lab) -> Files {
    let mut files = pool_files(lab);
    files.extend(files_in(&lab.pool_dir().join(".commit")));
    files
}

fn files_in(dir: &std::path::Path) -> Files {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry"));
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        let is_pool = name.starts_with("pool");
        is_pool.then(|| (name, fs::read_to_string(entry.path()).expect("a pool file")))
    };
    entries.filter_map(file).collect()
}

/// Each client's pool. Each line is an address, and none is there twice.
#[track_caller]
fn places(files: &Files) -> BTreeMap<Ipv4Addr, u8> {
    let mut places = BTreeMap::new();
    for (name, text) in files {
        let pool = name.trim_start_matches("pool").parse().expect("a number");
        for line in text.lines() {
            let client = line.parse().unwrap_or_else(|why| panic!("{name}: {line:?}: {why}"));
            let other = places.insert(client, pool);
            assert!(other.is_none(), "{client} is in {pool} and {other:?}");
        }
    }
    places
}
