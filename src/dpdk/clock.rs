//! The time-stamp counter: the packet path's clock.

/// Time-stamp counter of this core, in cycles of [`super::Eal::tsc_hz`].
///
/// Constant-rate and synchronised between cores on every machine that DPDK supports.
#[inline(always)]
pub fn cycles() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Converts cycles at `tsc_hz` to nanoseconds.
#[inline]
pub fn cycles_to_ns(cycles: u64, tsc_hz: u64) -> u64 {
    (u128::from(cycles) * 1_000_000_000 / u128::from(tsc_hz.max(1))) as u64
}

/// Converts nanoseconds to cycles at `tsc_hz`.
#[inline]
pub fn ns_to_cycles(ns: u64, tsc_hz: u64) -> u64 {
    (u128::from(ns) * u128::from(tsc_hz) / 1_000_000_000) as u64
}
