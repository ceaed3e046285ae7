//! Asking the cache for lines before they are needed.

use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// Octets of a cache line.
pub const CACHE_LINE: usize = 64;

/// Prefetches the cache line at `address` into all cache levels. Never faults, whatever the address.
#[inline(always)]
pub fn prefetch_line(address: *const u8) {
    // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 processor has, and never faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Prefetches the cache line at `address` into the second-level cache, for use later on: more of these can be under way
/// than there are miss buffers in the first level.
#[inline(always)]
pub fn prefetch_line_far(address: *const u8) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
}

/// Prefetches the cache line at the start of `value`.
#[inline(always)]
pub fn prefetch_read<T: ?Sized>(value: &T) {
    prefetch_line(core::ptr::from_ref(value).cast());
}

/// Prefetches every cache line of `len` bytes from `address` on, but for the last where the first is not whole.
#[inline(always)]
pub fn prefetch_lines(address: *const u8, len: usize) {
    for offset in (0..len).step_by(CACHE_LINE) {
        prefetch_line(address.wrapping_add(offset));
    }
}
