//! The tap from the worker's end to the files, without a port: records go into a real arena, the recorder is run by
//! hand, and what is on disk is read back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;
use crate::dpdk::Memory;
use crate::dpdk::arena::arena;
use crate::dpdk::arena_sync::Slab;

const HZ: u64 = 1_000_000_000;
const START_UNIX_NS: u64 = 1_767_225_600_000_000_000;
const WIDE: Limits = Limits { file_bytes: 1 << 30, total_bytes: 1 << 32, files: 1_000, free_bytes: 0 };
const BOTH: Formats = Formats { pcapng: true, audio: true };

/// A recorder over one worker's arena of `blocks` blocks.
struct Bench {
    directory: tempfile::TempDir,
    writer: TapWriter,
    recorder: Recorder,
    orders: Sender<Order>,
    counters: Arc<TapCounters>,
    now_ns: u64,
}

impl Bench {
    fn new(limits: Limits, formats: Formats, blocks: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (writer, reader) = arena(Slab::new(Memory::Heap, blocks).expect("memory"));
        let counters = Arc::new(TapCounters::new(1, blocks));
        let opened = Directory::open(&directory.path().join("tap"), limits).expect("a directory");
        let (recorder, orders) =
            Recorder::new(vec![reader], opened, formats, Arc::clone(&counters)).expect("a thread");
        let writer = TapWriter::new(writer, Arc::clone(&counters.workers[0]));
        Bench { directory, writer, recorder, orders, counters, now_ns: 0 }
    }

    fn start(&self, tap: u32, session: &str) {
        let address = |text: &str| text.parse::<SocketAddr>().expect("a literal");
        let leg = |local: &str, remote: Option<&str>| TapLeg {
            local: address(local),
            remote: remote.map(address),
            rtcp_local: address(local),
            rtcp_remote: remote.map(address),
            codecs: Codecs::of_static_types().with(96, Codec::Opus).with(97, L16),
        };
        let legs = [leg("10.1.0.1:20000", Some("10.1.0.2:30000")), leg("[fd00::1]:20000", None)];
        let plan = TapPlan {
            tap,
            session: session.to_owned(),
            legs,
            started_cycles: 0,
            started_unix_ns: START_UNIX_NS,
            tsc_hz: HZ,
        };
        self.orders.send(Order::Start(Box::new(plan))).expect("the recorder lives");
    }

    fn round(&mut self) {
        self.now_ns += 20_000_000;
        self.recorder.round(self.now_ns, self.now_ns);
    }

    /// Ends as the gateway does; the files by name.
    fn finish(mut self) -> (BTreeMap<String, Vec<u8>>, Arc<TapCounters>) {
        self.writer.close();
        drop(self.orders);
        self.recorder.finish(self.now_ns, self.now_ns);
        (files(&self.directory.path().join("tap")), self.counters)
    }
}

const L16: Codec = Codec::L16(Sampling { rate: 16_000, channels: 1 });

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("it exists").flatten();
    entries
        .map(|entry| {
            let mode = entry.metadata().expect("it exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
            let name = entry.file_name().into_string().expect("ASCII");
            (name, fs::read(entry.path()).expect("readable"))
        })
        .collect()
}

fn rtp(payload_type: u8, seq: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Interface, time in nanoseconds since the start, and frame of each packet of a capture.
fn frames(capture: &[u8]) -> Vec<(u32, u64, Vec<u8>)> {
    let mut reader = PcapNgReader::new(capture).expect("a section header");
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("a block") {
            let since = packet.timestamp.as_nanos() as u64 - START_UNIX_NS;
            frames.push((packet.interface_id, since, packet.data.into_owned()));
        }
    }
    frames
}

