//! Traffic without pause: a question every few milliseconds over each flow, by a thread for each
//! flow. A [`Flow`] records what happens.
//!
//! At the end each thread stops asking, and then waits for the answers that are under way, so that
//! the last question does not count as lost.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::flow::{Answer, Flow, Kind};
use super::{FAR, Lab, Netns, echo_server, speaker, wait_until};

/// When the last question has been answered, no earlier answer is under way after this time.
const SILENCE: Duration = Duration::from_millis(700);
/// How long to wait for the answer to the last question: longer than the busiest machine needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for a connection: a test that starts traffic expects it to succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// So many further answers show that a flow continues.
const MORE: usize = 20;

/// Flows that ask until this value is dropped.
pub struct TrafficGen {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    flows: Vec<Mutex<Flow>>,
    /// The threads are to stop asking.
    is_over: AtomicBool,
    /// The threads need not wait for answers.
    is_dropped: AtomicBool,
}

impl Lab {
    /// From each of these clients a TCP connection and a UDP flow to the far server, with a question
    /// every ten milliseconds. Returns when each has been answered.
    #[track_caller]
    pub fn talk(&self, clients: &[Ipv4Addr]) -> TrafficGen {
        let both = |&client: &Ipv4Addr| [(client, Kind::Tcp), (client, Kind::Udp)];
        let flows: Vec<_> = clients.iter().flat_map(both).collect();
        TrafficGen::start(&self.clients, &flows, Duration::from_millis(10))
    }

    /// One UDP flow with a packet every millisecond.
    #[track_caller]
    pub fn talk_fast(&self, client: Ipv4Addr) -> TrafficGen {
        TrafficGen::start(&self.clients, &[(client, Kind::Udp)], Duration::from_millis(1))
    }
}

impl TrafficGen {
    #[track_caller]
    fn start(ns: &Netns, flows: &[(Ipv4Addr, Kind)], every: Duration) -> TrafficGen {
        let open = |&(client, kind)| {
            Socket::open(client, kind).unwrap_or_else(|why| panic!("{kind:?} of {client}: {why}"))
        };
        let sockets: Vec<Socket> = ns.enter(|| flows.iter().map(open).collect());
        let new = |&(client, kind)| Mutex::new(Flow::new(client, kind));
        let shared = Arc::new(Shared {
            flows: flows.iter().map(new).collect(),
            is_over: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
        });
        let spawn = |(at, socket)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || run(&socket, &shared, at, every))
        };
        let threads = sockets.into_iter().enumerate().map(spawn).collect();
        let traffic = TrafficGen { shared, threads };
        traffic.goes_on("from the start", |_| true);
        traffic
    }

    /// The flows so far.
    pub fn flows(&self) -> Vec<Flow> {
        (0..self.shared.flows.len()).map(|at| self.shared.flow(at).clone()).collect()
    }

    /// Waits until each of these flows has had a number of further answers.
    #[track_caller]
    pub fn goes_on(&self, when: &str, which: impl Fn(&Flow) -> bool) {
        let count = || -> Vec<usize> {
            self.flows().iter().filter(|flow| which(flow)).map(|flow| flow.answers.len()).collect()
        };
        let before = count();
        wait_until(&format!("the traffic goes on {when}"), || {
            count().iter().zip(&before).all(|(now, before)| *now >= before + MORE)
        });
    }

    /// Waits until each of these flows has ended, and returns why.
    #[track_caller]
    pub fn end_of(&self, when: &str, which: impl Fn(&Flow) -> bool) -> Vec<String> {
        let ends = || -> Vec<Option<String>> {
            self.flows().iter().filter(|flow| which(flow)).map(|flow| flow.ended.clone()).collect()
        };
        wait_until(&format!("the flows end {when}"), || ends().iter().all(Option::is_some));
        ends().into_iter().flatten().collect()
    }

    /// Stops it, and waits for the answers that are under way.
    pub fn stop(mut self) -> Vec<Flow> {
        self.end();
        self.flows()
    }

    /// Stops it: every flow has stayed on the uplink of its client's pool, and lost nothing.
    #[track_caller]
    pub fn assert_on_own_uplinks(self, lab: &Lab) {
        for flow in self.stop() {
            flow.assert_whole(lab.uplink_address(lab.pool_of(flow.client).expect("a pool")));
        }
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for TrafficGen {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Relaxed);
        self.end();
    }
}

