//! A stream over restarts of the gateway, and the memory that streams take.

use std::path::{Path, PathBuf};

use super::*;
use crate::dpdk::Memory;
use crate::session::{Journal, PayloadRules, StreamId, StreamKeys};
use crate::srtp::tests::{has_ipsec_mb, rtp_plain};
use crate::srtp::{
    AesGcmProvider, IpsecMbProvider, MasterKey, OpenError, ReplayWindowSize, RtcpInbound, RtcpOutbound,
    RtpInbound, RtpOutbound, SealError, Suite, Ticket,
};

/// Makes a `#[test]` for each provider, which is run for each suite.
macro_rules! for_each_provider_and_suite {
    ($($test:ident),+ $(,)?) => {
        mod aes_gcm {
            $(
                #[test]
                fn $test() {
                    super::Suite::ALL.into_iter().for_each(super::$test::<super::AesGcmProvider>);
                }
            )+
        }
        mod ipsec_mb {
            $(
                #[test]
                fn $test() {
                    if super::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                        super::Suite::ALL.into_iter().for_each(super::$test::<super::IpsecMbProvider>);
                    }
                }
            )+
        }
    };
}

for_each_provider_and_suite!(
    after_a_crash_nothing_that_was_sealed_is_sealed_again_and_the_call_goes_on,
    after_a_clean_stop_the_very_next_packet_is_relayed,
    rtcp_from_a_plain_leg_gets_indices_of_its_own,
    a_plain_sender_that_rolls_over_before_anything_is_sealed_is_heard,
);

const SSRC: u32 = 0xfeed;

/// A directory on a memory file system.
struct Directory(PathBuf);