#[test]
fn a_call_becomes_a_capture_and_two_audio_files() {
    let mut bench = Bench::new(WIDE, BOTH, 4);
    bench.start(3, "../call 1");
    bench.round();
    let (mut sent, mut samples) = (Vec::new(), Vec::new());
    for number in 0..100_u16 {
        let cycles = u64::from(number) * 20_000_000 + 123;
        let payload: Vec<u8> = (0..160).map(|at| (number as u8).wrapping_mul(31).wrapping_add(at)).collect();
        let packet = rtp(0, number.wrapping_sub(50), u32::from(number) * 160, &payload);
        bench.writer.record(TapTag::new(3, Leg::A), false, cycles, &packet);
        sent.push((0, cycles, packet));
        samples.extend(payload);
        let packet = rtp(96, number, u32::from(number) * 960, &[9 << 3, number as u8]);
        bench.writer.record(TapTag::new(3, Leg::B), false, cycles + 1, &packet);
        sent.push((1, cycles + 1, packet));
        bench.round();
    }
    let report = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    bench.writer.record(TapTag::new(3, Leg::A), true, 2_000_000_000, &report);
    sent.push((0, 2_000_000_000, report));
    let (files, counters) = bench.finish();
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let name = "___call_1.20260101T000000Z.3";
    assert_eq!(names, [format!("{name}.a.wav"), format!("{name}.b.ogg"), format!("{name}.pcapng")]);
    let wav = &files[names[0]];
    assert_eq!(wav.len(), 58 + samples.len());
    assert_eq!(wav[20..22], 7_u16.to_le_bytes());
    assert!(wav[58..] == samples, "the very samples");
    let frames = frames(&files[names[2]]);
    assert_eq!(frames.len(), sent.len());
    for ((interface, since, frame), (leg, cycles, packet)) in frames.iter().zip(&sent) {
        assert_eq!((interface, since), (leg, cycles));
        assert!(frame.ends_with(packet), "the very packet");
        assert_eq!(frame.len() - packet.len(), if *leg == 0 { 42 } else { 62 });
    }
    assert_eq!(frames[0].2[26..38], [10, 1, 0, 2, 10, 1, 0, 1, 0x75, 0x30, 0x4e, 0x20], "remote to local");
    assert_eq!(Loss::ALL.map(|loss| counters.lost(loss)), [0; 8]);
    assert_eq!((counters.files_begun.value(), counters.files_completed.value()), (3, 3));
    assert_eq!(counters.bytes.value(), files.values().map(|file| file.len() as u64).sum::<u64>());
    assert_eq!((counters.workers[0].records.value(), counters.blocks_in_use()), (201, 0));
}

#[test]
fn audio_is_in_order_and_gaps_are_silence() {
    let mut bench = Bench::new(WIDE, Formats { pcapng: false, audio: true }, 4);
    bench.start(1, "c");
    for (number, seq) in [0_u16, 2, 1, 4, 3, 6].into_iter().enumerate() {
        let packet = rtp(8, seq, u32::from(seq) * 4, &[seq as u8; 4]);
        bench.writer.record(TapTag::new(1, Leg::B), false, number as u64 * 20_000_000, &packet);
    }
    bench.round();
    // A telephone-event and comfort noise are no audio of their own.
    bench.writer.record(TapTag::new(1, Leg::B), false, 120_000_000, &rtp(101, 7, 24, &[0; 4]));
    bench.writer.record(TapTag::new(1, Leg::B), false, 140_000_000, &rtp(8, 8, 32, &[8; 4]));
    let (files, _) = bench.finish();
    let (name, wav) = files.first_key_value().expect("one file");
    assert!(name.ends_with(".b.wav"), "{name}");
    let expected: Vec<u8> =
        [0, 1, 2, 3, 4, 0xd5, 6, 0xd5, 8].into_iter().flat_map(|code| [code; 4]).collect();
    assert_eq!(wav[58..], expected);
}

#[test]
fn a_change_of_codec_or_a_long_pause_begins_another_file() {
    let mut bench = Bench::new(WIDE, Formats { pcapng: false, audio: true }, 4);
    bench.start(1, "c");
    let mut record = |at_s: u64, payload_type, seq, timestamp, payload: &[u8]| {
        let packet = rtp(payload_type, seq, timestamp, payload);
        bench.writer.record(TapTag::new(1, Leg::A), false, at_s * HZ, &packet);
    };
    record(0, 0, 0, 0, &[1; 160]);
    record(1, 97, 1, 16_000, &[1, 2]);
    record(2, 96, 2, 96_000, &[9 << 3, 1]);
    record(800, 96, 3, 96_000, &[9 << 3, 2]);
    record(1_500, 0, 4, 5, &[1; 160]);
    let (files, counters) = bench.finish();
    let ends: Vec<_> = files.keys().map(|name| name.split_once("Z.1.a").expect("of leg a").1).collect();
    assert_eq!(ends, ["-2.wav", "-3.ogg", "-4.ogg", "-5.wav", ".wav"]);
    assert!(files.values().all(|file| file.len() < 1_000), "no file holds the pause");
    assert_eq!(Loss::ALL.map(|loss| counters.lost(loss)), [0; 8]);
}

