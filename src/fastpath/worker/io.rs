//! Where the frames of a worker's pipeline go: to its ports, to control, to other workers, to the media tap. And how a
//! panic in the stages is noted.

use std::sync::Arc;

use super::shared::{LearnEvent, Punt, WorkerShared};
use crate::dpdk::{self, Mbuf};
use crate::fastpath::frame::{Authenticated, Matched, Sealed};
use crate::fastpath::handover::Outbox;
use crate::fastpath::pipeline::Sink;
use crate::fastpath::{Frame, Transmitter};
use crate::session::Blamed;
use crate::tap::{TapTag, TapWriter};
use crate::telemetry::{EventKind, QueueCounters, Stage, StageClock};

/// The sink of the worker's pipeline.
pub(super) struct Io {
    pub(super) shared: Arc<WorkerShared>,
    /// Frames of other workers' streams.
    pub(super) outbox: Outbox<Frame<Mbuf, Matched>>,
    /// By port index.
    pub(super) transmitters: Vec<Transmitter>,
    /// Counters of the queue whose burst is in the stages.
    pub(super) arrival: Arc<QueueCounters>,
    pub(super) clock: StageClock,
    pub(super) tap: Option<TapWriter>,
}

impl Io {
    /// Counts a panic that was caught and tells control of it.
    #[cold]
    pub(super) fn note_panic(&mut self, blamed: Blamed, lost: u64) {
        let WorkerShared { counters, flight, quarantined, .. } = &*self.shared;
        counters.panics.add(1);
        let now = dpdk::cycles();
        let stream = match blamed {
            Blamed::Stream(id) => u64::from(id.0),
            Blamed::Nobody | Blamed::Batch(_) => u64::MAX,
        };
        flight.record(now, EventKind::PanicCaught, lost, stream);
        if let Blamed::Stream(id) = blamed {
            counters.quarantined_streams.add(1);
            flight.record(now, EventKind::StreamQuarantined, stream, counters.panics.value());
            // There is room for as many as there can be panics.
            let _ = quarantined.push(id);
        }
    }
}

impl Sink<Mbuf> for Io {
    #[inline]
    fn punt(&mut self, port: u8, buffer: Mbuf) -> bool {
        self.shared.punts.push(Punt { port, frame: buffer }).is_ok()
    }

    #[inline]
    fn hand_over(&mut self, worker: u16, port: u8, frame: Frame<Mbuf, Matched>) -> bool {
        self.outbox.push(worker, port, frame)
    }

    #[inline]
    fn transmit(&mut self, frame: Frame<Mbuf, Sealed>) {
        // Templates are built for existing ports only; a frame for none would show up in the balance.
        if let Some(transmitter) = self.transmitters.get_mut(usize::from(frame.port())) {
            transmitter.push(frame, &self.arrival);
        }
    }

    #[inline]
    fn learned(&mut self, sender: &Authenticated, generation: u32) {
        let Authenticated { stream, source, is_rtcp } = *sender;
        let event = LearnEvent { stream, generation, source, is_rtcp };
        // A full queue costs nothing: the stream's next packet reports again.
        let _ = self.shared.learned.push(event);
    }

    #[inline]
    fn tap(&mut self, tag: TapTag, is_rtcp: bool, rx_cycles: u64, packet: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.record(tag, is_rtcp, rx_cycles, packet);
        }
    }

    #[inline(always)]
    fn enter(&mut self, stage: Stage, frames: usize) {
        self.clock.enter(stage, frames);
    }
}
