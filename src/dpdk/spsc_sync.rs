//! What [`spsc`](super::spsc) is built from: the standard library's atomics and cells here, loom's in
//! `tests/handover_model.rs`, which compiles that very file against them.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicUsize, Ordering};

/// `std`'s cell with the interface of loom's, which sees every access.
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Reads through a pointer to the value.
    #[inline(always)]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Writes through a pointer to the value.
    #[inline(always)]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
