//! A netlink socket that remembers why it failed. `rtnetlink::proto` ends a connection whose socket
//! fails, and keeps the reason to itself.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::BufMut;
use rtnetlink::sys::{AsyncSocket, Socket, SocketAddr, TokioSocket};

use crate::kernel::error::KernelError;

/// `ENOBUFS` of `asm-generic/errno.h`.
const ENOBUFS: i32 = 105;

pub struct Remembering {
    socket: TokioSocket,
    fault: Fault,
}

/// Why a socket failed, once it has.
#[derive(Clone, Default)]
pub struct Fault(Arc<OnceLock<i32>>);

impl Fault {
    pub fn get(&self) -> Option<KernelError> {
        self.0.get().copied().map(KernelError::of_errno)
    }

    /// Remembers an error, and passes it on. Lost answers (`ENOBUFS`) are an end too: the protocol
    /// above would wait for them for ever.
    fn note<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| match error.raw_os_error() {
            Some(errno) => {
                self.0.get_or_init(|| errno);
                if errno == ENOBUFS { Error::other(error) } else { error }
            }
            None => error,
        })
    }
}

impl Remembering {
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    fn ready<T>(&self, mut poll: impl FnMut() -> Poll<Result<T>>) -> Poll<Result<T>> {
        loop {
            match poll() {
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                polled => return polled.map(|done| self.fault.note(done)),
            }
        }
    }
}

impl AsyncSocket for Remembering {
    fn socket_ref(&self) -> &Socket {
        self.socket.socket_ref()
    }

    fn socket_mut(&mut self) -> &mut Socket {
        self.socket.socket_mut()
    }

    fn new(protocol: isize) -> Result<Self> {
        Ok(Self { socket: TokioSocket::new(protocol)?, fault: Fault::default() })
    }

    fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.ready(|| self.socket.poll_send(cx, bytes))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: &SocketAddr,
    ) -> Poll<Result<usize>> {
        self.ready(|| self.socket.poll_send_to(cx, bytes, to))
    }

    fn poll_recv<B: BufMut>(&self, cx: &mut Context<'_>, buffer: &mut B) -> Poll<Result<()>> {
        self.ready(|| self.socket.poll_recv(cx, buffer))
    }

    fn poll_recv_from<B: BufMut>(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut B,
    ) -> Poll<Result<SocketAddr>> {
        self.ready(|| self.socket.poll_recv_from(cx, buffer))
    }

    fn poll_recv_from_full(&self, cx: &mut Context<'_>) -> Poll<Result<(Vec<u8>, SocketAddr)>> {
        self.ready(|| self.socket.poll_recv_from_full(cx))
    }
}
