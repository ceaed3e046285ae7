//! The replay window: which of the latest packet indices were already seen (RFC 3711 §3.3.2).
//!
//! Inbound it refuses a packet that was received before; outbound, the same thing, it refuses to use a
//! nonce twice. Asking (`check`) and remembering (`commit`) are two calls, because a packet may be
//! remembered only after it authenticated.
//!
//! It is a ring of 1024 bits, index `i` at bit `i mod 1024`, and needs no heap. A smaller configured
//! window only refuses earlier. The bits of indices that are skipped are cleared as the window moves over
//! them, so the ring never answers with what it held 1024 indices ago.

use thiserror::Error;

/// Bits in the ring: the largest window.
const RING_BITS: u64 = 1024;

/// Words of 64 bits in the ring.
const RING_WORDS: usize = (RING_BITS / 64) as usize;

/// How far behind the newest packet a late one is still accepted, in packets: 64 to 1024 in steps of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplayWindowSize(u16);

impl ReplayWindowSize {
    /// The smallest window: RFC 3711 §3.3.2 forbids a smaller one.
    pub const MIN: Self = Self(64);

    /// The largest window, and the default: at 50 packets a second, 20 s of reordering.
    pub const MAX: Self = Self(RING_BITS as u16);

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

/// The indices seen. 144 octets: `next` 8, `size` 2 (and 6 of padding), the ring 128.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ReplayWindow {
    /// The highest index seen plus one; 0 while none was.
    next: u64,
    size: ReplayWindowSize,
    ring: [u64; RING_WORDS],
}

impl ReplayWindow {
    pub(crate) const fn new(size: ReplayWindowSize) -> Self {
        Self { next: 0, size, ring: [0; RING_WORDS] }
    }

    /// The highest index seen.
    #[inline]
    pub(crate) const fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether a packet with this index may still come. Changes nothing.
    #[inline]
    pub(crate) const fn check(&self, index: u64) -> Result<(), Refused> {
        if index >= self.next {
            return Ok(());
        }
        if self.next - index > self.size.0 as u64 {
            return Err(Refused::TooOld);
        }
        if self.ring[word(index)] & bit(index) == 0 { Ok(()) } else { Err(Refused::Seen) }
    }

    /// Remembers an index that [`check`](Self::check) let pass. `index` is below 2^48.
    #[inline]
    pub(crate) const fn commit(&mut self, index: u64) {
        if index >= self.next {
            // In order, the one bit that the window moves over is the one set below.
            if index > self.next {
                self.clear(self.next, index - self.next);
            }
            self.next = index + 1;
        }
        self.ring[word(index)] |= bit(index);
    }

    /// Takes everything up to and with `highest` as seen: the state after a restart that kept only this
    /// number.
    pub(crate) const fn resume(&mut self, highest: u64) {
        self.next = highest + 1;
        self.ring = [u64::MAX; RING_WORDS];
    }

    /// Forgets `count` indices from `first` on: at most 17 words are touched, however far the jump.
    const fn clear(&mut self, first: u64, count: u64) {
        if count >= RING_BITS {
            self.ring = [0; RING_WORDS];
            return;
        }
        let mut at = first;
        let mut left = count;
        while left > 0 {
            let offset = at % 64;
            let span = if left < 64 - offset { left } else { 64 - offset };
            self.ring[word(at)] &= !((u64::MAX >> (64 - span)) << offset);
            at += span;
            left -= span;
        }
    }
}

/// The word of the ring that holds `index`.
#[inline]
const fn word(index: u64) -> usize {
    (index / 64) as usize % RING_WORDS
}

/// The bit of that word.
#[inline]
const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(packets: u32) -> ReplayWindow {
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
    fn size_in_memory() {
        assert_eq!(size_of::<ReplayWindow>(), 144);
    }
}
