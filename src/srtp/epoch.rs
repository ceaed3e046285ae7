//! Shares of one sealing key's indices, for the sources that a stream has one after the other.
//!
//! A stream seals each packet with the index that it was received with, until its source is replaced: by a call transfer,
//! say. The new source counts from anywhere, and the receiver must see one stream that goes on. So the indices of the
//! sealing key are divided into **epochs**, one for each source, and an index of the source is moved into its epoch:
//!
//! ```text
//!              source 1, passed through          source 2            source 3
//! received     17 18 … 4711                      900 … 1300          65000 …
//! sealed       17 18 … 4711                      4712 … 5112         5113 …
//!                                                ▲ start             ▲ start
//! ```
//!
//! # Why no index is sealed twice
//!
//! 1. Within an epoch the window takes in each received index once (`replay`), and the move adds one constant, so
//!    different received indices stay different.
//! 2. A received index before the one of the epoch's first packet would be moved before the epoch's start, into the
//!    share of an earlier source. It is refused ([`OpenError::BeforeSource`]).
//! 3. An epoch starts at [`Epochs::next`], which is beyond every index that a ticket was ever made for: each ticket raises
//!    it, and what was passed through before the first replacement is what the window says.
//! 4. Forgetting what the window has seen is what would break 1. That happens in [`Epochs::replace_source`] alone, in one step
//!    with 3 and with marking the window: from then on it makes no ticket but a moved one.
//!
//! A fresh sealing key has indices of its own, so with it the first epoch may begin anew ([`Epochs::restart`]).
//!
//! This file alone makes such tickets.

use std::marker::PhantomData;

use super::replay::{Head, Ring};
use super::rtcp::MAX_SRTCP_INDEX;
use super::ticket::Ticket;
use super::{OpenError, PacketIndex};

/// A number that packets are sealed with: 48 bits of SRTP, 31 of SRTCP.
pub(crate) trait Index: Copy {
    /// As a number.
    fn number(self) -> u64;
    /// The index with this number, if there is one.
    fn of(number: u64) -> Option<Self>;
}

impl Index for PacketIndex {
    #[inline]
    fn number(self) -> u64 {
        self.as_u64()
    }

    #[inline]
    fn of(number: u64) -> Option<Self> {
        PacketIndex::from_u64(number)
    }
}

impl Index for u32 {
    #[inline]
    fn number(self) -> u64 {
        self.into()
    }

    #[inline]
    fn of(number: u64) -> Option<Self> {
        u32::try_from(number).ok().filter(|&index| index <= MAX_SRTCP_INDEX)
    }
}

/// The epochs of one stream under one sealing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epochs<I> {
    /// The lowest index that no ticket was made for, nor for any above it.
    next: u64,
    /// Where the present epoch begins.
    start: u64,
    /// The index received with the first packet of the present source; `None` until one has authenticated.
    first: Option<u64>,
    of: PhantomData<I>,
}

impl<I: Index> Epochs<I> {
    /// For a stream that has passed its indices through until now.
    pub(crate) const fn new() -> Self {
        Epochs { next: 0, start: 0, first: None, of: PhantomData }
    }

    /// The stream has another source from now on: its window forgets what it has seen, and makes moved tickets only. The
    /// new epoch begins behind everything that the window let pass, and not below `floor`.
    pub(crate) fn replace_source<const WORDS: usize>(
        &mut self,
        head: &mut Head,
        ring: &mut Ring<WORDS>,
        floor: u64,
    ) {
        if !head.is_rebased() {
            self.next = self.next.max(head.next());
        }
        self.next = self.next.max(floor);
        self.first = None;
        head.rebase();
        ring.reset();
    }

    /// A key that nothing was ever sealed with takes the place of the one in use, and whoever joins with it expects a
    /// roll-over counter of 0 (RFC 3711 §3.3.1): the source's indices go on without the roll-overs that there have been.
    /// Those that would come before 0 are refused.
    pub(crate) fn restart(&mut self, head: &mut Head) {
        if !head.is_rebased() {
            self.next = head.next();
            self.first = head.highest().map(|_| 0);
            self.start = 0;
            head.mark_rebased();
        }
        let base = self.next & !0xffff;
        self.next -= base;
        let after_base = self.start.saturating_sub(base);
        self.first = self.first.map(|first| first + base.saturating_sub(self.start));
        self.start = after_base;
    }

    /// Whether a packet received with index `received` has one to be sealed with. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError::BeforeSource`], [`OpenError::KeyExhausted`].
    pub(crate) fn check(&self, received: I) -> Result<(), OpenError> {
        self.moved(received).map(|_| ())
    }

    /// The ticket for a packet that `head` is about to take in. `head` is the window of this stream.
    ///
    /// # Errors
    /// As [`Epochs::check`]; nothing has changed then.
    pub(super) fn ticket(&mut self, received: I) -> Result<Ticket<I>, OpenError> {
        let moved = self.moved(received)?;
        if self.first.is_none() {
            self.first = Some(received.number());
            self.start = self.next;
        }
        self.next = self.next.max(moved.number() + 1);
        Ok(Ticket::new(moved))
    }

    fn moved(&self, received: I) -> Result<I, OpenError> {
        let received = received.number();
        let (start, first) = match self.first {
            Some(first) => (self.start, first),
            None => (self.next, received),
        };
        let ahead = received.checked_sub(first).ok_or(OpenError::BeforeSource)?;
        I::of(start + ahead).ok_or(OpenError::KeyExhausted)
    }

