//! Every length from 0 to 2000 of truncated, damaged and random packets: never a panic, never a change of
//! state, and the stream goes on with the next good packet.

use super::{
    Provider, RTP_HEADER_LEN, Random, Suite, for_each_provider_and_suite, master, rtcp_plain, rtp_sealed,
};
use crate::srtp::{
    OpenError, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound, RtpOpened, RtpOutbound,
    SRTCP_INDEX_LEN,
};

for_each_provider_and_suite!(
    srtp_of_every_length,
    srtcp_of_every_length,
    every_bit_of_an_srtp_packet,
    every_bit_of_an_srtcp_packet,
    a_header_that_claims_any_length,
    slices_of_every_length_to_seal,
);

const SSRC: u32 = 0x0102_0304;
const LONGEST: usize = 2000;
const INDEX: PacketIndex = PacketIndex::new(0, 1000);

/// Opens a damaged packet twice: as the parse stage would, with the fields of its own header, and with those
/// that the genuine packet has, which is what reaches the crypto.
fn must_fail<P: Provider>(suite: Suite, receiver: &mut RtpInbound<P>, packet: &[u8], what: &str) {
    let before = receiver.state();
    if let Some(&[_, _, s0, s1, _, _, _, _, i0, i1, i2, i3]) = packet.first_chunk::<RTP_HEADER_LEN>() {
        let (seq, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([i0, i1, i2, i3]));
        let result = receiver.open(&mut packet.to_vec(), RTP_HEADER_LEN, ssrc, seq);
        assert!(result.is_err(), "{what}: {result:?}");
    }
    let result = receiver.open(&mut packet.to_vec(), RTP_HEADER_LEN, SSRC, INDEX.seq());
    let expected = if packet.len() < RTP_HEADER_LEN + suite.rtp_tag_len() {
        OpenError::Truncated
    } else {
        OpenError::AuthFailed
    };
    assert_eq!(result, Err(expected), "{what}");
    assert_eq!(receiver.state(), before, "{what} changed the state");
}

/// A receiver that is in the middle of a call: the packet before [`INDEX`] was the last.
fn receiver<P: Provider>(suite: Suite) -> RtpInbound<P> {
    let mut receiver = RtpInbound::new(&master(suite, 21), ReplayWindowSize::default());
    receiver.resume(SSRC, PacketIndex::new(0, INDEX.seq() - 1));
    receiver
}

fn sealed<P: Provider>(suite: Suite, payload_len: usize) -> Vec<u8> {
    rtp_sealed::<P>(&master(suite, 21), SSRC, INDEX, payload_len)
}

fn srtp_of_every_length<P: Provider>(suite: Suite) {
    let mut random = Random(0xbad_0001);
    let mut receiver = receiver::<P>(suite);
    let longest = sealed::<P>(suite, LONGEST + 1 - RTP_HEADER_LEN - suite.rtp_tag_len());
    for len in 0..=LONGEST {
        must_fail(suite, &mut receiver, &longest[..len], &format!("truncated to {len}"));
        must_fail(suite, &mut receiver, &random.octets(len), &format!("{len} random octets"));
        if let Some(payload_len) = len.checked_sub(RTP_HEADER_LEN + suite.rtp_tag_len()) {
            let mut packet = sealed::<P>(suite, payload_len);
            let bit = random.below(8 * len as u64) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
            must_fail(suite, &mut receiver, &packet, &format!("bit {bit} of {len} octets"));
        }
    }
    let mut genuine = longest;
    assert!(receiver.open(&mut genuine, RTP_HEADER_LEN, SSRC, INDEX.seq()).is_ok());
}

fn every_bit_of_an_srtp_packet<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let packet = sealed::<P>(suite, 40);
    for bit in 0..packet.len() * 8 {
        let mut damaged = packet.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        must_fail(suite, &mut receiver, &damaged, &format!("bit {bit}"));
    }
    assert!(receiver.open(&mut packet.clone(), RTP_HEADER_LEN, SSRC, INDEX.seq()).is_ok());
}

/// `header_len` comes from the packet's CSRC count and extension length: any number at all.
fn a_header_that_claims_any_length<P: Provider>(suite: Suite) {
    let mut receiver = receiver::<P>(suite);
    let packet = sealed::<P>(suite, 40);
    let before = receiver.state();
    for header_len in (0..=packet.len() + 1).chain([0xffff, 1 << 32, usize::MAX - 15, usize::MAX]) {
        if header_len == RTP_HEADER_LEN {
            continue;
        }
        let room = packet.len() - suite.rtp_tag_len();
        // HMAC covers the packet wherever its header ends: here the field that says so is not damaged.
        if !suite.is_aead() && header_len <= room {
            let mut receiver = self::receiver::<P>(suite);
            let result = receiver.open(&mut packet.clone(), header_len, SSRC, INDEX.seq());
            assert_eq!(result, Ok(RtpOpened { len: room, index: INDEX }), "header of {header_len}");
            continue;
        }
        let result = receiver.open(&mut packet.clone(), header_len, SSRC, INDEX.seq());
        let expected = if header_len > room { OpenError::Truncated } else { OpenError::AuthFailed };
        assert_eq!(result, Err(expected), "header of {header_len}");
        assert_eq!(receiver.state(), before);
    }
}

