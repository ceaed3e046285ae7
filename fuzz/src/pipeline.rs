//! The whole path from classify to seal, over heap buffers, with a sealed stream and a plain one.
//!
//! The input is a list of steps, each an octet for what comes, one for the length, and the octets themselves: a frame as
//! it is, a datagram with right headers, a packet sealed by the one who may, a forged one. What must hold after each
//! burst: every frame has exactly one fate; what left by the other leg opens there and was sent by somebody who had the
//! key, unchanged and not twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use voxlane::dpdk::Memory;
use voxlane::fastpath::frame::Authenticated;
use voxlane::fastpath::{Buffer, Burst, Frame, HeapBuffer, Matched, Pipeline, PipelinePort, Sealed, Sink};
use voxlane::rate_limit::TokenBucket;
use voxlane::session::{
    Egress, EgressPort, Endpoint, Learn, LookupBuilder, Media, NextHop, NextHops, PayloadRules, StreamId,
    StreamKeys, StreamSetup, Streams, Target,
};
use voxlane::srtp::{
    AesGcmProvider, MasterKey, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound, Suite,
};
use voxlane::telemetry::{Balance, QueueCounters};
use voxlane::wire::{MacAddress, rtp};

const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const SSRC: u32 = 0x0102_0304;
const SEALED: &str = "10.1.0.1:20000";
const PLAIN: &str = "10.1.0.1:20004";
const REMOTE: &str = "10.1.0.2:30000";
const PAYLOAD_TYPE: u8 = 96;
const HEADERS: usize = 42;
const MOST_STEPS: usize = 64;

#[derive(Default)]
struct Out {
    sent: Vec<Vec<u8>>,
    punted: u64,
}

impl Sink<HeapBuffer> for Out {
    fn punt(&mut self, _port: u8, _buffer: HeapBuffer) -> bool {
        self.punted += 1;
        true
    }

    fn hand_over(&mut self, _: u16, _: u8, _: Frame<HeapBuffer, Matched>) -> bool {
        panic!("one worker, and it owns all streams");
    }

    fn transmit(&mut self, frame: Frame<HeapBuffer, Sealed>) {
        self.sent.push(frame.into_wire().0.data().to_vec());
    }

