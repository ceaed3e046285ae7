//! The window and the index estimate against a slow reference that anyone can check by reading, over long
//! random histories of loss, reordering, replay, jumps and roll-over.

use std::collections::BTreeSet;

use super::{
    Provider, RTP_HEADER_LEN, Random, Suite, for_each_provider_and_suite, master, rtp_plain, rtp_sealed,
};
use crate::srtp::replay::{RTP_WORDS, Refused, ReplayWindow};
use crate::srtp::{OpenError, PacketIndex, ReplayWindowSize, RtpInbound, RtpOpened, RtpOutbound, SealError};

for_each_provider_and_suite!(receiver_agrees_with_the_reference, sender_agrees_with_the_reference);

/// Every index ever seen, in a set.
struct Reference {
    size: u64,
    seen: BTreeSet<u64>,
}

impl Reference {
    fn new(size: ReplayWindowSize) -> Self {
        Self { size: size.packets().into(), seen: BTreeSet::new() }
    }

    fn highest(&self) -> Option<u64> {
        self.seen.last().copied()
    }

    /// Of the indices with these low 16 bits, the one nearest to the highest seen; of two as near, the one
    /// with its roll-over counter.
    fn estimate(&self, seq: u16) -> Option<u64> {
        let Some(highest) = self.highest() else {
            return Some(seq.into());
        };
        let roc = highest >> 16;
        let nearest = [roc.checked_sub(1), Some(roc), Some(roc + 1)]
            .into_iter()
            .flatten()
            .min_by_key(|&candidate| ((candidate << 16 | u64::from(seq)).abs_diff(highest), candidate != roc))
            .expect("three candidates, or two");
        (nearest < 1 << 32).then_some(nearest << 16 | u64::from(seq))
    }

    fn check(&self, index: u64) -> Result<(), Refused> {
        match self.highest() {
            Some(highest) if index + self.size <= highest => Err(Refused::TooOld),
            _ if self.seen.contains(&index) => Err(Refused::Seen),
            _ => Ok(()),
        }
    }
}

/// Where the histories start: at the beginning, before the first roll-over, amid, before the last index.
const STARTS: [u64; 5] = [0, 65_000, 0x7_ffff_ff00, (1 << 47) + 12_345, (1 << 48) - 6000];

/// The next index of a history, given the highest so far: mostly in order, with everything else mixed in.
/// May lie beyond the last one, as a sender's would that goes on.
fn next_index(random: &mut Random, highest: u64) -> u64 {
    match random.below(100) {
        0..40 => highest + 1,
        40..55 => highest + 1 + random.below(8),
        55..80 => highest.saturating_sub(random.below(70)),
        80..92 => highest.saturating_sub(random.below(1100)),
        92..96 => highest + random.below(1100),
        96..98 => highest + random.below(3000),
        98 => highest.saturating_sub(random.below(30_000)),
        _ => highest + random.below(30_000),
    }
}

#[test]
fn window_and_estimate_agree_with_the_reference() {
    let mut random = Random(0x5eed_0001);
    let mut outcomes = [0u64; 4];
    for packets in [64, 128, 192, 512, 960, 1024] {
        for start in STARTS {
            let size = ReplayWindowSize::new(packets).expect("a valid size");
            let mut window = ReplayWindow::<RTP_WORDS>::new(size);
            let mut reference = Reference::new(size);
            let mut highest = start;
            for step in 0..8000 {
                // Only the sequence number travels; now and then it is anything.
                let index = next_index(&mut random, highest);
                let seq = if random.below(200) == 0 { random.next() as u16 } else { index as u16 };
                let what = || format!("window {packets} start {start:#x} step {step} seq {seq}");

                let estimate = PacketIndex::estimate(window.highest().and_then(PacketIndex::from_u64), seq);
                assert_eq!(estimate.map(PacketIndex::as_u64), reference.estimate(seq), "{}", what());
                // The first packet of a late start is known by its whole index, as after a restart.
                let index = if window.highest().is_none() { Some(start) } else { reference.estimate(seq) };
                let Some(index) = index else {
                    outcomes[3] += 1;
                    continue;
                };
                let verdict = window.check(index);
                assert_eq!(verdict, reference.check(index), "{}", what());
                outcomes[verdict.map_or_else(|refused| 1 + refused as usize, |()| 0)] += 1;
                // One packet in ten does not authenticate: asked for, and not committed.
                if verdict.is_ok() && random.below(10) != 0 {
                    window.commit(index);
                    reference.seen.insert(index);
                }
                assert_eq!(window.highest(), reference.highest(), "{}", what());
                highest = reference.highest().unwrap_or(start);
            }
        }
    }
    assert!(outcomes.iter().all(|&count| count > 1000), "accepted, too old, seen, exhausted: {outcomes:?}");
}

