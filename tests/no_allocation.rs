//! The packet path takes nothing from the heap: neither for what it forwards nor for what it refuses.

use std::sync::Arc;

use one_stream::{key, pipeline, sealed_frame, sealed_frame_under};
use voxlane::fastpath::{
    Buffer, Burst, DropReason, Frame, HeapBuffer, Matched, PipelinePort, Sealed, Sink, frame,
};
use voxlane::rate_limit::TokenBucket;
use voxlane::session::{KeyChange, KeySet, LATE_PACKETS, SealChange, StreamId};
use voxlane::srtp::AesGcmProvider;
use voxlane::telemetry::QueueCounters;
use voxlane::wire::MacAddress;

mod one_stream;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const HZ: u64 = 1_000_000_000;

/// Keeps buffers, so that none is freed while allocations are counted.
struct Kept(Vec<HeapBuffer>);

impl Sink<HeapBuffer> for Kept {
    fn punt(&mut self, _port: u8, buffer: HeapBuffer) -> bool {
        self.0.push(buffer);
        true
    }

    fn hand_over(&mut self, _worker: u16, _port: u8, _frame: Frame<HeapBuffer, Matched>) -> bool {
        false
    }

    fn transmit(&mut self, frame: Frame<HeapBuffer, Sealed>) {
        self.0.push(frame.into_wire().0);
    }

    fn learned(&mut self, _sender: &frame::Authenticated, _generation: u32) {}
}

#[test]
fn no_burst_allocates() {
    let mut stages = pipeline::<AesGcmProvider>(MAC);
    let counters = Arc::new(QueueCounters::new());
    let mut port = PipelinePort {
        index: 0,
        mac: MAC,
        vlan: None,
        counters: Arc::clone(&counters),
        punt_limit: TokenBucket::new(1_000_000, HZ),
    };
    let mut sink = Kept(Vec::with_capacity(1 << 14));
    let mut seq: u16 = 0;
    for round in 0..200 {
        let mut burst = Burst::new();
        while burst.remaining_capacity() > 0 {
            let mut bytes = sealed_frame(seq, 7, MAC);
            match seq % 8 {
                5 => bytes[70] ^= 1,
                6 => bytes.truncate(50),
                7 => bytes[12..14].copy_from_slice(&[0x08, 0x06]),
                _ => {}
            }
            seq += 1;
            burst.push(HeapBuffer::new(&bytes, 0));
        }
        let info =
            allocation_counter::measure(|| stages.process(&mut port, &mut burst, round * HZ, &mut sink));
        assert_eq!(info.count_total, 0, "round {round}");
    }
    assert_eq!(sink.0.iter().filter(|buffer| buffer.data()[12..14] == [8, 0]).count(), 8_000);
    assert_eq!(counters.punted.value(), 1_600);
    assert_eq!(counters.dropped_for(DropReason::UdpChecksum), 1_600);
    assert_eq!(counters.dropped_for(DropReason::Ipv4Malformed), 1_600);
}

/// Nor do new keys, packets that are tried with several, or the end of a change: what is replaced goes back whole.
#[test]
fn a_change_of_keys_neither_allocates_nor_frees() {
    let mut stages = pipeline::<AesGcmProvider>(MAC);
    let mut port = PipelinePort {
        index: 0,
        mac: MAC,
        vlan: None,
        counters: Arc::new(QueueCounters::new()),
        punt_limit: TokenBucket::new(1_000_000, HZ),
    };
    let mut sink = Kept(Vec::with_capacity(1 << 14));
    let mut seq: u16 = 0;
    let changes = 6;
    for number in 1..=changes {
        let (old, new) = (key(if number == 1 { 1 } else { 10 + number - 1 }), key(10 + number));
        let mut change = KeyChange {
            inbound: StreamId(0),
            outbound: StreamId(0),
            open: Some(Box::new(KeySet::new([&old, &new]))),
            seal: Some(SealChange::new(&key(30 + number), None, None)),
        };
        let info = allocation_counter::measure(|| stages.streams.change_keys(&mut change));
        assert_eq!((info.count_total, info.count_current), (0, 0), "change {number}");
        // Both keys in one burst, then the new one until the old one is gone.
        for _ in 0..LATE_PACKETS / 32 + 2 {
            let mut burst = Burst::new();
            while burst.remaining_capacity() > 0 {
                let under = if burst.len().is_multiple_of(2) && burst.len() < 8 { &old } else { &new };
                let bytes = sealed_frame_under(under, seq, 7, MAC);
                seq = seq.wrapping_add(1);
                burst.push(HeapBuffer::new(&bytes, 0));
            }
            let refused = |port: &PipelinePort| port.counters.dropped_for(DropReason::SrtpAuthFailed);
            let before = refused(&port);
            let info = allocation_counter::measure(|| stages.process(&mut port, &mut burst, HZ, &mut sink));
            // What is freed are the buffers of refused frames.
            let buffers = (refused(&port) - before) as i64;
            assert_eq!((info.count_total, info.count_current), (0, -buffers), "after change {number}");
        }
    }
    let sent = sink.0.len() as u64;
    let refused = port.counters.dropped_for(DropReason::SrtpAuthFailed);
    assert_eq!(sent + refused, u64::from(seq));
    assert!(refused > 0, "a key that was left long ago opens nothing");
    assert!(sent > u64::from(changes) * LATE_PACKETS, "{sent}");
}

#[test]
fn the_counter_counts() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(info.count_total, 1);
}
