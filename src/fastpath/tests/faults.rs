//! A panic at every point and several positions of a burst: what it costs, whom it is held against, and what follows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::*;
use crate::fastpath::faults::{Plan, Point};
use crate::session::Blamed;

const SESSIONS: usize = 4;
/// Frames in a burst: three of each session, in turn.
const FRAMES: usize = 3 * SESSIONS;

/// A buffer that is missed when it does not come back.
struct Held {
    buffer: HeapBuffer,
    _token: Rc<()>,
}

impl Buffer for Held {
    fn data(&self) -> &[u8] {
        self.buffer.data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.buffer.data_mut()
    }

    fn move_start(&mut self, bytes: isize) -> bool {
        self.buffer.move_start(bytes)
    }

    fn resize(&mut self, len: usize) -> bool {
        self.buffer.resize(len)
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn rx_ip_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn rx_udp_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn set_tx_checksums(&mut self, _ipv6: bool, _ip: bool, _udp: bool, _l2_len: u8, _l3_len: u16) {}

    fn prefetch_data(&self) {}
}

/// Counts what leaves, and keeps what is handed over.
#[derive(Default)]
struct Gone {
    sent: usize,
    handed_over: Vec<Frame<Held, Matched>>,
}

impl Sink<Held> for Gone {
    fn punt(&mut self, _port: u8, _buffer: Held) -> bool {
        true
    }

    fn hand_over(&mut self, _worker: u16, _port: u8, frame: Frame<Held, Matched>) -> bool {
        self.handed_over.push(frame);
        true
    }

    fn transmit(&mut self, _frame: Frame<Held, Sealed>) {
        self.sent += 1;
    }

    fn learned(&mut self, _sender: &Authenticated, _generation: u32) {}
}

/// Several sessions whose legs A share a port; only A speaks.
struct Calls<P: Provider> {
    pipeline: Pipeline<P>,
    port: PipelinePort,
    speakers: Vec<RtpOutbound<P>>,
    seq: u16,
    tokens: Rc<()>,
    out: Gone,
}

fn local(session: usize) -> String {
    format!("10.1.0.1:{}", 20_000 + 2 * session)
}

impl<P: Provider> Calls<P> {
    fn new(suite: Suite) -> Self {
        let mut builder = LookupBuilder::default();
        builder.address(address(A_LOCAL).ip(), 0);
        let mut streams = Streams::<P>::with_capacity(Memory::Heap, SESSIONS).expect("a few lines");
        let next_hops: Vec<_> = (0..2).map(|_| Arc::new(NextHops::new(1))).collect();
        next_hops.iter().for_each(|table| table.resolve(NextHop(0), PEER_MAC.0));
        let egress_port = EgressPort {
            index: 1,
            mac: GATEWAY_MAC,
            vlan: None,
            mtu: 1500,
            udp_checksum: true,
            offload_ip: false,
            offload_udp: false,
        };
        let rules = PayloadRules { payload_types: 1 << 96, reduced_size_rtcp: false };
        let mut speakers = Vec::new();
        for session in 0..SESSIONS {
            let (open, seal) = (key(suite, 10 + session as u8), key(suite, 20 + session as u8));
            let keys = StreamKeys {
                open: Some(&open),
                seal: Some(&seal),
                replay_window: ReplayWindowSize::default(),
            };
            let mut setup = StreamSetup::new(keys, rules, Learn::Never);
            setup.source = Some(Endpoint::from(address(A_REMOTE)));
            setup.rtp_egress =
                Some(Egress::new(egress_port, address(B_LOCAL), address(B_REMOTE), NextHop(0)));
            let stream = streams.push(setup).expect("room");
            let target = Target { worker: 0, stream, media: Media::Muxed };
            builder.bind(Endpoint::from(address(&local(session))), target);
            speakers.push(RtpOutbound::new(&open));
        }
        let lookup = Arc::new(builder.build().expect("no duplicates"));
        let port = PipelinePort {
            index: 0,
            mac: GATEWAY_MAC,
            vlan: None,
            counters: Arc::new(QueueCounters::new()),
            punt_limit: TokenBucket::new(1, 1),
        };
        let pipeline = Pipeline { worker: 0, lookup, streams, next_hops };
        let (tokens, out) = (Rc::new(()), Gone::default());
        let mut calls = Calls { pipeline, port, speakers, seq: 0, tokens, out };
        // What pins the SSRCs is opened alone; from here on AES-CM packets go into batches.
        assert_eq!(calls.relay(), FRAMES);
        calls
    }

