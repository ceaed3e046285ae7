//! What the packet path needs of a packet buffer; implemented by the mbuf and by a heap buffer for tests.

use crate::dpdk::{Checksum, Mbuf};

/// A packet in one contiguous buffer with room before and behind it.
pub trait Buffer {
    /// The packet's bytes.
    fn data(&self) -> &[u8];
    /// The packet's bytes, to change in place.
    fn data_mut(&mut self) -> &mut [u8];
    /// Moves the start: positive drops leading bytes, negative takes headroom in. `false`: did not fit, and
    /// nothing changed.
    #[must_use]
    fn move_start(&mut self, bytes: isize) -> bool;
    /// Cuts the end off or takes tailroom in. `false`: did not fit, and nothing changed.
    #[must_use]
    fn resize(&mut self, len: usize) -> bool;
    /// Whether all of the packet is in this buffer.
    fn is_contiguous(&self) -> bool;
    /// What the port found out about the IPv4 header checksum.
    fn rx_ip_checksum(&self) -> Checksum;
    /// What the port found out about the UDP checksum.
    fn rx_udp_checksum(&self) -> Checksum;
    /// Asks the port to fill in checksums on transmission; see [`Mbuf::set_tx_checksums`].
    fn set_tx_checksums(&mut self, ipv6: bool, ip: bool, udp: bool, l2_len: u8, l3_len: u16);
    /// Asks the cache for the packet's first lines.
    fn prefetch_data(&self);
}

impl Buffer for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline(always)]
    fn move_start(&mut self, bytes: isize) -> bool {
        Mbuf::move_start(self, bytes)
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> bool {
        Mbuf::resize(self, len)
    }

    #[inline(always)]
    fn is_contiguous(&self) -> bool {
        Mbuf::is_contiguous(self)
    }

    #[inline(always)]
    fn rx_ip_checksum(&self) -> Checksum {
        Mbuf::rx_ip_checksum(self)
    }

    #[inline(always)]
    fn rx_udp_checksum(&self) -> Checksum {
        Mbuf::rx_udp_checksum(self)
    }

    #[inline(always)]
    fn set_tx_checksums(&mut self, ipv6: bool, ip: bool, udp: bool, l2_len: u8, l3_len: u16) {
        Mbuf::set_tx_checksums(self, ipv6, ip, udp, l2_len, l3_len);
    }

    #[inline(always)]
    fn prefetch_data(&self) {
        Mbuf::prefetch_data(self);
    }
}

/// A buffer on the heap with the room of an mbuf, for tests and tools.
#[derive(Debug, Clone)]
pub struct HeapBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    contiguous: bool,
    rx_checksums: Checksum,
}

impl HeapBuffer {
    /// Room before a received packet, as in an mbuf.
    pub const HEADROOM: usize = 128;
    /// Largest packet.
    pub const DATA_ROOM: usize = 2048;

    /// A buffer that received `packet`, of which what is longer than the data room is cut off. All bytes
    /// around it are `residue`.
    pub fn new(packet: &[u8], residue: u8) -> Self {
        let len = packet.len().min(Self::DATA_ROOM);
        let mut bytes = vec![residue; Self::HEADROOM + Self::DATA_ROOM];
        bytes[Self::HEADROOM..Self::HEADROOM + len].copy_from_slice(&packet[..len]);
        HeapBuffer {
            bytes,
            start: Self::HEADROOM,
            end: Self::HEADROOM + len,
            contiguous: true,
            rx_checksums: Checksum::Unknown,
        }
    }

    /// The buffer as if it had gone back to its pool and received `packet` next: around it is what was there before.
    #[must_use]
    pub fn received(mut self, packet: &[u8]) -> Self {
        let len = packet.len().min(Self::DATA_ROOM);
        (self.start, self.end) = (Self::HEADROOM, Self::HEADROOM + len);
        (self.contiguous, self.rx_checksums) = (true, Checksum::Unknown);
        self.data_mut().copy_from_slice(&packet[..len]);
        self
    }

    /// Overwrites all of it, as test builds do when a buffer goes back to its pool.
    pub fn poison(&mut self, octet: u8) {
        self.bytes.fill(octet);
    }

    /// The same, as if the packet went on in a second segment.
    #[must_use]
    pub fn segmented(mut self) -> Self {
        self.contiguous = false;
        self
    }

    /// The same, as if the port had checked both checksums.
    #[must_use]
    pub fn with_rx_checksums(mut self, found: Checksum) -> Self {
        self.rx_checksums = found;
        self
    }
}

impl Buffer for HeapBuffer {
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn move_start(&mut self, bytes: isize) -> bool {
        match self.start.checked_add_signed(bytes) {
            Some(start) if start <= self.end => {
                self.start = start;
                true
            }
            _ => false,
        }
    }

    fn resize(&mut self, len: usize) -> bool {
        if self.start + len > self.bytes.len() {
            return false;
        }
        self.end = self.start + len;
        true
    }

    fn is_contiguous(&self) -> bool {
        self.contiguous
    }

    fn rx_ip_checksum(&self) -> Checksum {
        self.rx_checksums
    }

    fn rx_udp_checksum(&self) -> Checksum {
        self.rx_checksums
    }

    fn set_tx_checksums(&mut self, _ipv6: bool, _ip: bool, _udp: bool, _l2_len: u8, _l3_len: u16) {}

    fn prefetch_data(&self) {}
}