    /// The first index that is still free.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// How far the present source's indices are moved: to be added to a received one, modulo 2^64. `None` until its
    /// first packet has come.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.first.map(|first| self.start.wrapping_sub(first))
    }

    /// Where the present epoch begins. Means something once [`Epochs::offset`] does.
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::ReplayWindowSize;
    use crate::srtp::replay::RTP_WORDS;

    fn index(number: u64) -> PacketIndex {
        PacketIndex::from_u64(number).expect("below 2^48")
    }

    fn window() -> (Head, Ring<RTP_WORDS>) {
        (Head::new(ReplayWindowSize::MAX), Ring::new())
    }

    #[test]
    fn an_epoch_begins_behind_all_that_was_passed_through() {
        let (mut head, mut ring) = window();
        [17, 18, 4711, 20].into_iter().for_each(|index| head.commit(&mut ring, index));
        let mut epochs = Epochs::<PacketIndex>::new();
        epochs.replace_source(&mut head, &mut ring, 0);
        assert!(head.is_rebased() && head.highest().is_none());
        assert_eq!(epochs.ticket(index(900)).map(Ticket::spend), Ok(index(4712)));
        assert_eq!(epochs.ticket(index(1300)).map(Ticket::spend), Ok(index(5112)));
        assert_eq!(epochs.ticket(index(901)).map(Ticket::spend), Ok(index(4713)));
        assert_eq!(epochs.check(index(899)), Err(OpenError::BeforeSource));
        assert_eq!(epochs.ticket(index(899)), Err(OpenError::BeforeSource));
        epochs.replace_source(&mut head, &mut ring, 0);
        assert_eq!(epochs.ticket(index(65_000)).map(Ticket::spend), Ok(index(5113)));
        assert_eq!(epochs.offset().map(|by| by.wrapping_add(65_001)), Some(5114));
    }

    #[test]
    fn a_source_that_sent_nothing_takes_no_index() {
        let (mut head, mut ring) = window();
        head.commit(&mut ring, 99);
        let mut epochs = Epochs::<PacketIndex>::new();
        (0..3).for_each(|_| epochs.replace_source(&mut head, &mut ring, 0));
        assert_eq!((epochs.next(), epochs.offset()), (100, None));
        epochs.replace_source(&mut head, &mut ring, 512);
        assert_eq!(epochs.ticket(index(3)).map(Ticket::spend), Ok(index(512)), "nothing below the floor");
    }

    #[test]
    fn under_a_fresh_key_roll_overs_are_forgotten_and_nothing_else() {
        // A source that was never replaced: the very same window goes on.
        let (mut head, mut ring) = window();
        (0x3_fff0..0x4_0010).for_each(|index| head.commit(&mut ring, index));
        let mut epochs = Epochs::<PacketIndex>::new();
        epochs.restart(&mut head);
        assert_eq!(head.highest(), Some(0x4_000f));
        assert_eq!(epochs.ticket(index(0x4_0010)).map(Ticket::spend), Ok(index(0x10)));
        assert_eq!(epochs.ticket(index(0x4_0002)).map(Ticket::spend), Ok(index(2)));
        assert_eq!(epochs.ticket(index(0x3_ffff)), Err(OpenError::BeforeSource));
        assert_eq!(epochs.offset(), Some(0_u64.wrapping_sub(0x4_0000)));
        // Replaced now, over two roll-overs, and another fresh key.
        epochs.replace_source(&mut head, &mut ring, 0);
        assert_eq!(epochs.ticket(index(0x500)).map(Ticket::spend), Ok(index(0x11)));
        assert_eq!(epochs.ticket(index(0x2_0500)).map(Ticket::spend), Ok(index(0x2_0011)));
        epochs.restart(&mut head);
        assert_eq!(epochs.ticket(index(0x2_0501)).map(Ticket::spend), Ok(index(0x12)));
        assert_eq!(epochs.ticket(index(0x2_04ef)).map(Ticket::spend), Ok(index(0)));
        assert_eq!(epochs.ticket(index(0x2_04ee)), Err(OpenError::BeforeSource));
        // Before the first packet of a source.
        epochs.replace_source(&mut head, &mut ring, 0x7_0009);
        epochs.restart(&mut head);
        assert_eq!(epochs.ticket(index(5)).map(Ticket::spend), Ok(index(9)));
    }

    #[test]
    fn the_last_index_is_the_end() {
        let (mut head, mut ring) = window();
        head.commit(&mut ring, PacketIndex::MAX.as_u64() - 1);
        let mut epochs = Epochs::<PacketIndex>::new();
        epochs.replace_source(&mut head, &mut ring, 0);
        assert_eq!(epochs.ticket(index(5)).map(Ticket::spend), Ok(PacketIndex::MAX));
        assert_eq!(epochs.ticket(index(6)), Err(OpenError::KeyExhausted));
        epochs.replace_source(&mut head, &mut ring, 0);
        assert_eq!(epochs.ticket(index(0)), Err(OpenError::KeyExhausted));
        let mut reports = Epochs::<u32>::new();
        reports.replace_source(&mut window().0, &mut ring, MAX_SRTCP_INDEX.into());
        assert_eq!(reports.ticket(1).map(Ticket::spend), Ok(MAX_SRTCP_INDEX));
        assert_eq!(reports.ticket(2), Err(OpenError::KeyExhausted));
    }
}
