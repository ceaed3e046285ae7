//! The SRTP contexts: order of checks, what is pinned when, roll-over, replay, exhaustion, nonce reuse.

use super::{Provider, RTP_HEADER_LEN, Suite, for_each_provider_and_suite, master, rtp_plain, rtp_sealed};
use crate::srtp::{
    MasterKey, OpenError, PacketIndex, ReplayWindowSize, RtpInbound, RtpOpened, RtpOutbound, SealError,
};

for_each_provider_and_suite!(
    opens_what_was_sealed,
    order_of_the_checks_on_open,
    a_forged_first_packet_pins_nothing,
    roll_over_counter_poisoning_fails,
    late_packet_from_before_the_roll_over,
    replay_after_the_roll_over,
    an_unseen_packet_just_inside_the_window_and_just_outside,
    a_tag_that_is_eight_octets_short_is_refused,
    plain_rtp_on_an_encrypted_stream_is_refused,
    empty_payload,
    another_key_does_not_open,
    resumed_receiver_refuses_what_came_before,
    the_last_index_ends_the_inbound_key,
    no_index_is_sealed_twice,
    the_floor_is_kept,
    outbound_stays_with_one_ssrc,
    the_last_index_ends_the_outbound_key,
    a_refused_seal_changes_nothing,
);

const SSRC: u32 = 0xcafe_babe;
const PAYLOAD: usize = 160;

fn key(suite: Suite) -> MasterKey {
    master(suite, 1)
}

fn receiver<P: Provider>(suite: Suite) -> RtpInbound<P> {
    RtpInbound::new(&key(suite), ReplayWindowSize::default())
}

fn sealed<P: Provider>(suite: Suite, roc: u32, seq: u16) -> Vec<u8> {
    rtp_sealed::<P>(&key(suite), SSRC, PacketIndex::new(roc, seq), PAYLOAD)
}

/// Opens as the parse stage would have it: SSRC and sequence number are the header's own.
fn open<P: Provider>(receiver: &mut RtpInbound<P>, packet: &[u8]) -> Result<RtpOpened, OpenError> {
    let &[_, _, high, low, _, _, _, _, s0, s1, s2, s3, ..] = packet else { return Err(OpenError::Truncated) };
    let (seq, ssrc) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([s0, s1, s2, s3]));
    receiver.open(&mut packet.to_vec(), RTP_HEADER_LEN, ssrc, seq)
}

/// Opens a packet that must be authentic, and answers its index.
fn accept<P: Provider>(receiver: &mut RtpInbound<P>, packet: &[u8]) -> PacketIndex {
    open(receiver, packet).expect("an authentic packet").index
}

/// The state of a call is fetched from memory for every packet, so its growth must be somebody's decision.
#[test]
#[cfg(target_arch = "x86_64")]
fn contexts_fit_ten_cache_lines() {
    use crate::srtp::{AesGcmProvider, RtcpInbound, RtcpOutbound};
    let sizes = [
        size_of::<RtpInbound<AesGcmProvider>>(),
        size_of::<RtpOutbound<AesGcmProvider>>(),
        size_of::<RtcpInbound<AesGcmProvider>>(),
        size_of::<RtcpOutbound<AesGcmProvider>>(),
    ];
    assert_eq!(sizes, [640; 4]);
}

fn opens_what_was_sealed<P: Provider>(suite: Suite) {
    let key = master(suite, 2);
    let mut receiver = RtpInbound::<P>::new(&key, ReplayWindowSize::default());
    let mut sender = RtpOutbound::<P>::new(&key);
    for number in 0..300 {
        let index = PacketIndex::new(0, 100 + number);
        let plain = rtp_plain(SSRC, index, number.into());
        // With a header longer than the fixed one, as CSRCs or an extension make it.
        let header_len = RTP_HEADER_LEN + usize::from(number % 4) * 4;
        let header_len = header_len.min(plain.len());
        let mut packet = [plain.clone(), vec![0xee; sender.trailer()]].concat();
        assert_eq!(sender.seal(&mut packet, header_len, SSRC, index), Ok(()));
        assert_eq!(packet[..header_len], plain[..header_len], "the header stays in the clear");
        if plain.len() >= header_len + 16 {
            assert_ne!(packet[header_len..plain.len()], plain[header_len..], "the payload does not");
        }

        let opened = receiver.open(&mut packet, header_len, SSRC, index.seq());
        assert_eq!(opened, Ok(RtpOpened { len: plain.len(), index }));
        assert_eq!(packet[..plain.len()], plain[..]);
    }
}

