//! Sealing keys: which are in use and which were left in this run. And the count of expanded keys.
//!
//! No two streams may seal with one key, and a key that was left must not be sealed with again from the beginning. Where
//! there is an index journal it knows where each key has come to. Where there is none, keys that were left are
//! remembered here and refused, as many as there is room for: the oldest are forgotten first.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

pub(super) type Fingerprint = [u8; 16];

/// Which sealing keys are in use and which were.
#[derive(Debug)]
pub(super) struct KeyBook {
    keys: HashMap<Fingerprint, Use, RandomState>,
    /// Those that were left, the one that was left longest ago first.
    order: VecDeque<Fingerprint>,
    capacity: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// One stream seals with it; whether it is in `order` from an earlier time.
    Now { was_left: bool },
    /// No stream does any more.
    Past,
}

/// Why a sealing key cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRefused {
    InUse,
    Left,
}

impl KeyBook {
    /// Remembers `capacity` keys that were left. All memory that it will ever need is taken here.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        KeyBook {
            keys: HashMap::with_capacity_and_hasher(capacity + capacity / 4, RandomState::default()),
            order: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    /// Takes a key into use. `may_resume`: the journal knows where it has come to.
    pub(super) fn take(&mut self, key: Fingerprint, may_resume: bool) -> Result<(), KeyRefused> {
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Use::Now { was_left: false });
                Ok(())
            }
            Entry::Occupied(entry) if matches!(entry.get(), Use::Now { .. }) => Err(KeyRefused::InUse),
            Entry::Occupied(mut entry) if may_resume => {
                entry.insert(Use::Now { was_left: true });
                Ok(())
            }
            Entry::Occupied(_) => Err(KeyRefused::Left),
        }
    }

    /// A stream has left a key with which it may have sealed.
    pub(super) fn leave(&mut self, key: Fingerprint) {
        let Some(state) = self.keys.get_mut(&key) else { return };
        let Use::Now { was_left } = std::mem::replace(state, Use::Past) else { return };
        if was_left {
            return;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
            && let Entry::Occupied(mut entry) = self.keys.entry(oldest)
        {
            match entry.get() {
                Use::Past => drop(entry.remove()),
                // It is remembered anew when it is left again.
                Use::Now { .. } => drop(entry.insert(Use::Now { was_left: false })),
            }
        }
        self.order.push_back(key);
    }

    /// The same for a key with which nothing was sealed.
    pub(super) fn put_back(&mut self, key: &Fingerprint) {
        match self.keys.get_mut(key) {
            Some(state @ Use::Now { was_left: true }) => *state = Use::Past,
            Some(Use::Now { was_left: false }) => drop(self.keys.remove(key)),
            Some(Use::Past) | None => {}
        }
    }

    /// Keys in use.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.keys.values().filter(|state| matches!(state, Use::Now { .. })).count()
    }
}

/// CodecPool: the expanded SRTP keys. There is room for four in each place of the
/// [`SessionPool`](crate::session::SessionPool), in the rows that packets read: they are expanded there when the session
/// is added and overwritten when its rows are vacant again, so a session's place and generation are theirs, too, and
/// what is left to do is to count.
///
/// They are not kept for a session that may come back: looking for them and moving them takes longer than expanding
/// them anew, and no key is to outlive its session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodecPool {
    /// Filled into rows.
    pub(super) acquired: u64,
    /// Of these: into rows that had held others before.
    pub(super) reused: u64,
    /// Overwritten.
    pub(super) released: u64,
    /// Most that were in rows at a time.
    pub(super) high_water: u64,
}

impl CodecPool {
    /// So many are in a session's rows, which had held others before or not.
    pub(super) fn acquire(&mut self, keys: u64, is_reuse: bool) {
        self.acquired += keys;
        if is_reuse {
            self.reused += keys;
        }
        self.high_water = self.high_water.max(self.acquired - self.released);
    }

    /// So many were overwritten.
    pub(super) fn release(&mut self, keys: u64) {
        self.released += keys;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Fingerprint {
        [number; 16]
    }

    #[test]
    fn a_key_is_sealed_with_by_one_stream_and_not_again_from_the_beginning() {
        let mut book = KeyBook::new(2);
        assert_eq!(book.take(key(1), false), Ok(()));
        assert_eq!(book.take(key(1), true), Err(KeyRefused::InUse));
        book.leave(key(1));
        assert_eq!(book.take(key(1), false), Err(KeyRefused::Left));
        assert_eq!(book.take(key(1), true), Ok(()), "the journal knows where to go on");
        book.put_back(&key(1));
        assert_eq!(book.take(key(1), false), Err(KeyRefused::Left), "it had been left before");
        for number in [2, 3] {
            assert_eq!(book.take(key(number), false), Ok(()));
            book.leave(key(number));
        }
        assert_eq!(book.take(key(1), false), Ok(()), "forgotten: there was room for two");
        assert_eq!(book.take(key(3), false), Err(KeyRefused::Left));
        assert_eq!(book.in_use(), 1);
        book.put_back(&key(1));
        assert_eq!((book.take(key(1), false), book.in_use()), (Ok(()), 1), "nothing was ever sealed with it");
    }

    #[test]
    fn a_key_that_is_in_use_is_not_forgotten_to_make_room() {
        let mut book = KeyBook::new(1);
        assert_eq!(book.take(key(1), true), Ok(()));
        book.leave(key(1));
        assert_eq!((book.take(key(1), true), book.take(key(2), true)), (Ok(()), Ok(())));
        book.leave(key(2));
        assert_eq!(book.take(key(1), true), Err(KeyRefused::InUse));
        book.leave(key(1));
        assert_eq!(book.take(key(1), false), Err(KeyRefused::Left), "the last one that was left");
        assert_eq!(book.take(key(2), false), Ok(()), "forgotten");
        assert_eq!((book.order.len(), book.keys.len()), (1, 2));
    }
}
