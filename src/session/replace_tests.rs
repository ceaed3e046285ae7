//! Sources that replace one another: no nonce twice, nothing that goes back, reports that fit.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::dpdk::Memory;
use crate::session::{Journal, Learn, PayloadRules, SealChange, StreamKeys, StreamSetup};
use crate::srtp::tests::{master, rtp_plain};
use crate::srtp::{
    AesGcmProvider, MasterKey, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound, RtpOutbound, Suite,
};
use crate::wire::testing::Random;

const THERE: StreamId = StreamId(0);
const BACK: StreamId = StreamId(1);
const HEADER: usize = 12;
const HZ: u64 = 3_000_000_000;
const CLOCK: SourceClock = SourceClock { rate_hz: 48_000, packet: 960, cycles_per_second: HZ };

type Table = Streams<AesGcmProvider>;

/// Two streams, as of one session: the keys with these numbers open and seal.
fn session(suite: Suite, there: [u64; 2], back: [u64; 2]) -> Table {
    let mut streams = Streams::with_capacity(Memory::Heap, 2).expect("a few lines");
    for (id, [open, seal]) in [(THERE, there), (BACK, back)] {
        let (open, seal) = (master(suite, open), master(suite, seal));
        let replay_window = ReplayWindowSize::default();
        let keys = StreamKeys { open: Some(&open), seal: Some(&seal), replay_window };
        let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
        assert_eq!(streams.push(StreamSetup::new(keys, rules, Learn::Never)), Some(id));
    }
    streams
}

fn replace(streams: &mut Table, open: Option<&MasterKey>) -> Result<(), ReplaceError> {
    replace_with(streams, open, None)
}

fn replace_with(
    streams: &mut Table,
    open: Option<&MasterKey>,
    seal: Option<&MasterKey>,
) -> Result<(), ReplaceError> {
    let open = open.map(|key| Box::new(KeySet::new([key])));
    let seal = seal.map(|key| SealChange::new(key, None, None));
    let mut replacement = Replacement::new(THERE, CLOCK, open, seal);
    streams.replace_source(&mut replacement);
    replacement.outcome
}

/// A packet as a source seals it, with any index.
fn sealed(key: &MasterKey, ssrc: u32, index: u64, timestamp: u32) -> Vec<u8> {
    let index = PacketIndex::from_u64(index).expect("48 bits");
    let mut packet = rtp_plain(ssrc, index, 40);
    packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    let mut sender = RtpOutbound::<AesGcmProvider>::new(key);
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, HEADER, ssrc, index).expect("a fresh index");
    packet
}

fn sealed_rtcp(key: &MasterKey, index: u32, plain: &[u8]) -> Vec<u8> {
    let mut packet = plain.to_vec();
    let mut sender = RtcpOutbound::<AesGcmProvider>::new(key);
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, index).expect("a fresh index");
    packet
}

/// What left: the index, and the packet as sealed.
struct Left {
    index: u64,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    packet: Vec<u8>,
}

fn be(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |value, octet| value << 8 | u32::from(*octet))
}

/// The way of an RTP packet through the stages.
fn relay(streams: &mut Table, id: StreamId, packet: &[u8], cycles: u64) -> Result<Left, OpenError> {
    streams.set_now((cycles / (HZ / 16)) as u32);
    streams.set_arrival(cycles);
    let mut packet = packet.to_vec();
    let (seq, mut ssrc) = (be(&packet[2..4]) as u16, be(&packet[8..12]));
    let opened = streams.open_rtp(id, &mut packet, HEADER, ssrc, seq)?;
    packet.truncate(opened.len);
    let index = opened.ticket.index();
    if streams.is_replaced(id) {
        ssrc = streams.renumber_rtp(id, &mut packet, index, cycles).expect("it has an SSRC");
    }
    let (seq, timestamp) = (be(&packet[2..4]) as u16, be(&packet[4..8]));
    assert_eq!((be(&packet[8..12]), seq), (ssrc, index.seq()));
    packet.resize(opened.len + streams.trailer(id, false), 0);
    streams.seal_rtp(id, &mut packet, HEADER, ssrc, opened.ticket).expect("each index once");
    Ok(Left { index: index.as_u64(), ssrc, seq, timestamp, packet })
}

