//! The SRTCP contexts: explicit index, E flag, replay, exhaustion, nonce reuse.

use super::{Provider, Suite, for_each_provider, master, rtcp_plain};
use crate::srtp::rtcp::MAX_SRTCP_INDEX;
use crate::srtp::{
    MasterKey, OpenError, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOpened, RtcpOutbound, RtpOutbound,
    SRTCP_INDEX_LEN, SealError, TAG_LEN,
};

for_each_provider!(
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
const SPARE: usize = TAG_LEN + SRTCP_INDEX_LEN;

fn key() -> MasterKey {
    master(Suite::AeadAes256Gcm, 3)
}

fn receiver<P: Provider>() -> RtcpInbound<P> {
    RtcpInbound::new(&key(), ReplayWindowSize::default())
}

fn sealed<P: Provider>(ssrc: u32, index: u32) -> Vec<u8> {
    let mut packet = [rtcp_plain(ssrc, 3), vec![0; SPARE]].concat();
    RtcpOutbound::<P>::new(&key()).seal(&mut packet, index).expect("a new context seals any index");
    packet
}

fn open<P: Provider>(receiver: &mut RtcpInbound<P>, packet: &[u8]) -> Result<RtcpOpened, OpenError> {
    receiver.open(&mut packet.to_vec())
}

fn opens_what_was_sealed<P: Provider>() {
    for suite in Suite::ALL {
        let key = master(suite, 4);
        let mut sender = RtcpOutbound::<P>::new(&key);
        let mut receiver = RtcpInbound::<P>::new(&key, ReplayWindowSize::default());
        for extra in 0..100 {
            let plain = rtcp_plain(SSRC, extra);
            let index = 1 + extra as u32;
            let mut packet = [plain.clone(), vec![0xee; SPARE]].concat();
            assert_eq!(sender.seal(&mut packet, index), Ok(()));
            assert_eq!(packet[..8], plain[..8], "the header and the SSRC stay in the clear");
            assert_ne!(packet[8..plain.len()], plain[8..], "the rest does not");
            let opened = receiver.open(&mut packet);
            assert_eq!(opened, Ok(RtcpOpened { len: plain.len(), index, ssrc: SSRC }));
            assert_eq!(packet[..plain.len()], plain[..]);
        }
    }
    // The shortest there is: header and SSRC alone, as an empty receiver report.
    let mut packet = [rtcp_plain(SSRC, 0)[..8].to_vec(), vec![0; SPARE]].concat();
    RtcpOutbound::<P>::new(&key()).seal(&mut packet, 0).expect("room for all");
    assert_eq!(open(&mut receiver::<P>(), &packet), Ok(RtcpOpened { len: 8, index: 0, ssrc: SSRC }));
}

fn order_of_the_checks_on_open<P: Provider>() {
    let mut receiver = receiver::<P>();
    assert!(open(&mut receiver, &sealed::<P>(SSRC, 5000)).is_ok());
    let before = receiver.state();
    let forged = |ssrc, index, encrypted: bool| {
        let mut packet = sealed::<P>(ssrc, index);
        packet[10] ^= 1;
        let word = packet.len() - SRTCP_INDEX_LEN;
        packet[word] &= if encrypted { 0xff } else { 0x7f };
        packet
    };
    let packet = forged(SSRC + 1, 5000, false);
    assert_eq!(open(&mut receiver, &packet[..8 + SPARE - 1]), Err(OpenError::Truncated));
    assert_eq!(open(&mut receiver, &packet), Err(OpenError::NotEncrypted));
    assert_eq!(open(&mut receiver, &forged(SSRC + 1, 5000, true)), Err(OpenError::SsrcChanged));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5000, true)), Err(OpenError::Replayed));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5000 - 1024, true)), Err(OpenError::TooOld));
    assert_eq!(open(&mut receiver, &forged(SSRC, 5001, true)), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
}

fn the_e_flag_and_the_index_are_authenticated<P: Provider>() {
    let mut receiver = receiver::<P>();
    let packet = sealed::<P>(SSRC, 9);
    for bit in 0..32 {
        let mut changed = packet.clone();
        let word = changed.len() - SRTCP_INDEX_LEN;
        changed[word + bit / 8] ^= 0x80 >> (bit % 8);
        let error = if bit == 0 { OpenError::NotEncrypted } else { OpenError::AuthFailed };
        assert_eq!(open(&mut receiver, &changed), Err(error), "bit {bit}");
    }
    assert_eq!(receiver.highest_index(), None);
}

fn a_forged_first_packet_pins_nothing<P: Provider>() {
    let mut receiver = receiver::<P>();
    let before = receiver.state();
    let mut forged = sealed::<P>(SSRC + 1, MAX_SRTCP_INDEX);
    forged[9] ^= 1;
    assert_eq!(open(&mut receiver, &forged), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (None, None));
    assert!(open(&mut receiver, &sealed::<P>(SSRC, 1)).is_ok());
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (Some(SSRC), Some(1)));
    assert_eq!(open(&mut receiver, &sealed::<P>(SSRC + 1, 2)), Err(OpenError::SsrcChanged));
}

