//! Detects that routing rules changed while they were listed. The kernel does not mark such a dump
//! as interrupted (`NLM_F_DUMP_INTR`), but it notifies subscribers of each change.

use std::io::{self, ErrorKind};

use rtnetlink::sys::{Socket, SocketAddr};

use super::ROUTE;
use crate::model::Family;

/// `RTMGRP_IPV4_RULE` and the bit of `RTNLGRP_IPV6_RULE` of `linux/rtnetlink.h`.
const IPV4_RULES: u32 = 0x80;
const IPV6_RULES: u32 = 1 << 18;

/// A subscription to the changes that are made after it was opened.
pub struct RuleWatch(Socket);

impl RuleWatch {
    pub fn open(family: Family) -> io::Result<Self> {
        let group = match family {
            Family::Inet => IPV4_RULES,
            Family::Inet6 => IPV6_RULES,
        };
        let mut socket = Socket::new(ROUTE)?;
        socket.bind(&SocketAddr::new(0, group))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// An error such as ENOBUFS, a lost notification, means a change too.
    pub fn has_seen_change(&self) -> bool {
        let mut byte = [0; 1];
        let received = self.0.recv(&mut &mut byte[..], 0);
        !matches!(received, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