/// The way of a report; answers what leaves in the clear, its index, and as sealed.
fn relay_rtcp(
    streams: &mut Table,
    id: StreamId,
    packet: &[u8],
    cycles: u64,
) -> Result<(Vec<u8>, u32, Vec<u8>), OpenError> {
    streams.set_now((cycles / (HZ / 16)) as u32);
    let mut packet = packet.to_vec();
    let opened = streams.open_rtcp(id, &mut packet)?;
    packet.truncate(opened.len);
    let ssrc = streams.renumber_rtcp(id, &mut packet, opened.ssrc, cycles);
    let (clear, index) = (packet.clone(), opened.ticket.as_ref().map_or(0, Ticket::index));
    assert_eq!(be(&clear[4..8]), ssrc);
    packet.resize(opened.len + streams.trailer(id, true), 0);
    streams.seal_rtcp(id, &mut packet, ssrc, opened.ticket).expect("each index once");
    Ok((clear, index, packet))
}

fn report(packet_type: u8, words: &[u32]) -> Vec<u8> {
    let count = if words.len() > 6 { 1 } else { 0 };
    let mut octets = vec![0x80 | count, packet_type];
    octets.extend((words.len() as u16).to_be_bytes());
    octets.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    octets
}

#[test]
fn the_receiver_sees_one_source_that_goes_on() {
    let (suite, mut streams) = (Suite::AeadAes128Gcm, session(Suite::AeadAes128Gcm, [1, 2], [3, 4]));
    let (first, second, seal) = (master(suite, 1), master(suite, 5), master(suite, 2));
    let mut receiver = RtpInbound::<AesGcmProvider>::new(&seal, ReplayWindowSize::default());
    let mut hear = |left: &Left| {
        let mut packet = left.packet.clone();
        let opened = receiver.open(&mut packet, HEADER, left.ssrc, left.seq).expect("one source");
        assert_eq!(opened.index.as_u64(), left.index);
    };
    let at = |packet: u64| 7 * HZ + packet * HZ / 50;
    for number in 0..10 {
        let packet = sealed(&first, 0xaaaa, 65_530 + number, 500 + number as u32 * 960);
        let left = relay(&mut streams, THERE, &packet, at(number)).expect("passed through");
        assert_eq!(
            (left.index, left.timestamp, left.ssrc),
            (65_530 + number, 500 + number as u32 * 960, 0xaaaa)
        );
        hear(&left);
    }
    replace(&mut streams, Some(&second)).expect("there is room");
    // The old one is still talking.
    let late = sealed(&first, 0xaaaa, 65_540, 500 + 9_600);
    assert_eq!(relay(&mut streams, THERE, &late, at(10)).err(), Some(OpenError::AuthFailed));
    // A second and a half after the last packet.
    let from = 9 + 75;
    for number in 0..5 {
        let packet = sealed(&second, 0xbbbb, 300 + number, 4_000_000_000 + number as u32 * 960);
        let left = relay(&mut streams, THERE, &packet, at(from + number)).expect("the new one");
        assert_eq!((left.index, left.ssrc), (65_540 + number, 0xaaaa));
        let advanced = left.timestamp.wrapping_sub(500 + 9 * 960);
        let expected = (75 + number as u32) * 960;
        assert!(advanced.abs_diff(expected) <= 48, "{advanced} units of the clock instead of {expected}");
        hear(&left);
    }
    let early = sealed(&second, 0xbbbb, 299, 4_000_000_000 - 960);
    assert_eq!(relay(&mut streams, THERE, &early, at(90)).err(), Some(OpenError::BeforeSource));
    let other = sealed(&second, 0xcccc, 310, 0);
    assert_eq!(relay(&mut streams, THERE, &other, at(90)).err(), Some(OpenError::SsrcChanged));
    // Again, at once, and the source sends nothing; then one that does, in the very millisecond: a packet later.
    replace(&mut streams, Some(&first)).expect("there is room");
    replace(&mut streams, Some(&master(suite, 6))).expect("there is room");
    let packet = sealed(&master(suite, 6), 0xaaaa, 1, 77);
    let left = relay(&mut streams, THERE, &packet, at(from + 4)).expect("the third one");
    let advanced = left.timestamp.wrapping_sub(500 + 9 * 960);
    assert!(advanced.abs_diff((75 + 4 + 1) * 960) <= 48, "{advanced}");
    assert_eq!((left.index, left.ssrc), (65_545, 0xaaaa));
    hear(&left);
}

