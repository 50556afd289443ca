//! What probes count, and whom they take out.

use super::{Counters, Model, Out};

/// Unhealthy runs before a line is taken out, and healthy ones before it is put back: the defaults.
const DOWN: u32 = 2;
const UP: u32 = 3;

impl Model {
    /// Counters of another device or state start again.
    pub(super) fn count_anew(&mut self) {
        for line in self.lines.values_mut() {
            let of = (line.device, line.state().to_owned());
            if line.counters.of != of {
                line.counters = Counters { of, ..Counters::default() };
            }
        }
    }

    pub(super) fn probe(&mut self) {
        self.count_anew();
        let up_before: Vec<u8> =
            self.lines.iter().filter(|(_, line)| line.state() == "up").map(|(no, _)| *no).collect();
        let (mut leaving, mut back): (Vec<(u32, u8)>, Vec<u8>) = (vec![], vec![]);
        // Lines that are out, and that this run found unhealthy again.
        let mut staying_out = Vec::new();
        for (&no, line) in &mut self.lines {
            if line.state() == "down" || !line.is_usable() || !line.has_rule {
                continue;
            }
            let counters = &mut line.counters;
            if line.answers {
                (counters.healthy, counters.unhealthy) = (counters.healthy + 1, 0);
            } else {
                (counters.healthy, counters.unhealthy) = (0, counters.unhealthy + 1);
            }
            let counters = counters.clone();
            if line.state() == "up" && counters.unhealthy >= DOWN {
                leaving.push((counters.unhealthy, no));
            }
            if line.out == Some(Out::ByProbe) && counters.healthy >= UP {
                back.push(no);
            }
            if line.out == Some(Out::ByProbe) && counters.unhealthy > 0 {
                staying_out.push(no);
            }
        }
        // One line stays: of several, the one that became unhealthy last.
        let stays = up_before.iter().any(|no| !leaving.iter().any(|(_, other)| other == no));
        if back.is_empty() && !stays {
            let last = leaving.iter().min().copied();
            leaving.retain(|candidate| Some(*candidate) != last);
        }
        for no in back {
            self.line(no).out = None;
        }
        self.settle();
        let mut leaving: Vec<u8> = leaving.iter().map(|&(_, no)| no).chain(staying_out).collect();
        leaving.sort_unstable();
        for no in leaving {
            let is_another = self.in_service().any(|other| other != no);
            let line = self.line(no);
            if line.in_service && is_another {
                (line.in_service, line.out) = (false, Some(Out::ByProbe));
            }
        }
        self.finish();
    }
}
