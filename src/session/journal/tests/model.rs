//! Random lives of a gateway against a set of every index that was ever sealed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::{Machine, key};

type Name = (u32, Kind);

/// A stream as the packet path has it: it seals what is at or above its floor and was not sealed in this run.
struct ModelStream {
    slot: JournalSlot,
    floor: u64,
    sealed: BTreeSet<u64>,
}

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

/// Random runs of seal, reorder, crash, stop, copy and power cut: no key seals an index twice, ever, and what is
/// skipped stays within the documented bounds.
#[test]
fn no_index_is_sealed_twice() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let machine = Machine::new();
        let mut boot = [0; 16];
        let mut ever: BTreeMap<Name, BTreeSet<u64>> = BTreeMap::new();
        // Of each key: the highest index sealed when the last copy was made.
        let mut copied: BTreeMap<Name, u64> = BTreeMap::new();
        // Of each key: where its last run resumed.
        let mut floors: BTreeMap<Name, u64> = BTreeMap::new();
        // What the next start may skip beyond the highest index, of SRTP and of SRTCP.
        let mut allowed = (0, 0);
        for _ in 0..12 {
            let mut journal = machine.try_open(6 + random.below(3) as usize, boot).unwrap();
            let mut streams: Vec<(Name, ModelStream)> = Vec::new();
            for number in 0..6 {
                let kind = if number % 3 == 2 { Kind::Srtcp } else { Kind::Srtp };
                let this = (number, kind);
                let (slot, resumed) = journal.slot(key(number), kind).unwrap();
                let floor = resumed.map_or(0, |resumed| resumed.floor);
                let highest = ever.get(&this).and_then(|sealed| sealed.last().copied());
                let next =
                    highest.map_or(0, |highest| highest + 1).max(floors.insert(this, floor).unwrap_or(0));
                let slack = if kind == Kind::Srtp { allowed.0 } else { allowed.1 };
                assert!(
                    (next..=next + slack).contains(&floor),
                    "seed {seed}: {floor} after {highest:?}, +{slack}"
                );
                assert!(resumed.is_none_or(|resumed| resumed.ssrc == number));
                streams.push((this, ModelStream { slot, floor, sealed: BTreeSet::new() }));
            }
            // First packets are on disk before the machine can fail: the documented limit of the copy.
            let mut copy_due = true;
            for _ in 0..random.below(400) {
                let pick = random.below(streams.len().max(1) as u64) as usize;
                let Some((this, stream)) = streams.get_mut(pick) else {
                    break;
                };
                let sealed = ever.entry(*this).or_default();
                let highest = sealed.last().copied().unwrap_or(random.below(1 << 16)).max(stream.floor);
                let index = match random.below(10) {
                    0 => highest.saturating_sub(random.below(300)),
                    1 => highest + random.below(300),
                    _ => highest + 1,
                };
                // No further past the copy than its margin allows; at the first packet there is none yet.
                let after_copy = copied.get(this).map(|&at| index.saturating_sub(at.max(stream.floor)));
                if after_copy.is_some_and(|after| after >= this.1.margin()) {
                    copy_due = true;
                } else if index >= stream.floor && stream.sealed.insert(index) {
                    stream.slot.cover(this.0, index);
                    assert!(sealed.insert(index), "seed {seed}: index {index} of {this:?} sealed twice");
                    copy_due |= after_copy.is_none();
                }
                if copy_due || random.below(50) == 0 {
                    journal.persist().unwrap();
                    copied =
                        ever.iter().filter_map(|(name, sealed)| Some((*name, *sealed.last()?))).collect();
                    copy_due = false;
                }
            }
            let stop = random.below(3) == 0;
            if stop {
                for (_, stream) in &mut streams {
                    stream.slot.settle(stream.sealed.last().copied());
                }
                journal.close().unwrap();
            } else {
                drop(journal);
            }
            drop(streams);
            allowed = if stop { (0, 0) } else { (64, 1) };
            if random.below(3) == 0 {
                std::fs::remove_dir_all(machine.runtime_dir()).unwrap();
                boot[0] += 1;
                if !stop {
                    allowed = (64 + 4096, 64);
                }
            }
        }
        assert!(ever.values().map(BTreeSet::len).sum::<usize>() > 100, "seed {seed} sealed next to nothing");
    }
}