#[test]
fn an_hour_of_silence_is_an_hour_of_timestamps() {
    for seconds in [0_u64, 1, 20, 22, 23, 24, 45, 3_600, 86_400] {
        let before = Arrival { ticks: 1_000, fine: 40_000 };
        let cycles = seconds * HZ + HZ / 7;
        let start = (40_000_u64 << ARRIVAL_SHIFT) + (1 << (ARRIVAL_SHIFT - 1));
        let now = Arrival { ticks: 1_000 + (cycles * 16 / HZ) as u32, fine: fine(start + cycles) };
        let found = now.cycles_since(before, HZ);
        assert!(
            found.abs_diff(cycles) <= 1 << ARRIVAL_SHIFT,
            "{seconds} s: {found} cycles instead of {cycles}"
        );
        let units = CLOCK.advance(found);
        let expected = ((seconds * 48_000 + 48_000 / 7) as u32).max(960);
        assert!(units.abs_diff(expected) <= 48, "{seconds} s: {units} instead of {expected}");
    }
    assert_eq!(CLOCK.advance(0), 960);
}

#[test]
fn with_the_same_key_an_earlier_source_does_not_come_back() {
    let suite = Suite::AeadAes128Gcm;
    let (mut streams, key) = (session(suite, [1, 2], [3, 4]), master(suite, 1));
    let recorded: Vec<_> = (0..3).map(|number| sealed(&key, 0xaaaa, 10 + number, 0)).collect();
    for packet in &recorded {
        relay(&mut streams, THERE, packet, 0).expect("fresh");
    }
    for source in 1..RETIRED as u32 {
        replace(&mut streams, None).expect("there is room");
        for packet in &recorded {
            assert_eq!(relay(&mut streams, THERE, packet, 0).err(), Some(OpenError::SsrcChanged));
        }
        relay(&mut streams, THERE, &sealed(&key, source, 7, 0), 0).expect("another SSRC");
    }
    replace(&mut streams, None).expect("there is room");
    relay(&mut streams, THERE, &sealed(&key, 0xdddd, 7, 0), 0).expect("another SSRC");
    assert_eq!(replace(&mut streams, None), Err(ReplaceError::KeyNeeded));
    relay(&mut streams, THERE, &sealed(&key, 0xdddd, 8, 0), 0).expect("it keeps its source");
    // Under another key no record authenticates, and its SSRC is free again.
    replace(&mut streams, Some(&master(suite, 9))).expect("a new key");
    assert_eq!(relay(&mut streams, THERE, &recorded[0], 0).err(), Some(OpenError::AuthFailed));
    relay(&mut streams, THERE, &sealed(&master(suite, 9), 0xaaaa, 7, 0), 0).expect("a new key");
    let mut unknown = Replacement::new(StreamId(2), CLOCK, None, None);
    streams.replace_source(&mut unknown);
    assert_eq!(unknown.outcome, Err(ReplaceError::UnknownStream(2)));
}