impl Directory {
    fn new<P: Provider>(name: &str, suite: Suite) -> Self {
        let name = format!("{name}-{}-{suite}-{}", P::NAME, std::process::id());
        let path = PathBuf::from(format!("/dev/shm/voxlane-stream-{name}"));
        std::fs::create_dir_all(&path).expect("/dev/shm is writable");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(suite: Suite, fill: u8) -> MasterKey {
    let (key, salt) = (vec![fill; suite.key_len()], vec![fill; suite.salt_len()]);
    MasterKey::from_parts(suite, &key, &salt).expect("right lengths")
}

const ID: StreamId = StreamId(0);

fn one<P: Provider>(setup: StreamSetup<'_>) -> Streams<P> {
    let mut streams = Streams::with_capacity(Memory::Heap, 1).expect("a few lines");
    assert_eq!(streams.push(setup), Some(ID));
    streams
}

fn start<P: Provider>(suite: Suite, directory: &Path) -> (Journal, Streams<P>) {
    let mut journal = Journal::open(directory, None, "test", 16).expect("a fresh directory");
    let (open, seal) = (key(suite, 1), key(suite, 2));
    let keys =
        StreamKeys { open: Some(&open), seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut setup = StreamSetup::new(keys, rules, Learn::Never);
    let slots = journal.slots(seal.fingerprint()).expect("room");
    [setup.rtp_journal, setup.rtcp_journal] = slots.map(Some);
    (journal, one(setup))
}

fn sealed_rtp<P: Provider>(suite: Suite, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend(b"voice");
    let mut sender = RtpOutbound::<P>::new(&key(suite, 1));
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, 12, SSRC, PacketIndex::new(0, seq)).expect("a fresh index");
    packet
}

fn sealed_rtcp<P: Provider>(suite: Suite, index: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    let mut sender = RtcpOutbound::<P>::new(&key(suite, 1));
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, index).expect("a fresh index");
    packet
}

/// Opens and seals again; `Err` of opening.
fn relay_rtp<P: Provider>(suite: Suite, stream: &mut Streams<P>, seq: u16) -> Result<(), OpenError> {
    let mut packet = sealed_rtp::<P>(suite, seq);
    let opened = stream.open_rtp(ID, &mut packet, 12, SSRC, seq)?;
    stream.seal_rtp(ID, &mut packet, 12, SSRC, opened.ticket).expect("what is opened once is sealed once");
    Ok(())
}

fn relay_rtcp<P: Provider>(suite: Suite, stream: &mut Streams<P>, index: u32) -> Result<(), OpenError> {
    let mut packet = sealed_rtcp::<P>(suite, index);
    let opened = stream.open_rtcp(ID, &mut packet)?;
    stream.seal_rtcp(ID, &mut packet, SSRC, opened.ticket).expect("what is opened once is sealed once");
    Ok(())
}

fn after_a_crash_nothing_that_was_sealed_is_sealed_again_and_the_call_goes_on<P: Provider>(suite: Suite) {
    let directory = Directory::new::<P>("crash", suite);
    let (journal, mut stream) = start::<P>(suite, &directory.0);
    for seq in 1000..1200 {
        relay_rtp(suite, &mut stream, seq).expect("fresh");
    }
    relay_rtcp(suite, &mut stream, 5).expect("fresh");
    // No settling: the process is gone.
    drop((stream, journal));

    let (_journal, mut stream) = start::<P>(suite, &directory.0);
    for seq in 1000..1200 {
        assert!(relay_rtp(suite, &mut stream, seq).is_err(), "{seq} was relayed before the crash");
    }
    assert!(relay_rtcp(suite, &mut stream, 5).is_err());
    relay_rtp(suite, &mut stream, 1264).expect("a block of 64 after the last");
    relay_rtcp(suite, &mut stream, 6).expect("SRTCP is recorded packet by packet");

    // A sender that was given a new key counts from zero; under the old sealing key that is refused as well.
    let mut other = InboundState::new(ReplayWindowSize::MAX, 48);
    let ticket = other.commit(&mut Ring::new(), SSRC, PacketIndex::new(0, 3)).expect("fresh");
    let refused = stream.seal_rtp(ID, &mut sealed_rtp::<P>(suite, 3), 12, SSRC, ticket);
    assert_eq!(refused, Err(SealError::IndexReserved));
    let mut other = crate::srtp::RtcpInboundState::new(ReplayWindowSize::MIN, 31);
    let ticket = other.commit(&mut Ring::<2>::new(), SSRC, 4, None).expect("fresh");
    assert_eq!(
        stream.seal_rtcp(ID, &mut sealed_rtcp::<P>(suite, 4), SSRC, Some(ticket)),
        Err(SealError::IndexReserved)
    );
}

fn after_a_clean_stop_the_very_next_packet_is_relayed<P: Provider>(suite: Suite) {
    let directory = Directory::new::<P>("clean", suite);
    let (journal, mut stream) = start::<P>(suite, &directory.0);
    for seq in 10..20 {
        relay_rtp(suite, &mut stream, seq).expect("fresh");
    }
    stream.settle_journals();
    drop(stream);
    journal.close().expect("nothing to copy");

    let (_journal, mut stream) = start::<P>(suite, &directory.0);
    assert_eq!(relay_rtp(suite, &mut stream, 19), Err(OpenError::Replayed));
    relay_rtp(suite, &mut stream, 20).expect("the next one");
}

fn rtcp_from_a_plain_leg_gets_indices_of_its_own<P: Provider>(suite: Suite) {
    let directory = Directory::new::<P>("plain", suite);
    let seal = key(suite, 2);
    let keys = StreamKeys { open: None, seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut receiver = RtcpInbound::<P>::new(&seal, ReplayWindowSize::default());
    let mut expected = 1;
    for run in 0..2 {
        let mut journal = Journal::open(&directory.0, None, "test", 16).expect("a directory of our own");
        let mut setup = StreamSetup::new(keys, rules, Learn::Never);
        let [_, rtcp] = journal.slots(seal.fingerprint()).expect("room");
        setup.rtcp_journal = Some(rtcp);
        let mut stream = one::<P>(setup);
        for _ in 0..3 {
            let mut packet = vec![0x80, 201, 0, 1];
            packet.extend(SSRC.to_be_bytes());
            let opened = stream.open_rtcp(ID, &mut packet).expect("plain");
            packet.resize(packet.len() + stream.trailer(ID, true), 0);
            stream.seal_rtcp(ID, &mut packet, SSRC, opened.ticket).expect("a fresh index");
            let index = receiver.open(&mut packet).expect("authentic, and not seen before").index;
            assert_eq!(index, expected, "run {run}");
            expected += 1;
        }
    }
}

/// Packets of the sender are dropped at first (its payload type is refused, the receiver is not resolved yet), and its
/// sequence number rolls over meanwhile: the receiver, who has heard nothing, begins with roll-over counter 0.
fn a_plain_sender_that_rolls_over_before_anything_is_sealed_is_heard<P: Provider>(suite: Suite) {
    let directory = Directory::new::<P>("first", suite);
    let seal = key(suite, 2);
    let keys = StreamKeys { open: None, seal: Some(&seal), replay_window: ReplayWindowSize::default() };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut journal = Journal::open(&directory.0, None, "test", 16).expect("a directory of our own");
    let mut setup = StreamSetup::new(keys, rules, Learn::Never);
    let [rtp, _] = journal.slots(seal.fingerprint()).expect("room");
    setup.rtp_journal = Some(rtp);
    let mut stream = one::<P>(setup);
    let mut receiver = RtpInbound::<P>::new(&seal, ReplayWindowSize::default());
    let packet_of = |stream: &mut Streams<P>, seq: u16| {
        let mut packet = rtp_plain(SSRC, PacketIndex::new(0, seq), 40);
        let opened = stream.open_rtp(ID, &mut packet, 12, SSRC, seq).expect("plain");
        (packet, opened.ticket)
    };
    let late = packet_of(&mut stream, 65_530);
    for seq in (65_531..=65_535).chain([0, 1]) {
        drop(packet_of(&mut stream, seq));
    }
    let mut relay = |stream: &mut Streams<P>, (mut packet, ticket): (Vec<u8>, Ticket<PacketIndex>)| {
        let seq = ticket.index().seq();
        packet.resize(packet.len() + stream.trailer(ID, false), 0);
        stream.seal_rtp(ID, &mut packet, 12, SSRC, ticket)?;
        let opened =
            receiver.open(&mut packet, 12, SSRC, seq).expect("the receiver counts the same roll-overs");
        Ok(opened.index)
    };
    for (seq, roc) in [(2, 0), (30_000, 0), (60_000, 0), (20_000, 1)] {
        let packet = packet_of(&mut stream, seq);
        assert_eq!(relay(&mut stream, packet), Ok(PacketIndex::new(roc, seq)));
    }
    assert_eq!(relay(&mut stream, late), Err(SealError::IndexReserved), "from before the first");
    stream.settle_journals();
    drop(stream);
    journal.close().expect("nothing to copy");
    let mut journal = Journal::open(&directory.0, None, "test", 16).expect("a directory of our own");
    let [(_, resumed), _] = journal.slots(seal.fingerprint()).expect("room");
    assert_eq!(resumed.map(|resumed| resumed.floor), Some((1 << 16) + 20_001));
}

/// A million sessions are two million streams.
#[test]
fn a_million_sessions_fit() {
    const MIB: usize = 1 << 20;
    let of_million = |bytes_per_stream: usize| 2_000_000 * bytes_per_stream / MIB;
    // Besides the streams there are the packet buffers and the lookup.
    let other = 16_384 * 2_560 / MIB + 64 * 256 * 1024 / MIB;
    assert!(of_million(Streams::<AesGcmProvider>::BYTES_PER_STREAM) + other <= 3_584);
    assert!(of_million(Streams::<crate::srtp::IpsecMbProvider>::BYTES_PER_STREAM) + other <= 6_144);
}

#[test]
fn sizes_in_memory() {
    assert_eq!(WORD + size_of::<Hot>(), 320);
    assert_eq!(size_of::<Cold>(), 384);
    assert_eq!(size_of::<Keys<crate::srtp::IpsecMbProvider>>(), 2048);
    assert_eq!(size_of::<Keys<AesGcmProvider>>(), 896);
}
