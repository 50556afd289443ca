//! A program that runs in a namespace until a value is dropped, and dies with the test however that
//! ends.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::Netns;

pub struct ChildGuard {
    pub pid: u32,
    stop: Option<UnixStream>,
    keeper: Option<JoinHandle<()>>,
}

impl ChildGuard {
    /// Starts `command` in the namespace.
    pub fn start(ns: &Netns, command: &Command) -> ChildGuard {
        let mut program = ns.command("setpriv");
        program.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            value.map(|value| program.env(name, value));
        }
        program.stdin(Stdio::null());
        let (stop, stopped) = UnixStream::pair().expect("a pair of sockets");
        let (sender, pid) = mpsc::channel();
        let inside = ns.file();
        // It dies with the thread that started it, so that thread waits.
        let keeper = thread::spawn(move || {
            super::netns::enter_for_good(&inside);
            let child = program.spawn().unwrap_or_else(|why| panic!("{program:?}: {why}"));
            sender.send(child.id()).expect("a receiver");
            keep(child, stopped);
        });
        ChildGuard {
            pid: pid.recv().expect("that it starts"),
            stop: Some(stop),
            keeper: Some(keeper),
        }
    }
}

impl Drop for ChildGuard {
    /// With SIGKILL, like a power cut.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn keep(mut program: Child, stopped: UnixStream) {
    let _ = BufReader::new(stopped).read_line(&mut String::new());
    let _ = program.kill();
    let _ = program.wait();
}