#[test]
fn reports_speak_of_the_source_that_each_side_knows() {
    let suite = Suite::AeadAes128Gcm;
    let mut streams = session(suite, [1, 2], [3, 4]);
    let (old, new, callee) = (master(suite, 1), master(suite, 5), master(suite, 3));
    for index in 100..=200 {
        relay(&mut streams, THERE, &sealed(&old, 0xaaaa, index, index as u32 * 960), HZ).expect("fresh");
    }
    relay(&mut streams, BACK, &sealed(&callee, 0xcccc, 50, 0), HZ).expect("fresh");
    relay_rtcp(&mut streams, THERE, &sealed_rtcp(&old, 9, &report(201, &[0xaaaa])), HZ).expect("fresh");
    replace(&mut streams, Some(&new)).expect("there is room");

    // The new source reports before it sends: what it says fits what it will send.
    let words = |timestamp| [0xbbbb, 1, 2, timestamp, 5, 6];
    let (clear, index, _) =
        relay_rtcp(&mut streams, THERE, &sealed_rtcp(&new, 4, &report(200, &words(10_000))), HZ)
            .expect("fresh");
    assert_eq!(index, 10);
    let reported = be(&clear[16..20]);
    let left = relay(&mut streams, THERE, &sealed(&new, 0xbbbb, 7, 10_000), HZ).expect("fresh");
    assert_eq!((left.index, left.timestamp), (201, reported));
    assert!(left.timestamp.wrapping_sub(200 * 960) >= 960);
    assert_eq!(clear[..16], report(200, &[&[0xaaaa][..], &words(0)[1..]].concat())[..16]);
    // Its RTCP of an index before the first.
    let early = sealed_rtcp(&new, 3, &report(201, &[0xbbbb]));
    assert_eq!(relay_rtcp(&mut streams, THERE, &early, HZ).err(), Some(OpenError::BeforeSource));

    // The callee reports on what it hears: 201 is what the new source sent as 7.
    let block = |ssrc, highest| [0xcccc, ssrc, 0, highest, 4, 5, 6];
    let heard = sealed_rtcp(&callee, 1, &report(201, &block(0xaaaa, 203)));
    let (clear, index, packet) = relay_rtcp(&mut streams, BACK, &heard, HZ).expect("fresh");
    assert_eq!((clear, index), (report(201, &block(0xbbbb, 9)), 1));
    let mut caller = RtcpInbound::<AesGcmProvider>::new(&master(suite, 4), ReplayWindowSize::default());
    caller.open(&mut packet.clone()).expect("sealed for the caller");
    // The new source reports on what it hears, which was never replaced.
    let block = |ssrc| [ssrc, 0xcccc, 0, 50, 4, 5, 6];
    let heard = sealed_rtcp(&new, 5, &report(201, &block(0xbbbb)));
    let (clear, index, _) = relay_rtcp(&mut streams, THERE, &heard, HZ).expect("fresh");
    assert_eq!((clear, index), (report(201, &block(0xaaaa)), 11));
}

#[test]
fn who_joins_with_a_fresh_key_needs_no_roll_over_counter() {
    for suite in [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80] {
        let mut streams = session(suite, [1, 2], [3, 4]);
        let callee = master(suite, 3);
        for index in (0x7ff0..0x3_0005).step_by(0x1fff).chain([0x3_0005]) {
            relay(&mut streams, BACK, &sealed(&callee, 0xcccc, index, 5), HZ).expect("fresh");
        }
        let fresh = master(suite, 6);
        replace_with(&mut streams, Some(&master(suite, 5)), Some(&fresh)).expect("there is room");
        let mut joined = RtpInbound::<AesGcmProvider>::new(&fresh, ReplayWindowSize::default());
        for index in 0x3_0006..0x3_0100 {
            let left = relay(&mut streams, BACK, &sealed(&callee, 0xcccc, index, 99), HZ).expect("fresh");
            assert_eq!(
                (left.index, left.seq, left.ssrc, left.timestamp),
                (index & 0xffff, index as u16, 0xcccc, 99)
            );
            joined.open(&mut left.packet.clone(), HEADER, left.ssrc, left.seq).expect("counter 0");
        }
        let late = sealed(&callee, 0xcccc, 0x2_ffff, 1);
        assert_eq!(relay(&mut streams, BACK, &late, HZ).err(), Some(OpenError::BeforeSource));
        // The new caller's report on index 0x80 of the fresh key is one on 0x3_0080 for the callee.
        relay(&mut streams, THERE, &sealed(&master(suite, 5), 0xbbbb, 1, 0), HZ).expect("fresh");
        let report = |highest| report(201, &[0xbbbb, 0xcccc, 0, highest, 4, 5, 6]);
        let heard = sealed_rtcp(&master(suite, 5), 1, &report(0x80));
        let (clear, ..) = relay_rtcp(&mut streams, THERE, &heard, HZ).expect("fresh");
        assert_eq!(clear, report(0x3_0080));
    }
}