    /// The next packets of every speaker, in turn.
    fn burst(&mut self) -> Burst<Held> {
        let mut burst = Burst::new();
        for _ in 0..FRAMES / SESSIONS {
            for (session, speaker) in self.speakers.iter_mut().enumerate() {
                let mut packet = rtp(self.seq, &[7; 160]);
                // Neighbours are the streams of one session, whose ends have different SSRCs.
                let ssrc = SSRC + session as u32;
                packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
                packet.resize(packet.len() + speaker.trailer(), 0);
                speaker.seal(&mut packet, 12, ssrc, PacketIndex::new(0, self.seq)).expect("a fresh index");
                let buffer = HeapBuffer::new(&frame(A_REMOTE, &local(session), None, &packet), 0);
                burst.push(Held { buffer, _token: Rc::clone(&self.tokens) });
            }
            self.seq += 1;
        }
        burst
    }

    /// Puts a burst through the stages; returns how many frames were forwarded.
    fn relay(&mut self) -> usize {
        let (mut burst, before) = (self.burst(), self.out.sent);
        self.pipeline.process(&mut self.port, &mut burst, 0, &mut self.out);
        self.out.sent - before
    }

    /// The same as a worker of another number, which hands everything over, and then with the right number.
    fn relay_handed_over(&mut self) {
        let mut burst = self.burst();
        self.pipeline.worker = 1;
        self.pipeline.process(&mut self.port, &mut burst, 0, &mut self.out);
        self.pipeline.worker = 0;
        let mut handed: Burst<Frame<Held, Matched>> = self.out.handed_over.drain(..).collect();
        self.pipeline.process_handed_over(&self.port, &mut handed, &mut self.out);
    }

