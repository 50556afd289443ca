//! Traffic without pause: a question every few milliseconds over each flow. One thread asks, another
//! one listens, and a [`Flow`] records what happens.
//!
//! At the end the asker stops first, and then the listener waits for the answers that are under way,
//! so that the last question does not count as lost.

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
/// How often the listener checks whether it is to stop.
const LOOK_UP: Duration = Duration::from_millis(20);
/// So many further answers show that a flow continues.
const MORE: usize = 20;

/// Flows that ask until this value is dropped.
pub struct TrafficGen {
    shared: Arc<Shared>,
    asker: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    /// One a flow, in the same order.
    sockets: Vec<Socket>,
    flows: Mutex<Vec<Flow>>,
    /// The asker is to stop.
    asking_is_over: AtomicBool,
    /// The asker has stopped.
    all_is_asked: AtomicBool,
    /// The listener need not wait.
    is_dropped: AtomicBool,
}

impl Lab {
    /// From each of these clients a TCP connection and a UDP flow to the far server, a question
    /// every ten milliseconds over each. Returns when each has been answered.
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
        let shared = Arc::new(Shared {
            sockets: ns.enter(|| flows.iter().map(open).collect()),
            flows: Mutex::new(
                flows.iter().map(|&(client, kind)| Flow::new(client, kind)).collect(),
            ),
            asking_is_over: AtomicBool::new(false),
            all_is_asked: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
        });
        let (asking, listening) = (Arc::clone(&shared), Arc::clone(&shared));
        let asker = Some(thread::spawn(move || ask(&asking, every)));
        let listener = Some(thread::spawn(move || listen(&listening)));
        let talk = TrafficGen { shared, asker, listener };
        talk.goes_on("from the start", |_| true);
        talk
    }

    /// The flows so far.
    pub fn flows(&self) -> Vec<Flow> {
        self.shared.flows().clone()
    }

    /// Waits until each of these flows has had a number of further answers.
    #[track_caller]
    pub fn goes_on(&self, when: &str, which: impl Fn(&Flow) -> bool) {
        let count = || -> Vec<usize> {
            let flows = self.shared.flows();
            flows.iter().filter(|flow| which(flow)).map(|flow| flow.answers.len()).collect()
        };
        let before = count();
        wait_until(&format!("the talk goes on {when}"), || {
            count().iter().zip(&before).all(|(now, before)| *now >= before + MORE)
        });
    }

    /// Waits until each of these flows has ended, and returns why.
    #[track_caller]
    pub fn end_of(&self, when: &str, which: impl Fn(&Flow) -> bool) -> Vec<String> {
        let ends = || -> Vec<Option<String>> {
            let flows = self.shared.flows();
            flows.iter().filter(|flow| which(flow)).map(|flow| flow.ended.clone()).collect()
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
        self.shared.asking_is_over.store(true, Ordering::Relaxed);
        join(self.asker.take());
        self.shared.all_is_asked.store(true, Ordering::Relaxed);
        join(self.listener.take());
    }
}

impl Drop for TrafficGen {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Relaxed);
        self.end();
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        let _ = thread.join();
    }
}

impl Shared {
    fn flows(&self) -> MutexGuard<'_, Vec<Flow>> {
        self.flows.lock().expect("no panic while it was held")
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
                let stream = speaker::connect(client, FAR, speaker::PATIENCE)?;
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
        let asked = match self {
            Socket::Tcp(stream) => {
                let mut stream: &TcpStream = stream;
                stream.write_all(format!("{question}\n").as_bytes())
            }
            Socket::Udp(socket) => {
                // An error about an earlier packet is not about this one.
                let _ = socket.take_error();
                socket.send(question.to_string().as_bytes()).map(drop)
            }
        };
        match (asked, flow.kind) {
            (Err(why), Kind::Tcp) if why.kind() == ErrorKind::WouldBlock => {}
            (Err(why), Kind::Tcp) => flow.ended = Some(why.to_string()),
            // A datagram that could not be sent is lost like any other.
            _ => flow.sent = question,
        }
    }

    /// Reads all there is. The start of an incomplete TCP answer stays in `heard`.
    fn listen(&self, heard: &mut Vec<u8>, flow: &mut Flow) {
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
                (Ok(count), Kind::Tcp) => heard.extend(&bytes[..count]),
                (Ok(count), Kind::Udp) => heard.extend([&bytes[..count], b"\n"].concat()),
            }
            while let Some(end) = heard.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = heard.drain(..=end).collect();
                flow.answers.push(parse(&line));
            }
        }
    }
}

fn parse(line: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(line);
    let (seen, question) = text.trim().split_once(' ').expect("who was seen, and the question");
    let seen = seen.parse().expect("an address");
    Answer { question: question.parse().expect("a number"), seen, at: Instant::now() }
}

fn ask(shared: &Shared, every: Duration) {
    let mut due = Instant::now();
    while !shared.asking_is_over.load(Ordering::Relaxed) {
        for (socket, flow) in shared.sockets.iter().zip(shared.flows().iter_mut()) {
            if flow.ended.is_none() {
                socket.ask(flow);
            }
        }
        due = (due + every).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn listen(shared: &Shared) {
    let mut heard = vec![Vec::new(); shared.sockets.len()];
    let mut last_heard = Instant::now();
    while !shared.is_dropped.load(Ordering::Relaxed) {
        // Read this first: a question that is asked later cannot be missed then.
        let all_is_asked = shared.all_is_asked.load(Ordering::Relaxed);
        if wait_for_answers(shared) {
            last_heard = Instant::now();
        }
        let mut flows = shared.flows();
        for ((socket, flow), heard) in shared.sockets.iter().zip(flows.iter_mut()).zip(&mut heard) {
            socket.listen(heard, flow);
        }
        let silence = last_heard.elapsed();
        let may_hear_more = |flow: &Flow| {
            let patience = if flow.has_last_answer() { SILENCE } else { PATIENCE };
            flow.is_waiting() && silence < patience
        };
        if all_is_asked && !flows.iter().any(may_hear_more) {
            return;
        }
    }
}

/// Whether any answer came in time.
fn wait_for_answers(shared: &Shared) -> bool {
    let is_open: Vec<bool> = shared.flows().iter().map(|flow| flow.ended.is_none()).collect();
    let open = shared.sockets.iter().zip(is_open).filter(|(_, is_open)| *is_open);
    let mut waits: Vec<PollFd> =
        open.map(|(socket, _)| PollFd::new(socket.fd(), PollFlags::POLLIN)).collect();
    let wait = PollTimeout::try_from(LOOK_UP).expect("a short time");
    poll(&mut waits, wait).expect("poll") > 0
}
