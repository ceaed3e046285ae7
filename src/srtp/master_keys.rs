//! The master keys of one direction of a leg: one, or several that packets tell apart by their MKI.
//!
//! Made from the session configuration. The first key is the one to seal with; a receiver opens with any of
//! them (RFC 3711 §8.1.1, RFC 4568 §6.1), which is how a key is changed without losing a packet.

use std::fmt;

use thiserror::Error;
use zeroize::ZeroizeOnDrop;

use super::{MasterKey, Suite};

/// One to eight master keys of one suite; if several, each has an MKI, all of one length, and no two keys or
/// MKIs are equal.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKeys {
    /// Apart from the others, so that the common case of one key needs no allocation.
    active: MasterKey,
    others: Box<[MasterKey]>,
}

// Wiped by the keys themselves.
impl ZeroizeOnDrop for MasterKeys {}
const _: () = {
    const fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
    wiped_when_dropped::<MasterKey>();
};

impl MasterKeys {
    /// How many keys one direction may have.
    pub const MAX: usize = 8;

    /// The keys in order of preference: the first is the active one.
    ///
    /// # Errors
    ///
    /// [`MasterKeysError`]. Equal keys under two MKIs are refused because an MKI is not authenticated: a
    /// packet recorded under one would be new under the other.
    pub fn new(keys: Vec<MasterKey>) -> Result<Self, MasterKeysError> {
        if keys.len() > Self::MAX {
            return Err(MasterKeysError::TooMany { actual: keys.len() });
        }
        for (position, key) in keys.iter().enumerate() {
            let earlier = keys.get(..position).unwrap_or_default();
            let Some(first) = earlier.first() else { continue };
            let number = position.saturating_add(1);
            if key.suite() != first.suite() {
                return Err(MasterKeysError::Suite { number, first: first.suite(), suite: key.suite() });
            }
            let (Some(first_mki), Some(mki)) = (first.mki(), key.mki()) else {
                let number = if first.mki().is_none() { 1 } else { number };
                return Err(MasterKeysError::NoMki { number });
            };
            if mki.len() != first_mki.len() {
                return Err(MasterKeysError::MkiLength { number, first: first_mki.len(), len: mki.len() });
            }
            if earlier.iter().any(|other| other.mki() == key.mki()) {
                return Err(MasterKeysError::SameMki { number });
            }
            if earlier.iter().any(|other| other.has_octets_of(key)) {
                return Err(MasterKeysError::SameKey { number });
            }
        }
        let mut keys = keys.into_iter();
        let active = keys.next().ok_or(MasterKeysError::None)?;
        Ok(Self { active, others: keys.collect() })
    }

    /// The key to seal with.
    pub const fn active(&self) -> &MasterKey {
        &self.active
    }

    /// All keys, the active one first.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.active).chain(&self.others)
    }

    /// How many keys there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// The suite of all the keys.
    pub const fn suite(&self) -> Suite {
        self.active.suite()
    }

    /// Octets of MKI in each packet, 0 without.
    pub fn mki_len(&self) -> usize {
        self.active.mki().map_or(0, |mki| mki.len())
    }
}

/// A single key, with or without an MKI.
impl From<MasterKey> for MasterKeys {
    fn from(key: MasterKey) -> Self {
        Self { active: key, others: Box::default() }
    }
}

/// Shows what the keys themselves show, never an octet.
impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Why keys do not go together. Numbers count from 1; no part of a key is repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MasterKeysError {
    /// No key at all.
    #[error("there is no key: give at least one")]
    None,
    /// More than [`MasterKeys::MAX`].
    #[error("there are {actual} keys, and at most {} are supported: leave the oldest out", MasterKeys::MAX)]
    TooMany {
        /// How many there are.
        actual: usize,
    },
    /// Keys of two suites.
    #[error("key {number} is for {suite}, the first for {first}: use one suite")]
    Suite {
        /// Which key.
        number: usize,
        /// The suite of the first.
        first: Suite,
        /// The suite of this one.
        suite: Suite,
    },
    /// A key among several without an MKI.
    #[error("key {number} has no MKI, so packets could not name it: write inline:BASE64|VALUE:LENGTH")]
    NoMki {
        /// Which key.
        number: usize,
    },
    /// MKIs of two lengths: nothing in a packet says how long its MKI is.
    #[error("key {number} has an MKI of {len} octets, the first of {first}: use one length")]
    MkiLength {
        /// Which key.
        number: usize,
        /// Octets of the first key's MKI.
        first: usize,
        /// Octets of this one's.
        len: usize,
    },
    /// The MKI of an earlier key.
    #[error("key {number} has the MKI of an earlier one: give each key another")]
    SameMki {
        /// Which key.
        number: usize,
    },
    /// Key and salt of an earlier key.
    #[error("key {number} is an earlier one again: generate a fresh key for each MKI")]
    SameKey {
        /// Which key.
        number: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: Suite = Suite::AesCm128HmacSha1_80;

    fn key(fill: u8, mki: &str) -> MasterKey {
        let bare = MasterKey::generate(SUITE, &mut |octets| octets.fill(fill)).to_sdes_inline();
        MasterKey::from_sdes_inline(SUITE, &format!("{}{mki}", *bare)).expect("a valid key")
    }

    #[test]
    fn several_keys_keep_their_order() {
        let keys = MasterKeys::new(vec![key(1, "|7:2"), key(2, "|5:2"), key(3, "|6:2")]).expect("valid");
        assert_eq!((keys.len(), keys.mki_len(), keys.suite()), (3, 2, SUITE));
        assert_eq!(*keys.active(), key(1, "|7:2"));
        assert_eq!(
            keys.iter().cloned().collect::<Vec<_>>(),
            [key(1, "|7:2"), key(2, "|5:2"), key(3, "|6:2")]
        );
        let one = MasterKeys::from(key(1, ""));
        assert_eq!((one.len(), one.mki_len()), (1, 0));
        assert_eq!(MasterKeys::new(vec![key(1, "")]), Ok(one));
        assert!(MasterKeys::new((0..8).map(|n| key(n, &format!("|{n}:1"))).collect()).is_ok());
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        let other = MasterKey::generate(Suite::AeadAes128Gcm, &mut |octets| octets.fill(9));
        let refused = [
            (vec![], MasterKeysError::None),
            ((0..9).map(|n| key(n, &format!("|{n}:1"))).collect(), MasterKeysError::TooMany { actual: 9 }),
            (vec![key(1, "|1:1"), key(2, "")], MasterKeysError::NoMki { number: 2 }),
            (vec![key(1, ""), key(2, "|1:1")], MasterKeysError::NoMki { number: 1 }),
            (
                vec![key(1, "|1:1"), key(2, "|2:2")],
                MasterKeysError::MkiLength { number: 2, first: 1, len: 2 },
            ),
            (vec![key(1, "|1:1"), key(2, "|2:1"), key(3, "|2:1")], MasterKeysError::SameMki { number: 3 }),
            (vec![key(1, "|1:1"), key(2, "|2:1"), key(1, "|3:1")], MasterKeysError::SameKey { number: 3 }),
            (
                vec![key(1, "|1:1"), other],
                MasterKeysError::Suite { number: 2, first: SUITE, suite: Suite::AeadAes128Gcm },
            ),
        ];
        for (keys, error) in refused {
            assert_eq!(MasterKeys::new(keys), Err(error), "{error}");
        }
    }
}
