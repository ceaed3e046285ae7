//! From a local address and port to a stream: two loads, no hashing of ports.
//!
//! The gateway owns its local ports, so each local address has a flat table of 65,536 words, 256 KiB. The
//! address itself is found in a small open-addressed table that stays in the first-level cache.
//!
//! Addresses are fixed when the table is built. The word of a port is written by the worker on which its stream is
//! homed, between two bursts, and read by every worker: either the old or the new one. A worker that still has the old
//! one hands the frame to a worker that knows better, so nothing but the word itself needs an order.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Endpoint, StreamId};

/// Where a datagram for a local address and port belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Worker on which the stream is homed.
    pub worker: u16,
    /// Position among that worker's streams.
    pub stream: StreamId,
    /// What the local port is for.
    pub media: Media,
}

/// Where the word of a local endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(u32);

/// What a local port receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// RTP only; RTCP has a port of its own.
    Rtp,
    /// RTCP only.
    Rtcp,
    /// Both (rtcp-mux, RFC 5761).
    Muxed,
}

/// The finished table.
#[derive(Debug)]
pub struct Lookup {
    /// Open-addressed, a power of two long and at most half full: mapped address, port of the device, slot.
    addresses: Box<[AddressEntry]>,
    /// One word per slot and UDP port; 0 is free.
    ports: Box<[AtomicU32]>,
}

/// Collects local addresses and endpoints.
#[derive(Debug, Default)]
pub struct LookupBuilder {
    addresses: Vec<([u64; 2], u8)>,
    targets: Vec<(Endpoint, Target)>,
}

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// More streams on one worker, or more workers, than a word can name.
    #[error(
        "worker {worker} stream {stream}: at most {} workers and {} streams on each",
        MAX_WORKERS,
        MAX_STREAMS
    )]
    TooMany {
        /// The worker.
        worker: u16,
        /// The stream.
        stream: u32,
    },
    /// An endpoint's address was not added as a local address.
    #[error("{0:?} is not on a local address")]
    NotLocal(Endpoint),
    /// Two endpoints share an address and port.
    #[error("{0:?} is used twice")]
    Duplicate(Endpoint),
}

#[derive(Debug, Clone, Copy)]
struct AddressEntry {
    address: [u64; 2],
    port: u8,
    slot: u16,
}

const FREE: u16 = u16::MAX;
const PORTS: usize = 1 << 16;
/// Word layout: media + 1 in 2 bits (so that 0 is free), worker in 6, stream in 24.
const STREAM_BITS: u32 = 24;
const WORKER_BITS: u32 = 6;
const MAX_STREAMS: u32 = 1 << STREAM_BITS;
const MAX_WORKERS: u16 = 1 << WORKER_BITS;

impl LookupBuilder {
    /// Adds a local address of the device port with index `port`.
    pub fn address(&mut self, address: std::net::IpAddr, port: u8) {
        self.addresses.push((Endpoint::from(std::net::SocketAddr::new(address, 0)).address(), port));
    }

    /// Binds a local endpoint.
    pub fn bind(&mut self, local: Endpoint, target: Target) {
        self.targets.push((local, target));
    }

    /// Builds the table.
    ///
    /// # Errors
    /// [`LookupError`]; none can occur for what a validated configuration holds.
    pub fn build(self) -> Result<Lookup, LookupError> {
        let capacity = (self.addresses.len() * 2).next_power_of_two().max(2);
        let free = AddressEntry { address: [0; 2], port: 0, slot: FREE };
        let mut lookup = Lookup {
            addresses: vec![free; capacity].into(),
            ports: (0..self.addresses.len() * PORTS).map(|_| AtomicU32::new(0)).collect(),
        };
        for (slot, (address, port)) in self.addresses.into_iter().enumerate() {
            let mut at = hash(address) & (capacity - 1);
            while lookup.addresses[at].slot != FREE {
                at = (at + 1) & (capacity - 1);
            }
            lookup.addresses[at] = AddressEntry { address, port, slot: slot as u16 };
        }
        for (local, target) in self.targets {
            let place = lookup.place(&local).ok_or(LookupError::NotLocal(local))?;
            if lookup.is_bound(place) {
                return Err(LookupError::Duplicate(local));
            }
            lookup.bind(place, target)?;
        }
        Ok(lookup)
    }
}

impl Lookup {
    /// Where the word of a local endpoint stands; `None` if its address is not a local one.
    pub fn place(&self, local: &Endpoint) -> Option<Place> {
        let (_, slot) = self.find_address(local.address())?;
        Some(Place(u32::from(slot) * PORTS as u32 + u32::from(local.port())))
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.ports.len()
    }

