//! The replay window: which of the latest packet indices were already seen (RFC 3711 §3.3.2).
//!
//! Inbound it refuses a packet that was received before; outbound, the same thing, it refuses to use a
//! nonce twice. Asking (`check`) and remembering (`commit`) are two calls, because a packet may be
//! remembered only after it authenticated.
//!
//! It is a ring of bits, index `i` at bit `i` modulo the ring's length, and needs no heap. A smaller configured
//! window only refuses earlier. The bits of indices that are skipped are cleared as the window moves over
//! them, so the ring never answers with what it held a whole turn ago.
//!
//! Head and ring are two values, so that they can lie apart: the head is needed for every packet together with
//! what else is known of the stream, and of the ring just the word that the packet's index falls into.

use thiserror::Error;

/// How far behind the newest packet a late one is still accepted, in packets: 64 to 1024 in steps of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplayWindowSize(u16);

impl ReplayWindowSize {
    /// The smallest window: RFC 3711 §3.3.2 forbids a smaller one.
    pub const MIN: Self = Self(64);

    /// The largest window, and the default: at 50 packets a second, 20 s of reordering.
    pub const MAX: Self = Self(Ring::<RTP_WORDS>::BITS as u16);

    /// A window of `packets`: a multiple of 64, from 64 to 1024.
    ///
    /// # Errors
    ///
    /// [`ReplayWindowSizeError`] with the offending number.
    pub const fn new(packets: u32) -> Result<Self, ReplayWindowSizeError> {
        if packets >= Self::MIN.0 as u32 && packets <= Self::MAX.0 as u32 && packets.is_multiple_of(64) {
            Ok(Self(packets as u16))
        } else {
            Err(ReplayWindowSizeError { packets })
        }
    }

    /// The window in packets.
    #[inline]
    pub const fn packets(self) -> u32 {
        self.0 as u32
    }
}

impl Default for ReplayWindowSize {
    fn default() -> Self {
        Self::MAX
    }
}

/// A replay window that cannot be had.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a replay window of {packets} packets is not possible: use a multiple of 64 from 64 to 1024")]
pub struct ReplayWindowSizeError {
    /// The number of packets asked for.
    pub packets: u32,
}

/// Why the window refuses an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Before the window: may or may not have been seen.
    TooOld,
    /// Seen.
    Seen,
}

/// Words in the ring of an SRTP stream: 1024 bits, the largest window there is.
pub(crate) const RTP_WORDS: usize = 16;

/// Words in the ring of an SRTCP stream in the gateway. A report comes every few seconds (RFC 3550 §6.2), so 128 of
/// them are minutes.
pub(crate) const RTCP_WORDS: usize = 2;

/// Where the window stands. 16 octets: `next` 8, `size` 2, `index_bits` 1, `rebased` 1 (and 4 free).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Head {
    /// The highest index seen plus one; 0 while none was.
    next: u64,
    size: ReplayWindowSize,
    /// Indices from 2 to this power on are beyond the key's lifetime.
    index_bits: u8,
    /// Whether the window has forgotten an earlier source: its indices must not be sealed with as they are (`epoch`).
    rebased: bool,
}

/// Which of the latest indices were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Ring<const WORDS: usize>([u64; WORDS]);

impl Head {
    pub(crate) const fn new(size: ReplayWindowSize) -> Self {
        Self { next: 0, size, index_bits: 48, rebased: false }
    }

    /// The window for a key whose indices have at most `bits` bits, below 64.
    pub(crate) const fn limited_to(mut self, bits: u8) -> Self {
        self.index_bits = bits;
        self
    }

    /// The same for a window in use.
    pub(crate) const fn limit_to(&mut self, bits: u8) {
        self.index_bits = bits;
    }

    /// Whether the index is beyond the lifetime of the key.
    #[inline]
    pub(crate) const fn is_beyond_lifetime(&self, index: u64) -> bool {
        index >> self.index_bits != 0
    }