fn order_of_the_checks_on_open<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    accept(&mut receiver, &sealed::<P>(suite, 0, 5000));
    let before = receiver.state();

    // Each packet is wrong in its own way and in all that are checked later.
    let mut forged = sealed::<P>(suite, 0, 5000);
    forged[20] ^= 1;
    let short = RTP_HEADER_LEN + suite.rtp_tag_len() - 1;
    assert_eq!(
        receiver.open(&mut forged[..short], RTP_HEADER_LEN, SSRC + 1, 5000),
        Err(OpenError::Truncated)
    );
    assert_eq!(receiver.open(&mut forged, RTP_HEADER_LEN, SSRC + 1, 5000), Err(OpenError::SsrcChanged));
    assert_eq!(receiver.open(&mut forged, RTP_HEADER_LEN, SSRC, 5000), Err(OpenError::Replayed));
    assert_eq!(receiver.open(&mut forged, RTP_HEADER_LEN, SSRC, 5000 - 1024), Err(OpenError::TooOld));
    assert_eq!(receiver.open(&mut forged, RTP_HEADER_LEN, SSRC, 5001), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
}

fn a_forged_first_packet_pins_nothing<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let before = receiver.state();
    let mut forged = rtp_sealed::<P>(&key(suite), SSRC + 1, PacketIndex::new(0, 40_000), PAYLOAD);
    forged[30] ^= 1;
    assert_eq!(open(&mut receiver, &forged), Err(OpenError::AuthFailed));
    assert_eq!(receiver.state(), before);
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (None, None));

    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 0, 7)), PacketIndex::new(0, 7));
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (Some(SSRC), Some(PacketIndex::new(0, 7))));
    let other = rtp_sealed::<P>(&key(suite), SSRC + 1, PacketIndex::new(0, 8), PAYLOAD);
    assert_eq!(open(&mut receiver, &other), Err(OpenError::SsrcChanged));
}

/// An attacker sends sequence numbers that would walk the roll-over counter away from the sender's.
fn roll_over_counter_poisoning_fails<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    accept(&mut receiver, &sealed::<P>(suite, 0, 60_000));
    let before = receiver.state();
    for step in 1..=64u16 {
        let seq = 60_000u16.wrapping_add(step.wrapping_mul(0x3fff));
        let mut forged = sealed::<P>(suite, 1, seq);
        *forged.last_mut().expect("a tag") ^= 1;
        assert!(open(&mut receiver, &forged).is_err(), "step {step}");
    }
    // Authentic packets from a roll-over that the receiver cannot be in yet do not authenticate either:
    // the counter is in the nonce.
    for roc in [1, 2, 3, u32::MAX] {
        assert_eq!(
            open(&mut receiver, &sealed::<P>(suite, roc, 60_001)),
            Err(OpenError::AuthFailed),
            "roc {roc}"
        );
    }
    assert_eq!(receiver.state(), before);
    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 0, 60_001)), PacketIndex::new(0, 60_001));
    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 1, 3)), PacketIndex::new(1, 3));
}

fn late_packet_from_before_the_roll_over<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    receiver.resume(SSRC, PacketIndex::new(6, 65_000));
    for (roc, seq) in [(6, 65_530), (7, 2), (6, 65_535), (7, 0), (6, 65_531), (7, 1)] {
        assert_eq!(accept(&mut receiver, &sealed::<P>(suite, roc, seq)), PacketIndex::new(roc, seq));
    }
    assert_eq!(receiver.highest_index(), Some(PacketIndex::new(7, 2)));
}

fn replay_after_the_roll_over<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    receiver.resume(SSRC, PacketIndex::new(6, 65_000));
    let packets = [(6, 65_534), (6, 65_535), (7, 0), (7, 1)].map(|(roc, seq)| sealed::<P>(suite, roc, seq));
    for packet in &packets {
        accept(&mut receiver, packet);
    }
    for packet in &packets {
        assert_eq!(open(&mut receiver, packet), Err(OpenError::Replayed));
    }
    // One roll-over later the same sequence numbers are new indices, and the old packets are forgeries.
    accept(&mut receiver, &sealed::<P>(suite, 7, 32_000));
    accept(&mut receiver, &sealed::<P>(suite, 7, 64_000));
    assert_eq!(open(&mut receiver, &packets[0]), Err(OpenError::AuthFailed));
    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 7, 65_534)), PacketIndex::new(7, 65_534));
    assert_eq!(open(&mut receiver, &packets[2]), Err(OpenError::AuthFailed));
}

