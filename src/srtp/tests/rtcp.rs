//! The SRTCP contexts: explicit index, E flag, replay, exhaustion, nonce reuse.

use super::{Provider, Suite, for_each_provider_and_suite, master, rtcp_plain};
use crate::srtp::rtcp::MAX_SRTCP_INDEX;
use crate::srtp::{
    MasterKey, OpenError, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOpened, RtcpOutbound, RtpOutbound,
    SRTCP_INDEX_LEN, SealError,
};

for_each_provider_and_suite!(
    opens_what_was_sealed,
    order_of_the_checks_on_open,
    the_e_flag_and_the_index_are_authenticated,
    a_forged_first_packet_pins_nothing,
    each_index_is_received_once,
    resumed_receiver_refuses_what_came_before,
    the_last_index_ends_the_key,
    no_index_is_sealed_twice_and_the_floor_is_kept,
    a_refused_seal_changes_nothing,
    rtp_and_rtcp_keys_differ,
);

const SSRC: u32 = 0x4d61_7273;

/// Octets of trailer.
fn spare(suite: Suite) -> usize {
    suite.rtcp_tag_len() + SRTCP_INDEX_LEN
}

/// Where the index word starts: behind the tag of an AEAD, before any other.
fn word_at(suite: Suite, packet: &[u8]) -> usize {
    packet.len() - if suite.is_aead() { SRTCP_INDEX_LEN } else { spare(suite) }
}

fn key(suite: Suite) -> MasterKey {
    master(suite, 3)
}

fn receiver<P: Provider>(suite: Suite) -> RtcpInbound<P> {
    RtcpInbound::new(&key(suite), ReplayWindowSize::default())
}

fn sealed<P: Provider>(suite: Suite, ssrc: u32, index: u32) -> Vec<u8> {
    let mut packet = [rtcp_plain(ssrc, 3), vec![0; spare(suite)]].concat();
    RtcpOutbound::<P>::new(&key(suite)).seal(&mut packet, index).expect("a new context seals any index");
    packet
}

fn open<P: Provider>(receiver: &mut RtcpInbound<P>, packet: &[u8]) -> Result<RtcpOpened, OpenError> {
    receiver.open(&mut packet.to_vec())
}

fn opens_what_was_sealed<P: Provider>(suite: Suite) {
    let mut sender = RtcpOutbound::<P>::new(&key(suite));
    let mut opener = receiver::<P>(suite);
    for extra in 0..100 {
        let plain = rtcp_plain(SSRC, extra);
        let index = 1 + extra as u32;
        let mut packet = [plain.clone(), vec![0xee; spare(suite)]].concat();
        assert_eq!(sender.seal(&mut packet, index), Ok(()));
        assert_eq!(packet[..8], plain[..8], "the header and the SSRC stay in the clear");
        assert_ne!(packet[8..plain.len()], plain[8..], "the rest does not");
        let opened = opener.open(&mut packet);
        assert_eq!(opened, Ok(RtcpOpened { len: plain.len(), index, ssrc: SSRC }));
        assert_eq!(packet[..plain.len()], plain[..]);
    }
    // The shortest there is: header and SSRC alone, as an empty receiver report.
    let mut packet = [rtcp_plain(SSRC, 0)[..8].to_vec(), vec![0; spare(suite)]].concat();
    RtcpOutbound::<P>::new(&key(suite)).seal(&mut packet, 0).expect("room for all");
    assert_eq!(open(&mut receiver::<P>(suite), &packet), Ok(RtcpOpened { len: 8, index: 0, ssrc: SSRC }));
}

fn order_of_the_checks_on_open<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    assert!(open(&mut receiver, &sealed::<P>(suite, SSRC, 5000)).is_ok());
    let before = receiver.state();
    let forged = |ssrc, index, encrypted: bool| {
        let mut packet = sealed::<P>(suite, ssrc, index);
        packet[10] ^= 1;
        let word = word_at(suite, &packet);
        packet[word] &= if encrypted { 0xff } else { 0x7f };
        packet
    };
    let packet = forged(SSRC + 1, 5000, false);
    assert_eq!(open(&mut receiver, &packet[..8 + spare(suite) - 1]), Err(OpenError::Truncated));
    assert_eq!(open(&mut receiver, &packet), Err(OpenError::NotEncrypted));
    assert_eq!(open(&mut receiver, &forged(SSRC + 1, 5000, true)), Err(OpenError::SsrcChanged));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5000, true)), Err(OpenError::Replayed));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5000 - 1024, true)), Err(OpenError::TooOld));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5001, true)), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
}

fn the_e_flag_and_the_index_are_authenticated<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let packet = sealed::<P>(suite, SSRC, 9);
    for bit in 0..32 {
        let mut changed = packet.clone();
        let word = word_at(suite, &changed);
        changed[word + bit / 8] ^= 0x80 >> (bit % 8);
        let error = if bit == 0 { OpenError::NotEncrypted } else { OpenError::AuthFailed };
        assert_eq!(open(&mut receiver, &changed), Err(error), "bit {bit}");
    }
    assert_eq!(receiver.highest_index(), None);
}