fn each_index_is_received_once<P: Provider>() {
    let mut receiver = receiver::<P>();
    let order = [5, 3, 4, 900, 899, 1, 1023, 0, 2000, 1000];
    for index in order {
        assert_eq!(open(&mut receiver, &sealed::<P>(SSRC, index)).map(|o| o.index), Ok(index));
    }
    for index in order {
        let error = if index <= 2000 - 1024 { OpenError::TooOld } else { OpenError::Replayed };
        assert_eq!(open(&mut receiver, &sealed::<P>(SSRC, index)), Err(error), "{index}");
    }
}

fn resumed_receiver_refuses_what_came_before<P: Provider>() {
    let mut receiver = receiver::<P>();
    receiver.resume(SSRC, 700);
    for index in [0, 1, 699, 700] {
        assert_eq!(open(&mut receiver, &sealed::<P>(SSRC, index)), Err(OpenError::Replayed), "{index}");
    }
    assert_eq!(open(&mut receiver, &sealed::<P>(SSRC + 1, 701)), Err(OpenError::SsrcChanged));
    assert!(open(&mut receiver, &sealed::<P>(SSRC, 701)).is_ok());
    receiver.resume(SSRC, u32::MAX);
    assert_eq!(receiver.highest_index(), Some(MAX_SRTCP_INDEX));
}

fn the_last_index_ends_the_key<P: Provider>() {
    let mut receiver = receiver::<P>();
    assert!(open(&mut receiver, &sealed::<P>(SSRC, MAX_SRTCP_INDEX)).is_ok());
    assert_eq!(open(&mut receiver, &sealed::<P>(SSRC, 0)), Err(OpenError::KeyExhausted));
    assert_eq!(open(&mut receiver, &sealed::<P>(SSRC, MAX_SRTCP_INDEX)), Err(OpenError::Replayed));
    assert!(open(&mut receiver, &sealed::<P>(SSRC, MAX_SRTCP_INDEX - 1)).is_ok(), "late is fine");

    let mut sender = RtcpOutbound::<P>::new(&key());
    let mut seal = |index| sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; SPARE]].concat(), index);
    assert_eq!(seal(MAX_SRTCP_INDEX + 1), Err(SealError::KeyExhausted));
    assert_eq!(seal(MAX_SRTCP_INDEX), Ok(()));
    for index in [0, 1, MAX_SRTCP_INDEX - 1, MAX_SRTCP_INDEX, u32::MAX] {
        assert_eq!(seal(index), Err(SealError::KeyExhausted), "{index}");
    }
}

fn no_index_is_sealed_twice_and_the_floor_is_kept<P: Provider>() {
    let mut sender = RtcpOutbound::<P>::new(&key());
    sender.set_floor(100);
    let mut seal = |index| sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; SPARE]].concat(), index);
    assert_eq!(seal(99), Err(SealError::IndexReserved));
    assert_eq!((seal(100), seal(102), seal(101), seal(5000)), (Ok(()), Ok(()), Ok(()), Ok(())));
    for index in [100, 101, 102, 103, 5000 - 1024, 5000] {
        assert_eq!(seal(index), Err(SealError::IndexReused), "{index}");
    }
    assert_eq!(seal(5000 - 1023), Ok(()));
    assert_eq!(seal(99), Err(SealError::IndexReserved));
    assert_eq!((sender.ssrc(), sender.highest_index()), (Some(SSRC), Some(5000)));
}

fn a_refused_seal_changes_nothing<P: Provider>() {
    let mut sender = RtcpOutbound::<P>::new(&key());
    sender.set_floor(10);
    sender.seal(&mut [rtcp_plain(SSRC, 0), vec![0; SPARE]].concat(), 100).expect("a fresh index");
    let before = sender.state();
    for (ssrc, len, index, error) in [
        (SSRC, 0, 101, SealError::Truncated),
        (SSRC, 8 + SPARE - 1, 101, SealError::Truncated),
        (SSRC + 1, 48, 101, SealError::SsrcChanged),
        (SSRC, 48, MAX_SRTCP_INDEX + 1, SealError::KeyExhausted),
        (SSRC, 48, 9, SealError::IndexReserved),
        (SSRC, 48, 100, SealError::IndexReused),
    ] {
        let mut packet = [rtcp_plain(ssrc, 0), vec![0x55; SPARE]].concat();
        packet.truncate(len);
        let unchanged = packet.clone();
        assert_eq!(sender.seal(&mut packet, index), Err(error));
        assert_eq!(packet, unchanged, "{error}");
        assert_eq!(sender.state(), before, "{error}");
    }
}

/// The nonces of an SRTP and an SRTCP packet can be equal; their keys are not (RFC 3711 §4.3.2 labels).
fn rtp_and_rtcp_keys_differ<P: Provider>() {
    let plain = rtcp_plain(SSRC, 0);
    let mut rtcp = [plain.clone(), vec![0; SPARE]].concat();
    RtcpOutbound::<P>::new(&key()).seal(&mut rtcp, 7).expect("a fresh index");
    let mut rtp = [plain.clone(), vec![0; TAG_LEN]].concat();
    RtpOutbound::<P>::new(&key()).seal(&mut rtp, 8, SSRC, PacketIndex::new(0, 7)).expect("a fresh index");
    assert_ne!(rtcp[8..plain.len()], rtp[8..plain.len()]);
}
