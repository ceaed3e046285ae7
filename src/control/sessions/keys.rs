//! Sealing keys: which are in use, which were left in this run, and the expanded contexts of those that may come back.
//!
//! No two streams may seal with one key, and a key that was left must not be sealed with again from the beginning. Where
//! there is an index journal it knows where each key has come to. Where there is none, keys that were left are
//! remembered here and refused, as many as there is room for: the oldest are forgotten first.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::session::{KeySource, TICKS_PER_SECOND};
use crate::srtp::{MasterKey, Provider, SessionKey, SessionKeys};

pub(super) type Fingerprint = [u8; 16];

/// Which sealing keys are in use and which were.
#[derive(Debug)]
pub(super) struct KeyBook {
    in_use: HashSet<Fingerprint>,
    left: HashSet<Fingerprint>,
    /// The one that was left longest ago first.
    order: VecDeque<Fingerprint>,
    capacity: usize,
}

/// Why a sealing key cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRefused {
    InUse,
    Left,
}

impl KeyBook {
    /// Remembers `capacity` keys that were left.
    pub(super) fn new(capacity: usize) -> Self {
        KeyBook {
            in_use: HashSet::new(),
            left: HashSet::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Takes a key into use. `may_resume`: the journal knows where it has come to.
    pub(super) fn take(&mut self, key: Fingerprint, may_resume: bool) -> Result<(), KeyRefused> {
        if self.in_use.contains(&key) {
            return Err(KeyRefused::InUse);
        }
        if !may_resume && self.left.contains(&key) {
            return Err(KeyRefused::Left);
        }
        self.in_use.insert(key);
        Ok(())
    }

    /// A stream has left a key with which it may have sealed.
    pub(super) fn leave(&mut self, key: Fingerprint) {
        if self.in_use.remove(&key) && self.left.insert(key) {
            if self.order.len() == self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.left.remove(&oldest);
            }
            self.order.push_back(key);
        }
    }

    /// The same for a key with which nothing was sealed.
    pub(super) fn put_back(&mut self, key: &Fingerprint) {
        self.in_use.remove(key);
    }

    /// Keys in use.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.in_use.len()
    }
}

/// CodecPool: expanded SRTP keys of sessions that have ended, so that one that is added again with the keys that it had
/// (a call that moves its address or its codecs) costs no key schedule. Room for a fixed number; what is not asked for
/// within [`CodecPool::KEPT_FOR`] ticks, or has to make room, is overwritten.
pub(super) struct CodecPool<P: Provider> {
    contexts: HashMap<Fingerprint, (SessionKey<P>, u64)>,
    /// In the order in which they came, with the time; those that were asked for since are still in it.
    order: VecDeque<(Fingerprint, u64, u32)>,
    capacity: usize,
    parked: u64,
    count: CodecCount,
    /// What was acquired when the rows were last noted.
    noted: u64,
}

/// What a [`CodecPool`] counts, in contexts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodecCount {
    /// Filled into rows.
    pub(super) acquired: u64,
    /// Of these: into rows that had held others before.
    pub(super) reused: u64,
    /// Taken out of rows.
    pub(super) released: u64,
    /// Most that were in rows at a time.
    pub(super) high_water: u64,
    /// Filled in without a key schedule.
    pub(super) ready: u64,
}

impl<P: Provider> CodecPool<P> {
    /// For how many ticks a context stands ready: half a minute.
    pub(super) const KEPT_FOR: u32 = 30 * TICKS_PER_SECOND;

    pub(super) fn new(capacity: usize) -> Self {
        CodecPool {
            contexts: HashMap::with_capacity(capacity),
            order: VecDeque::with_capacity(capacity),
            capacity,
            parked: 0,
            count: CodecCount::default(),
            noted: 0,
        }
    }

    /// The contexts asked for since the last call are in rows, which had held others before or not.
    pub(super) fn note_filled(&mut self, is_reuse: bool) {
        if is_reuse {
            self.count.reused += self.count.acquired - self.noted;
        }
        self.noted = self.count.acquired;
        self.count.high_water = self.count.high_water.max(self.count.acquired - self.count.released);
    }

