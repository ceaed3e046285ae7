//! The one list of metric families: name, type, labels and help.
//!
//! [`export`](super::export) takes names, label names and help texts from here and from nowhere else, and
//! `docs/metrics.md` is rendered from it ([`docs`](super::docs)), so page and documentation cannot disagree.
//! Names follow the Prometheus conventions, which `promtool check metrics` checks: base units, `_total` on
//! counters, no reserved label.

/// The Prometheus type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative `_bucket{le}`, `_sum` and `_count`.
    Histogram,
}

impl FamilyKind {
    /// The word in a `# TYPE` line.
    pub const fn label(self) -> &'static str {
        match self {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        }
    }
}

/// One metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Full metric name with its unit.
    pub name: &'static str,
    /// Prometheus type.
    pub kind: FamilyKind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One sentence for the operator; the `# HELP` line and the row in the docs.
    pub help: &'static str,
}

macro_rules! families {
    ($( $constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal; )+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $constant: Family =
                Family { name: $name, kind: FamilyKind::$kind, labels: &[$($label),*], help: $help };
        )+

        /// Every family that the page may show, in the order of the documentation.
        pub const ALL: &[Family] = &[ $( $constant, )+ ];
    };
}

families! {
    RX_PACKETS: Counter "voxlane_rx_packets_total" ["port", "queue", "worker"]
        "Frames that the port delivered to the queue.";
    RX_BYTES: Counter "voxlane_rx_bytes_total" ["port", "queue", "worker"]
        "Bytes of the received frames, without the FCS.";
    RX_BURSTS: Counter "voxlane_rx_bursts_total" ["port", "queue", "worker"]
        "Polls that returned at least one frame.";
    EMPTY_POLLS: Counter "voxlane_empty_polls_total" ["port", "queue", "worker"]
        "Polls that returned no frame.";
    TX_PACKETS: Counter "voxlane_tx_packets_total" ["port", "queue", "worker"]
        "Frames that arrived on the queue and were forwarded, whichever port they left by.";
    TX_BYTES: Counter "voxlane_tx_bytes_total" ["port", "queue", "worker"]
        "Bytes of the forwarded frames as transmitted, without the FCS.";
    TX_BURSTS: Counter "voxlane_tx_bursts_total" ["port", "queue", "worker"]
        "Transmit calls that carried at least one frame.";
    TX_RETRIES: Counter "voxlane_tx_retries_total" ["port", "queue", "worker"]
        "Further transmit calls for frames that the port did not take at first.";
    DROPPED_PACKETS: Counter "voxlane_dropped_packets_total" ["port", "queue", "worker", "reason", "stage"]
        "Frames that were not forwarded, by drop reason and by the stage that refused them (see drop-reasons.md).";
    TOLERATED_PACKETS: Counter "voxlane_tolerated_packets_total" ["port", "queue", "worker", "reason"]
        "Frames that a session with strictness = \"count\" let pass, by the reason for which they would have been dropped.";
    PUNTED_PACKETS: Counter "voxlane_punted_packets_total" ["port", "queue", "worker"]
        "Frames given to the host side: ARP, ND, ICMP, STUN, DTLS.";
    HANDED_OVER_PACKETS: Counter "voxlane_handed_over_packets_total" ["port", "queue", "worker", "direction"]
        "Frames given to (out) or taken over from (in) another worker, on which their stream is homed.";
    ORIGINATED_PACKETS: Counter "voxlane_originated_packets_total" ["port", "queue", "worker"]
        "Frames of the gateway's own host side that the queue sent.";
    ORIGINATED_DROPPED: Counter "voxlane_originated_dropped_packets_total" ["port", "queue", "worker"]
        "Frames of the gateway's own host side that the port did not take.";
    LATENCY: Histogram "voxlane_latency_seconds" ["port", "queue", "worker"]
        "Time from the RX burst that delivered a forwarded frame to the TX burst that took it.";
    LATENCY_PERCENTILE: Gauge "voxlane_latency_percentile_seconds" ["port", "queue", "worker", "percentile"]
        "Percentile of voxlane_latency_seconds since the start, never too low and at most 3.2 % too high.";
    LATENCY_MAX: Gauge "voxlane_latency_max_seconds" ["port", "queue", "worker"]
        "Largest latency since the start, exactly.";
    FIRST_PACKET_LATENCY: Gauge "voxlane_first_packet_latency_seconds" ["port", "queue", "worker"]
        "Latency of the very first frame that was forwarded: what the warm-up is for.";
    POLL_GAP: Histogram "voxlane_poll_gap_seconds" ["port", "queue", "worker"]
        "Time from one poll of the queue to the next, but for the worker's warm-up (its first 4096 rounds and lockdown).";
    POLL_GAP_MAX: Gauge "voxlane_poll_gap_max_seconds" ["port", "queue", "worker", "stage"]
        "Longest gap between two polls of the queue since the warm-up, exactly; stage is the one that took the largest share of it.";
    STAGE_CYCLES: Counter "voxlane_stage_cycles_total" ["worker", "stage"]
        "TSC cycles that the worker spent in the stage.";
    STAGE_PACKETS: Counter "voxlane_stage_packets_total" ["worker", "stage"]
        "Frames that entered the stage.";
    WORKER_LOOPS: Counter "voxlane_worker_loops_total" ["worker"]
        "Rounds of the worker over all its queues.";
    WORKER_BUSY_LOOPS: Counter "voxlane_worker_busy_loops_total" ["worker"]
        "Rounds of the worker in which at least one queue had a frame.";
    WORKER_PANICS: Counter "voxlane_worker_panics_total" ["worker"]
        "Panics that the worker caught; each is a bug to report.";
    QUARANTINED_STREAMS: Counter "voxlane_quarantined_streams_total" ["worker"]
        "Streams put out of service because a panic happened on one of their frames.";
    WORKER_HEAP_ALLOCATIONS: Counter "voxlane_worker_heap_allocations_total" ["worker"]
        "Heap allocations on the worker's thread since its warm-up; stays 0, or there is a bug to report.";
    WORKER_HEAP_FREES: Counter "voxlane_worker_heap_frees_total" ["worker"]
        "Blocks of heap memory freed on the worker's thread since its warm-up; stays 0, or there is a bug to report.";
    WORKER_LOCKDOWN: Gauge "voxlane_worker_lockdown" ["worker"]
        "1 if the worker has locked itself out of the kernel: one system call on it would have ended the process.";
    PORT_RX_PACKETS: Counter "voxlane_port_rx_packets_total" ["port"]
        "Frames received, as the port's driver counts them.";
    PORT_TX_PACKETS: Counter "voxlane_port_tx_packets_total" ["port"]
        "Frames transmitted, as the port's driver counts them.";
    PORT_MISSED_PACKETS: Counter "voxlane_port_missed_packets_total" ["port"]
        "Frames that the port dropped because its RX ring was full: the worker was too slow.";
    PORT_RX_ERRORS: Counter "voxlane_port_rx_errors_total" ["port"]
        "Frames that the port received with an error.";
    PORT_TX_ERRORS: Counter "voxlane_port_tx_errors_total" ["port"]
        "Frames that the port failed to transmit.";
    PORT_RX_NO_BUFFER: Counter "voxlane_port_rx_no_buffer_total" ["port"]
        "Receive attempts that found the buffer pool empty.";
    LINK_UP: Gauge "voxlane_link_up" ["port"]
        "1 if the port's link is up, else 0.";
    POOL_OBJECTS: Gauge "voxlane_pool_objects" ["pool"]
        "Objects (buffers, frames, sessions, blocks) that the pool holds in all; taken at start, never more.";
    POOL_IN_USE: Gauge "voxlane_pool_in_use" ["pool"]
        "Objects of the pool that are out; of packet buffers also those that wait in the rings of ports.";
    POOL_HIGH_WATER: Gauge "voxlane_pool_high_water" ["pool"]
        "Most objects of the pool that were out at once; of buffers and frames, as seen ten times a second and at each scrape.";
    POOL_ACQUIRED: Counter "voxlane_pool_acquired_total" ["pool"]
        "Objects taken out of the pool; packet buffers count when a port delivers them.";
    POOL_REUSED: Counter "voxlane_pool_reused_total" ["pool"]
        "Of them, those that had been out before; of buffers and frames, all but as many as the pool holds, which is at most too low.";
    POOL_RELEASED: Counter "voxlane_pool_released_total" ["pool"]
        "Objects given back to the pool; packet buffers count when their frame has its fate.";
    POOL_EXHAUSTED: Counter "voxlane_pool_exhausted_total" ["pool"]
        "Requests that found the pool empty: of packet buffers as the ports count them, of frames also where a larger one served.";
    POOL_REUSE_RATE: Gauge "voxlane_pool_reuse_rate" ["pool"]
        "Share of the objects taken out that had been out before, since the start; absent before the first one.";
    HOST_PACKETS: Counter "voxlane_host_packets_total" ["kind", "outcome"]
        "Frames that the host side handled, by kind and by what became of them.";
    SESSIONS: Gauge "voxlane_sessions" []
        "Sessions in service.";
    SESSIONS_ADDED: Counter "voxlane_sessions_added_total" []
        "Sessions that were added, those of the configuration included.";
    SESSIONS_CHANGED: Counter "voxlane_sessions_changed_total" []
        "Changes that were made to sessions.";
    SESSIONS_REFUSED: Counter "voxlane_sessions_refused_total" []
        "Requests to add or change a session that were refused.";
    SESSIONS_ENDED: Counter "voxlane_sessions_ended_total" ["reason"]
        "Sessions that ended, by reason.";
    SESSION_MEMORY: Gauge "voxlane_session_memory_bytes" []
        "Hugepage memory that holds the streams' state and keys, all of it taken at start.";
    TAP_RECORDS: Counter "voxlane_tap_records_total" ["worker"]
        "Opened packets of tapped sessions that the worker gave to the recorder.";
    TAP_LOST: Counter "voxlane_tap_lost_total" ["reason"]
        "Records that a file of the tap lacks, by reason (see tap.md); a packet that both a capture and an audio file lack counts twice.";
    TAP_WRITTEN_BYTES: Counter "voxlane_tap_written_bytes_total" []
        "Bytes that the tap has written to its files.";
    TAP_FILES: Counter "voxlane_tap_files_total" ["outcome"]
        "Files of the tap: begun, completed (under their final name), failed, or recovered (left by an earlier run, and completed at start).";
    CLOCK_JUMPS: Counter "voxlane_clock_jumps_total" []
        "Times that the time-stamp counter and the kernel's monotonic clock went apart by more than 0.1 s at once; the log has by how much, and a poll gap of that length is no stall.";
    READY: Gauge "voxlane_ready" []
        "1 if the gateway forwards traffic, 0 while it starts or drains; the same as the status of /ready.";
    BUILD_INFO: Gauge "voxlane_build_info" ["version", "dpdk", "crypto"]
        "Always 1; the labels name the gateway's version, DPDK's version and the crypto provider.";
    START_TIME: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since the Unix epoch.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            let is_counter = family.kind == FamilyKind::Counter;
            assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}: {}", family.name, family.help);
            assert!(!family.labels.iter().any(|label| ["le", "quantile"].contains(label)), "{}", family.name);
        }
    }
}
