//! No residue: nothing that leaves stems from an earlier packet.
//!
//! The same random traffic goes through several gateways that differ in what their buffers held before: two patterns, and
//! in one of them the very packets that came before, in any order. What leaves must be the same octet for octet, so none
//! of it is what lay in the buffer; and it must open to what was sent, so none of it is made up.

use super::*;

/// Packets of each run.
const PACKETS: u16 = 120;

/// A generator of its own, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// What buffers hold when a packet comes.
#[derive(Debug, Clone, Copy)]
enum Before {
    Pattern(u8),
    /// What earlier packets and their processing left there.
    EarlierPackets,
}

/// Keeps the buffers of what is sent, as a pool would.
#[derive(Default)]
struct Pool {
    sent: Vec<(u8, Vec<u8>)>,
    punted: Vec<Vec<u8>>,
    free: Vec<HeapBuffer>,
}

impl Sink<HeapBuffer> for Pool {
    fn punt(&mut self, _port: u8, buffer: HeapBuffer) -> bool {
        self.punted.push(buffer.data().to_vec());
        self.free.push(buffer);
        true
    }

    fn hand_over(&mut self, _: u16, _: u8, _: Frame<HeapBuffer, Matched>) -> bool {
        unreachable!("one worker")
    }

    fn transmit(&mut self, frame: Frame<HeapBuffer, Sealed>) {
        let port = frame.port();
        let (buffer, _) = frame.into_wire();
        self.sent.push((port, buffer.data().to_vec()));
        self.free.push(buffer);
    }

    fn learned(&mut self, _: &Authenticated, _: u32) {}
}

/// A frame of random traffic and, if it must be relayed, the packet that the other end must open.
type Arriving = (Vec<u8>, Option<Vec<u8>>);

/// RTP of all lengths with and without header extension, RTCP, and what must be refused or punted.
fn traffic<P: Provider>(scene: &mut SceneOf<P>, random: &mut Random, vlan: Option<u16>) -> Vec<Arriving> {
    let mut arriving = Vec::new();
    for seq in 0..PACKETS {
        let payload_len = [random.below(1380), random.below(200), random.below(24)][random.below(3)];
        let payload = random.octets(payload_len + 1);
        let (datagram, expected) = match random.below(8) {
            0 => {
                let report = scene.srtcp(u32::from(seq));
                (report, Some(receiver_report()))
            }
            1 => {
                // One-byte extension elements (RFC 8285 §4.2): id 1 with four octets, and padding.
                let mut packet = rtp(seq, &[]);
                packet[0] |= 0x10;
                packet.extend([0xbe, 0xde, 0, 2, 0x13, 9, 9, 9, 9, 0, 0, 0]);
                let header_len = packet.len();
                packet.extend(&payload[..payload.len().min(1300)]);
                let opened = packet.clone();
                packet.resize(packet.len() + scene.a_seals.trailer(), 0);
                let index = PacketIndex::new(0, seq);
                scene.a_seals.seal(&mut packet, header_len, SSRC, index).expect("a fresh index");
                (packet, Some(opened))
            }
            2 => (random.octets(payload_len), None),
            3 => {
                let mut forged = scene.srtp(seq, &payload);
                let at = 12 + random.below(forged.len() - 12);
                forged[at] ^= 1 << random.below(8);
                (forged, None)
            }
            _ => (scene.srtp(seq, &payload), Some(rtp(seq, &payload))),
        };
        let mut received = frame(A_REMOTE, A_LOCAL, vlan, &datagram);
        if random.below(4) == 0 {
            // Padding of short Ethernet frames (IEEE 802.3 §4A.2.3.2.4) is whatever the sender had.
            let padding = random.below(40);
            received.extend(random.octets(padding));
        }
        arriving.push((received, expected));
    }
    arriving
}

/// Everything that left, by packet.
fn relay<P: Provider>(setup: &Setup, arriving: &[Arriving], before: Before, seed: u64) -> Pool {
    // The bursts are those of every run; which buffer comes next is a matter of its own.
    let (mut random, mut buffers) = (Random(seed), Random(!seed));
    let mut scene = SceneOf::<P>::with(setup);
    let mut pool = Pool::default();
    let mut left = arriving;
    while !left.is_empty() {
        let (now, later) = left.split_at((1 + random.below(BURST)).min(left.len()));
        let mut burst = Burst::new();
        for (packet, _) in now {
            let buffer = match before {
                Before::Pattern(octet) => HeapBuffer::new(packet, octet),
                Before::EarlierPackets if pool.free.is_empty() => HeapBuffer::new(packet, 0x11),
                Before::EarlierPackets => {
                    let at = buffers.below(pool.free.len());
                    pool.free.swap_remove(at).received(packet)
                }
            };
            burst.push(buffer);
        }
        scene.pipeline.process(&mut scene.ports[0], &mut burst, 1_000_000_000, &mut pool);
        left = later;
    }
    let balance = Balance { tx: pool.sent.len() as u64, ..Balance::of(&scene.ports[0].counters) };
    assert!(balance.is_exact(), "{balance:?}");
    pool
}

