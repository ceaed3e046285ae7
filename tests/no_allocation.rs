//! The packet path takes nothing from the heap: neither for what it forwards nor for what it refuses.

use std::sync::Arc;

use one_stream::{pipeline, sealed_frame};
use voxlane::fastpath::{
    Buffer, Burst, DropReason, Frame, HeapBuffer, Matched, PipelinePort, Sealed, Sink, frame,
};
use voxlane::rate_limit::TokenBucket;
use voxlane::session::StreamId;
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

    fn learned(&mut self, _stream: StreamId, _authenticated: &frame::Authenticated) {}
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
        let info = allocation_counter::measure(|| stages.process(&mut port, burst, round * HZ, &mut sink));
        assert_eq!(info.count_total, 0, "round {round}");
    }
    assert_eq!(sink.0.iter().filter(|buffer| buffer.data()[12..14] == [8, 0]).count(), 8_000);
    assert_eq!(counters.punted.value(), 1_600);
    assert_eq!(counters.dropped_for(DropReason::UdpChecksum), 1_600);
    assert_eq!(counters.dropped_for(DropReason::Ipv4Malformed), 1_600);
}

#[test]
fn the_counter_counts() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(info.count_total, 1);
}
