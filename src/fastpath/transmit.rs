//! Stage 7: sealed frames into the port, retried a bounded number of times, counted either way.
//!
//! A [`Transmitter`] owns the queue and takes nothing but sealed frames and what the host side originated.

use arrayvec::ArrayVec;

use super::faults::{self, Point};
use super::{BURST, DropReason, Frame, Sealed};
use crate::dpdk::{self, Mbuf, TxQueue};
use crate::telemetry::QueueCounters;

/// How often a burst is offered to a port that does not take all of it.
pub const TX_ATTEMPTS: u32 = 4;

/// The way out of one port for one worker.
pub struct Transmitter {
    queue: TxQueue,
    frames: ArrayVec<Mbuf, BURST>,
    /// When the frames in `frames` were received: each time with the number of frames in a row that share it. Those of
    /// one RX burst do.
    received: ArrayVec<(u64, u32), BURST>,
    /// Bytes of all frames in `frames`.
    bytes: u64,
    /// Whether frames are taken and not sent.
    is_muted: bool,
}

impl Transmitter {
    /// Takes the queue over.
    pub fn new(queue: TxQueue) -> Self {
        Transmitter { queue, frames: ArrayVec::new(), received: ArrayVec::new(), bytes: 0, is_muted: false }
    }

    /// Queues a sealed frame; [`Transmitter::flush`] sends it. `arrival` are the counters of the queue on which
    /// its packet arrived.
    #[inline]
    pub fn push(&mut self, frame: Frame<Mbuf, Sealed>, arrival: &QueueCounters) {
        faults::at(Point::Transmit);
        if self.frames.is_full() {
            self.flush(arrival);
        }
        let (buffer, rx_cycles) = frame.into_wire();
        self.bytes += buffer.len() as u64;
        self.frames.push(buffer);
        match self.received.last_mut() {
            Some((time, count)) if *time == rx_cycles => *count += 1,
            _ => self.received.push((rx_cycles, 1)),
        }
    }

    /// Frames that wait for [`Transmitter::flush`].
    #[inline]
    pub fn pending(&self) -> usize {
        self.frames.len()
    }

    /// Sends what is queued. What the port does not take in [`TX_ATTEMPTS`] offers is dropped and counted.
    #[inline]
    pub fn flush(&mut self, arrival: &QueueCounters) {
        if self.frames.is_empty() {
            return;
        }
        faults::at(Point::Flush);
        let mut sent = 0;
        for attempt in 0..TX_ATTEMPTS {
            if self.is_muted {
                // The port is not touched: it may not have started.
                sent += self.frames.drain(..).count();
            } else if !faults::refuses_to_send() {
                sent += self.queue.tx_burst(&mut self.frames);
            }
            if attempt > 0 {
                arrival.tx_retries.add(1);
            }
            if self.frames.is_empty() {
                break;
            }
        }
        let now = dpdk::cycles();
        if let Some(&(rx_cycles, _)) = self.received.first()
            && sent > 0
            && arrival.first_latency.value() == 0
        {
            arrival.first_latency.raise_to(now.saturating_sub(rx_cycles).max(1));
        }
        let mut left = sent as u64;
        for &(rx_cycles, count) in &self.received {
            let count = left.min(count.into());
            arrival.latency.record_n(now.saturating_sub(rx_cycles), count);
            left -= count;
        }
        let unsent: u64 = self.frames.iter().map(|frame| frame.len() as u64).sum();
        arrival.tx_bursts.add(1);
        arrival.tx_packets.add(sent as u64);
        arrival.tx_bytes.add(self.bytes - unsent);
        if !self.frames.is_empty() {
            arrival.count_dropped(DropReason::TxFull, self.frames.len() as u64);
            self.frames.clear();
        }
        self.received.clear();
        self.bytes = 0;
    }

    /// Whether frames are taken and counted as usual, but never reach the port: for the warm-up.
    pub fn mute(&mut self, is_muted: bool) {
        self.is_muted = is_muted;
    }

    /// Gives up what is queued, after a panic in the middle of it. Whoever counts finds the frames missing.
    #[cold]
    pub fn abandon(&mut self) {
        self.frames.clear();
        self.received.clear();
        self.bytes = 0;
    }

    /// Has the port give back the buffers of frames that have left. For the end of a run.
    pub fn reap(&mut self) {
        self.queue.reap();
    }

    /// Sends one frame that the host side made: ARP, neighbour discovery, ICMP.
    pub fn originate(&mut self, frame: Mbuf, counters: &QueueCounters) {
        self.flush(counters);
        self.frames.push(frame);
        let taken = self.queue.tx_burst(&mut self.frames);
        counters.originated_packets.add(taken as u64);
        counters.originated_dropped.add(self.frames.len() as u64);
        self.frames.clear();
    }
}