/// The whole receiver, with real packets: each index is delivered at most once, each fresh one within the
/// window exactly when it authenticates, and its plaintext is right.
fn receiver_agrees_with_the_reference<P: Provider>(suite: Suite) {
    const SSRC: u32 = 77;
    let key = master(suite, 11);
    let mut random = Random(0x5eed_0002);
    let mut outcomes = [0u64; 5];
    for packets in [64, 1024] {
        for start in STARTS {
            let size = ReplayWindowSize::new(packets).expect("a valid size");
            let mut receiver = RtpInbound::<P>::new(&key, size);
            let mut reference = Reference::new(size);
            if let Some(before) = start.checked_sub(1).and_then(PacketIndex::from_u64) {
                receiver.resume(SSRC, before);
                reference.seen.extend(before.as_u64().saturating_sub(1024)..=before.as_u64());
            }
            let mut highest = start;
            for _ in 0..1500 {
                let index = next_index(&mut random, highest).min(PacketIndex::MAX.as_u64());
                let index = PacketIndex::from_u64(index).expect("at most the last");
                let plain = rtp_plain(SSRC, index, 20);
                let mut packet = rtp_sealed::<P>(&key, SSRC, index, 20);
                let damaged = random.below(20) == 0;
                if damaged {
                    let at = RTP_HEADER_LEN + random.below(20 + suite.rtp_tag_len() as u64) as usize;
                    packet[at] ^= 1 << random.below(8);
                }
                let before = receiver.state();
                let result = receiver.open(&mut packet, RTP_HEADER_LEN, SSRC, index.seq());

                let estimate = reference.estimate(index.seq());
                let expected = match estimate.map(|estimate| (estimate, reference.check(estimate))) {
                    None => Err(OpenError::KeyExhausted),
                    Some((_, Err(Refused::TooOld))) => Err(OpenError::TooOld),
                    Some((_, Err(Refused::Seen))) => Err(OpenError::Replayed),
                    Some((estimate, Ok(()))) if damaged || estimate != index.as_u64() => {
                        Err(OpenError::AuthFailed)
                    }
                    Some((_, Ok(()))) => Ok(RtpOpened { len: plain.len(), index }),
                };
                assert_eq!(result, expected, "window {packets} start {start:#x} index {index:?}");
                match result {
                    Ok(_) => {
                        assert_eq!(packet[..plain.len()], plain[..]);
                        assert!(reference.seen.insert(index.as_u64()), "{index:?} was delivered twice");
                        outcomes[0] += 1;
                    }
                    Err(error) => {
                        assert_eq!(receiver.state(), before, "{error} changed the state");
                        let slot = match error {
                            OpenError::TooOld => 1,
                            OpenError::Replayed => 2,
                            OpenError::AuthFailed => 3,
                            _ => 4,
                        };
                        outcomes[slot] += 1;
                    }
                }
                highest = reference.highest().unwrap_or(start);
            }
        }
    }
    let [opened, too_old, replayed, forged, _] = outcomes;
    assert!([opened, too_old, replayed, forged].iter().all(|&count| count > 200), "{outcomes:?}");
}

/// The sender seals exactly what the reference has not seen, and so no nonce twice.
fn sender_agrees_with_the_reference<P: Provider>(suite: Suite) {
    let key = master(suite, 12);
    let mut random = Random(0x5eed_0003);
    let mut sealed = BTreeSet::new();
    let mut sender = RtpOutbound::<P>::new(&key);
    let mut reference = Reference::new(ReplayWindowSize::MAX);
    let mut reused = 0;
    for _ in 0..5000 {
        let index = next_index(&mut random, reference.highest().unwrap_or(60_000));
        let mut packet = vec![0; RTP_HEADER_LEN + 20 + sender.trailer()];
        let index = PacketIndex::from_u64(index).expect("below 2^48");
        match sender.seal(&mut packet, RTP_HEADER_LEN, 5, index) {
            Ok(()) => {
                assert_eq!(reference.check(index.as_u64()), Ok(()));
                assert!(sealed.insert(index), "{index:?} was sealed twice");
                reference.seen.insert(index.as_u64());
            }
            Err(error) => {
                assert_eq!(error, SealError::IndexReused);
                assert!(reference.check(index.as_u64()).is_err(), "{index:?} was refused for nothing");
                reused += 1;
            }
        }
    }
    assert!(sealed.len() > 1000 && reused > 200, "{} sealed, {reused} refused", sealed.len());
}
