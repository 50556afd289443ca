//! When a target is asked, and for how long its answers count. Pure: the caller says what time it is.
//!
//! A busy uplink must not look unhealthy. So a target that is silent is asked again at each quarter of
//! the timeout, and an answer counts until the timeout ends. At 30 % loss in each direction a healthy
//! uplink with one target is silent in one run of 3000, and in two runs in a row in one of ten million.

use std::time::{Duration, Instant};

/// How many times a silent target is asked, at equal intervals.
const ROUNDS: u32 = 4;

pub struct Schedule {
    timeout: Duration,
    /// When the first round began. The timeout is counted from then.
    start: Option<Instant>,
    /// How many rounds have begun.
    rounds: u32,
}

impl Schedule {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, start: None, rounds: 0 }
    }

    /// Whether the target is to be asked now. After the deadline it is not asked again.
    pub fn is_due(&self, now: Instant, is_silent: bool) -> bool {
        let Some(start) = self.start else { return true };
        let is_time = now >= self.next_round(start) && now < start + self.timeout;
        is_time && self.asks_again(is_silent)
    }

    pub fn begin_round(&mut self, now: Instant) {
        self.start.get_or_insert(now);
        self.rounds += 1;
    }

    /// When the target needs attention again, even if no answer arrives.
    pub fn wake_at(&self, now: Instant, is_silent: bool) -> Instant {
        match self.start {
            None => now,
            Some(start) if self.asks_again(is_silent) => self.next_round(start),
            Some(start) => start + self.timeout,
        }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.start.is_some_and(|start| now >= start + self.timeout)
    }

    fn asks_again(&self, is_silent: bool) -> bool {
        is_silent && self.rounds < ROUNDS
    }

    fn next_round(&self, start: Instant) -> Instant {
        start + self.timeout * self.rounds / ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The milliseconds, of the first 50, at which a target with a timeout of 40 ms is asked.
    fn asked_at(is_silent: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::from_millis(40));
        let mut asked = Vec::new();
        for ms in 0..50 {
            let now = start + Duration::from_millis(ms);
            if schedule.is_due(now, is_silent) {
                schedule.begin_round(now);
                asked.push(ms);
            }
        }
        asked
    }

    #[test]
    fn a_silent_target_is_asked_four_times_and_one_that_answers_once() {
        assert_eq!(asked_at(true), [0, 10, 20, 30]);
        assert_eq!(asked_at(false), [0]);
    }

    #[test]
    fn the_loop_wakes_for_the_next_round_or_for_the_deadline() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(Duration::from_millis(40));
        assert_eq!(schedule.wake_at(start, true), start);
        schedule.begin_round(start);
        assert_eq!(schedule.wake_at(after(4), true), after(10));
        assert_eq!(schedule.wake_at(after(4), false), after(40));
        for _ in 0..3 {
            schedule.begin_round(after(30));
        }
        assert_eq!(schedule.wake_at(after(31), true), after(40));
    }

    #[test]
    fn after_the_deadline_a_silent_target_is_not_asked_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::from_millis(40));
        schedule.begin_round(start);
        let late = start + Duration::from_millis(40);
        assert!(!schedule.is_due(late, true));
        assert!(schedule.is_over(late));
    }

    #[test]
    fn the_timeout_begins_when_the_target_is_first_asked() {
        let schedule = Schedule::new(Duration::from_millis(40));
        let late = Instant::now() + Duration::from_secs(1);
        assert!(schedule.is_due(late, true));
        assert!(!schedule.is_over(late));
    }
}