/// What is over a bound is lost under that bound's name; what is in the file and what is lost is all there was.
#[test]
fn each_bound_loses_what_is_over_it_counted() {
    let cases = [
        (Limits { file_bytes: 200, ..WIDE }, Loss::FileLimit, false),
        (Limits { total_bytes: 4_000, ..WIDE }, Loss::TotalLimit, true),
        (Limits { files: 0, ..WIDE }, Loss::FileCount, false),
        (Limits { free_bytes: 1 << 60, ..WIDE }, Loss::DiskFull, false),
    ];
    for (limits, reason, is_begun) in cases {
        let mut bench = Bench::new(limits, Formats { pcapng: true, audio: false }, 4);
        bench.start(1, "c");
        for number in 0..100_u16 {
            let packet = rtp(0, number, 0, &[5; 160]);
            bench.writer.record(TapTag::new(1, Leg::A), false, u64::from(number), &packet);
            bench.round();
        }
        let (files, counters) = bench.finish();
        let kept: usize = files.values().map(|file| frames(file).len()).sum();
        assert_eq!(counters.lost(reason) + kept as u64, 100, "{reason:?}");
        assert_eq!(kept > 5, is_begun, "{reason:?}: {kept}");
        let others: u64 =
            Loss::ALL.iter().filter(|loss| **loss != reason).map(|loss| counters.lost(*loss)).sum();
        assert_eq!(others, 0, "{reason:?}");
        let bytes: usize = files.values().map(Vec::len).sum();
        assert!(bytes <= 4_000, "{reason:?}: {bytes}");
        assert_eq!(counters.files_completed.value(), files.len() as u64);
    }
}

/// A call of both legs with losses, disorder and a pause, written under `limits`.
fn long_call(limits: Limits) -> (BTreeMap<String, Vec<u8>>, Arc<TapCounters>) {
    let mut bench = Bench::new(limits, BOTH, 4);
    bench.start(1, "c");
    for number in 0..1_000_u32 {
        // Each 7th is lost; there is a pause in the middle; the 11th swaps places with the one before.
        let spoken = match number % 11 {
            9 => number + 1,
            10 => number - 1,
            _ => number,
        };
        let pause = if spoken >= 500 { 9 } else { 0 };
        let (at, seq) = (u64::from(number + pause) * 20_000_000, spoken as u16);
        if spoken % 7 != 3 {
            let pcmu: Vec<u8> = (0..160).map(|at| (spoken as u8).wrapping_mul(31).wrapping_add(at)).collect();
            let packet = rtp(0, seq, (spoken + pause) * 160, &pcmu);
            bench.writer.record(TapTag::new(1, Leg::A), false, at, &packet);
            let mut opus = vec![9 << 3, spoken as u8];
            opus.resize(20 + spoken as usize % 300, 0x55);
            let packet = rtp(96, seq, (spoken + pause) * 960, &opus);
            bench.writer.record(TapTag::new(1, Leg::B), false, at, &packet);
        }
        bench.round();
    }
    bench.finish()
}

/// Files with that end, in the order of their numbers.
fn in_order<'f>(files: &'f BTreeMap<String, Vec<u8>>, start: &str, end: &str) -> Vec<&'f Vec<u8>> {
    let mut found: Vec<(u32, &Vec<u8>)> = files
        .iter()
        .filter_map(|(name, octets)| {
            let number = name.strip_prefix(start)?.strip_suffix(end)?;
            Some((number.strip_prefix('-').map_or(1, |number| number.parse().expect("a number")), octets))
        })
        .collect();
    found.sort_unstable();
    assert!(found.iter().zip(1..).all(|((number, _), place)| *number == place), "none is missing");
    found.into_iter().map(|(_, octets)| octets).collect()
}

/// Packets of an Ogg file behind its headers, where it ends, and whether it says so.
fn opus(file: &[u8]) -> (Vec<Vec<u8>>, u64, bool) {
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(file));
    let (mut packets, mut end, mut is_ended) = (Vec::new(), 0, false);
    while let Some(packet) = reader.read_packet().expect("a valid file") {
        (end, is_ended) = (packet.absgp_page(), packet.last_in_stream());
        packets.push(packet.data);
    }
    assert!(packets[0].starts_with(b"OpusHead") && packets[1].starts_with(b"OpusTags"));
    (packets.split_off(2), end, is_ended)
}

