//! The expanded SRTCP keys of the latest reports, and those SRTP keys that few packets need.
//!
//! An expanded key is up to a kilobyte, and a stream's reports are seconds apart. So there is a small number of
//! places, each for one key at a time: a report's key is found there, or expanded into it, which takes about as long as
//! the report's own cryptography.

use super::stream::StreamId;
use crate::dpdk::{Error, HugeVec, Memory};
use crate::srtp::{MasterKeys, Provider, SessionKey, SessionKeys};

/// Places of one worker. A power of two.
const PLACES: usize = 256;

/// Which of a stream's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To open reports.
    Open,
    /// To seal reports.
    Seal,
    /// To open reports under the key at this position of the stream's key set.
    OtherRtcp(u8),
    /// To open SRTP packets under it.
    OtherRtp(u8),
}

impl Direction {
    /// How many there are.
    const COUNT: usize = 2 + 2 * MasterKeys::MAX;

    const fn number(self) -> usize {
        match self {
            Direction::Open => 0,
            Direction::Seal => 1,
            Direction::OtherRtcp(position) => 2 + 2 * position as usize,
            Direction::OtherRtp(position) => 3 + 2 * position as usize,
        }
    }
}

pub(super) struct RtcpKeys<P: Provider>(HugeVec<Option<Place<P>>>);

struct Place<P: Provider> {
    key: SessionKey<P>,
    owner: (StreamId, Direction),
}

impl<P: Provider> RtcpKeys<P> {
    pub(super) fn new(memory: Memory<'_>) -> Result<Self, Error> {
        let mut places = HugeVec::with_capacity(memory, PLACES, "report keys")?;
        while places.push(None).is_ok() {}
        Ok(RtcpKeys(places))
    }

    /// The expanded key of a stream, of which `keys` are the session keys.
    pub(super) fn find(&mut self, id: StreamId, direction: Direction, keys: &SessionKeys) -> &SessionKey<P> {
        let owner = (id, direction);
        let place = &mut self.0[Self::position(id, direction.number())];
        if place.as_ref().is_some_and(|place| place.owner != owner) {
            *place = None;
        }
        &place.get_or_insert_with(|| Place { key: SessionKey::new(keys), owner }).key
    }

    /// Drops every key of a stream: they have changed, or changed places.
    pub(super) fn forget(&mut self, id: StreamId) {
        for number in 0..Direction::COUNT {
            let place = &mut self.0[Self::position(id, number)];
            if place.as_ref().is_some_and(|place| place.owner.0 == id) {
                *place = None;
            }
        }
    }

    const fn position(id: StreamId, number: usize) -> usize {
        (id.0 as usize * 2 + number) % PLACES
    }
}
