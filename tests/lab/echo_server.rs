//! A server that answers every message with the address from which it came.
//!
//! One thread serves TCP (a line a message) and UDP (a datagram a message) on one port. It ends,
//! and its sockets with it, when the value is dropped.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::netns::Netns;
use super::wait_until;

pub struct EchoServer {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl EchoServer {
    pub fn start(ns: &Netns, at: impl Into<SocketAddr>) -> EchoServer {
        let at = at.into();
        let (listener, udp) = ns.enter(|| {
            let listener = when_free(at, || TcpListener::bind(at));
            let udp = when_free(at, || UdpSocket::bind(at));
            udp.set_nonblocking(true).expect("a socket that does not block");
            make_room(&udp);
            (listener, udp)
        });
        let (stop, stopped) = UnixStream::pair().expect("a pair of sockets");
        let thread = thread::spawn(move || serve(&listener, &udp, &stopped));
        EchoServer { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Binds a socket as soon as the address is free. A closed socket may stay open for a moment in a
/// process that another test starts, until that calls exec.
pub fn when_free<T>(at: SocketAddr, bind: impl Fn() -> io::Result<T>) -> T {
    let mut bound = None;
    wait_until(&format!("{at} is free"), || match bind() {
        Ok(socket) => {
            bound = Some(socket);
            true
        }
        Err(why) if why.kind() == ErrorKind::AddrInUse => false,
        Err(why) => panic!("{at}: {why}"),
    });
    bound.expect("a socket")
}

/// A buffer for some seconds of datagrams, so that a slow thread loses none.
pub fn make_room(socket: &UdpSocket) {
    setsockopt(socket, sockopt::RcvBufForce, &(8 << 20)).expect("room for datagrams");
}

struct Caller {
    stream: TcpStream,
    incomplete: Vec<u8>,
}

fn serve(listener: &TcpListener, udp: &UdpSocket, stopped: &UnixStream) {
    let mut callers: Vec<Caller> = Vec::new();
    loop {
        let fixed = [stopped.as_fd(), listener.as_fd(), udp.as_fd()];
        let mut waits: Vec<PollFd> = fixed
            .into_iter()
            .chain(callers.iter().map(|caller| caller.stream.as_fd()))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut waits, PollTimeout::NONE).expect("poll");
        let ready: Vec<bool> = waits.iter().map(|wait| wait.any() == Some(true)).collect();
        if ready[0] {
            return;
        }
        let mut of_caller = ready[fixed.len()..].iter();
        callers.retain_mut(|caller| of_caller.next() != Some(&true) || answer_line(caller));
        if ready[1] {
            callers.extend(accept(listener));
        }
        if ready[2] {
            answer_datagrams(udp);
        }
    }
}

/// `None` if the caller has closed the connection already.
fn accept(listener: &TcpListener) -> Option<Caller> {
    let (stream, _) = listener.accept().ok()?;
    let _ = stream.set_nodelay(true);
    Some(Caller { stream, incomplete: Vec::new() })
}

/// False when the caller has closed the connection.
fn answer_line(caller: &mut Caller) -> bool {
    let mut bytes = [0; 2048];
    let (Ok(count), Ok(peer)) = (caller.stream.read(&mut bytes), caller.stream.peer_addr()) else {
        return false;
    };
    caller.incomplete.extend(&bytes[..count]);
    while let Some(end) = caller.incomplete.iter().position(|&byte| byte == b'\n') {
        let line: Vec<u8> = caller.incomplete.drain(..=end).collect();
        let answer = [peer.ip().to_string().as_bytes(), b" ", &line].concat();
        if caller.stream.write_all(&answer).is_err() {
            return false;
        }
    }
    count > 0
}

fn answer_datagrams(udp: &UdpSocket) {
    let mut bytes = [0; 2048];
    while let Ok((count, peer)) = udp.recv_from(&mut bytes) {
        let answer = [peer.ip().to_string().as_bytes(), b" ", &bytes[..count]].concat();
        let _ = udp.send_to(&answer, peer);
    }
}