fn leaves_no_residue<P: Provider>(setup: &Setup, seed: u64) {
    let arriving = traffic(&mut SceneOf::<P>::with(setup), &mut Random(seed), setup.vlan);
    let of = |before| relay::<P>(setup, &arriving, before, seed);
    let clean = of(Before::Pattern(0));
    for before in [Before::Pattern(0xff), Before::Pattern(0xa5), Before::EarlierPackets] {
        let other = of(before);
        let differs = other.sent.iter().zip(&clean.sent).position(|(other, clean)| other != clean);
        assert_eq!((differs, other.sent.len()), (None, clean.sent.len()), "seed {seed}, {before:?}");
        assert!(other.punted == clean.punted, "seed {seed}, {before:?}");
    }
    // Headers are those of the template, and the rest is this packet under the other leg's key.
    let is_rtcp = |packet: &[u8]| packet[1] == 201;
    let expected = arriving.iter().filter_map(|(_, expected)| expected.clone());
    // A burst's RTP may be batched, and so leave behind its RTCP.
    let (reports, voice): (Vec<_>, Vec<_>) = expected.partition(|packet| is_rtcp(packet));
    let mut receiver = SceneOf::<P>::with(setup);
    let (mut opened_reports, mut opened_voice) = (Vec::new(), Vec::new());
    for (port, sent) in &clean.sent {
        assert_eq!(*port, 1);
        let untagged = if setup.vlan.is_some() { [&sent[..12], &sent[16..]].concat() } else { sent.clone() };
        let mut packet = udp_payload(&untagged);
        assert_eq!(untagged.len(), 42 + packet.len(), "seed {seed}: nothing behind the datagram");
        if is_rtcp(&packet) {
            let opened = receiver.b_opens_rtcp.open(&mut packet).expect("sealed with the other leg's key");
            opened_reports.push(packet[..opened.len].to_vec());
        } else {
            let seq = u16::from_be_bytes([packet[2], packet[3]]);
            let header_len = if packet[0] & 0x10 != 0 { 24 } else { 12 };
            let opened = receiver.b_opens.open(&mut packet, header_len, SSRC, seq);
            opened_voice.push(packet[..opened.expect("sealed with the other leg's key").len].to_vec());
        }
    }
    assert!(opened_reports == reports && opened_voice == voice, "seed {seed}");
    assert!(voice.len() > usize::from(PACKETS) / 4 && reports.len() > 2, "seed {seed}");
}

#[test]
fn what_leaves_depends_on_what_arrived_and_on_nothing_else() {
    for (seed, suite_a) in (1..).zip(Suite::ALL) {
        for (more, suite_b) in (0..).zip(Suite::ALL) {
            for vlan in [None, Some(7)] {
                let setup = Setup { suite_a, suite_b, vlan, ..Setup::default() };
                leaves_no_residue::<AesGcmProvider>(&setup, seed * 100 + more);
            }
        }
    }
}

#[test]
fn nor_with_the_provider_in_c() {
    if crate::srtp::tests::has_ipsec_mb(module_path!()) {
        for (seed, suite) in (1000..).zip(Suite::ALL) {
            let setup = Setup { suite_a: suite, suite_b: suite, ..Setup::default() };
            leaves_no_residue::<IpsecMbProvider>(&setup, seed);
        }
    }
}

/// A buffer that is poisoned when it goes back shows nothing of what it held, and what it held is seen if it is not.
#[test]
fn a_buffer_that_is_reused_holds_what_the_test_takes_for_residue() {
    let mut buffer = HeapBuffer::new(&[7; 100], 0).received(&[1; 20]);
    assert!(buffer.resize(100));
    assert_eq!(buffer.data()[20..], [7; 80], "the earlier packet shows through");
    buffer.poison(0xa5);
    assert!(buffer.data().iter().all(|&octet| octet == 0xa5));
}
