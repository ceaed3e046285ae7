//! Every provider against every other, on random packets: byte-identical when sealed, opened by the other, alone and
//! in batches of mixed keys and suites, and no tag accepted that is wrong in any octet.
//!
//! The portable provider is held against itself as well, so that the tests run where no other one is installed.

use super::{Provider, Random, Suite, has_ipsec_mb, master};
use crate::srtp::kdf::SessionKeys;
use crate::srtp::provider::BATCH;
use crate::srtp::{
    AesGcmProvider, Batch, CounterHmac, IpsecMbProvider, MasterKey, Mki, OpenError, PacketIndex,
    ReplayWindowSize, RtcpInbound, RtcpOpened, RtcpOutbound, RtpInbound, RtpOutbound, SessionKey,
};

/// Makes a `#[test]` for each ordered pair of providers.
macro_rules! for_each_pair {
    ($($test:ident),+ $(,)?) => {
        mod aes_gcm_and_aes_gcm {
            $(
                #[test]
                fn $test() {
                    super::$test::<super::AesGcmProvider, super::AesGcmProvider>();
                }
            )+
        }
        mod aes_gcm_and_ipsec_mb {
            $(
                #[test]
                fn $test() {
                    if super::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                        super::$test::<super::AesGcmProvider, super::IpsecMbProvider>();
                    }
                }
            )+
        }
        mod ipsec_mb_and_aes_gcm {
            $(
                #[test]
                fn $test() {
                    if super::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                        super::$test::<super::IpsecMbProvider, super::AesGcmProvider>();
                    }
                }
            )+
        }
    };
}

for_each_pair!(
    srtp_packets_agree,
    srtcp_packets_agree,
    batches_agree,
    a_tag_forged_in_any_octet_is_refused,
    a_tag_forged_anywhere_in_a_batch_is_refused,
);

/// Packets for each suite and MKI.
const PACKETS: usize = 150;

/// The suites that are worked on in batches.
const BATCHED: [Suite; 3] =
    [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AesCm256HmacSha1_80];

/// A key with an MKI of so many octets, or none.
fn key(random: &mut Random, suite: Suite, mki_len: usize) -> MasterKey {
    let key = master(suite, random.next());
    if mki_len == 0 {
        return key;
    }
    let mki = Mki::from_octets(&random.octets(mki_len)).expect("1 to 16 octets");
    let text = format!("{}|{mki}", *key.to_sdes_inline());
    MasterKey::from_sdes_inline(suite, &text).expect("a valid key")
}

/// Every suite without an MKI and with ones of 1, 4 and 16 octets.
fn keys(random: &mut Random) -> Vec<(String, MasterKey)> {
    let combinations = Suite::ALL.into_iter().flat_map(|suite| [0, 1, 4, 16].map(|len| (suite, len)));
    combinations.map(|(suite, len)| (format!("{suite}, MKI of {len}"), key(random, suite, len))).collect()
}

