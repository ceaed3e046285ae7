//! Sending on a schedule: each packet is sealed and stamped just before it is sent.

use super::engine::{Engine, PacedOptions, STALL_NS};
use super::line::Line;

/// Packets sent before the ports are polled again.
const BURST: u64 = 32;

/// A schedule that is this little late still ends as planned.
const GRACE_NS: u64 = 100_000_000;

/// How many packets may be on the way.
struct Window {
    limit: u64,
    /// Packets on the way that are taken for lost.
    given_up: u64,
    /// What was on the way when that last changed, and when it did, in nanoseconds of the run.
    before: u64,
    progress_ns: u64,
}

impl<L: Line> Engine<L> {
    /// Sends until both schedules are done, the time is up, or the run is stopped.
    pub(super) fn send_paced(&mut self, options: PacedOptions) {
        let PacedOptions { media, reports, limit_ns, in_flight } = options;
        let start_ns = self.clock.now_ns();
        let mut window = Window { limit: in_flight, given_up: 0, before: 0, progress_ns: start_ns };
        let (mut sent, mut reported) = (0, 0);
        let reports_total = reports.map_or(0, |pacer| pacer.total());
        let mut elapsed_ns = 0;
        while !self.control.is_stopped()
            && (sent < media.total() || reported < reports_total)
            && elapsed_ns <= limit_ns.saturating_add(GRACE_NS)
        {
            elapsed_ns = self.clock.now_ns() - start_ns;
            let due = media.due(elapsed_ns);
            if sent < due {
                self.stats.lag_max_ns.raise_to(elapsed_ns.saturating_sub(media.due_at(sent)));
                let room = window.room(self.stats.outstanding(), start_ns + elapsed_ns);
                sent = self.send_burst(sent, due.min(sent + BURST.min(room)));
            }
            if let Some(pacer) = &reports {
                let due = pacer.due(elapsed_ns);
                reported = self.report_burst(reported, due.min(reported + BURST));
            }
            self.flush();
            self.poll();
        }
        let elapsed_ns = self.clock.now_ns() - start_ns;
        self.stats.on_clock_ns.add(elapsed_ns);
        self.stats.unsent.add(media.due(elapsed_ns.min(limit_ns)).saturating_sub(sent));
    }

    /// Sends packets `from..to` of the run as far as the ports have room; returns the next one.
    #[inline]
    fn send_burst(&mut self, from: u64, to: u64) -> u64 {
        let streams = self.traffic.streams() as u64;
        for number in from..to {
            let stream = (number % streams) as usize;
            if !self.has_room(stream) {
                return number;
            }
            let line = &mut self.lines[self.traffic.tx_port(stream)];
            self.traffic.send_next(stream, line);
        }
        to
    }

    /// The same for reports.
    fn report_burst(&mut self, from: u64, to: u64) -> u64 {
        let streams = self.traffic.streams() as u64;
        for number in from..to {
            let stream = (number % streams) as usize;
            if !self.has_room(stream) {
                return number;
            }
            if let Some(reports) = &mut self.reports {
                let line = &mut self.lines[self.traffic.tx_port(stream)];
                reports.send_next(stream, self.traffic.sent_of(stream), line);
            }
        }
        to
    }
}

impl Window {
    /// How many more packets may go on the way, when `outstanding` have not come so far.
    #[inline]
    fn room(&mut self, outstanding: u64, now_ns: u64) -> u64 {
        self.given_up = self.given_up.min(outstanding);
        let room = self.limit.saturating_sub(outstanding - self.given_up);
        if room > 0 || outstanding != self.before {
            (self.before, self.progress_ns) = (outstanding, now_ns);
        } else if now_ns - self.progress_ns > STALL_NS {
            // They are lost, or as good as lost: the run goes on without them.
            self.given_up = outstanding;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_opens_and_gives_up() {
        let mut window = Window { limit: 10, given_up: 0, before: 0, progress_ns: 0 };
        assert_eq!(window.room(0, 0), 10);
        assert_eq!(window.room(7, 1), 3);
        assert_eq!(window.room(12, 2), 0);
        assert_eq!(window.room(11, STALL_NS), 0, "one came: no stall");
        assert_eq!(window.room(11, 2 * STALL_NS), 0);
        assert_eq!(window.room(11, 2 * STALL_NS + 1), 0, "given up from now on");
        assert_eq!(window.room(11, 2 * STALL_NS + 2), 10);
        assert_eq!(window.room(15, 2 * STALL_NS + 3), 6);
        // What was given up came after all: it does not make room twice.
        assert_eq!(window.room(4, 2 * STALL_NS + 4), 10);
        assert_eq!(window.room(9, 2 * STALL_NS + 5), 5);
    }
}