impl Shared {
    fn flow(&self, at: usize) -> MutexGuard<'_, Flow> {
        self.flows[at].lock().expect("no panic while it was held")
    }
}

/// Asks and listens over one flow until it ends.
fn run(socket: &Socket, shared: &Shared, at: usize, every: Duration) {
    let (mut due, mut last_answer) = (Instant::now(), Instant::now());
    let mut incomplete = Vec::new();
    while !shared.is_dropped.load(Ordering::Relaxed) {
        let is_over = shared.is_over.load(Ordering::Relaxed);
        let mut flow = shared.flow(at);
        if !is_over && due <= Instant::now() {
            socket.ask(&mut flow);
            due = (due + every).max(Instant::now());
        }
        let answers = flow.answers.len();
        socket.listen(&mut incomplete, &mut flow);
        if flow.answers.len() > answers {
            last_answer = Instant::now();
        }
        let patience = if flow.has_last_answer() { SILENCE } else { PATIENCE };
        let is_waiting = flow.is_waiting() && last_answer.elapsed() < patience;
        if flow.ended.is_some() || is_over && !is_waiting {
            return;
        }
        drop(flow);
        let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let wait = PollTimeout::try_from(wait).expect("a short time");
        poll(&mut [PollFd::new(socket.fd(), PollFlags::POLLIN)], wait).expect("poll");
    }
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Socket {
    fn open(client: Ipv4Addr, kind: Kind) -> io::Result<Socket> {
        match kind {
            Kind::Tcp => {
                let stream = speaker::connect(client, FAR, CONNECT_TIMEOUT, |_| Ok(()))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(Socket::Tcp(stream))
            }
            Kind::Udp => {
                let socket = UdpSocket::bind((client, speaker::fresh_port()))?;
                socket.connect(FAR)?;
                socket.set_nonblocking(true)?;
                echo_server::make_room(&socket);
                Ok(Socket::Udp(socket))
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }

    fn ask(&self, flow: &mut Flow) {
        let question = flow.sent + 1;
        match self {
            Socket::Tcp(stream) => {
                let mut stream: &TcpStream = stream;
                match stream.write_all(format!("{question}\n").as_bytes()) {
                    Ok(()) => flow.sent = question,
                    Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                    Err(why) => flow.ended = Some(why.to_string()),
                }
            }
            Socket::Udp(socket) => {
                // An error about an earlier packet is not about this one, and a datagram that cannot
                // be sent is lost like any other.
                let _ = socket.take_error();
                let _ = socket.send(question.to_string().as_bytes());
                flow.sent = question;
            }
        }
    }

    /// Reads all there is. The start of an incomplete TCP answer stays in `incomplete`.
    fn listen(&self, incomplete: &mut Vec<u8>, flow: &mut Flow) {
        let mut bytes = [0; 2048];
        while flow.ended.is_none() {
            let count = match self {
                Socket::Tcp(stream) => {
                    let mut stream: &TcpStream = stream;
                    stream.read(&mut bytes)
                }
                Socket::Udp(socket) => socket.recv(&mut bytes),
            };
            match (count, flow.kind) {
                (Err(why), _) if why.kind() == ErrorKind::WouldBlock => return,
                (Err(why), Kind::Tcp) => flow.ended = Some(why.to_string()),
                (Ok(0), Kind::Tcp) => flow.ended = Some("the other side closed".to_owned()),
                (Err(_), Kind::Udp) => {}
                (Ok(count), Kind::Tcp) => incomplete.extend(&bytes[..count]),
                (Ok(count), Kind::Udp) => incomplete.extend([&bytes[..count], b"\n"].concat()),
            }
            while let Some(end) = incomplete.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = incomplete.drain(..=end).collect();
                flow.answers.push(parse(&line));
            }
        }
    }
}

fn parse(line: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(line);
    let (seen, question) = text.trim().split_once(' ').expect("an address and a question");
    let seen = seen.parse().expect("an address");
    Answer { question: question.parse().expect("a number"), seen, at: Instant::now() }
}
