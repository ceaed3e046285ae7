//! A gateway's worth of sources with every value different from zero and from every other, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::counters::{Counter, QueueCounters, WorkerCounters};
use super::pool_counters::PoolUse;
use super::sources::*;
use super::stage_clock::Stage;
use crate::dpdk::HeapCounts;
use crate::fastpath::DropReason;
use crate::tap::{Loss, TapCounters};

/// One GHz, so that a cycle is a nanosecond.
pub(crate) const TSC_HZ: u64 = 1_000_000_000;

/// Two queues on one port (one with a name that needs escaping beside it), all sources fed, balances exact.
pub(crate) fn fed(ready: &Arc<AtomicBool>) -> Telemetry {
    let ready = Arc::clone(ready);
    Telemetry {
        build: BuildInfo {
            version: "1.2.3".to_owned(),
            dpdk: "DPDK 22.11.7".to_owned(),
            crypto: "aes-gcm".to_owned(),
        },
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_500),
        started_at: std::time::Instant::now(),
        tsc_hz: TSC_HZ,
        queues: vec![queue("net0", 0, 0), queue("net0", 1, 1), queue("a\"b\\c", 0, 1)],
        workers: vec![worker(0), worker(1)],
        pools: vec![PoolEntry {
            name: "rx".to_owned(),
            kept_by_driver: 0,
            read: Box::new(|| PoolUse {
                size: 8192,
                in_use: 513,
                acquired: 3001,
                reused: 3000,
                released: 2488,
                high_water: 514,
                exhausted: 3,
            }),
        }],
        ports: vec![PortEntry {
            name: "net0".to_owned(),
            read: Box::new(|| PortReading {
                ipackets: 1001,
                opackets: 1002,
                imissed: 1003,
                ierrors: 1004,
                oerrors: 1005,
                rx_nombuf: 1006,
                link_up: true,
            }),
        }],
        host: vec![
            HostEntry { kind: "arp", outcome: "answered", read: Box::new(|| 2001) },
            HostEntry { kind: "icmp", outcome: "limited", read: Box::new(|| 2002) },
        ],
        clock_jumps: Arc::new({
            let jumps = Counter::new();
            jumps.add(6);
            jumps
        }),
        sessions: Box::new(|| 10_000),
        session_changes: Box::new(|| SessionChanges {
            added: 3001,
            changed: 3002,
            refused: 3003,
            ended: [3010, 3011, 3012, 3013, 3014],
        }),
        session_memory: 5_504,
        tap: Arc::new(tap()),
        ready: Box::new(move || ready.load(Ordering::Relaxed)),
    }
}

fn tap() -> TapCounters {
    let tap = TapCounters::new(2, 4);
    tap.workers[0].records.add(4_001);
    tap.workers[1].records.add(4_002);
    tap.workers[1].no_block.add(4_003);
    tap.bytes.add(4_004);
    tap.files_begun.add(4_005);
    tap.files_completed.add(4_006);
    tap.files_failed.add(4_007);
    tap.files_recovered.add(4_008);
    for (number, loss) in (0..).zip(Loss::ALL) {
        tap.count_lost(loss, 4_100 + number);
    }
    tap
}

fn queue(port: &str, queue: u16, worker: u16) -> QueueEntry {
    let counters = QueueCounters::new();
    counters.rx_bytes.add(11);
    counters.rx_bursts.add(12);
    counters.empty_polls.add(13);
    counters.tx_packets.add(1_000);
    counters.tx_bytes.add(14);
    counters.tx_bursts.add(15);
    counters.tx_retries.add(16);
    counters.originated_packets.add(17);
    counters.originated_dropped.add(18);
    counters.punted.add(19);
    counters.handed_over_out.add(20);
    counters.handed_over_in.add(20);
    for (n, &reason) in DropReason::ALL.iter().enumerate() {
        counters.count_dropped(reason, 100 + n as u64);
        counters.count_tolerated(reason, 200 + n as u64);
    }
    counters.rx_packets.add(1_000 + 19 + counters.dropped_total());
    counters.first_latency.raise_to(7_654);
    counters.latency.record_n(1_500, 600);
    counters.latency.record_n(20_000, 399);
    counters.latency.record(2_345_678);
    counters.poll_gap.record(90, || Stage::Idle);
    counters.poll_gap.record(3_456, || Stage::Open);
    counters.poll_gap.record(700, || Stage::Tx);
    QueueEntry { port: port.to_owned(), queue, worker, counters: Arc::new(counters) }
}

fn worker(worker: u16) -> WorkerEntry {
    let mut counters = WorkerCounters::new();
    counters.loops.add(31);
    counters.busy_loops.add(32);
    counters.panics.add(33);
    counters.quarantined_streams.add(34);
    counters.lockdown.add(1);
    counters.heap = Arc::new(HeapCounts::of(35, 36));
    for (n, (cycles, frames)) in counters.stage_cycles.iter().zip(&counters.stage_frames).enumerate() {
        cycles.add(3_000 + n as u64);
        frames.add(300 + n as u64);
    }
    WorkerEntry { worker, counters: Arc::new(counters) }
}