fn slices_of_every_length_to_seal<P: Provider>(suite: Suite) {
    let key = master(suite, 22);
    let mut rtp = RtpOutbound::<P>::new(&key);
    let mut rtcp = RtcpOutbound::<P>::new(&key);
    for len in 0..=LONGEST {
        let index = PacketIndex::new(0, len as u16);
        let sealed = rtp.seal(&mut vec![0; len], RTP_HEADER_LEN, SSRC, index);
        assert_eq!(sealed.is_ok(), len >= RTP_HEADER_LEN + suite.rtp_tag_len(), "{len}");
        let sealed = rtcp.seal(&mut vec![0; len], len as u32);
        assert_eq!(sealed.is_ok(), len >= 8 + suite.rtcp_tag_len() + SRTCP_INDEX_LEN, "{len}");
    }
}

/// Opens a damaged packet, which must fail without a trace.
fn must_fail_rtcp<P: Provider>(suite: Suite, receiver: &mut RtcpInbound<P>, packet: &[u8], what: &str) {
    let before = receiver.state();
    let result = receiver.open(&mut packet.to_vec());
    assert!(result.is_err(), "{what}: {result:?}");
    let too_short = packet.len() < 8 + suite.rtcp_tag_len() + SRTCP_INDEX_LEN;
    assert_eq!(result == Err(OpenError::Truncated), too_short, "{what}: {result:?}");
    assert_eq!(receiver.state(), before, "{what} changed the state");
}

fn rtcp_receiver<P: Provider>(suite: Suite) -> RtcpInbound<P> {
    let mut receiver = RtcpInbound::new(&master(suite, 23), ReplayWindowSize::default());
    receiver.resume(SSRC, 999);
    receiver
}

fn rtcp_sealed<P: Provider>(suite: Suite, extra_words: usize) -> Vec<u8> {
    let mut packet =
        [rtcp_plain(SSRC, extra_words), vec![0; suite.rtcp_tag_len() + SRTCP_INDEX_LEN]].concat();
    let mut sender = RtcpOutbound::<P>::new(&master(suite, 23));
    sender.seal(&mut packet, 1000).expect("a fresh index");
    packet
}

fn srtcp_of_every_length<P: Provider>(suite: Suite) {
    let mut random = Random(0xbad_0002);
    let mut receiver = rtcp_receiver::<P>(suite);
    let longest = rtcp_sealed::<P>(suite, LONGEST / 4 - 9);
    assert!(longest.len() >= LONGEST);
    for len in 0..=LONGEST {
        if len < longest.len() {
            must_fail_rtcp(suite, &mut receiver, &longest[..len], &format!("truncated to {len}"));
            // Cut out of the middle, so that a genuine index word ends it and the crypto is reached.
            let end = if suite.is_aead() { 4 } else { 4 + suite.rtcp_tag_len() };
            if len >= end {
                let cut = [&longest[..len - end], &longest[longest.len() - end..]].concat();
                must_fail_rtcp(suite, &mut receiver, &cut, &format!("{len} with the index word"));
            }
        }
        must_fail_rtcp(suite, &mut receiver, &random.octets(len), &format!("{len} random octets"));
        let mut packet = rtcp_sealed::<P>(suite, len / 4);
        let bit = random.below(8 * packet.len() as u64) as usize;
        packet[bit / 8] ^= 1 << (bit % 8);
        must_fail_rtcp(suite, &mut receiver, &packet, &format!("bit {bit} of {} octets", packet.len()));
    }
    assert!(receiver.open(&mut longest.clone()).is_ok());
}

fn every_bit_of_an_srtcp_packet<P: Provider>(suite: Suite) {
    let mut receiver = rtcp_receiver::<P>(suite);
    let packet = rtcp_sealed::<P>(suite, 5);
    for bit in 0..packet.len() * 8 {
        let mut damaged = packet.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        must_fail_rtcp(suite, &mut receiver, &damaged, &format!("bit {bit}"));
    }
    assert!(receiver.open(&mut packet.clone()).is_ok());
}
