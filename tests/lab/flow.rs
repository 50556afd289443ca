//! One flow of traffic without pause: what was lost, the longest gap, and the addresses that the far
//! server saw.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Tcp,
    Udp,
}

#[derive(Clone, Debug)]
pub struct Flow {
    pub client: Ipv4Addr,
    pub kind: Kind,
    /// The number of the last question; the first one is 1.
    pub sent: u32,
    pub answers: Vec<Answer>,
    /// Why the flow has ended.
    pub ended: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub question: u32,
    pub seen: Ipv4Addr,
    pub at: Instant,
}

impl Flow {
    pub fn new(client: Ipv4Addr, kind: Kind) -> Flow {
        Flow { client, kind, sent: 0, answers: vec![], ended: None }
    }

    /// The questions that were never answered.
    pub fn lost(&self) -> Vec<u32> {
        let mut answered: Vec<u32> = self.answers.iter().map(|answer| answer.question).collect();
        answered.sort_unstable();
        (1..=self.sent).filter(|question| answered.binary_search(question).is_err()).collect()
    }

    /// Whether an answer may still be under way.
    pub fn is_waiting(&self) -> bool {
        self.ended.is_none() && self.answers.len() < self.sent as usize
    }

    /// Whether the last question was answered.
    pub fn has_last_answer(&self) -> bool {
        self.answers.iter().any(|answer| answer.question == self.sent)
    }

    /// The addresses that the far server saw, in order.
    pub fn seen(&self) -> Vec<Ipv4Addr> {
        let mut seen: Vec<Ipv4Addr> = self.answers.iter().map(|answer| answer.seen).collect();
        seen.dedup();
        seen
    }

    /// The longest time without an answer.
    pub fn gap(&self) -> Duration {
        let gaps = self.answers.windows(2).map(|pair| pair[1].at - pair[0].at);
        gaps.max().unwrap_or_default()
    }

    /// It never ended, every question was answered, and the far server always saw this address.
    #[track_caller]
    pub fn assert_whole(&self, seen: Ipv4Addr) {
        assert!(self.ended.is_none() && self.sent > 0, "{self}");
        assert!(self.lost().is_empty(), "{self}");
        assert_eq!(self.seen(), [seen], "{self}");
    }

    /// It continued from another uplink's address.
    #[track_caller]
    pub fn assert_moved(&self, from: Ipv4Addr, to: &[Ipv4Addr]) {
        assert!(self.ended.is_none(), "{self}");
        match self.seen()[..] {
            [first, .., last] => assert!(first == from && to.contains(&last), "{self}"),
            _ => panic!("it did not move: {self}"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { client, kind, sent, .. } = self;
        let (lost, seen) = (self.lost(), self.seen());
        write!(f, "{kind:?} of {client}: {sent} questions, lost {lost:?}, seen as {seen:?}, ")?;
        write!(f, "gap {:?}, ended {:?}", self.gap(), self.ended)
    }
}