fn a_forged_first_packet_pins_nothing<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let before = receiver.state();
    let mut forged = sealed::<P>(suite, SSRC + 1, MAX_SRTCP_INDEX);
    forged[9] ^= 1;
    assert_eq!(open(&mut receiver, &forged), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (None, None));
    assert!(open(&mut receiver, &sealed::<P>(suite, SSRC, 1)).is_ok());
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (Some(SSRC), Some(1)));
    assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC + 1, 2)), Err(OpenError::SsrcChanged));
}

fn each_index_is_received_once<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let order = [5, 3, 4, 900, 899, 1, 1023, 0, 2000, 1000];
    for index in order {
        assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC, index)).map(|o| o.index), Ok(index));
    }
    for index in order {
        let error = if index <= 2000 - 1024 { OpenError::TooOld } else { OpenError::Replayed };
        assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC, index)), Err(error), "{index}");
    }
}

fn resumed_receiver_refuses_what_came_before<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    receiver.resume(SSRC, 700);
    for index in [0, 1, 699, 700] {
        assert_eq!(
            open(&mut receiver, &sealed::<P>(suite, SSRC, index)),
            Err(OpenError::Replayed),
            "{index}"
        );
    }
    assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC + 1, 701)), Err(OpenError::SsrcChanged));
    assert!(open(&mut receiver, &sealed::<P>(suite, SSRC, 701)).is_ok());
    receiver.resume(SSRC, u32::MAX);
    assert_eq!(receiver.highest_index(), Some(MAX_SRTCP_INDEX));
}

fn the_last_index_ends_the_key<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    assert!(open(&mut receiver, &sealed::<P>(suite, SSRC, MAX_SRTCP_INDEX)).is_ok());
    assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC, 0)), Err(OpenError::KeyExhausted));
    assert_eq!(open(&mut receiver, &sealed::<P>(suite, SSRC, MAX_SRTCP_INDEX)), Err(OpenError::Replayed));
    assert!(open(&mut receiver, &sealed::<P>(suite, SSRC, MAX_SRTCP_INDEX - 1)).is_ok(), "late is fine");

    let mut sender = RtcpOutbound::<P>::new(&key(suite));
    let mut seal = |index| sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; spare(suite)]].concat(), index);
    assert_eq!(seal(MAX_SRTCP_INDEX + 1), Err(SealError::KeyExhausted));
    assert_eq!(seal(MAX_SRTCP_INDEX), Ok(()));
    for index in [0, 1, MAX_SRTCP_INDEX - 1, MAX_SRTCP_INDEX, u32::MAX] {
        assert_eq!(seal(index), Err(SealError::KeyExhausted), "{index}");
    }
}

fn no_index_is_sealed_twice_and_the_floor_is_kept<P: Provider>(suite: Suite) {
    let mut sender = RtcpOutbound::<P>::new(&key(suite));
    sender.set_floor(100);
    let mut seal = |index| sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; spare(suite)]].concat(), index);
    assert_eq!(seal(99), Err(SealError::IndexReserved));
    assert_eq!((seal(100), seal(102), seal(101), seal(5000)), (Ok(()), Ok(()), Ok(()), Ok(())));
    for index in [100, 101, 102, 103, 5000 - 1024, 5000] {
        assert_eq!(seal(index), Err(SealError::IndexReused), "{index}");
    }
    assert_eq!(seal(5000 - 1023), Ok(()));
    assert_eq!(seal(99), Err(SealError::IndexReserved));
    assert_eq!((sender.ssrc(), sender.highest_index()), (Some(SSRC), Some(5000)));
}

fn a_refused_seal_changes_nothing<P: Provider>(suite: Suite) {
    let mut sender = RtcpOutbound::<P>::new(&key(suite));
    sender.set_floor(10);
    sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; spare(suite)]].concat(), 100).expect("a fresh index");
    let before = sender.state();
    for (ssrc, len, index, error) in [
        (SSRC, 0, 101, SealError::Truncated),
        (SSRC, 8 + spare(suite) - 1, 101, SealError::Truncated),
        (SSRC + 1, 48, 101, SealError::SsrcChanged),
        (SSRC, 48, MAX_SRTCP_INDEX + 1, SealError::KeyExhausted),
        (SSRC, 48, 9, SealError::IndexReserved),
        (SSRC, 48, 100, SealError::IndexReused),
    ] {
        let mut packet = [rtcp_plain(ssrc, 0), vec![0x55; spare(suite)]].concat();
        packet.truncate(len);
        let unchanged = packet.clone();
        assert_eq!(sender.seal(&mut packet, index), Err(error));
        assert_eq!(packet, unchanged, "{error}");
        assert_eq!(sender.state(), before, "{error}");
    }
}

/// The nonces of an SRTP and an SRTCP packet can be equal; their keys are not (RFC 3711 §4.3.2 labels).
fn rtp_and_rtcp_keys_differ<P: Provider>(suite: Suite) {
    let plain = rtcp_plain(SSRC, 0);
    let mut rtcp = [plain.clone(), vec![0; spare(suite)]].concat();
    RtcpOutbound::<P>::new(&key(suite)).seal(&mut rtcp, 7).expect("a fresh index");
    let mut rtp = [plain.clone(), vec![0; suite.rtp_tag_len()]].concat();
    RtpOutbound::<P>::new(&key(suite))
        .seal(&mut rtp, 8, SSRC, PacketIndex::new(0, 7))
        .expect("a fresh index");
    assert_ne!(rtcp[8..plain.len()], rtp[8..plain.len()]);
}