fn an_unseen_packet_just_inside_the_window_and_just_outside<P: Provider>(suite: Suite) {
    for packets in [64, 512, 1024] {
        let window = ReplayWindowSize::new(packets).expect("a valid size");
        let mut receiver = RtpInbound::<P>::new(&key(suite), window);
        accept(&mut receiver, &sealed::<P>(suite, 0, 20_000));
        let oldest = 20_000 - packets as u16 + 1;
        assert_eq!(
            open(&mut receiver, &sealed::<P>(suite, 0, oldest - 1)),
            Err(OpenError::TooOld),
            "{packets}"
        );
        assert_eq!(
            accept(&mut receiver, &sealed::<P>(suite, 0, oldest)),
            PacketIndex::new(0, oldest),
            "{packets}"
        );
    }
}

fn a_tag_that_is_eight_octets_short_is_refused<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let packet = sealed::<P>(suite, 0, 1);
    assert_eq!(open(&mut receiver, &packet[..packet.len() - 8]), Err(OpenError::AuthFailed));
    let empty = rtp_sealed::<P>(&key(suite), SSRC, PacketIndex::new(0, 1), 0);
    let short = &mut empty.clone()[..empty.len() - 8];
    assert_eq!(receiver.open(short, RTP_HEADER_LEN, SSRC, 1), Err(OpenError::Truncated));
    assert_eq!(receiver.highest_index(), None);
}

fn plain_rtp_on_an_encrypted_stream_is_refused<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    assert_eq!(
        open(&mut receiver, &rtp_plain(SSRC, PacketIndex::new(0, 1), 160)),
        Err(OpenError::AuthFailed)
    );
    assert_eq!(
        open(&mut receiver, &rtp_plain(SSRC, PacketIndex::new(0, 1), suite.rtp_tag_len() - 1)),
        Err(OpenError::Truncated)
    );
}

fn empty_payload<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let packet = rtp_sealed::<P>(&key(suite), SSRC, PacketIndex::new(0, 1), 0);
    assert_eq!(packet.len(), RTP_HEADER_LEN + suite.rtp_tag_len());
    let opened = open(&mut receiver, &packet).expect("an authentic packet");
    assert_eq!(opened.len, RTP_HEADER_LEN);
}

fn another_key_does_not_open<P: Provider>(suite: Suite) {
    let packet = sealed::<P>(suite, 0, 1);
    let [right, wrong] = [key(suite), master(suite, 99)];
    let parts = |key: &MasterKey, salt: &MasterKey| {
        MasterKey::from_parts(suite, key.key(), salt.salt()).expect("right lengths")
    };
    for master in [parts(&wrong, &wrong), parts(&wrong, &right), parts(&right, &wrong)] {
        let mut receiver = RtpInbound::<P>::new(&master, ReplayWindowSize::default());
        assert_eq!(open(&mut receiver, &packet), Err(OpenError::AuthFailed));
    }
    accept(&mut RtpInbound::<P>::new(&parts(&right, &right), ReplayWindowSize::default()), &packet);
}

fn resumed_receiver_refuses_what_came_before<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    receiver.resume(SSRC, PacketIndex::new(3, 500));
    assert_eq!((receiver.ssrc(), receiver.highest_index()), (Some(SSRC), Some(PacketIndex::new(3, 500))));
    for (roc, seq) in [(3, 500), (3, 499), (3, 0), (2, 65_535), (2, 65_100)] {
        assert_eq!(
            open(&mut receiver, &sealed::<P>(suite, roc, seq)),
            Err(OpenError::Replayed),
            "{roc} {seq}"
        );
    }
    assert_eq!(open(&mut receiver, &sealed::<P>(suite, 2, 60_000)), Err(OpenError::TooOld));
    let other = rtp_sealed::<P>(&key(suite), SSRC + 1, PacketIndex::new(3, 501), PAYLOAD);
    assert_eq!(open(&mut receiver, &other), Err(OpenError::SsrcChanged));
    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 3, 502)), PacketIndex::new(3, 502));
    assert_eq!(accept(&mut receiver, &sealed::<P>(suite, 3, 501)), PacketIndex::new(3, 501));
}

fn the_last_index_ends_the_inbound_key<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    receiver.resume(SSRC, PacketIndex::new(u32::MAX, 65_530));
    accept(&mut receiver, &sealed::<P>(suite, u32::MAX, 65_534));
    accept(&mut receiver, &sealed::<P>(suite, u32::MAX, 65_535));
    let before = receiver.state();
    // A sender that goes on wraps its counter to 0, and so uses its first nonces again.
    for seq in [0, 1, 32_000] {
        assert_eq!(open(&mut receiver, &sealed::<P>(suite, 0, seq)), Err(OpenError::KeyExhausted));
    }
    assert_eq!(receiver.state(), before);
    assert_eq!(
        accept(&mut receiver, &sealed::<P>(suite, u32::MAX, 65_533)).as_u64(),
        (1 << 48) - 3,
        "late is fine"
    );
}

