//! The client side of a conversation: connect from one address, ask, and learn which address the
//! other side saw.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use nix::sys::time::TimeVal;

use super::netns::Netns;

/// How long an answer may take; it takes microseconds if the path works.
const PATIENCE: Duration = Duration::from_secs(5);

/// One address of a namespace, to speak from.
pub struct Speaker<'lab> {
    ns: &'lab Netns,
    from: Ipv4Addr,
    to: SocketAddrV4,
    patience: Duration,
    /// The device that the socket is bound to.
    device: Option<String>,
    /// `SO_MARK`.
    mark: u32,
}

impl<'lab> Speaker<'lab> {
    pub fn new(ns: &'lab Netns, from: Ipv4Addr, to: SocketAddrV4) -> Speaker<'lab> {
        Speaker { ns, from, to, patience: PATIENCE, device: None, mark: 0 }
    }

    /// Binds the socket to a device.
    pub fn by(self, device: &str) -> Speaker<'lab> {
        Speaker { device: Some(device.to_owned()), ..self }
    }

    /// Marks what the socket sends.
    pub fn marked(self, mark: u32) -> Speaker<'lab> {
        Speaker { mark, ..self }
    }

    fn prepare(&self, socket: &impl AsFd) -> nix::Result<()> {
        if let Some(device) = &self.device {
            socket::setsockopt(socket, sockopt::BindToDevice, &OsString::from(device))?;
        }
        if self.mark != 0 {
            socket::setsockopt(socket, sockopt::Mark, &self.mark)?;
        }
        Ok(())
    }

    /// Speaks to another server.
    pub fn to(self, to: SocketAddrV4) -> Speaker<'lab> {
        Speaker { to, ..self }
    }

    /// Gives up sooner, for tests that expect silence.
    pub fn patience(self, patience: Duration) -> Speaker<'lab> {
        Speaker { patience, ..self }
    }

    pub fn tcp(&self) -> Result<Conn, String> {
        let stream = self
            .ns
            .enter(|| connect(self.from, self.to, self.patience, |socket| self.prepare(socket)))
            .map_err(|why| format!("tcp {} to {}: {why}", self.from, self.to))?;
        let socket = Socket::Tcp(BufReader::new(stream));
        Ok(self.conn(socket))
    }

    pub fn udp(&self) -> Result<Conn, String> {
        let bind = || {
            let socket = UdpSocket::bind((self.from, fresh_port()))?;
            self.prepare(&socket)?;
            socket.connect(self.to)?;
            // Without this a UDP socket gets no error for an unreachable host or net.
            socket::setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
            Ok(socket)
        };
        let socket = self
            .ns
            .enter(bind)
            .map_err(|why: std::io::Error| format!("udp {} to {}: {why}", self.from, self.to))?;
        Ok(self.conn(Socket::Udp(socket)))
    }

    /// The address that the other side sees, over one new connection of each kind.
    pub fn seen(&self) -> Result<Ipv4Addr, String> {
        let by_tcp = self.tcp()?.ask()?;
        let by_udp = self.udp()?.ask()?;
        if by_tcp == by_udp {
            Ok(by_tcp)
        } else {
            Err(format!("{} is seen as {by_tcp} over TCP, {by_udp} over UDP", self.from))
        }
    }

    fn conn(&self, socket: Socket) -> Conn {
        let name = format!("{} to {}", self.from, self.to);
        Conn { socket, name, patience: self.patience, asked: 0 }
    }
}

/// A port that no earlier socket of the tests has used. For a port that the kernel picks, the gateway
/// may still track an earlier flow.
pub fn fresh_port() -> u16 {
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 40_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = |next: u16| Some((next + 1) % PORTS);
    let next = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).unwrap_or_default();
    FIRST + next
}

pub fn connect(
    from: Ipv4Addr,
    to: SocketAddrV4,
    patience: Duration,
    prepare: impl Fn(&OwnedFd) -> nix::Result<()>,
) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    prepare(&fd)?;
    let limit = TimeVal::new(patience.as_secs() as i64, patience.subsec_micros().into());
    socket::setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    let local = SockaddrIn::from(SocketAddrV4::new(from, fresh_port()));
    socket::bind(fd.as_raw_fd(), &local)?;
    socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(TcpStream::from(fd))
}

enum Socket {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

/// An open conversation; it can be asked again and again.
pub struct Conn {
    socket: Socket,
    name: String,
    patience: Duration,
    asked: u32,
}

impl Conn {
    /// The address that the other side sees, over this connection.
    pub fn ask(&mut self) -> Result<Ipv4Addr, String> {
        self.asked += 1;
        let question = self.asked.to_string();
        let deadline = Instant::now() + self.patience;
        loop {
            let left =
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let answer = match &mut self.socket {
                Socket::Tcp(stream) => over_tcp(stream, &question, left),
                Socket::Udp(socket) => over_udp(socket, &question, left),
            };
            let answer =
                answer.map_err(|why| format!("{}, question {question}: {why}", self.name))?;
            let Some((seen, asked)) = answer.trim().split_once(' ') else { continue };
            // Skips a late answer to an earlier question.
            if asked == question {
                return seen.parse().map_err(|why| format!("{seen}: {why}"));
            }
        }
    }
}

fn over_tcp(
    stream: &mut BufReader<TcpStream>,
    question: &str,
    patience: Duration,
) -> std::io::Result<String> {
    stream.get_ref().set_read_timeout(Some(patience))?;
    stream.get_mut().write_all(format!("{question}\n").as_bytes())?;
    let mut answer = String::new();
    match stream.read_line(&mut answer)? {
        0 => Err(std::io::Error::other("the other side closed")),
        _ => Ok(answer),
    }
}

fn over_udp(socket: &UdpSocket, question: &str, patience: Duration) -> std::io::Result<String> {
    socket.set_read_timeout(Some(patience))?;
    socket.send(question.as_bytes())?;
    let mut answer = [0; 256];
    let count = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}
