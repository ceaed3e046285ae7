//! Next hops: control writes a MAC address, workers read it for every packet that they send.
//!
//! One word per next hop holds address and state, so a reader sees either the old or the new one, never a mix,
//! without a lock. Written by the control thread only; read by every worker.

use std::sync::atomic::{AtomicU64, Ordering};

/// Position of a next hop in its port's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop(pub u32);

/// The next hops of one port.
#[derive(Debug)]
pub struct NextHops(Box<[AtomicU64]>);

/// Set in the word of a next hop whose MAC address is known.
const RESOLVED: u64 = 1 << 63;

impl NextHops {
    /// A table of `capacity` unresolved next hops.
    pub fn new(capacity: usize) -> Self {
        NextHops((0..capacity).map(|_| AtomicU64::new(0)).collect())
    }

    /// The MAC address of `hop`, if it is resolved. Any thread.
    #[inline]
    pub fn mac(&self, hop: NextHop) -> Option<[u8; 6]> {
        let word = self.0.get(hop.0 as usize)?.load(Ordering::Relaxed);
        if word & RESOLVED == 0 {
            return None;
        }
        let [_, _, mac @ ..] = word.to_be_bytes();
        Some(mac)
    }

    /// Publishes the MAC address of `hop`. Control thread only.
    pub fn resolve(&self, hop: NextHop, mac: [u8; 6]) {
        let [a, b, c, d, e, f] = mac;
        if let Some(word) = self.0.get(hop.0 as usize) {
            word.store(RESOLVED | u64::from_be_bytes([0, 0, a, b, c, d, e, f]), Ordering::Relaxed);
        }
    }

    /// Marks `hop` as unresolved. Control thread only.
    pub fn forget(&self, hop: NextHop) {
        if let Some(word) = self.0.get(hop.0 as usize) {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishes_and_forgets() {
        let hops = NextHops::new(2);
        let mac = [0xff, 0xfe, 0x80, 0x01, 0x00, 0x7f];
        assert_eq!(hops.mac(NextHop(1)), None);
        hops.resolve(NextHop(1), mac);
        assert_eq!(hops.mac(NextHop(1)), Some(mac));
        assert_eq!(hops.mac(NextHop(0)), None);
        hops.forget(NextHop(1));
        assert_eq!(hops.mac(NextHop(1)), None);
        assert_eq!(hops.mac(NextHop(7)), None, "out of range is unresolved, not a panic");
    }
}
