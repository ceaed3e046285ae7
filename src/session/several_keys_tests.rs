//! Keys change in the middle of a call, of every suite, with MKIs and without, while packets overtake each other.

use std::collections::BTreeMap;

use super::*;
use crate::dpdk::Memory;
use crate::session::{LATE_PACKETS, Learn, PayloadRules, StreamKeys, StreamSetup};
use crate::srtp::tests::{Random, has_ipsec_mb, master, rtp_plain};
use crate::srtp::{
    AesGcmProvider, IpsecMbProvider, MasterKey, Mki, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound, SealError, Suite,
};

const SSRC: u32 = 0xfeed_f00d;
const ID: StreamId = StreamId(0);
const HEADER: usize = 12;

/// Key `number` of a sender, whose MKI has so many octets, 0 for none.
fn key(suite: Suite, number: u64, mki_len: usize) -> MasterKey {
    let key = master(suite, 1000 + number);
    if mki_len == 0 {
        return key;
    }
    let mki = Mki::from_octets(&vec![number as u8; mki_len]).expect("1 to 16 octets");
    MasterKey::from_sdes_inline(suite, &format!("{}|{mki}", *key.to_sdes_inline())).expect("a valid key")
}

fn stream<P: Provider>(open: &MasterKey, seal: &MasterKey, set: Option<KeySet>) -> Streams<P> {
    let window = ReplayWindowSize::default();
    let keys = StreamKeys { open: Some(open), seal: Some(seal), replay_window: window };
    let rules = PayloadRules { payload_types: u128::MAX, reduced_size_rtcp: true };
    let mut setup = StreamSetup::new(keys, rules, Learn::Never);
    setup.key_set = set.map(Box::new);
    let mut streams = Streams::with_capacity(Memory::Heap, 1).expect("a few lines");
    assert_eq!(streams.push(setup), Some(ID));
    streams
}

/// A packet as its sender seals it: in a context of its own, so that any index can be made in any order.
fn sealed<P: Provider>(key: &MasterKey, index: u64) -> Vec<u8> {
    let index = PacketIndex::from_u64(index).expect("48 bits");
    let mut packet = rtp_plain(SSRC, index, 60);
    let mut sender = RtpOutbound::<P>::new(key);
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, HEADER, SSRC, index).expect("a fresh index");
    packet
}

fn sealed_rtcp<P: Provider>(key: &MasterKey, index: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 2];
    packet.extend(SSRC.to_be_bytes());
    packet.extend(index.to_be_bytes());
    let mut sender = RtcpOutbound::<P>::new(key);
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, index).expect("a fresh index");
    packet
}

fn open<P: Provider>(streams: &mut Streams<P>, packet: &mut [u8]) -> Result<OpenedRtp, OpenError> {
    let seq = u16::from_be_bytes([packet[2], packet[3]]);
    streams.open_rtp(ID, packet, HEADER, SSRC, seq)
}

fn change<P: Provider>(streams: &mut Streams<P>, open: Option<KeySet>, seal: Option<&MasterKey>) {
    let seal = seal.map(|key| SealChange::new(key, None, None));
    streams.change_keys(&mut KeyChange { inbound: ID, outbound: ID, open: open.map(Box::new), seal });
}

/// Opens, seals again, and says which packet came out under `receiver`'s key.
fn relay<P: Provider>(streams: &mut Streams<P>, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut packet = packet.to_vec();
    let opened = open(streams, &mut packet)?;
    packet.truncate(opened.len);
    packet.resize(opened.len + streams.trailer(ID, false), 0);
    streams.seal_rtp(ID, &mut packet, HEADER, SSRC, opened.ticket).expect("each index once");
    Ok(packet)
}

fn relay_rtcp<P: Provider>(streams: &mut Streams<P>, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut packet = packet.to_vec();
    let opened = streams.open_rtcp(ID, &mut packet)?;
    packet.truncate(opened.len);
    packet.resize(opened.len + streams.trailer(ID, true), 0);
    streams.seal_rtcp(ID, &mut packet, SSRC, opened.ticket).expect("each index once");
    Ok(packet)
}

macro_rules! for_each_provider_and_suite {
    ($($test:ident),+ $(,)?) => {
        mod aes_gcm {
            $(#[test] fn $test() {
                Suite::ALL.into_iter().for_each(super::$test::<super::AesGcmProvider>);
            })+
            use super::Suite;
        }
        mod ipsec_mb {
            $(#[test] fn $test() {
                if super::has_ipsec_mb(concat!(module_path!(), "::", stringify!($test))) {
                    Suite::ALL.into_iter().for_each(super::$test::<super::IpsecMbProvider>);
                }
            })+
            use super::Suite;
        }
    };
}

