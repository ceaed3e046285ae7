//! A bounded ring with one producer and one consumer: no lock, no compare-and-swap, no allocation after it is made.
//!
//! Whole bursts are published and released with one store each, so the two cores exchange two cache lines per
//! burst and not per frame. It is here because it needs `unsafe`; the hand-over between workers
//! (`fastpath::handover`) is its user.
//!
//! | word | written by | read by |
//! |---|---|---|
//! | `tail`: items written so far | producer, [`Producer::publish`] | consumer |
//! | `head`: items taken so far | consumer, [`Consumer::release`] | producer |
//! | slot `i % capacity` | producer while `head <= i - capacity` is impossible, consumer while `i < tail` | |
//!
//! The two lines whose order matters are the `Release` store of `tail` after the slots were written and the
//! `Release` store of `head` after they were read; each pairs with the `Acquire` load on the other side.
//! `tests/handover_model.rs` has loom run this file through every interleaving of small cases.

use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use super::spsc_sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    /// A power of two of them. Positions count on and wrap with `usize`.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

// SAFETY: a slot is touched by the producer alone or by the consumer alone, as `head` and `tail` say; items move
// between threads, so they must be `Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The writing end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Items written, whether published or not.
    tail: usize,
    /// Items published.
    published: usize,
    /// `head` as last seen: never ahead of it, so a ring that looks full may have room, never the reverse.
    head: usize,
}

/// The reading end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Items taken, whether released or not.
    head: usize,
    /// Items released.
    released: usize,
    /// `tail` as last seen: never ahead of it.
    tail: usize,
}

/// A ring for at least `capacity` items (rounded up to a power of two). Allocates; nothing does after it.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let shared = Arc::new(Shared {
        slots: slots.collect(),
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, published: 0, head: 0 };
    (producer, Consumer { shared, head: 0, released: 0, tail: 0 })
}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // In bounds: the length is a power of two.
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Producer<T> {
    /// Writes `item` behind the others; the consumer sees it after [`Producer::publish`].
    ///
    /// # Errors
    /// Gives `item` back when the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head) == capacity {
            self.head = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) == capacity {
                return Err(item);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: the slot is free: the consumer released position `tail - capacity` (the Acquire load above
            // saw it, now or earlier) and does not read position `tail` before it is published.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Whether another item fits.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head) == capacity {
            self.head = self.shared.head.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head) < capacity
    }

    /// Lets the consumer see everything written so far.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.tail {
            self.shared.tail.store(self.tail, Ordering::Release);
            self.published = self.tail;
        }
    }
}

impl<T> Consumer<T> {
    /// The next item, if one is published; it stays in the ring.
    #[inline]
    pub fn front(&mut self) -> Option<&T> {
        if self.head == self.tail {
            self.tail = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail {
                return None;
            }
        }
        // SAFETY: the position is published and not taken, so the slot holds an item that the producer does not
        // touch before it is released; the reference keeps this end borrowed.
        Some(self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_ref() }))
    }

    /// Takes the next item; its slot is free for the producer after [`Consumer::release`].
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.front()?;
        // SAFETY: as in `front`; the item is moved out once, because `head` moves on.
        let item = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        Some(item)
    }

    /// Gives the slots of everything taken so far back to the producer.
    #[inline]
    pub fn release(&mut self) {
        if self.released != self.head {
            self.shared.head.store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }
}

/// What was written is not lost with its writer.
impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.publish();
    }
}

/// What was taken is not dropped a second time with the ring.
impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T> Drop for Shared<T> {
    /// Both ends are gone, and said how far they had come.
    fn drop(&mut self) {
        let (mut position, tail) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        while position != tail {
            // SAFETY: published and never taken; nobody else has the ring any more.
            self.slot(position).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            position = position.wrapping_add(1);
        }
    }
}