/// Seals a fresh packet with this index and discards it.
fn seal<P: Provider>(sender: &mut RtpOutbound<P>, ssrc: u32, index: PacketIndex) -> Result<(), SealError> {
    let mut packet = [rtp_plain(ssrc, index, PAYLOAD), vec![0; sender.trailer()]].concat();
    sender.seal(&mut packet, RTP_HEADER_LEN, ssrc, index)
}

fn no_index_is_sealed_twice<P: Provider>(suite: Suite) {
    let mut sender = RtpOutbound::<P>::new(&key(suite));
    let index = |number| PacketIndex::from_u64(number).expect("below 2^48");
    // Out of order across a roll-over, each once, as far back as the window reaches.
    let fresh = [65_534, 65_536, 65_535, 65_537, 66_600, 66_000, 66_600 - 1023];
    for number in fresh {
        assert_eq!(seal(&mut sender, SSRC, index(number)), Ok(()), "{number}");
    }
    // Sealed before, or so far back that nobody remembers.
    for number in fresh.into_iter().chain([66_600 - 1024, 65_533, 0]) {
        assert_eq!(seal(&mut sender, SSRC, index(number)), Err(SealError::IndexReused), "{number}");
    }
    assert_eq!(sender.highest_index(), Some(index(66_600)));
}

fn the_floor_is_kept<P: Provider>(suite: Suite) {
    let mut sender = RtpOutbound::<P>::new(&key(suite));
    sender.set_floor(PacketIndex::new(2, 1000));
    for (roc, seq) in [(0, 0), (1, 65_535), (2, 0), (2, 999)] {
        assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(roc, seq)), Err(SealError::IndexReserved));
    }
    assert_eq!((sender.ssrc(), sender.highest_index()), (None, None));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(2, 1000)), Ok(()));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(2, 999)), Err(SealError::IndexReserved));
}

fn outbound_stays_with_one_ssrc<P: Provider>(suite: Suite) {
    let mut sender = RtpOutbound::<P>::new(&key(suite));
    assert_eq!(sender.ssrc(), None);
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(0, 1)), Ok(()));
    assert_eq!(seal(&mut sender, SSRC + 1, PacketIndex::new(0, 2)), Err(SealError::SsrcChanged));
    assert_eq!(sender.ssrc(), Some(SSRC));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(0, 2)), Ok(()));
}

fn the_last_index_ends_the_outbound_key<P: Provider>(suite: Suite) {
    let mut sender = RtpOutbound::<P>::new(&key(suite));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(u32::MAX, 65_534)), Ok(()));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::MAX), Ok(()));
    for index in [PacketIndex::MAX, PacketIndex::new(0, 0), PacketIndex::new(u32::MAX, 65_533)] {
        assert_eq!(seal(&mut sender, SSRC, index), Err(SealError::KeyExhausted));
    }
}

fn a_refused_seal_changes_nothing<P: Provider>(suite: Suite) {
    let mut sender = RtpOutbound::<P>::new(&key(suite));
    sender.set_floor(PacketIndex::new(0, 10));
    assert_eq!(seal(&mut sender, SSRC, PacketIndex::new(0, 100)), Ok(()));
    let before = sender.state();
    for (len, header_len, ssrc, seq, error) in [
        (RTP_HEADER_LEN + suite.rtp_tag_len() - 1, RTP_HEADER_LEN, SSRC, 101, SealError::Truncated),
        (RTP_HEADER_LEN + suite.rtp_tag_len() + 5, RTP_HEADER_LEN + 6, SSRC, 101, SealError::Truncated),
        (60, 61, SSRC, 101, SealError::Truncated),
        (60, usize::MAX, SSRC, 101, SealError::Truncated),
        (0, 0, SSRC, 101, SealError::Truncated),
        (60, RTP_HEADER_LEN, SSRC + 1, 101, SealError::SsrcChanged),
        (60, RTP_HEADER_LEN, SSRC, 9, SealError::IndexReserved),
        (60, RTP_HEADER_LEN, SSRC, 100, SealError::IndexReused),
    ] {
        let mut packet = vec![0x55; len];
        assert_eq!(sender.seal(&mut packet, header_len, ssrc, PacketIndex::new(0, seq)), Err(error));
        assert_eq!(packet, vec![0x55; len], "{error}");
        assert_eq!(sender.state(), before, "{error}");
    }
}