    fn quarantined(&self) -> u64 {
        self.port.counters.dropped_for(DropReason::StreamQuarantined)
    }
}

/// Panics at `point` when it is passed for the time number `position`, and returns whom it was held against.
fn panic_at<P: Provider>(calls: &mut Calls<P>, plan: &Plan, point: Point, position: usize) -> Blamed {
    let (sent, counted) = (calls.out.sent, Balance::of(&calls.port.counters));
    plan.panic_at(point, position as u64, 1);
    let outcome = catch_unwind(AssertUnwindSafe(|| match point {
        Point::Handover => calls.relay_handed_over(),
        _ => {
            calls.relay();
        }
    }));
    let what = format!("{point:?} at {position}");
    assert!(outcome.is_err() && !plan.is_armed(), "{what} was not passed");
    assert_eq!(Rc::strong_count(&calls.tokens), 1, "{what}: buffers did not come back");
    // What is without a fate is what did not leave: the worker counts as many as lost.
    let now = Balance::of(&calls.port.counters);
    let unaccounted = (now.unaccounted() - counted.unaccounted()) as usize;
    assert_eq!(unaccounted, FRAMES, "{what}: the sink counts what is sent, and nothing was dropped");
    assert!(calls.out.sent - sent <= position, "{what}: {} left", calls.out.sent - sent);
    calls.pipeline.streams.blame()
}

fn every_point_and_position<P: Provider>(suite: Suite, plan: &Plan) {
    let in_batches = !suite.is_aead();
    for &point in Point::ALL {
        let is_batch = matches!(point, Point::OpenBatch | Point::SealBatch);
        // The points of the worker need real ports: tests/faults.rs.
        let of_worker = matches!(point, Point::Poll | Point::Transmit | Point::Flush | Point::Housekeeping);
        if of_worker || is_batch && !in_batches {
            continue;
        }
        for position in [0, 1, SESSIONS, FRAMES - 1] {
            let mut calls = Calls::<P>::new(suite);
            let blamed = panic_at(&mut calls, plan, point, position);
            let what = format!("{suite} {point:?} at {position}");
            let culprit = StreamId((position % SESSIONS) as u32);
            let expected = match point {
                Point::Classify | Point::FindStream => Blamed::Nobody,
                Point::OpenBatch | Point::SealBatch => Blamed::Batch(FRAMES),
                _ => Blamed::Stream(culprit),
            };
            assert_eq!(blamed, expected, "{what}");
            let is_quarantined = matches!(expected, Blamed::Stream(_));
            let refused = if is_quarantined { FRAMES / SESSIONS } else { 0 };
            // The others go on at once.
            assert_eq!(calls.relay(), FRAMES - refused, "{what}");
            assert_eq!(calls.quarantined(), refused as u64, "{what}");
            if is_batch {
                // Everybody is watched now, so nothing goes through a batch and the next panic has a name.
                plan.panic_at(point, 0, 1);
                assert_eq!(calls.relay(), FRAMES, "{what}");
                assert!(plan.is_armed(), "{what}: a batch was made of streams that are watched");
                assert_eq!(panic_at(&mut calls, plan, Point::Seal, 2), Blamed::Stream(StreamId(2)), "{what}");
                assert_eq!(calls.relay(), FRAMES - FRAMES / SESSIONS, "{what}");
                calls.pipeline.streams.lift_quarantine(StreamId(2));
            } else {
                calls.pipeline.streams.lift_quarantine(culprit);
            }
            assert_eq!(calls.relay(), FRAMES, "{what}: back in service");
        }
    }
}

fn every_suite<P: Provider>() {
    let plan = Arc::new(Plan::default());
    plan.adopt();
    for suite in Suite::ALL {
        every_point_and_position::<P>(suite, &plan);
    }
}

#[test]
fn a_panic_at_any_point_costs_its_burst_and_its_stream_and_nothing_else() {
    every_suite::<AesGcmProvider>();
    if IpsecMbProvider::is_available().is_ok() {
        every_suite::<IpsecMbProvider>();
    }
}

#[test]
fn a_batch_of_one_stream_needs_no_second_panic() {
    let plan = Arc::new(Plan::default());
    plan.adopt();
    let mut calls = Calls::<AesGcmProvider>::new(Suite::AesCm128HmacSha1_80);
    plan.panic_at(Point::SealBatch, 0, 1);
    let mut burst = calls.burst();
    // The second session's alone.
    let mut position = 0;
    burst.retain(|_| {
        position += 1;
        position % SESSIONS == 2
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        calls.pipeline.process(&mut calls.port, &mut burst, 0, &mut calls.out);
    }));
    assert!(outcome.is_err());
    assert_eq!(calls.pipeline.streams.blame(), Blamed::Stream(StreamId(1)));
    assert_eq!(calls.pipeline.streams.blame(), Blamed::Nobody, "the note was taken");
}

#[test]
fn new_keys_lift_a_quarantine() {
    let plan = Arc::new(Plan::default());
    plan.adopt();
    let suite = Suite::AeadAes128Gcm;
    let mut calls = Calls::<AesGcmProvider>::new(suite);
    assert_eq!(panic_at(&mut calls, &plan, Point::Inspect, 1), Blamed::Stream(StreamId(1)));
    assert!(calls.pipeline.streams.is_quarantined(StreamId(1)));
    let keys = KeySet::new([&key(suite, 11), &key(suite, 90)]);
    let mut change =
        KeyChange { inbound: StreamId(1), outbound: StreamId(0), open: Some(Box::new(keys)), seal: None };
    calls.pipeline.streams.change_keys(&mut change);
    assert!(!calls.pipeline.streams.is_quarantined(StreamId(1)));
    assert_eq!(calls.relay(), FRAMES);
}
