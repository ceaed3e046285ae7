//! Sending on a schedule: each packet is sealed and stamped just before it is sent.

use super::engine::Engine;
use super::line::Line;
use super::pace::Pacer;

/// Packets sent before the ports are polled again.
const BURST: u64 = 32;

impl<L: Line> Engine<L> {
    /// Sends `media` and `reports` until both schedules are done or the run is stopped.
    pub(super) fn send_paced(&mut self, media: Pacer, reports: Option<Pacer>) {
        let start_ns = self.clock.now_ns();
        let (mut sent, mut reported) = (0, 0);
        let reports_total = reports.map_or(0, |pacer| pacer.total());
        while !self.control.is_stopped() && (sent < media.total() || reported < reports_total) {
            let elapsed_ns = self.clock.now_ns() - start_ns;
            let due = media.due(elapsed_ns);
            if sent < due {
                self.stats
                    .lag_max_ns
                    .raise_to(elapsed_ns.saturating_sub(media.due_at(sent)));
                sent = self.send_burst(sent, due.min(sent + BURST));
            }
            if let Some(pacer) = &reports {
                let due = pacer.due(elapsed_ns);
                reported = self.report_burst(reported, due.min(reported + BURST));
            }
            self.flush();
            self.poll();
        }
        self.stats.on_clock_ns.add(self.clock.now_ns() - start_ns);
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
