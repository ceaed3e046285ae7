//! The time-stamp counter: the packet path's clock.

/// Time-stamp counter of this core, in cycles of [`super::Eal::tsc_hz`].
///
/// Constant-rate and synchronised between cores on every machine that DPDK supports.
#[inline(always)]
pub fn cycles() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    let cycles = unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(feature = "fault-injection")]
    let cycles = cycles.wrapping_add_signed(SHIFT.load(std::sync::atomic::Ordering::Relaxed));
    cycles
}

/// What the counter jumped by.
#[cfg(feature = "fault-injection")]
static SHIFT: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

/// Makes the counter jump by `cycles`, or back, on all cores: for tests.
#[cfg(feature = "fault-injection")]
pub fn shift_cycles(cycles: i64) {
    SHIFT.fetch_add(cycles, std::sync::atomic::Ordering::Relaxed);
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