    /// Packets for `place` are for `target` from now on.
    ///
    /// # Errors
    /// [`LookupError::TooMany`].
    pub fn bind(&self, place: Place, target: Target) -> Result<(), LookupError> {
        let StreamId(stream) = target.stream;
        if target.worker >= MAX_WORKERS || stream >= MAX_STREAMS {
            return Err(LookupError::TooMany { worker: target.worker, stream });
        }
        if let Some(word) = self.ports.get(place.0 as usize) {
            word.store(target.pack(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Packets for `place` are for nobody from now on.
    pub fn unbind(&self, place: Place) {
        if let Some(word) = self.ports.get(place.0 as usize) {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn is_bound(&self, place: Place) -> bool {
        self.ports.get(place.0 as usize).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// The slot of a local address on device port `port`; `None` if it is not one of that port's.
    #[inline]
    pub fn slot(&self, local: &Endpoint, port: u8) -> Option<u16> {
        self.find_address(local.address()).filter(|&(owner, _)| owner == port).map(|(_, slot)| slot)
    }

    /// What a UDP port of a local address is bound to.
    #[inline]
    pub fn target(&self, slot: u16, port: u16) -> Option<Target> {
        self.ports
            .get(usize::from(slot) * PORTS + usize::from(port))
            .and_then(|word| Target::unpack(word.load(Ordering::Relaxed)))
    }

    /// Reads a word of every page, so that all of them are mapped.
    pub fn touch(&self) {
        const WORDS_OF_A_PAGE: usize = 1024;
        self.ports.iter().step_by(WORDS_OF_A_PAGE).for_each(|word| {
            std::hint::black_box(word);
            crate::dpdk::prefetch_read(word);
        });
    }

    /// Asks the cache for the word that [`Lookup::target`] will read.
    #[inline]
    pub fn prefetch(&self, slot: u16, port: u16) {
        if let Some(word) = self.ports.get(usize::from(slot) * PORTS + usize::from(port)) {
            crate::dpdk::prefetch_read(word);
        }
    }

    #[inline]
    fn find_address(&self, address: [u64; 2]) -> Option<(u8, u16)> {
        let mask = self.addresses.len() - 1;
        let mut at = hash(address) & mask;
        // At most half full, so a free entry ends the search.
        loop {
            let entry = self.addresses.get(at)?;
            if entry.slot == FREE {
                return None;
            }
            if entry.address == address {
                return Some((entry.port, entry.slot));
            }
            at = (at + 1) & mask;
        }
    }
}

impl Place {
    /// Position among [`Lookup::places`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Target {
    fn pack(self) -> u32 {
        let media = match self.media {
            Media::Rtp => 1,
            Media::Rtcp => 2,
            Media::Muxed => 3,
        };
        media << (STREAM_BITS + WORKER_BITS) | u32::from(self.worker) << STREAM_BITS | self.stream.0
    }

    #[inline]
    fn unpack(word: u32) -> Option<Self> {
        let media = match word >> (STREAM_BITS + WORKER_BITS) {
            1 => Media::Rtp,
            2 => Media::Rtcp,
            3 => Media::Muxed,
            _ => return None,
        };
        Some(Target {
            worker: (word >> STREAM_BITS) as u16 & (MAX_WORKERS - 1),
            stream: StreamId(word & (MAX_STREAMS - 1)),
            media,
        })
    }
}

#[inline]
fn hash([high, low]: [u64; 2]) -> usize {
    // Fibonacci hashing of both halves: local addresses are few and mostly consecutive.
    ((high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    fn local(last: u8, port: u16) -> Endpoint {
        Endpoint::v4(Ipv4Addr::new(10, 0, 0, last), port)
    }

    #[test]
    fn agrees_with_a_map_over_every_port() {
        let mut builder = LookupBuilder::default();
        let mut map = HashMap::new();
        for last in 1..=40_u8 {
            builder.address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), last % 2);
            for step in 0..500_u16 {
                let endpoint = local(last, 1024 + step * 97 + u16::from(last));
                let media = [Media::Rtp, Media::Rtcp, Media::Muxed][usize::from(step) % 3];
                let stream = StreamId(u32::from(last) << 16 | u32::from(step));
                let target = Target { worker: u16::from(last) % MAX_WORKERS, stream, media };
                builder.bind(endpoint, target);
                map.insert(endpoint, target);
            }
        }
        let lookup = builder.build().expect("no duplicate");
        for last in 0..=60_u8 {
            for device in 0..2 {
                let slot = lookup.slot(&local(last, 0), device);
                assert_eq!(slot.is_some(), (1..=40).contains(&last) && last % 2 == device, "{last} {device}");
                let Some(slot) = slot else { continue };
                for port in 0..=u16::MAX {
                    assert_eq!(lookup.target(slot, port), map.get(&local(last, port)).copied());
                }
            }
        }
    }

    #[test]
    fn a_place_is_bound_and_unbound_while_others_read() {
        let mut builder = LookupBuilder::default();
        builder.address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 0);
        let lookup = builder.build().expect("no duplicate");
        assert_eq!(lookup.place(&local(2, 9)), None);
        let place = lookup.place(&local(1, 9)).expect("a local address");
        let target = |stream| Target { worker: 3, stream: StreamId(stream), media: Media::Muxed };
        let slot = lookup.slot(&local(1, 0), 0).expect("a local address");
        for stream in [0, 77, MAX_STREAMS - 1] {
            lookup.bind(place, target(stream)).expect("in range");
            assert_eq!(lookup.target(slot, 9), Some(target(stream)));
        }
        assert!(lookup.bind(place, target(MAX_STREAMS)).is_err());
        lookup.unbind(place);
        assert_eq!(lookup.target(slot, 9), None);
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        let target = Target { worker: 0, stream: StreamId(0), media: Media::Rtp };
        let build = |endpoints: &[(Endpoint, Target)]| {
            let mut builder = LookupBuilder::default();
            builder.address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 0);
            endpoints.iter().for_each(|&(endpoint, target)| builder.bind(endpoint, target));
            builder.build().map(|_| ())
        };
        assert_eq!(build(&[(local(2, 9), target)]), Err(LookupError::NotLocal(local(2, 9))));
        assert_eq!(build(&[(local(1, 9), target); 2]), Err(LookupError::Duplicate(local(1, 9))));
        let far = Target { stream: StreamId(MAX_STREAMS), ..target };
        assert!(matches!(build(&[(local(1, 9), far)]), Err(LookupError::TooMany { .. })));
    }
}