/// One source with packets under way.
struct Talker {
    key: MasterKey,
    ssrc: u32,
    next: u64,
    timestamp: u32,
    under_way: Vec<(u64, Vec<u8>)>,
}

impl Talker {
    fn new(random: &mut Random, key: MasterKey, ssrc: u32) -> Self {
        let next = [0_u64, 1, 0x7ff0, 0x7fff][random.below(4)] + random.below(8) as u64;
        Talker { key, ssrc, next, timestamp: random.next_u64() as u32, under_way: Vec::new() }
    }
}

/// Random replacements of source and keys, loss, packets that overtake one another, that come twice or that are played
/// again from long ago, jumps of thousands of sequence numbers.
fn nothing_is_sealed_twice(suite: Suite, seed: u64) {
    let mut random = Random::new(seed);
    let mut streams = session(suite, [1, 2], [3, 4]);
    let (mut open, mut seal, mut keys) = (master(suite, 1), 2_u64, 10_u64);
    let mut talker = Talker::new(&mut random, open.clone(), 1);
    let (mut ssrcs, mut recorded) = (1_u32, Vec::<Vec<u8>>::new());
    let mut used: HashSet<(u64, u32, u64)> = HashSet::new();
    let mut newest: Option<(u64, u32)> = None;
    let mut known: Option<u32> = None;
    let mut receivers: HashMap<u64, RtpInbound<AesGcmProvider>> = HashMap::new();
    let (mut cycles, mut in_order, mut refused, mut replaced) = (HZ, 0_u64, 0_u64, 0_u64);
    // The highest index that the present source was received with.
    let mut highest: Option<u64> = None;
    for _ in 0..6_000 {
        cycles += HZ / 50 + random.below(1_000_000) as u64;
        let before = talker.next;
        talker.next += if random.below(20) == 0 { 1 + random.below(9_000) as u64 } else { 1 };
        talker.timestamp = talker.timestamp.wrapping_add(960 * (talker.next - before) as u32);
        let packet = sealed(&talker.key, talker.ssrc, talker.next, talker.timestamp);
        if random.below(10) > 0 {
            talker.under_way.push((talker.next, packet.clone()));
        }
        if random.below(30) == 0 {
            talker.under_way.push((talker.next, packet.clone()));
        }
        if random.below(15) == 0 {
            recorded.push(packet);
        }
        let mut arriving = Vec::new();
        while talker.under_way.len() > 6 {
            let place = if random.below(4) == 0 { random.below(talker.under_way.len()) } else { 0 };
            arriving.push(talker.under_way.remove(place));
        }
        if random.below(10) == 0 && !recorded.is_empty() {
            arriving.push((u64::MAX, recorded[random.below(recorded.len())].clone()));
        }
        for (index, packet) in arriving {
            match relay(&mut streams, THERE, &packet, cycles) {
                Err(_) => refused += 1,
                Ok(left) => {
                    assert!(used.insert((seal, left.ssrc, left.index)), "seed {seed}: {} again", left.index);
                    assert_eq!(*known.get_or_insert(left.ssrc), left.ssrc, "seed {seed}: the SSRC changed");
                    let index = if index == u64::MAX { 0 } else { index };
                    if index > 0 && highest.is_none_or(|highest| index > highest) {
                        if let Some((before, timestamp)) = newest {
                            assert!(left.index > before, "seed {seed}: {} after {before}", left.index);
                            let advanced = left.timestamp.wrapping_sub(timestamp) as i32;
                            assert!(advanced > 0, "seed {seed}: the timestamp went on by {advanced}");
                        }
                        newest = Some((left.index, left.timestamp));
                        highest = Some(index);
                        in_order += 1;
                        if let Some(receiver) = receivers.get_mut(&seal) {
                            receiver
                                .open(&mut left.packet.clone(), HEADER, left.ssrc, left.seq)
                                .unwrap_or_else(|error| panic!("seed {seed}: {error} at {}", left.index));
                        }
                    } else if let Some(receiver) = receivers.get_mut(&seal) {
                        let _ = receiver.open(&mut left.packet.clone(), HEADER, left.ssrc, left.seq);
                    }
                }
            }
        }
        if random.below(150) == 0 {
            let new_key = random.below(3) > 0;
            if new_key {
                keys += 1;
                open = master(suite, keys);
            }
            // The source may have agreed on two keys, and begin with the second.
            let other = master(suite, 100_000 + keys);
            let several = new_key && random.below(2) == 0;
            let set = new_key.then(|| match several {
                true => Box::new(KeySet::new([&open, &other])),
                false => Box::new(KeySet::new([&open])),
            });
            let mut replacement = Replacement::new(THERE, CLOCK, set, None);
            streams.replace_source(&mut replacement);
            if replacement.outcome.is_ok() {
                if several && random.below(2) == 0 {
                    open = other;
                }
                // Under a new key any SSRC will do, also an old one.
                let reused = new_key && random.below(3) == 0;
                ssrcs += 1;
                let ssrc = if reused { 1 + random.below(ssrcs as usize) as u32 } else { ssrcs };
                talker = Talker::new(&mut random, open.clone(), ssrc);
                highest = None;
                replaced += 1;
            } else {
                assert!(!new_key);
            }
            cycles += random.below(100) as u64 * HZ / 10;
        }
        if random.below(400) == 0 {
            keys += 1;
            seal = keys;
            let change = SealChange::new(&master(suite, seal), None, None);
            streams.change_keys(&mut KeyChange {
                inbound: BACK,
                outbound: THERE,
                open: None,
                seal: Some(change),
            });
            let mut receiver = RtpInbound::new(&master(suite, seal), ReplayWindowSize::default());
            if let Some((index, _)) = newest {
                // It has heard the stream under the key before.
                receiver.resume(
                    known.expect("something was sent"),
                    PacketIndex::from_u64(index).expect("48 bits"),
                );
            }
            receivers.insert(seal, receiver);
        }
    }
    assert!(replaced > 10 && in_order > 2_000 && refused > 100, "{replaced} {in_order} {refused}");
    assert!(newest.is_some_and(|(index, _)| index > 3 << 16), "it rolled over: {newest:?}");
}