for_each_provider_and_suite!(
    a_change_under_way_loses_and_doubles_nothing,
    a_packet_may_name_any_key_and_no_other,
    a_key_that_was_left_is_accepted_for_a_while,
    forged_packets_change_nothing_during_a_change,
    reports_follow_the_change,
    a_key_that_is_no_longer_wanted_is_left_at_once,
    a_lifetime_counts_from_the_change,
);

/// Three keys of the sender and three of the gateway, over a roll-over of the sequence number, with packets up to 40
/// places from where they belong and one in ten sent twice.
fn a_change_under_way_loses_and_doubles_nothing<P: Provider>(suite: Suite) {
    const PACKETS: u64 = 4000;
    const CHANGES: [u64; 2] = [1500, 2900];
    let mut random = Random(0xc4a9_0001);
    for mki_len in [0, 4] {
        let remote = [0, 1, 2].map(|number| key(suite, number, mki_len));
        let local = [10, 11, 12].map(|number| key(suite, number, mki_len));
        let first = 65_536 - 2000;
        let mut streams = stream::<P>(&remote[0], &local[0], None);
        let used = |number: u64| CHANGES.iter().filter(|&&change| number >= change).count();

        // Position in the order of arrival, by place and a random way off it.
        let mut order: Vec<(u64, u64)> = (0..PACKETS).map(|n| (n + random.below(40), n)).collect();
        let twice: Vec<u64> = (0..PACKETS / 10).map(|_| random.below(PACKETS)).collect();
        order.extend(twice.into_iter().map(|n| (n + random.below(300), n)));
        order.sort();
        order.insert(0, (0, 0));

        let mut receivers =
            local.each_ref().map(|key| RtpInbound::<P>::new(key, ReplayWindowSize::default()));
        let start = PacketIndex::from_u64(first - 1).expect("48 bits");
        receivers.iter_mut().for_each(|receiver| receiver.resume(SSRC, start));
        let (mut relayed, mut step) = (BTreeMap::new(), 0);
        let mut sealing = 0;
        for (arrived, (_, number)) in order.into_iter().enumerate() {
            // The new keys are known a little before the first packet under them can come.
            if step < 2 && arrived as u64 == CHANGES[step] * 11 / 10 - 400 {
                step += 1;
                let set = if mki_len == 0 { &remote[..=step] } else { &remote[step - 1..=step] };
                change(&mut streams, Some(KeySet::new(set)), None);
            }
            if sealing < 2 && arrived as u64 == 1000 + 1500 * sealing as u64 {
                sealing += 1;
                change(&mut streams, None, Some(&local[sealing]));
            }
            let index = first + number;
            let packet = sealed::<P>(&remote[used(number)], index);
            let what = format!("{suite}, MKI of {mki_len}: packet {number}, the {arrived}th to arrive");
            match relay(&mut streams, &packet) {
                Ok(mut packet) => {
                    let seq = index as u16;
                    let receiver = &mut receivers[sealing];
                    // A receiver knows the roll-over counter, whichever key it is given.
                    let opened = receiver.open(&mut packet, HEADER, SSRC, seq).expect(&what);
                    let plain = rtp_plain(SSRC, opened.index, 60);
                    assert_eq!((opened.index.as_u64(), &packet[..opened.len]), (index, &plain[..]), "{what}");
                    assert!(relayed.insert(index, ()).is_none(), "{what}: twice");
                }
                Err(OpenError::Replayed) => assert!(relayed.contains_key(&index), "{what}: lost"),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        assert_eq!(relayed.len() as u64, PACKETS, "{suite}, MKI of {mki_len}");
        let several = streams.rows.first(0).expect("live").receive.flags.has(Flags::SEVERAL);
        assert_eq!(several, mki_len > 0, "without MKIs the change is over");
    }
}

fn a_packet_may_name_any_key_and_no_other<P: Provider>(suite: Suite) {
    for mki_len in [1, 4, 16] {
        let keys: Vec<_> = (0..8).map(|number| key(suite, number, mki_len)).collect();
        let mut streams = stream::<P>(&keys[0], &key(suite, 10, 0), Some(KeySet::new(&keys)));
        let mut random = Random(5);
        for index in 0..200 {
            let key = &keys[random.below(8) as usize];
            let mut packet = sealed::<P>(key, index);
            let plain = rtp_plain(SSRC, PacketIndex::from_u64(index).expect("48 bits"), 60);
            let opened = open(&mut streams, &mut packet).expect("an agreed key");
            assert_eq!((packet[..opened.len] == plain, opened.newest), (true, true), "{suite} {mki_len}");
            if index % 7 == 0 {
                let mut report = sealed_rtcp::<P>(key, index as u32);
                assert!(streams.open_rtcp(ID, &mut report).is_ok(), "{suite} {mki_len}");
            }
        }
        let before = format!("{streams:?}");
        let stranger = key(suite, 9, mki_len);
        assert_eq!(open(&mut streams, &mut sealed::<P>(&stranger, 200)), Err(OpenError::UnknownMki));
        let report = streams.open_rtcp(ID, &mut sealed_rtcp::<P>(&stranger, 200));
        assert_eq!(report, Err(OpenError::UnknownMki));
        // One key's packet under another's name.
        let mut packet = sealed::<P>(&keys[3], 200);
        let at = if suite.is_aead() { 0 } else { suite.rtp_tag_len() } + mki_len;
        let mki = packet.len() - at;
        packet[mki..mki + mki_len].copy_from_slice(&vec![4; mki_len]);
        assert_eq!(open(&mut streams, &mut packet), Err(OpenError::AuthFailed));
        assert_eq!(format!("{streams:?}"), before, "nothing refused has changed the stream");
        assert!(open(&mut streams, &mut sealed::<P>(&keys[3], 200)).is_ok());
    }
}

fn a_key_that_was_left_is_accepted_for_a_while<P: Provider>(suite: Suite) {
    let keys = [0, 1].map(|number| key(suite, number, 0));
    let mut streams = stream::<P>(&keys[0], &key(suite, 10, 0), None);
    open(&mut streams, &mut sealed::<P>(&keys[0], 10)).expect("the first key");
    change(&mut streams, Some(KeySet::new(&keys)), None);
    open(&mut streams, &mut sealed::<P>(&keys[0], 12)).expect("the first key, still in use");
    open(&mut streams, &mut sealed::<P>(&keys[1], 20)).expect("the second key");
    open(&mut streams, &mut sealed::<P>(&keys[0], 11)).expect("late");
    open(&mut streams, &mut sealed::<P>(&keys[1], 20 + LATE_PACKETS)).expect("in use");
    open(&mut streams, &mut sealed::<P>(&keys[0], 19 + LATE_PACKETS)).expect("as late as can be");
    open(&mut streams, &mut sealed::<P>(&keys[1], 21 + LATE_PACKETS)).expect("in use");
    let late = open(&mut streams, &mut sealed::<P>(&keys[0], 18 + LATE_PACKETS));
    assert_eq!(late, Err(OpenError::AuthFailed), "{suite}: the first key is gone");
    assert!(open(&mut streams, &mut sealed::<P>(&keys[1], 18 + LATE_PACKETS)).is_ok());
}

fn forged_packets_change_nothing_during_a_change<P: Provider>(suite: Suite) {
    let keys = [0, 1].map(|number| key(suite, number, 0));
    let mut streams = stream::<P>(&keys[0], &key(suite, 10, 0), None);
    open(&mut streams, &mut sealed::<P>(&keys[0], 10)).expect("the first key");
    change(&mut streams, Some(KeySet::new(&keys)), None);
    let before = format!("{streams:?} {:?}", streams.rows.fourth(0));
    for (number, index) in [(0, 11), (1, 11), (2, 11)] {
        let mut packet = sealed::<P>(&key(suite, number, 0), index);
        packet[30] ^= u8::from(number < 2);
        assert_eq!(open(&mut streams, &mut packet), Err(OpenError::AuthFailed));
        let mut report = sealed_rtcp::<P>(&key(suite, number, 0), index as u32);
        report[9] ^= u8::from(number < 2);
        assert_eq!(streams.open_rtcp(ID, &mut report), Err(OpenError::AuthFailed));
    }
    assert_eq!(open(&mut streams, &mut sealed::<P>(&keys[1], 10)), Err(OpenError::Replayed), "under any key");
    assert_eq!(format!("{streams:?} {:?}", streams.rows.fourth(0)), before);
}

fn reports_follow_the_change<P: Provider>(suite: Suite) {
    for mki_len in [0, 4] {
        let remote = [0, 1].map(|number| key(suite, number, mki_len));
        let local = [10, 11].map(|number| key(suite, number, mki_len));
        let mut streams = stream::<P>(&remote[0], &local[0], None);
        let mut receivers =
            local.each_ref().map(|key| RtcpInbound::<P>::new(key, ReplayWindowSize::default()));
        let mut check = |streams: &mut Streams<P>, from: usize, to: usize, index| {
            let mut packet = relay_rtcp(streams, &sealed_rtcp::<P>(&remote[from], index))?;
            let opened = receivers[to].open(&mut packet).expect("sealed with the key in use");
            assert_eq!(opened.index, index, "{suite}, MKI of {mki_len}");
            Ok::<_, OpenError>(())
        };
        check(&mut streams, 0, 0, 1).expect("the first key");
        change(&mut streams, Some(KeySet::new(&remote)), Some(&local[1]));
        check(&mut streams, 0, 1, 2).expect("the first key, still in use");
        check(&mut streams, 1, 1, 4).expect("reports may be the first under a new key");
        check(&mut streams, 0, 1, 3).expect("late");
        // Voice moves the stream on for good.
        for index in 0..LATE_PACKETS + 3 {
            relay(&mut streams, &sealed::<P>(&remote[1], index)).expect("the second key");
        }
        check(&mut streams, 1, 1, 5).expect("the second key");
        let old = check(&mut streams, 0, 1, 6);
        assert_eq!(
            old,
            if mki_len == 0 { Err(OpenError::AuthFailed) } else { Ok(()) },
            "{suite}, MKI of {mki_len}"
        );
    }
}

fn a_key_that_is_no_longer_wanted_is_left_at_once<P: Provider>(suite: Suite) {
    let keys = [0, 1].map(|number| key(suite, number, 4));
    let mut streams = stream::<P>(&keys[0], &key(suite, 10, 0), Some(KeySet::new(&keys)));
    open(&mut streams, &mut sealed::<P>(&keys[0], 1)).expect("agreed");
    change(&mut streams, Some(KeySet::new(&keys[1..])), None);
    assert_eq!(open(&mut streams, &mut sealed::<P>(&keys[0], 2)), Err(OpenError::UnknownMki));
    let report = streams.open_rtcp(ID, &mut sealed_rtcp::<P>(&keys[0], 2));
    assert_eq!(report, Err(OpenError::UnknownMki));
    open(&mut streams, &mut sealed::<P>(&keys[1], 2)).expect("agreed");
    assert!(streams.open_rtcp(ID, &mut sealed_rtcp::<P>(&keys[1], 2)).is_ok());
    assert!(!streams.rows.first(0).expect("live").receive.flags.has(Flags::SEVERAL), "one key is one key");
}

/// The index goes on over a change, the count of packets under the key does not.
fn a_lifetime_counts_from_the_change<P: Provider>(suite: Suite) {
    let limited = |number| {
        let text = format!("{}|2^20", *key(suite, number, 0).to_sdes_inline());
        MasterKey::from_sdes_inline(suite, &text).expect("a valid key")
    };
    let free = key(suite, 0, 0);
    let mut streams = stream::<P>(&free, &limited(10), None);
    let first = PacketIndex::from_u64(1 << 20).expect("48 bits");
    let Hot { receive, ring, .. } = streams.rows.first_mut(0).expect("live");
    receive.state.resume(ring, SSRC, PacketIndex::from_u64((1 << 20) - 2).expect("48 bits"));
    let seal = |streams: &mut Streams<P>, index: u64| {
        let Hot { receive, ring, .. } = streams.rows.first_mut(0).expect("live");
        let index = PacketIndex::from_u64(index).expect("48 bits");
        let ticket = receive.state.commit(ring, SSRC, index).expect("fresh");
        let mut packet = rtp_plain(SSRC, index, 60);
        packet.resize(packet.len() + suite.rtp_tag_len(), 0);
        streams.seal_rtp(ID, &mut packet, HEADER, SSRC, ticket)
    };
    assert_eq!(seal(&mut streams, first.as_u64() - 1), Ok(()));
    assert_eq!(seal(&mut streams, first.as_u64()), Err(SealError::KeyExhausted), "{suite}");
    change(&mut streams, None, Some(&limited(11)));
    assert_eq!(seal(&mut streams, first.as_u64() + 1), Ok(()), "{suite}");
    assert_eq!(seal(&mut streams, 2 * first.as_u64()), Ok(()), "the last of 2^20 from {first:?} on");
    assert_eq!(seal(&mut streams, 2 * first.as_u64() + 1), Err(SealError::KeyExhausted), "{suite}");
    // A receiver with a limited key that comes after the end of the lifetime of the first.
    change(&mut streams, Some(KeySet::new(&[free, limited(1)])), None);
    let mut packet = sealed::<P>(&key(suite, 1, 0), 2 * first.as_u64() + 2);
    assert!(open(&mut streams, &mut packet).is_ok(), "{suite}: sealed as one who counts packets does");
}
