//! What a run counts. Written by the one lcore that sends and receives, read by the thread that prints
//! progress and the report.

use voxlane::telemetry::{Counter, Histogram};

use super::impair::Kind;

/// Packets that take longer than this are `late`: a usual jitter buffer has given them up.
pub const LATE_NS: u64 = 200_000_000;

/// The counters of a run. Media counts leave out warm-up packets and impaired copies.
#[derive(Debug, Default)]
pub struct Stats {
    /// Valid packets handed to a port.
    pub sent: Counter,
    /// Packets impaired on purpose, by [`Kind::index`].
    pub impaired: [Counter; Kind::ALL.len()],
    /// SRTCP compound packets handed to a port.
    pub rtcp_sent: Counter,
    /// Packets that could not be sealed or had no room: a mistake of ours.
    pub not_built: Counter,
    /// Packets that were due when the time was up or the run was stopped, and were not sent.
    pub unsent: Counter,
    /// Frames still waiting for a port when the run ended.
    pub not_taken: Counter,
    /// The furthest that sending was behind its schedule, in nanoseconds.
    pub lag_max_ns: Counter,
    /// Time with the clock running, in nanoseconds.
    pub on_clock_ns: Counter,
    /// Part of it in which a flood could send no more before something came back, in nanoseconds.
    pub waiting_ns: Counter,
    /// Packets sent before the clock counted.
    pub settled: Counter,
    /// Frames that a port did not take when a flood's rate had them due.
    pub refused: Counter,
    /// Times that the in-flight window stayed full and what was out was given up.
    pub stalls: Counter,
    /// Valid packets that came, each counted once.
    pub received: Counter,
    /// Further copies of packets that had come.
    pub duplicated: Counter,
    /// Packets overtaken on the way.
    pub reordered: Counter,
    /// Packets that came after later ones because the sender held them back.
    pub reordered_on_purpose: Counter,
    /// Packets that took longer than [`LATE_NS`].
    pub late: Counter,
    /// Packets whose tag did not verify, or that were not encrypted where they must be.
    pub auth_failed: Counter,
    /// Packets whose payload is not what was sent.
    pub corrupted: Counter,
    /// Packets whose IP or UDP checksum is wrong.
    pub bad_checksum: Counter,
    /// Packets whose RTP header is not what was sent.
    pub header_changed: Counter,
    /// Packets that the gateway had to refuse but relayed.
    pub leaked: Counter,
    /// Frames that belong to no stream.
    pub unexpected: Counter,
    /// SRTCP compound packets that came as they were sent, each counted once.
    pub rtcp_received: Counter,
    /// Further copies of them.
    pub rtcp_duplicated: Counter,
    /// SRTCP packets that did not authenticate or are not what was sent.
    pub rtcp_failed: Counter,
    /// Warm-up packets sent.
    pub warm_up_sent: Counter,
    /// Warm-up packets that came.
    pub warm_up_received: Counter,
    /// From sealing to reception, in nanoseconds.
    pub latency: Histogram,
}

impl Stats {
    /// Nothing counted.
    pub fn new() -> Self {
        Stats::default()
    }

    /// Valid packets that were sent and have not come.
    pub fn outstanding(&self) -> u64 {
        self.sent.value().saturating_sub(self.received.value())
    }

    /// SRTCP packets that were sent and have not come.
    pub fn rtcp_outstanding(&self) -> u64 {
        self.rtcp_sent.value().saturating_sub(self.rtcp_received.value())
    }
}