#[test]
fn nothing_is_sealed_twice_whatever_comes() {
    for seed in 1..=6 {
        nothing_is_sealed_twice(Suite::AeadAes128Gcm, seed);
    }
}

#[test]
fn nothing_is_sealed_twice_in_suites_that_go_in_batches() {
    (100..102).for_each(|seed| nothing_is_sealed_twice(Suite::AesCm128HmacSha1_80, seed));
}

/// The same of reports: each index once, over replacements, in whatever order.
#[test]
fn no_report_is_sealed_twice() {
    let suite = Suite::AeadAes128Gcm;
    for seed in 1..=10 {
        let (mut random, mut streams) = (Random::new(seed), session(suite, [1, 2], [3, 4]));
        let (mut used, mut highest, mut passed) = (HashSet::new(), 0, 0);
        for source in 0..12_u64 {
            let key = master(suite, 1 + source * 7);
            if source > 0 {
                replace(&mut streams, Some(&key)).expect("there is room");
            }
            let first = random.below(1_000) as u32;
            let before = highest;
            for _ in 0..200 {
                let packet = report(201, &[0xaa00 + source as u32]);
                let packet = sealed_rtcp(&key, first + random.below(300) as u32, &packet);
                let Ok((clear, index, _)) = relay_rtcp(&mut streams, THERE, &packet, HZ) else { continue };
                assert!(used.insert(index), "seed {seed}: {index} again");
                assert!(source == 0 || index > before, "seed {seed}: {index} is an earlier source's");
                assert_eq!(be(&clear[4..8]), 0xaa00);
                (highest, passed) = (highest.max(index), passed + 1);
            }
        }
        assert!(passed > 200, "{passed}");
    }
}