    fn learned(&mut self, _: &Authenticated, _: u32) {
        panic!("remotes are fixed");
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

fn key(suite: Suite, fill: u8) -> MasterKey {
    let (key, salt) = (vec![fill; suite.key_len()], vec![fill; suite.salt_len()]);
    MasterKey::from_parts(suite, &key, &salt).expect("right lengths")
}

fn egress(local: &str, remote: &str) -> Egress {
    let port = EgressPort {
        index: 0,
        mac: GATEWAY,
        vlan: None,
        mtu: 1_500,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    };
    Egress::new(port, address(local), address(remote), NextHop(0))
}

/// Stream 0 from `SEALED`, opened with key 1 and sealed with key 2; stream 1 from `PLAIN`, sealed with key 3.
fn scene(suites: [Suite; 2]) -> (Pipeline<AesGcmProvider>, PipelinePort) {
    let mut builder = LookupBuilder::default();
    builder.address(address(SEALED).ip(), 0);
    let mut streams = Streams::with_capacity(Memory::Heap, 2).expect("a few lines");
    let [open, seal, plain] = [key(suites[0], 1), key(suites[1], 2), key(suites[1], 3)];
    let rules = PayloadRules { payload_types: 1 << PAYLOAD_TYPE, reduced_size_rtcp: false };
    for (number, local, open, seal) in [(0, SEALED, Some(&open), &seal), (1, PLAIN, None, &plain)] {
        let target = Target { worker: 0, stream: StreamId(number), media: Media::Muxed };
        builder.bind(Endpoint::from(address(local)), target);
        let keys = StreamKeys { open, seal: Some(seal), replay_window: ReplayWindowSize::default() };
        let mut stream = StreamSetup::new(keys, rules, Learn::Never);
        stream.source = Some(Endpoint::from(address(REMOTE)));
        stream.rtcp_source = stream.source;
        stream.rtp_egress =
            Some(egress(["10.2.0.1:20002", "10.2.0.1:20006"][number as usize], "10.2.0.2:30002"));
        stream.rtcp_egress = stream.rtp_egress.clone();
        streams.push(stream).expect("room for two");
    }
    let next_hops = NextHops::new(1);
    next_hops.resolve(NextHop(0), PEER.0);
    let pipeline = Pipeline {
        worker: 0,
        lookup: Arc::new(builder.build().expect("no duplicate")),
        streams,
        next_hops: vec![Arc::new(next_hops)],
    };
    let port = PipelinePort {
        index: 0,
        mac: GATEWAY,
        vlan: None,
        counters: Arc::new(QueueCounters::new()),
        punt_limit: TokenBucket::new(1_000_000, 1_000_000_000),
    };
    (pipeline, port)
}

/// A datagram from the remote in all its headers.
fn framed(local: &str, payload: &[u8]) -> Vec<u8> {
    let port = EgressPort { mac: PEER, mtu: 9_000, ..egress_port() };
    let egress = Egress::new(port, address(REMOTE), address(local), NextHop(0));
    let mut frame = vec![0; egress.headers_len()];
    frame.extend(payload);
    egress.write_headers(&mut frame, GATEWAY.0);
    frame
}

fn egress_port() -> EgressPort {
    EgressPort {
        index: 0,
        mac: GATEWAY,
        vlan: None,
        mtu: 1_500,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    }
}

/// Who sends, and what may come out.
struct Sender {
    rtp: RtpOutbound<AesGcmProvider>,
    rtcp: RtcpOutbound<AesGcmProvider>,
    next_rtcp: u32,
    /// What was sealed, by sequence number: each may come out once.
    sealed: BTreeMap<u16, Vec<u8>>,
    reports: Vec<Vec<u8>>,
    /// What went to the plain stream.
    plain: Vec<Vec<u8>>,
}

impl Sender {
    /// `packet` with the SSRC of the stream, sealed; `None` if it is no RTP or its number is spent.
    fn seal(&mut self, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        packet.get_mut(8..12)?.copy_from_slice(&SSRC.to_be_bytes());
        let (header_len, seq) = {
            let packet = rtp::Packet::new_checked(&packet[..]).ok()?;
            (packet.header_len(), packet.sequence_number().0)
        };
        if self.sealed.contains_key(&seq) {
            return None;
        }
        let clear = packet.clone();
        packet.resize(packet.len() + self.rtp.trailer(), 0);
        // A number too far behind the others is refused as if it were spent.
        self.rtp.seal(&mut packet, header_len, SSRC, PacketIndex::new(0, seq)).ok()?;
        self.sealed.insert(seq, clear);
        Some(packet)
    }

    fn seal_rtcp(&mut self, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        packet.get_mut(4..8)?.copy_from_slice(&SSRC.to_be_bytes());
        if packet.len() > 1_300 {
            return None;
        }
        self.reports.push(packet.clone());
        packet.resize(packet.len() + self.rtcp.trailer(), 0);
        self.next_rtcp += 1;
        self.rtcp.seal(&mut packet, self.next_rtcp).ok()?;
        Some(packet)
    }
}

/// See the module.
pub fn pipeline(data: &[u8]) {
    let Some((&suites, mut rest)) = data.split_first() else { return };
    let suite = |number: u8| Suite::ALL[usize::from(number) % Suite::ALL.len()];
    let suites = [suite(suites & 15), suite(suites >> 4)];
    let (mut pipeline, mut port) = scene(suites);
    let open_key = key(suites[0], 1);
    let mut sender = Sender {
        rtp: RtpOutbound::new(&open_key),
        rtcp: RtcpOutbound::new(&open_key),
        next_rtcp: 0,
        sealed: BTreeMap::new(),
        reports: Vec::new(),
        plain: Vec::new(),
    };
    let mut out = Out::default();
    let mut burst = Burst::new();
    for _ in 0..MOST_STEPS {
        let Some((&[step, low], after)) = rest.split_first_chunk::<2>() else { break };
        // Lengths up to 1,023 in ten bits.
        let len = (usize::from(step >> 6) << 8 | usize::from(low)).min(after.len());
        let (octets, after) = after.split_at(len);
        rest = after;
        let arriving = match step & 7 {
            0 => Some(octets.to_vec()),
            1 => Some(framed(SEALED, octets)),
            2 => Some(framed(PLAIN, octets)),
            3 => sender.seal(octets.to_vec()).map(|packet| framed(SEALED, &packet)),
            4 => sender.seal_rtcp(octets.to_vec()).map(|packet| framed(SEALED, &packet)),
            5 => sender.seal(octets.to_vec()).map(|mut packet| {
                // Forged: from now on this number must not come out.
                let seq = u16::from_be_bytes([packet[2], packet[3]]);
                sender.sealed.insert(seq, Vec::new());
                let at = usize::from(step >> 3) * 7 % packet.len();
                packet[at] ^= 1 << (low & 7);
                framed(SEALED, &packet)
            }),
            6 => {
                // Sealed, but damaged below.
                sender.seal(octets.to_vec()).map(|packet| {
                    let mut frame = framed(SEALED, &packet);
                    let at = usize::from(low) % HEADERS;
                    frame[at] ^= 1 << (step >> 3 & 7);
                    frame
                })
            }
            _ => {
                pipeline.process(&mut port, &mut burst, 1_000_000_000, &mut out);
                None
            }
        };
        if step & 7 == 2 {
            sender.plain.push(octets.to_vec());
        }
        if let Some(frame) = arriving {
            burst.push(HeapBuffer::new(&frame, 0xa5));
        }
        if burst.is_full() {
            pipeline.process(&mut port, &mut burst, 1_000_000_000, &mut out);
        }
    }
    pipeline.process(&mut port, &mut burst, 1_000_000_000, &mut out);

    let balance = Balance { tx: out.sent.len() as u64, ..Balance::of(&port.counters) };
    assert!(balance.is_exact(), "{balance:?}");
    assert_eq!(balance.punted, out.punted);
    verify(suites[1], sender, &out.sent);
}

/// Everything that left, opened as the other end would.
fn verify(suite: Suite, mut sender: Sender, sent: &[Vec<u8>]) {
    let window = ReplayWindowSize::default();
    let mut rtp_in = RtpInbound::<AesGcmProvider>::new(&key(suite, 2), window);
    let mut plain_indices = BTreeSet::new();
    let mut rtcp_in = [2, 3].map(|fill| RtcpInbound::<AesGcmProvider>::new(&key(suite, fill), window));
    for frame in sent {
        assert_eq!((&frame[..6], &frame[6..12]), (&PEER.0[..], &GATEWAY.0[..]));
        let local_port = u16::from_be_bytes([frame[34], frame[35]]);
        let stream = match local_port {
            20_002 => 0,
            20_006 => 1,
            other => panic!("a frame from port {other}"),
        };
        let mut packet = frame[HEADERS..].to_vec();
        if (192..=223).contains(&packet[1]) {
            let len =
                rtcp_in[stream].open(&mut packet).expect("sealed with the other leg's key, and once").len;
            let originals = if stream == 0 { &mut sender.reports } else { &mut sender.plain };
            let at = originals.iter().position(|original| original[..] == packet[..len]);
            // What came twice to a plain leg may leave twice; what was sealed must not.
            originals.swap_remove(at.expect("nobody sent this report"));
        } else {
            let (header_len, ssrc, seq) = {
                let packet = rtp::Packet::new_checked(&packet[..]).expect("what leaves is RTP");
                (packet.header_len(), packet.ssrc().0, packet.sequence_number().0)
            };
            let len = if stream == 0 {
                let opened = rtp_in.open(&mut packet, header_len, ssrc, seq);
                opened.expect("sealed with the other leg's key, and once").len
            } else {
                let (index, len) = open_plain(suite, &mut packet, header_len, ssrc, seq);
                assert!(plain_indices.insert(index), "one index twice under one key");
                len
            };
            if stream == 0 {
                let original =
                    sender.sealed.remove(&seq).expect("nobody sent this packet, or it came out before");
                assert!(original == packet[..len], "a packet was changed");
            } else {
                let at = sender.plain.iter().position(|original| original[..] == packet[..len]);
                sender.plain.swap_remove(at.expect("nobody sent this packet"));
            }
        }
    }
}

/// What came from the plain leg, with the index that it was sealed with. The input may have it jump by half of all sequence
/// numbers and more, in packets that are refused, which no receiver can follow: so the roll-over counter is looked for.
fn open_plain(suite: Suite, packet: &mut Vec<u8>, header_len: usize, ssrc: u32, seq: u16) -> (u64, usize) {
    for roll_overs in 0..=MOST_STEPS as u32 {
        let index = PacketIndex::new(roll_overs, seq).as_u64();
        let mut receiver = RtpInbound::<AesGcmProvider>::new(&key(suite, 3), ReplayWindowSize::default());
        if let Some(before) = index.checked_sub(1).and_then(PacketIndex::from_u64) {
            receiver.resume(ssrc, before);
        }
        let mut copy = packet.clone();
        if let Ok(opened) = receiver.open(&mut copy, header_len, ssrc, seq) {
            *packet = copy;
            return (opened.index.as_u64(), opened.len);
        }
    }
    panic!("not sealed with the other leg's key");
}