/// Whatever the length of a file: one after the other, they are the one file that there would be without a limit.
#[test]
fn a_full_file_ends_and_the_next_goes_on_where_it_ended() {
    const NAME: &str = "c.20260101T000000Z.1";
    let (whole, _) = long_call(WIDE);
    assert_eq!(whole.len(), 3);
    let [wav, ogg, capture] = [".a.wav", ".b.ogg", ".pcapng"].map(|end| &whole[&format!("{NAME}{end}")]);
    for file_bytes in [3_000, 10_007, 70_000] {
        let (files, counters) = long_call(Limits { file_bytes, ..WIDE });
        assert_eq!(Loss::ALL.map(|loss| counters.lost(loss)), [0; 8], "{file_bytes}");
        assert!(files.values().all(|file| file.len() as u64 <= file_bytes), "{file_bytes}");
        assert_eq!(counters.files_completed.value(), files.len() as u64);
        let parts = in_order(&files, &format!("{NAME}.a"), ".wav");
        // More than a sender could make by changing its codec.
        assert!(parts.len() > if file_bytes == 3_000 { 32 } else { 2 }, "{file_bytes}: {}", parts.len());
        let mut samples = Vec::<u8>::new();
        for part in parts {
            let len = |at: usize| u32::from_le_bytes(part[at..at + 4].try_into().expect("four")) as usize;
            assert_eq!((len(4) + 8, len(46), len(54)), (part.len(), len(54), (part.len() - 58) & !1));
            samples.extend(&part[58..58 + len(54)]);
        }
        assert!(samples == wav[58..], "{file_bytes}: {} and {} samples", samples.len(), wav.len() - 58);
        let parts = in_order(&files, &format!("{NAME}.b"), ".ogg");
        assert!(parts.len() > 1, "{file_bytes}: {}", parts.len());
        let (mut packets, mut end) = (Vec::new(), 0);
        for part in parts {
            let (more, its_end, is_ended) = opus(part);
            assert!(is_ended);
            packets.extend(more);
            end += its_end;
        }
        assert!((packets, end, true) == opus(ogg), "{file_bytes}");
        let parts = in_order(&files, NAME, ".pcapng");
        assert!(parts.len() > 2, "{file_bytes}: {}", parts.len());
        let captured: Vec<_> = parts.into_iter().flat_map(|part| frames(part)).collect();
        assert!(captured == frames(capture), "{file_bytes}");
    }
}

/// Until the directory is full: what is over that is lost and counted, and what is there is whole.
#[test]
fn full_files_go_on_until_the_directory_is_full() {
    let (whole, _) = long_call(WIDE);
    let all: usize =
        whole.iter().filter(|(name, _)| name.ends_with(".pcapng")).map(|(_, file)| frames(file).len()).sum();
    for (limits, reason) in [
        (Limits { file_bytes: 10_000, files: 9, ..WIDE }, Loss::FileCount),
        (Limits { file_bytes: 10_000, total_bytes: 90_000, ..WIDE }, Loss::TotalLimit),
    ] {
        let (files, counters) = long_call(limits);
        assert!(files.len() as u64 <= limits.files && files.len() > 5, "{reason:?}: {}", files.len());
        assert!(
            files.values().map(Vec::len).sum::<usize>() as u64 <= limits.total_bytes + 3 * 4_096,
            "{reason:?}"
        );
        let lost = Loss::ALL.map(|loss| counters.lost(loss));
        assert!(counters.lost(reason) > 100 && lost.iter().sum::<u64>() == counters.lost(reason), "{lost:?}");
        let parts = in_order(&files, "c.20260101T000000Z.1", ".pcapng");
        let kept: usize = parts.into_iter().map(|part| frames(part).len()).sum();
        assert!((100..all).contains(&kept), "{reason:?}: {kept} of {all}");
        for part in in_order(&files, "c.20260101T000000Z.1.b", ".ogg") {
            opus(part);
        }
        for part in in_order(&files, "c.20260101T000000Z.1.a", ".wav") {
            let data = u32::from_le_bytes(part[54..58].try_into().expect("four octets")) as usize;
            assert_eq!(part.len(), 58 + data + data % 2, "{reason:?}");
        }
    }
}