    /// A stream's contexts were taken out of its row.
    pub(super) fn note_released(&mut self, has_open: bool, has_seal: bool) {
        self.count.released += u64::from(has_open) + u64::from(has_seal);
    }

    /// A context that a session has left at time `now`.
    pub(super) fn park(&mut self, key: Fingerprint, context: SessionKey<P>, now: u32) {
        if self.capacity == 0 {
            return;
        }
        while self.order.len() >= self.capacity {
            self.drop_oldest();
        }
        self.parked += 1;
        self.order.push_back((key, self.parked, now));
        self.contexts.insert(key, (context, self.parked));
    }

    /// Overwrites what has stood ready for long enough.
    pub(super) fn expire(&mut self, now: u32) {
        while self.order.front().is_some_and(|&(_, _, at)| now.saturating_sub(at) >= Self::KEPT_FOR) {
            self.drop_oldest();
        }
    }

    pub(super) fn count(&self) -> CodecCount {
        self.count
    }

    /// Contexts that stand ready.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.contexts.len()
    }

    fn drop_oldest(&mut self) {
        if let Some((key, parked, _)) = self.order.pop_front()
            && self.contexts.get(&key).is_some_and(|(_, latest)| *latest == parked)
        {
            self.contexts.remove(&key);
        }
    }
}

impl<P: Provider> KeySource<P> for CodecPool<P> {
    fn session_key(&mut self, key: &MasterKey) -> SessionKey<P> {
        self.count.acquired += 1;
        if let Some((context, _)) = self.contexts.remove(&key.fingerprint()) {
            self.count.ready += 1;
            return context;
        }
        SessionKey::new(&SessionKeys::rtp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::master;
    use crate::srtp::{AesGcmProvider, Suite};

    #[test]
    fn a_key_is_sealed_with_by_one_stream_and_not_again_from_the_beginning() {
        let mut book = KeyBook::new(2);
        let key = |number| [number; 16];
        assert_eq!(book.take(key(1), false), Ok(()));
        assert_eq!(book.take(key(1), true), Err(KeyRefused::InUse));
        book.leave(key(1));
        assert_eq!(book.take(key(1), false), Err(KeyRefused::Left));
        assert_eq!(book.take(key(1), true), Ok(()), "the journal knows where to go on");
        book.put_back(&key(1));
        for number in [2, 3] {
            assert_eq!(book.take(key(number), false), Ok(()));
            book.leave(key(number));
        }
        assert_eq!(book.take(key(1), false), Ok(()), "forgotten: there was room for two");
        assert_eq!(book.take(key(3), false), Err(KeyRefused::Left));
        assert_eq!(book.in_use(), 1);
    }

    #[test]
    fn a_context_stands_ready_once_and_not_for_ever() {
        let mut pool = CodecPool::<AesGcmProvider>::new(2);
        let keys = [1, 2, 3].map(|number| master(Suite::AeadAes128Gcm, number));
        let ready = |pool: &mut CodecPool<AesGcmProvider>, key: &MasterKey| {
            let before = pool.count().ready;
            drop(pool.session_key(key));
            pool.count().ready > before
        };
        let context = |key: &MasterKey| SessionKey::new(&SessionKeys::rtp(key));
        for key in &keys {
            pool.park(key.fingerprint(), context(key), 100);
        }
        assert_eq!(pool.len(), 2);
        assert!(!ready(&mut pool, &keys[0]), "it made room");
        assert!(ready(&mut pool, &keys[1]) && !ready(&mut pool, &keys[1]));
        pool.expire(100 + CodecPool::<AesGcmProvider>::KEPT_FOR - 1);
        assert_eq!(pool.len(), 1);
        pool.expire(100 + CodecPool::<AesGcmProvider>::KEPT_FOR);
        assert_eq!((pool.len(), pool.order.len()), (0, 0));
        assert_eq!((pool.count().acquired, pool.count().ready), (3, 1));
    }
}
