//! The permission to seal one packet with one index.
//!
//! The gateway seals a packet with the index that it was received with. A nonce would be used twice if two packets
//! were sealed with one index, so an index is handed on as a [`Ticket`]: made in one place only, where the replay
//! window took the index in and will refuse it from then on, and consumed by sealing. Of a stream whose source was
//! replaced, the index is first moved into the new source's own share (`epoch`, the one other file that makes
//! tickets). A ticket can be neither copied nor made by anyone else:
//!
//! ```compile_fail,E0624
//! use voxlane::srtp::{PacketIndex, Ticket};
//! let forged = Ticket::new(PacketIndex::new(0, 1));
//! ```
//!
//! ```compile_fail,E0382
//! use voxlane::srtp::{PacketIndex, Ticket};
//! fn seal(_: Ticket<PacketIndex>) {}
//! fn twice(ticket: Ticket<PacketIndex>) {
//!     seal(ticket);
//!     seal(ticket);
//! }
//! ```

/// One index that one packet may be sealed with.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket<I>(I);

impl<I: Copy> Ticket<I> {
    /// Only a window that takes `index` in at this moment may call this, or the epochs of one.
    #[inline(always)]
    pub(super) fn new(index: I) -> Self {
        Ticket(index)
    }

    /// The index, which is not spent by looking at it.
    #[inline(always)]
    pub fn index(&self) -> I {
        self.0
    }

    /// The index, spent.
    #[inline(always)]
    pub fn spend(self) -> I {
        self.0
    }
}