    /// The highest index seen.
    #[inline]
    pub(crate) const fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// The highest index seen plus one; 0 while none was.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Whether [`Head::rebase`] was called.
    #[inline(always)]
    pub(crate) const fn is_rebased(&self) -> bool {
        self.rebased
    }

    /// From now on indices are moved before they are sealed with. Only `epoch` may call this.
    pub(super) const fn mark_rebased(&mut self) {
        self.rebased = true;
    }

    /// Forgets everything, for another source. Only `epoch` may call this, which keeps the two sources' indices apart.
    pub(super) const fn rebase(&mut self) {
        self.next = 0;
        self.rebased = true;
    }

    /// Whether a packet with this index may still come. Changes nothing.
    #[inline]
    pub(crate) const fn check<const WORDS: usize>(
        &self,
        ring: &Ring<WORDS>,
        index: u64,
    ) -> Result<(), Refused> {
        if index >= self.next {
            return Ok(());
        }
        let behind = self.next - index;
        if behind > self.size.0 as u64 || behind > Ring::<WORDS>::BITS {
            return Err(Refused::TooOld);
        }
        if ring.has(index) { Err(Refused::Seen) } else { Ok(()) }
    }

    /// Remembers an index that [`check`](Self::check) let pass. `index` is below 2^48.
    #[inline]
    pub(crate) const fn commit<const WORDS: usize>(&mut self, ring: &mut Ring<WORDS>, index: u64) {
        if index >= self.next {
            // In order, the one bit that the window moves over is the one set below.
            if index > self.next {
                ring.clear(self.next, index - self.next);
            }
            self.next = index + 1;
        }
        ring.set(index);
    }

    /// Takes everything up to and with `highest` as seen: the state after a restart that kept only this
    /// number.
    pub(crate) const fn resume<const WORDS: usize>(&mut self, ring: &mut Ring<WORDS>, highest: u64) {
        self.next = highest + 1;
        ring.0 = [u64::MAX; WORDS];
    }
}

impl<const WORDS: usize> Ring<WORDS> {
    /// Bits in the ring.
    const BITS: u64 = WORDS as u64 * 64;

    pub(crate) const fn new() -> Self {
        Ring([0; WORDS])
    }

    /// Forgets everything.
    pub(crate) const fn reset(&mut self) {
        self.0 = [0; WORDS];
    }

    #[inline]
    const fn has(&self, index: u64) -> bool {
        self.0[Self::position(index)] & bit(index) != 0
    }

    #[inline]
    const fn set(&mut self, index: u64) {
        self.0[Self::position(index)] |= bit(index);
    }

    /// Forgets `count` indices from `first` on: at most one word more than the ring has is touched, however far the
    /// jump.
    const fn clear(&mut self, first: u64, count: u64) {
        if count >= Self::BITS {
            self.reset();
            return;
        }
        let mut at = first;
        let mut left = count;
        while left > 0 {
            let offset = at % 64;
            let span = if left < 64 - offset { left } else { 64 - offset };
            self.0[Self::position(at)] &= !((u64::MAX >> (64 - span)) << offset);
            at += span;
            left -= span;
        }
    }

    #[inline]
    const fn position(index: u64) -> usize {
        (index / 64) as usize % WORDS
    }
}

/// The bit of an index in its word.
#[inline]
const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

