//! A stream over restarts of the gateway.

use std::path::{Path, PathBuf};

use super::*;
use crate::session::{Journal, JournalKind};
use crate::srtp::{AesGcmProvider, Suite};

type Crypto = AesGcmProvider;

const SSRC: u32 = 0xfeed;

/// A directory on a memory file system.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/dev/shm/voxlane-stream-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("/dev/shm is writable");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(fill: u8) -> MasterKey {
    MasterKey::from_parts(Suite::AeadAes128Gcm, &[fill; 16], &[fill; 12]).expect("right lengths")
}

fn start(directory: &Path) -> (Journal, Stream<Crypto>) {
    let mut journal = Journal::open(directory, None, "test", 16).expect("a fresh directory");
    let (open, seal) = (key(1), key(2));
    let keys =
        StreamKeys { open: Some(&open), seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut stream = Stream::<Crypto>::new(keys, rules, Learn::Never);
    let (slot, resumed) = journal.slot(seal.fingerprint(), JournalKind::Srtp).expect("room");
    stream.journal_rtp(slot, resumed);
    let (slot, resumed) = journal.slot(seal.fingerprint(), JournalKind::Srtcp).expect("room");
    stream.journal_rtcp(slot, resumed);
    (journal, stream)
}

fn sealed_rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend(b"voice");
    packet.extend([0; 16]);
    let mut sender = RtpOutbound::<Crypto>::new(&key(1));
    sender.seal(&mut packet, 12, SSRC, PacketIndex::new(0, seq)).expect("a fresh index");
    packet
}

fn sealed_rtcp(index: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0; 20]);
    RtcpOutbound::<Crypto>::new(&key(1)).seal(&mut packet, index).expect("a fresh index");
    packet
}

/// Opens and seals again; `Err` of opening.
fn relay_rtp(stream: &mut Stream<Crypto>, seq: u16) -> Result<(), OpenError> {
    let mut packet = sealed_rtp(seq);
    let opened = stream.open_rtp(&mut packet, 12, SSRC, seq)?;
    stream.seal_rtp(&mut packet, 12, SSRC, opened.index).expect("what is opened once is sealed once");
    Ok(())
}

fn relay_rtcp(stream: &mut Stream<Crypto>, index: u32) -> Result<(), OpenError> {
    let mut packet = sealed_rtcp(index);
    let opened = stream.open_rtcp(&mut packet)?;
    stream.seal_rtcp(&mut packet, SSRC, opened.index).expect("what is opened once is sealed once");
    Ok(())
}

#[test]
fn after_a_crash_nothing_that_was_sealed_is_sealed_again_and_the_call_goes_on() {
    let directory = Directory::new("crash");
    let (journal, mut stream) = start(&directory.0);
    for seq in 1000..1200 {
        relay_rtp(&mut stream, seq).expect("fresh");
    }
    relay_rtcp(&mut stream, 5).expect("fresh");
    // No settling: the process is gone.
    drop((stream, journal));

    let (_journal, mut stream) = start(&directory.0);
    for seq in 1000..1200 {
        assert!(relay_rtp(&mut stream, seq).is_err(), "{seq} was relayed before the crash");
    }
    assert!(relay_rtcp(&mut stream, 5).is_err());
    relay_rtp(&mut stream, 1264).expect("a block of 64 after the last");
    relay_rtcp(&mut stream, 6).expect("SRTCP is recorded packet by packet");

    // A sender that was given a new key counts from zero; under the old sealing key that is refused as well.
    let mut packet = sealed_rtp(3);
    let refused = stream.seal_rtp(&mut packet, 12, SSRC, PacketIndex::new(0, 3));
    assert_eq!(refused, Err(SealError::IndexReserved));
    let mut packet = sealed_rtcp(4);
    assert_eq!(stream.seal_rtcp(&mut packet, SSRC, Some(4)), Err(SealError::IndexReserved));
}

#[test]
fn after_a_clean_stop_the_very_next_packet_is_relayed() {
    let directory = Directory::new("clean");
    let (journal, mut stream) = start(&directory.0);
    for seq in 10..20 {
        relay_rtp(&mut stream, seq).expect("fresh");
    }
    stream.settle_journal();
    drop(stream);
    journal.close().expect("nothing to copy");

    let (_journal, mut stream) = start(&directory.0);
    assert_eq!(relay_rtp(&mut stream, 19), Err(OpenError::Replayed));
    relay_rtp(&mut stream, 20).expect("the next one");
}

#[test]
fn rtcp_from_a_plain_leg_gets_indices_of_its_own() {
    let directory = Directory::new("plain");
    let seal = key(2);
    let keys = StreamKeys { open: None, seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut receiver = RtcpInbound::<Crypto>::new(&seal, ReplayWindowSize::default());
    let mut expected = 1;
    for run in 0..2 {
        let mut journal = Journal::open(&directory.0, None, "test", 16).expect("a directory of our own");
        let mut stream = Stream::<Crypto>::new(keys, rules, Learn::Never);
        let (slot, resumed) = journal.slot(seal.fingerprint(), JournalKind::Srtcp).expect("room");
        stream.journal_rtcp(slot, resumed);
        for _ in 0..3 {
            let mut packet = vec![0x80, 201, 0, 1];
            packet.extend(SSRC.to_be_bytes());
            let opened = stream.open_rtcp(&mut packet).expect("plain");
            packet.extend([0; 20]);
            stream.seal_rtcp(&mut packet, SSRC, opened.index).expect("a fresh index");
            let index = receiver.open(&mut packet).expect("authentic, and not seen before").index;
            assert_eq!(index, expected, "run {run}");
            expected += 1;
        }
    }
}
