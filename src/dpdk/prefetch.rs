//! Asking the cache for a line before it is needed.

/// Prefetches the cache line at the start of `value` into all cache levels. Never faults.
#[inline(always)]
pub fn prefetch_read<T: ?Sized>(value: &T) {
    // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 processor has, and never faults.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(
            core::ptr::from_ref(value).cast(),
        );
    }
}
