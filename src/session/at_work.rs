//! Which stream a worker is working for, so that a panic is held against the right one.
//!
//! The stages note each packet's stream before they touch the packet ([`Streams::work_on`]), which is one store into the
//! worker's own memory. After a panic the unwind boundary asks for the note ([`Streams::blame`]):
//!
//! | note | what happens |
//! |---|---|
//! | none | nobody is to blame: the panic was in no stream's packet |
//! | one stream | it is quarantined: its packets are refused until it is changed or replaced |
//! | a batch of several | the library works on all of them at once, so the culprit is not known yet: each is from now on opened and sealed alone, and the next panic names it |

use arrayvec::ArrayVec;

use super::stream::StreamId;
use super::streams::{Flags, Streams};
use crate::srtp::Provider;
use crate::srtp::provider::BATCH;

/// The note. Written and read by the one worker.
#[derive(Debug, Default)]
pub(super) struct AtWork {
    on: On,
    /// Streams of the packets in the batch that is being put together or worked on.
    batch: ArrayVec<StreamId, BATCH>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum On {
    #[default]
    Nothing,
    One(StreamId),
    Batch,
}

/// Whom a panic is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blamed {
    /// Nobody, or a stream that is out of service already.
    Nobody,
    /// This stream, which is quarantined.
    Stream(StreamId),
    /// One of so many packets of a batch, whose streams are watched from now on.
    Batch(usize),
}

impl AtWork {
    #[inline(always)]
    pub(super) fn on(&mut self, id: StreamId) {
        self.on = On::One(id);
    }

    #[inline(always)]
    pub(super) fn on_nothing(&mut self) {
        self.on = On::Nothing;
    }

    /// A new batch is put together.
    #[inline(always)]
    pub(super) fn begin_batch(&mut self) {
        self.batch.clear();
    }

    /// Works on a packet that is to go into the batch.
    #[inline(always)]
    pub(super) fn on_next_of_batch(&mut self, id: StreamId) {
        self.on = On::One(id);
        // A batch holds no more packets than this.
        let _ = self.batch.try_push(id);
    }

    /// Works on the whole batch.
    #[inline(always)]
    pub(super) fn on_batch(&mut self) {
        self.on = On::Batch;
    }
}

impl<P: Provider> Streams<P> {
    /// What follows is for a packet of stream `id`.
    #[inline(always)]
    pub fn work_on(&mut self, id: StreamId) {
        self.at_work.on(id);
    }

    /// What follows is for no stream.
    #[inline(always)]
    pub fn work_on_nothing(&mut self) {
        self.at_work.on_nothing();
    }

    /// After a panic: puts the stream out of service for which the worker was at work.
    #[cold]
    pub fn blame(&mut self) -> Blamed {
        let on = std::mem::take(&mut self.at_work.on);
        let first = self.at_work.batch.first().copied();
        let id = match (on, first) {
            (On::One(id), _) => id,
            (On::Batch, Some(first)) if self.at_work.batch.iter().all(|&other| other == first) => first,
            (On::Batch, Some(_)) => {
                for &id in &self.at_work.batch {
                    if let Some(hot) = self.rows.first_mut(id.0) {
                        hot.receive.flags.set(Flags::ALONE, true);
                    }
                }
                return Blamed::Batch(self.at_work.batch.len());
            }
            _ => return Blamed::Nobody,
        };
        match self.rows.first_mut(id.0) {
            Some(hot) if !hot.receive.flags.has(Flags::QUARANTINED) => {
                hot.receive.flags.set(Flags::QUARANTINED, true);
                Blamed::Stream(id)
            }
            // There is nothing to put out of service.
            _ => Blamed::Nobody,
        }
    }

    /// Whether packets of the stream are refused because one of them made a worker panic.
    #[inline(always)]
    pub fn is_quarantined(&self, id: StreamId) -> bool {
        self.rows.first(id.0).is_some_and(|hot| hot.receive.flags.has(Flags::QUARANTINED))
    }

    /// Puts the stream back into service: what it panicked on has been changed.
    pub fn lift_quarantine(&mut self, id: StreamId) {
        if let Some(hot) = self.rows.first_mut(id.0) {
            hot.receive.flags.set(Flags::QUARANTINED, false);
            hot.receive.flags.set(Flags::ALONE, false);
        }
    }
}