/// What an encoder still holds when its file ends early is lost, too, and counted.
#[test]
fn a_file_that_ends_early_is_whole_and_what_it_lacks_is_counted() {
    let mut bench =
        Bench::new(Limits { total_bytes: 30_000, ..WIDE }, Formats { pcapng: false, audio: true }, 4);
    bench.start(1, "c");
    for number in 0..500_u16 {
        let mut payload = vec![9 << 3, number as u8];
        payload.resize(120, 1);
        let packet = rtp(96, number, u32::from(number) * 960, &payload);
        bench.writer.record(TapTag::new(1, Leg::B), false, u64::from(number) * 20_000_000, &packet);
        bench.round();
    }
    let (files, counters) = bench.finish();
    let kept: usize = files.values().map(|file| opus(file).0.len()).sum();
    assert!((100..400).contains(&kept), "{kept}");
    assert_eq!(kept as u64 + counters.lost(Loss::TotalLimit), 500);
}

/// Silence alone fills no file.
#[test]
fn a_pause_longer_than_a_file_is_left_out_of_it() {
    let limits = Limits { file_bytes: 20_000, ..WIDE };
    let mut bench = Bench::new(limits, Formats { pcapng: false, audio: true }, 4);
    bench.start(1, "c");
    for (number, at_s) in [0, 1, 60, 61].into_iter().enumerate() {
        let packet = rtp(0, number as u16, at_s as u32 * 8_000, &[7; 160]);
        bench.writer.record(TapTag::new(1, Leg::A), false, at_s * HZ, &packet);
    }
    let (files, counters) = bench.finish();
    let parts = in_order(&files, "c.20260101T000000Z.1.a", ".wav");
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [58 + 8_160; 2]);
    assert_eq!(Loss::ALL.map(|loss| counters.lost(loss)), [0; 8]);
}

/// A recorder that stands still costs records, and the count says how many.
#[test]
fn without_blocks_records_are_lost_and_counted() {
    let mut bench = Bench::new(WIDE, Formats { pcapng: true, audio: false }, 2);
    bench.start(1, "c");
    for number in 0..2_000_u16 {
        bench.writer.record(TapTag::new(1, Leg::A), false, 0, &rtp(0, number, 0, &[5; 160]));
    }
    assert_eq!(bench.counters.blocks_in_use(), 2);
    bench.round();
    let (files, counters) = bench.finish();
    let kept = files.values().map(|file| frames(file).len()).sum::<usize>() as u64;
    assert_eq!(kept, counters.workers[0].records.value());
    assert_eq!(kept + counters.lost(Loss::NoBlock), 2_000);
    assert!(kept > 500 && counters.lost(Loss::NoBlock) > 500, "{kept}");
    assert_eq!((counters.blocks_in_use(), counters.account().high_water), (0, 2));
}

#[test]
fn a_tap_that_ended_is_complete_and_what_comes_later_is_lost() {
    let mut bench = Bench::new(WIDE, Formats { pcapng: true, audio: false }, 2);
    bench.start(1, "c");
    let record = |bench: &mut Bench| {
        bench.writer.record(TapTag::new(1, Leg::A), false, 0, &rtp(0, 0, 0, &[5; 160]));
    };
    record(&mut bench);
    bench.orders.send(Order::Stop { tap: 1 }).expect("the recorder lives");
    bench.round();
    // The worker learns of it a little later.
    record(&mut bench);
    (0..20).for_each(|_| bench.round());
    record(&mut bench);
    bench.round();
    assert_eq!(bench.counters.lost(Loss::NoSession), 1);
    let (files, _) = bench.finish();
    assert_eq!(files.len(), 1);
    assert!(files.iter().all(|(name, file)| name.ends_with(".pcapng") && frames(file).len() == 2));
}

/// Files as a killed gateway leaves them, cut anywhere: each comes back whole under its own name.
#[test]
fn partial_files_are_completed_at_the_next_start() {
    let mut bench = Bench::new(WIDE, BOTH, 2);
    bench.start(1, "c");
    for number in 0..200_u16 {
        let payload: Vec<u8> = vec![number as u8; 160];
        let at = u64::from(number) * 20_000_000;
        bench.writer.record(
            TapTag::new(1, Leg::A),
            false,
            at,
            &rtp(0, number, u32::from(number) * 160, &payload),
        );
        let opus = [9 << 3, number as u8];
        bench.writer.record(
            TapTag::new(1, Leg::B),
            false,
            at,
            &rtp(96, number, u32::from(number) * 960, &opus),
        );
        bench.round();
    }
    let (whole, _) = bench.finish();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..60 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("tap");
        Directory::open(&path, WIDE).expect("made");
        for (name, octets) in &whole {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let len = if round == 0 { 0 } else { 300 + random as usize % (octets.len() - 300) };
            let partial = path.join(format!("{name}.partial"));
            fs::write(&partial, &octets[..len]).expect("writable");
            fs::set_permissions(&partial, PermissionsExt::from_mode(0o600)).expect("ours");
        }
        let opened = Directory::open(&path, WIDE).expect("opens");
        let found = files(&path);
        if round == 0 {
            assert!(found.is_empty(), "{:?}", found.keys());
            continue;
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        assert_eq!(opened.recovered, 3);
        for (name, octets) in &found {
            match name.rsplit_once('.').map(|(_, extension)| extension) {
                Some("pcapng") => assert!(whole[name].starts_with(octets) && !frames(octets).is_empty()),
                Some("ogg") => {
                    assert!(whole[name].starts_with(octets));
                    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(octets));
                    while reader.read_packet().expect("whole pages").is_some() {}
                }
                _ => {
                    let data = u32::from_le_bytes(octets[54..58].try_into().expect("four octets")) as usize;
                    assert_eq!(octets.len(), 58 + data + data % 2);
                    assert_eq!(octets[58..58 + data], whole[name][58..58 + data]);
                }
            }
        }
    }
}

