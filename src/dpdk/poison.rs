//! What test builds write over the room of a buffer that an earlier packet had: whenever a port delivers a frame and
//! whenever a pool hands one out. A byte of it on the wire is residue.
//!
//! In builds for tests only (`cfg(test)` or the feature `fault-injection`).

use std::sync::atomic::{AtomicU8, Ordering};

static PATTERN: AtomicU8 = AtomicU8::new(0xa5);

/// The octet that is written.
pub fn pattern() -> u8 {
    PATTERN.load(Ordering::Relaxed)
}

/// Changes the octet: what comes out the same under two patterns holds none of it.
pub fn set_pattern(octet: u8) {
    PATTERN.store(octet, Ordering::Relaxed);
}