/// A random RTP packet: any CSRCs, extension and payload. Answers its header's length.
fn rtp(random: &mut Random, ssrc: u32, index: PacketIndex, payload_len: usize) -> (Vec<u8>, usize) {
    let header_len = 12 + 4 * random.below(34) as usize;
    let mut packet = random.octets(header_len + payload_len);
    packet[0] = 0x80 | packet[0] & 0x3f;
    packet[2..4].copy_from_slice(&index.seq().to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    (packet, header_len)
}

/// Any length, each of the first few often.
fn payload_len(random: &mut Random) -> usize {
    match random.below(3) {
        0 => random.below(40) as usize,
        1 => 160,
        _ => random.below(1401) as usize,
    }
}

fn srtp_packets_agree<P: Provider, Q: Provider>() {
    let mut random = Random(0xd1ff_0001);
    for (what, key) in keys(&mut random) {
        let ssrc = random.next() as u32;
        let mut index = random.next() >> 20;
        let window = ReplayWindowSize::default();
        let (mut seal_p, mut seal_q) = (RtpOutbound::<P>::new(&key), RtpOutbound::<Q>::new(&key));
        let (mut open_p, mut open_q) =
            (RtpInbound::<P>::new(&key, window), RtpInbound::<Q>::new(&key, window));
        open_p.resume(ssrc, PacketIndex::from_u64(index).expect("48 bits"));
        open_q.resume(ssrc, PacketIndex::from_u64(index).expect("48 bits"));
        for packet in 0..PACKETS {
            index += 1 + random.below(3000);
            let at = PacketIndex::from_u64(index).expect("48 bits");
            let len = payload_len(&mut random);
            let (plain, header_len) = rtp(&mut random, ssrc, at, len);
            let mut by_p = [plain.clone(), random.octets(seal_p.trailer())].concat();
            let mut by_q = [plain.clone(), random.octets(seal_q.trailer())].concat();
            assert_eq!(seal_p.seal(&mut by_p, header_len, ssrc, at), Ok(()), "{what}");
            assert_eq!(seal_q.seal(&mut by_q, header_len, ssrc, at), Ok(()), "{what}");
            assert!(by_p == by_q, "{what}: packet {packet}, header of {header_len}, payload of {len}");
            let opened_p = open_p.open(&mut by_q, header_len, ssrc, at.seq()).expect(&what);
            let opened_q = open_q.open(&mut by_p, header_len, ssrc, at.seq()).expect(&what);
            assert_eq!((opened_p, opened_p.index, opened_p.len), (opened_q, at, plain.len()), "{what}");
            assert!(by_q[..plain.len()] == plain && by_p[..plain.len()] == plain, "{what}: packet {packet}");
        }
    }
}

fn srtcp_packets_agree<P: Provider, Q: Provider>() {
    let mut random = Random(0xd1ff_0002);
    for (what, key) in keys(&mut random) {
        let ssrc = random.next() as u32;
        let mut index = random.below(1 << 30) as u32;
        let window = ReplayWindowSize::default();
        let (mut seal_p, mut seal_q) = (RtcpOutbound::<P>::new(&key), RtcpOutbound::<Q>::new(&key));
        let (mut open_p, mut open_q) =
            (RtcpInbound::<P>::new(&key, window), RtcpInbound::<Q>::new(&key, window));
        for packet in 0..PACKETS {
            index += 1 + random.below(3000) as u32;
            // Any number of octets: that RTCP comes in words is not for SRTCP to check.
            let len = 8 + payload_len(&mut random);
            let mut plain = random.octets(len);
            plain[4..8].copy_from_slice(&ssrc.to_be_bytes());
            let mut by_p = [plain.clone(), random.octets(seal_p.trailer())].concat();
            let mut by_q = [plain.clone(), random.octets(seal_q.trailer())].concat();
            assert_eq!(seal_p.seal(&mut by_p, index), Ok(()), "{what}");
            assert_eq!(seal_q.seal(&mut by_q, index), Ok(()), "{what}");
            assert!(by_p == by_q, "{what}: packet {packet} of {len} octets");
            let opened = Ok(RtcpOpened { len, index, ssrc });
            assert_eq!((open_p.open(&mut by_q), open_q.open(&mut by_p)), (opened, opened), "{what}");
            assert!(by_q[..len] == plain && by_p[..len] == plain, "{what}: packet {packet} of {len} octets");
        }
    }
}

/// A packet for a batch, and how it looks when it is sealed.
struct Packet {
    /// Position of its key.
    key: usize,
    ssrc: u32,
    index: PacketIndex,
    header_len: usize,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl Packet {
    /// Random packets under random ones of `keys`, sealed one by one by `Q`.
    fn some<Q: Provider>(random: &mut Random, keys: &[MasterKey], count: usize) -> Vec<Self> {
        let mut one = Q::Batch::new();
        (0..count)
            .map(|_| {
                let key = random.below(keys.len() as u64) as usize;
                let (ssrc, index) = (random.next() as u32, random.next() >> 16);
                let index = PacketIndex::from_u64(index).expect("48 bits");
                let len = payload_len(random);
                let (plain, header_len) = rtp(random, ssrc, index, len);
                let mki = crate::srtp::mki::octets(&keys[key].mki().copied()).to_vec();
                let trailer = keys[key].suite().rtp_tag_len() + mki.len();
                let mut sealed = [plain.clone(), vec![0; trailer]].concat();
                SessionKey::<Q>::new(&SessionKeys::rtp(&keys[key]))
                    .seal_rtp(&mut one, &mut sealed, header_len, &mki, ssrc, index)
                    .expect("room for the trailer");
                Packet { key, ssrc, index, header_len, plain, sealed }
            })
            .collect()
    }
}

/// Opens `packets` in one batch; answers which were authentic.
fn open_together<P: Provider>(
    batch: &mut P::Batch,
    keys: &[(SessionKey<P>, usize)],
    packets: &[Packet],
    octets: &mut [Vec<u8>],
) -> Vec<bool> {
    let mut jobs: Vec<CounterHmac<'_, P::Key>> = packets
        .iter()
        .zip(octets)
        .map(|(packet, octets)| {
            let (key, mki_len) = &keys[packet.key];
            key.open_rtp_job(octets, packet.header_len, *mki_len, packet.ssrc, packet.index)
                .expect("room for the trailer")
        })
        .collect();
    batch.open(&mut jobs);
    jobs.iter().map(|job| job.verified).collect()
}

/// Keys of all suites that are worked on in batches, with and without MKI, as `P` expands them.
fn batch_keys<P: Provider>(random: &mut Random) -> (Vec<MasterKey>, Vec<(SessionKey<P>, usize)>) {
    let masters: Vec<MasterKey> =
        (0..24).map(|n| key(random, BATCHED[n % 3], [0, 1, 4, 16][n / 3 % 4])).collect();
    let expand = |master: &MasterKey| {
        let mki_len = master.mki().map_or(0, |mki| mki.len());
        (SessionKey::new(&SessionKeys::rtp(master)), mki_len)
    };
    let expanded = masters.iter().map(expand).collect();
    (masters, expanded)
}

/// Batches of every size by `P`, against one packet after the other by `Q`.
fn batches_agree<P: Provider, Q: Provider>() {
    let mut random = Random(0xd1ff_0003);
    let (masters, keys) = batch_keys::<P>(&mut random);
    let mut batch = P::Batch::new();
    for count in (1..=BATCH).cycle().take(4 * BATCH) {
        let packets = Packet::some::<Q>(&mut random, &masters, count);

        let mut sealed: Vec<Vec<u8>> = packets
            .iter()
            .map(|packet| [packet.plain.clone(), vec![0; packet.sealed.len() - packet.plain.len()]].concat())
            .collect();
        let (mut jobs, trailers): (Vec<_>, Vec<_>) = packets
            .iter()
            .zip(&mut sealed)
            .map(|(packet, octets)| {
                let (key, mki_len) = &keys[packet.key];
                key.seal_rtp_job(octets, packet.header_len, *mki_len, packet.ssrc, packet.index)
                    .expect("room for the trailer")
            })
            .unzip();
        batch.seal(&mut jobs);
        for ((job, trailer), packet) in jobs.into_iter().zip(trailers).zip(&packets) {
            let mki = masters[packet.key].mki().copied();
            SessionKey::<P>::finish_rtp(job, trailer, crate::srtp::mki::octets(&mki));
        }
        for (at, (sealed, packet)) in sealed.iter().zip(&packets).enumerate() {
            assert!(*sealed == packet.sealed, "packet {at} of {count}: {}", masters[packet.key].suite());
        }

        // Some of them damaged, each anywhere but in its MKI, of which the key knows nothing.
        let damaged: Vec<bool> = packets.iter().map(|_| random.below(4) == 0).collect();
        for ((octets, packet), _) in sealed.iter_mut().zip(&packets).zip(&damaged).filter(|(_, bad)| **bad) {
            let mki_len = keys[packet.key].1;
            let at = random.below((octets.len() - mki_len) as u64) as usize;
            let at = if at < packet.plain.len() { at } else { at + mki_len };
            octets[at] ^= 1 << random.below(8);
        }
        let verified = open_together(&mut batch, &keys, &packets, &mut sealed);
        for (at, packet) in packets.iter().enumerate() {
            assert_eq!(verified[at], !damaged[at], "packet {at} of {count}");
            let opened = &sealed[at][..packet.plain.len()];
            assert!(damaged[at] || opened == packet.plain, "packet {at} of {count}");
        }
    }
}

/// What `P` sealed and somebody changed does not get past `Q`.
fn a_tag_forged_in_any_octet_is_refused<P: Provider, Q: Provider>() {
    let mut random = Random(0xd1ff_0004);
    let window = ReplayWindowSize::default();
    for (what, key) in keys(&mut random) {
        let mki_len = key.mki().map_or(0, |mki| mki.len());
        let index = PacketIndex::new(0, 7);
        let (plain, header_len) = rtp(&mut random, 1, index, 50);
        let mut sender = RtpOutbound::<P>::new(&key);
        let mut sealed = [plain, vec![0; sender.trailer()]].concat();
        sender.seal(&mut sealed, header_len, 1, index).expect("a fresh index");
        let mut receiver = RtpInbound::<Q>::new(&key, window);
        for at in sealed.len() - sender.trailer()..sealed.len() {
            for bit in 0..8 {
                let mut forged = sealed.clone();
                forged[at] ^= 1 << bit;
                let tag_len = key.suite().rtp_tag_len();
                let tag_end = sealed.len() - if key.suite().is_aead() { mki_len } else { 0 };
                let in_tag = (tag_end - tag_len..tag_end).contains(&at);
                let error = if in_tag { OpenError::AuthFailed } else { OpenError::UnknownMki };
                let result = receiver.open(&mut forged, header_len, 1, 7);
                assert_eq!(result, Err(error), "{what}: bit {bit} of octet {at}");
            }
        }
        assert!(receiver.open(&mut sealed, header_len, 1, 7).is_ok(), "{what}");

        let mut sender = RtcpOutbound::<P>::new(&key);
        let mut sealed = [random.octets(60), vec![0; sender.trailer()]].concat();
        sender.seal(&mut sealed, 7).expect("a fresh index");
        let mut receiver = RtcpInbound::<Q>::new(&key, window);
        for at in sealed.len() - sender.trailer()..sealed.len() {
            for bit in 0..8 {
                let mut forged = sealed.clone();
                forged[at] ^= 1 << bit;
                assert!(receiver.open(&mut forged).is_err(), "{what}: bit {bit} of octet {at}");
            }
        }
        assert!(receiver.open(&mut sealed).is_ok(), "{what}");
    }
}

/// One forged tag at every place of a full batch, in every octet; all other packets of the batch are opened.
fn a_tag_forged_anywhere_in_a_batch_is_refused<P: Provider, Q: Provider>() {
    let mut random = Random(0xd1ff_0005);
    let (masters, keys) = batch_keys::<P>(&mut random);
    let mut batch = P::Batch::new();
    let packets = Packet::some::<Q>(&mut random, &masters, BATCH);
    for forged in 0..BATCH {
        let tag_len = masters[packets[forged].key].suite().rtp_tag_len();
        for octet in 1..=tag_len {
            let mut octets: Vec<Vec<u8>> = packets.iter().map(|packet| packet.sealed.clone()).collect();
            let at = octets[forged].len() - octet;
            octets[forged][at] ^= 1 << random.below(8);
            let verified = open_together(&mut batch, &keys, &packets, &mut octets);
            for (at, packet) in packets.iter().enumerate() {
                assert_eq!(verified[at], at != forged, "octet {octet} of the tag of {forged}");
                assert!(at == forged || octets[at][..packet.plain.len()] == packet.plain, "packet {at}");
            }
        }
    }
}