#[test]
fn links_and_strangers_are_set_aside_and_never_followed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tap");
    Directory::open(&path, WIDE).expect("made");
    let precious = directory.path().join("precious.pcapng");
    // Whoever follows the link finds a capture that can be completed, and cuts off what is behind it.
    let mut capture = Vec::new();
    capture::Capture::new("x").expect("memory").take(&mut capture);
    capture.extend(b"not ours");
    fs::write(&precious, &capture).expect("writable");
    symlink(&precious, path.join("x.pcapng.partial")).expect("a link");
    fs::write(path.join("y.txt.partial"), b"text").expect("writable");
    fs::write(path.join("z.pcapng.partial"), b"no capture at all").expect("writable");
    Directory::open(&path, WIDE).expect("opens");
    let mut names: Vec<_> =
        fs::read_dir(&path).expect("exists").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["x.pcapng.set-aside", "y.txt.set-aside", "z.pcapng.set-aside"]);
    assert_eq!(fs::read(&precious).expect("still there"), capture);

    // A link where a file is to be made: it is not made there.
    symlink(&precious, path.join("c.20260101T000000Z.1.pcapng.partial")).expect("a link");
    let mut opened = Directory::open(&path, WIDE).expect("opens");
    symlink(&precious, path.join("c.20260101T000000Z.1.pcapng.partial")).expect("a link");
    assert_eq!(opened.create("c.20260101T000000Z.1.pcapng").err(), Some(Loss::WriteError));
    assert_eq!(fs::read(&precious).expect("still there"), capture);
}

#[test]
fn a_directory_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tap");
    Directory::open(&path, WIDE).expect("made");
    assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);
    let link = directory.path().join("link");
    symlink(&path, &link).expect("a link");
    for name in ["link", "link/"] {
        let error = Directory::open(&directory.path().join(name), WIDE).expect_err("a link");
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    for mode in [0o750, 0o701, 0o777] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        let error = Directory::open(&path, WIDE).expect_err("others have access").to_string();
        assert!(error.contains(&format!("mode {mode:03o}")) && error.contains("chmod 700"), "{error}");
    }
    let error = Directory::open(&directory.path().join("no/such"), WIDE).expect_err("no parent");
    assert!(error.to_string().contains("no/such"), "{error}");
}

/// No name is ever taken from another file.
#[test]
fn a_file_that_is_there_is_never_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tap");
    let opened = Directory::open(&path, WIDE).expect("made");
    fs::write(path.join("c.wav"), b"first").expect("writable");
    for number in 1..=2 {
        File::create(path.join("c.wav.partial")).expect("writable");
        finisher::rename(&opened.fd, "c.wav").expect("another name");
        assert!(path.join(format!("c~{number}.wav")).exists());
    }
    assert_eq!(fs::read(path.join("c.wav")).expect("still there"), b"first");
}

/// A directory that was full takes files again when somebody has moved some away.
#[test]
fn room_that_somebody_makes_is_noticed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tap");
    let mut opened = Directory::open(&path, Limits { files: 1, ..WIDE }).expect("made");
    opened.create("one.wav").expect("room for one");
    assert_eq!(opened.create("two.wav").err(), Some(Loss::FileCount));
    fs::remove_file(path.join("one.wav.partial")).expect("ours");
    // It was found full so long ago.
    opened.surveyed =
        std::time::Instant::now().checked_sub(directory::SURVEY).expect("the machine is not that young");
    opened.create("two.wav").expect("counted again");
}