/// Head and ring in one value, for contexts that stand alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplayWindow<const WORDS: usize = RTP_WORDS> {
    head: Head,
    ring: Ring<WORDS>,
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    pub(crate) const fn new(size: ReplayWindowSize) -> Self {
        Self { head: Head::new(size), ring: Ring::new() }
    }

    /// As [`Head::limited_to`].
    pub(crate) const fn limited_to(mut self, bits: u8) -> Self {
        self.head = self.head.limited_to(bits);
        self
    }

    /// As [`Head::is_beyond_lifetime`].
    #[inline]
    pub(crate) const fn is_beyond_lifetime(&self, index: u64) -> bool {
        self.head.is_beyond_lifetime(index)
    }

    /// As [`Head::highest`].
    #[inline]
    pub(crate) const fn highest(&self) -> Option<u64> {
        self.head.highest()
    }

    /// As [`Head::check`].
    #[inline]
    pub(crate) const fn check(&self, index: u64) -> Result<(), Refused> {
        self.head.check(&self.ring, index)
    }

    /// As [`Head::commit`].
    #[inline]
    pub(crate) const fn commit(&mut self, index: u64) {
        self.head.commit(&mut self.ring, index);
    }

    /// As [`Head::resume`].
    #[cfg(test)]
    const fn resume(&mut self, highest: u64) {
        self.head.resume(&mut self.ring, highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(packets: u32) -> ReplayWindow<RTP_WORDS> {
        ReplayWindow::new(ReplayWindowSize::new(packets).expect("a valid size"))
    }

    #[test]
    fn sizes() {
        for packets in (64..=1024).step_by(64) {
            assert_eq!(ReplayWindowSize::new(packets).map(ReplayWindowSize::packets), Ok(packets));
        }
        for packets in [0, 1, 63, 65, 127, 1023, 1025, 1088, 65_536 + 64, u32::MAX] {
            assert_eq!(ReplayWindowSize::new(packets), Err(ReplayWindowSizeError { packets }));
        }
        assert_eq!(ReplayWindowSize::default().packets(), 1024);
    }

    #[test]
    fn the_oldest_index_inside_and_the_first_outside() {
        for packets in [64, 128, 960, 1024] {
            let mut window = window(packets);
            window.commit(10_000);
            let oldest = 10_000 - u64::from(packets) + 1;
            assert_eq!(window.check(oldest), Ok(()));
            assert_eq!(window.check(oldest - 1), Err(Refused::TooOld));
            window.commit(oldest);
            assert_eq!(window.check(oldest), Err(Refused::Seen));
            assert_eq!(window.highest(), Some(10_000), "a late packet does not move the window back");
        }
    }

    #[test]
    fn skipped_indices_lose_what_the_ring_held_before() {
        let mut window = window(1024);
        (0..2000).for_each(|i| window.commit(i));
        window.commit(2700);
        assert!((2000..2700).all(|i| window.check(i) == Ok(())));
        assert!((1677..2000).all(|i| window.check(i) == Err(Refused::Seen)));
        assert_eq!(window.check(1676), Err(Refused::TooOld));
    }

    #[test]
    fn resumed_window_refuses_everything_up_to_the_mark() {
        let mut window = window(1024);
        window.resume(5000);
        assert!((0..=5000).all(|i| window.check(i).is_err()));
        assert_eq!(window.check(5001), Ok(()));
        window.commit(5003);
        assert_eq!(window.check(5000), Err(Refused::Seen));
        assert_eq!((window.check(5001), window.check(5002)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_smaller_ring_agrees_with_the_largest_at_its_own_size() {
        let size = ReplayWindowSize::new(128).expect("a valid size");
        let mut small = ReplayWindow::<RTCP_WORDS>::new(ReplayWindowSize::MAX);
        let mut large = ReplayWindow::<RTP_WORDS>::new(size);
        let mut random = 1_u64;
        let mut center = 0;
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            center += random >> 62;
            let index = center + (random >> 40) % 300;
            let expected = large.check(index);
            assert_eq!(small.check(index), expected);
            if expected.is_ok() {
                large.commit(index);
                small.commit(index);
            }
        }
    }

    #[test]
    fn size_in_memory() {
        assert_eq!(size_of::<Head>(), 16);
        assert_eq!(size_of::<Ring<RTP_WORDS>>(), 128);
        assert_eq!(size_of::<Ring<RTCP_WORDS>>(), 16);
    }
}