/// A journal of this test in memory, gone with it.
struct Shelf(std::path::PathBuf);

impl Shelf {
    fn new() -> Self {
        let path = std::path::PathBuf::from(format!("/dev/shm/voxlane-replace-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("/dev/shm is writable");
        Shelf(path)
    }

    fn open(&self) -> Journal {
        Journal::open(&self.0, None, "test", 16).expect("a directory of its own")
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the journal keeps is what was sealed, not what was received: over a clean stop, a crash, and a change of the
/// sealing key.
#[test]
fn a_restart_goes_on_behind_what_all_sources_used() {
    let (suite, shelf) = (Suite::AeadAes128Gcm, Shelf::new());
    let (open, seal, new) = (master(suite, 1), master(suite, 2), master(suite, 5));
    let stream = |journal: &mut Journal| {
        let replay_window = ReplayWindowSize::default();
        let keys = StreamKeys { open: Some(&open), seal: Some(&seal), replay_window };
        let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
        let mut setup = StreamSetup::new(keys, rules, Learn::Never);
        let [(slot, resumed), _] = journal.slots(seal.fingerprint()).expect("room");
        setup.rtp_journal = Some((slot, resumed));
        let mut streams = Table::with_capacity(Memory::Heap, 1).expect("a few lines");
        assert_eq!(streams.push(setup), Some(THERE));
        (streams, resumed)
    };
    let replaced = |streams: &mut Table, first: u64, expected: u64| {
        replace(streams, Some(&new)).expect("there is room");
        for number in 0..3 {
            let left = relay(streams, THERE, &sealed(&new, 0xbbbb, first + number, 0), HZ).expect("fresh");
            assert_eq!((left.index, left.ssrc), (expected + number, 0xaaaa));
        }
    };
    let mut journal = shelf.open();
    let (mut streams, resumed) = stream(&mut journal);
    assert_eq!(resumed, None);
    for index in 1_000..1_010 {
        relay(&mut streams, THERE, &sealed(&open, 0xaaaa, index, 0), HZ).expect("fresh");
    }
    replaced(&mut streams, 5, 1_010);
    streams.settle_journals();
    drop(streams);
    journal.close().expect("no disk is in it");

    // A clean stop: the very next index. Then a crash: at most a block later.
    let mut journal = shelf.open();
    let (mut streams, resumed) = stream(&mut journal);
    assert_eq!(resumed.map(|resumed| (resumed.ssrc, resumed.floor)), Some((0xaaaa, 1_013)));
    replaced(&mut streams, 40_000, 1_013);
    drop((streams, journal));
    let mut journal = shelf.open();
    let (mut streams, resumed) = stream(&mut journal);
    let floor = resumed.expect("it was used").floor;
    assert!((1_016..=1_080).contains(&floor), "{floor}");
    replaced(&mut streams, 7, floor);

    // Another sealing key: the record of the old one ends where its last index was.
    let change = SealChange::new(&master(suite, 8), None, None);
    let mut change = KeyChange { inbound: BACK, outbound: THERE, open: None, seal: Some(change) };
    streams.change_keys(&mut change);
    drop((streams, change));
    journal.close().expect("no disk is in it");
    let (_, resumed) = stream(&mut shelf.open());
    assert_eq!(resumed.map(|resumed| resumed.floor), Some(floor + 3));
}
