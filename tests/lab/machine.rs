//! A machine with the gateway's network, on which an admin installs wanpool.
//!
//! Its files are those of a fresh Debian, or of this machine, under an overlay that is dropped with
//! the test; it has its own processes, names and mounts. It may be booted by systemd.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{ChildGuard, Debian, Lab, Netns, Run, wait_until};

/// Process 1.
const SLEEP: &str = "sleep infinity";
const SYSTEMD: &str = "/lib/systemd/systemd --log-target=journal";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Mounts the files at $1/root over $2 and makes a cgroup $3, which systemd needs; then becomes
/// process 1 of a new machine.
const LAY_OUT: &str = r#"
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root groups
mount -t overlay none -o "lowerdir=$2,upperdir=upper,workdir=work" root
mount -t cgroup2 none groups
mkdir "groups/$3"
echo $$ >"groups/$3/cgroup.procs"
umount groups
exec unshare --cgroup --pid --ipc --uts --fork --kill-child sh -ec "$4" sh "$5" "$6"
"#;

/// Only the sysctls of the network can be written. $1 is the lab's own folder, $2 is process 1.
const BEGIN: &str = r#"
mount -t proc none root/proc
mount --bind root/proc/sys root/proc/sys
mount --bind root/proc/sys/net root/proc/sys/net
mount -o remount,bind,ro root/proc/sys
mount -t sysfs -o ro none root/sys
mount -t cgroup2 none root/sys/fs/cgroup
for dir in run tmp dev; do mount -t tmpfs none root/$dir; done
for dev in null zero full random urandom tty; do
    touch root/dev/$dev
    mount --bind /dev/$dev root/dev/$dev
done
ln -s /proc/self/fd root/dev/fd
mkdir root/dev/shm root/dev/pts
mount -t devpts -o newinstance,ptmxmode=666 none root/dev/pts
ln -s pts/ptmx root/dev/ptmx
mount --bind "$1" root/mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab chroot root $2
"#;

pub struct Machine<'lab> {
    ns: &'lab Netns,
    /// The process id of its process 1 on this machine.
    init: u32,
    group: String,
    running: Option<ChildGuard>,
}

impl<'lab> Machine<'lab> {
    /// Without systemd, cron or anything else that runs by itself.
    pub fn bare(lab: &'lab Lab, debian: Debian) -> Machine<'lab> {
        Machine::start(lab, "machine", &lab.gateway, &debian.files(), SLEEP)
    }

    /// With all that is installed here, and the network of this namespace.
    pub fn like_this_one(lab: &'lab Lab, name: &str, ns: &'lab Netns) -> Machine<'lab> {
        Machine::start(lab, name, ns, Path::new("/"), SLEEP)
    }

    /// Booted by systemd, to the end.
    pub fn boot(lab: &'lab Lab, debian: Debian) -> Machine<'lab> {
        let machine = Machine::start(lab, "machine", &lab.gateway, &debian.files(), SYSTEMD);
        wait_until("systemd has booted", || {
            let state = machine.run("systemctl is-system-running").stdout;
            ["running\n", "degraded\n"].contains(&state.as_str())
        });
        machine.sh("! systemctl list-units --failed --plain --no-legend | grep .");
        machine
    }

    fn start(
        lab: &'lab Lab,
        name: &str,
        ns: &'lab Netns,
        files: &Path,
        init: &str,
    ) -> Machine<'lab> {
        let dir = lab.scratch().join(name);
        fs::create_dir(&dir).expect("the machine's folder");
        let group = dir.display().to_string().trim_start_matches('/').replace('/', "-");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", LAY_OUT, "sh"]);
        command.arg(&dir).arg(files).arg(&group).arg(BEGIN).arg(lab.scratch()).arg(init);
        let running = ChildGuard::start(ns, &command);
        let children = format!("/proc/{0}/task/{0}/children", running.pid);
        let program = init.split(' ').next().unwrap_or_default();
        let mut found = None;
        wait_until("the machine has a process 1", || {
            let text = fs::read_to_string(&children).unwrap_or_default();
            found = text.trim().parse().ok();
            let name = found.map(|pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")));
            name.is_some_and(|name| name.is_ok_and(|name| program.ends_with(name.trim())))
        });
        let init = found.expect("its number");
        Machine { ns, init, group, running: Some(running) }
    }

    /// A script of the shell on the machine, as root types it. `/mnt` is the lab's own folder.
    pub fn run(&self, script: &str) -> Run {
        let mut command = self.ns.command("nsenter");
        // The root of process 1: in a chroot its path would be wrong.
        command.args(["-t", &self.init.to_string(), "-m", "-p", "-i", "-u", "-C", "--root"]);
        command.args([
            "env",
            "-i",
            "--chdir=/",
            PATH,
            "HOME=/root",
            "LC_ALL=C",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        command.args(["sh", "-ec", script]);
        Run::new(script.to_owned(), self.ns.output(command, ""))
    }

    /// The same; the test fails where a line of it fails. Returns its stdout.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let run = self.run(script);
        assert_eq!(run.status, 0, "{run}");
        run.stdout
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        drop(self.running.take());
        // The cgroup can be removed when its last process has ended.
        let script = "mount -t cgroup2 none /mnt\ncd /mnt\nfor i in 1 2 3 4 5 6 7 8 9 10; do
            find \"$1\" -depth -type d -exec rmdir {} + 2>/dev/null && exit; sleep 0.1; done";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
        let _ = command.arg(&self.group).stderr(Stdio::null()).status();
    }
}
