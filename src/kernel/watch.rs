//! Whether something changed while it was read, for listings of which the kernel does not say so
//! itself (`NLM_F_DUMP_INTR`): it tells each change to whoever subscribes.

use std::io::ErrorKind;

use anyhow::{Context, Result};
use rtnetlink::sys::{Socket, SocketAddr};

use super::netlink::ROUTE;

/// `RTMGRP_IPV4_RULE` of `linux/rtnetlink.h`.
pub const IPV4_RULES: u32 = 0x80;

/// A subscription, from when it is opened.
pub struct Watch(Socket);

impl Watch {
    pub fn open(group: u32) -> Result<Self> {
        subscribe(group).map(Self).context("subscribing to changes")
    }

    /// Anything told, or lost on its way (ENOBUFS), is a change.
    pub fn has_seen_change(&self) -> bool {
        let mut byte = [0; 1];
        let told = self.0.recv(&mut &mut byte[..], 0);
        !matches!(told, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

fn subscribe(group: u32) -> std::io::Result<Socket> {
    let mut socket = Socket::new(ROUTE)?;
    socket.bind(&SocketAddr::new(0, group))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}
