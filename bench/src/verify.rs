//! What comes back: found, opened, checked bit by bit and counted.
//!
//! [`Verifier::receive`] takes a received frame apart, finds the stream by the gateway's address and port
//! it comes from (which are unique over all legs), opens it as the remote endpoint would, and compares
//! header and payload with what was sent. Every frame is counted under exactly one outcome.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use voxlane::srtp::OpenError;
use voxlane::wire::{MacAddress, demux, rtp};

use super::crypto::{KeyUse, Opener};
use super::frame::{Datagram, NotDatagram};
use super::payload::{Flags, Payload};
use super::plan::{Plan, StreamPlan};
use super::reports::{ReportReceiver, rtcp_ends};
use super::stats::{LATE_NS, Stats};
use super::track::{Arrival, Tracker};
use super::traffic::{Identity, Traffic};

/// The receiving side of all streams.
pub struct Verifier {
    ports: Vec<PortRules>,
    lookup: Lookup,
    receivers: Vec<Receiver>,
    options: VerifyOptions,
    /// Datagrams of known streams that came.
    ordinal: u64,
    /// Which of them are opened now.
    every: u64,
    stats: Arc<Stats>,
}

/// What is verified, and how thoroughly.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Plain payload in bytes.
    pub payload_len: usize,
    /// Whether RTCP comes, too.
    pub with_reports: bool,
    /// Whether streams keep expanded keys.
    pub keys: KeyUse,
    /// Each so many packets one is opened and compared; of the others, addresses, lengths, checksums and the RTP
    /// header are. 1 for all.
    pub every: u64,
}

/// What a receiver needs besides the packet.
struct Check<'v> {
    options: &'v VerifyOptions,
    is_thorough: bool,
    arrival_ns: u64,
    stats: &'v Stats,
}

/// What frames on one of our ports must look like.
struct PortRules {
    mac: MacAddress,
    vlan: Option<u16>,
    udp_checksum: bool,
}

/// One stream's receiver: a remote endpoint.
struct Receiver {
    open: Opener,
    rx_port: usize,
    sink: SocketAddr,
    rtcp_sink: SocketAddr,
    id: u32,
    identity: Identity,
    tracker: Tracker,
    reports: Option<Box<ReportReceiver>>,
    is_warm: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was counted.
    Counted,
    /// It is for the host: ARP, neighbour discovery, ICMP.
    ForHost,
}

impl Verifier {
    /// The receivers of all streams of `plan`, whose senders are `traffic`'s; `macs` are the MAC addresses
    /// of our ports.
    pub fn new(
        plan: &Plan<'_>,
        macs: &[MacAddress],
        traffic: &Traffic,
        options: VerifyOptions,
        stats: Arc<Stats>,
    ) -> Self {
        let ports = plan.ports.iter().zip(macs).map(|(port, &mac)| PortRules {
            mac,
            vlan: port.gateway.vlan,
            udp_checksum: port.gateway.udp_checksum,
        });
        let mut lookup = Lookup::default();
        for (at, stream) in plan.streams.iter().enumerate() {
            lookup.insert(stream.receiver.local, at);
            lookup.insert(rtcp_ends(stream.receiver, stream.sink).1, at);
        }
        let receivers = plan.streams.iter().zip(traffic.identities());
        Verifier {
            ports: ports.collect(),
            lookup,
            receivers: receivers
                .map(|(stream, identity)| Receiver::new(stream, identity, &options))
                .collect(),
            options,
            ordinal: 0,
            every: 1,
            stats,
        }
    }

    /// Takes in a frame that came on `port` at `arrival_ns`. `sent_at` turns a payload's send stamp into
    /// nanoseconds of the run, or `None` if it is not known any more.
    #[inline]
    pub fn receive(
        &mut self,
        port: usize,
        frame: &mut [u8],
        arrival_ns: u64,
        sent_at: impl Fn(u64) -> Option<u64>,
    ) -> Outcome {
        let rules = &self.ports[port];
        let datagram = match Datagram::parse(frame, rules.vlan, rules.udp_checksum) {
            Ok(datagram) => datagram,
            Err(NotDatagram::Host) => return Outcome::ForHost,
            Err(NotDatagram::Checksum) => return self.count(|stats| stats.bad_checksum.add(1)),
            Err(NotDatagram::Malformed) => return self.count(|stats| stats.unexpected.add(1)),
        };
        let is_ours = frame.first_chunk() == Some(&rules.mac.0);
        let found = self.lookup.find(datagram.source).filter(|_| is_ours);
        let receiver = found.and_then(|stream| self.receivers.get_mut(stream));
        let (Some(receiver), Some(packet)) = (receiver, frame.get_mut(datagram.payload)) else {
            return self.count(|stats| stats.unexpected.add(1));
        };
        let is_media = demux::classify(packet) == demux::Demux::RtpOrRtcp;
        let is_rtcp = is_media && demux::is_rtcp(packet);
        let sink = if is_rtcp { receiver.rtcp_sink } else { receiver.sink };
        if !is_media || receiver.rx_port != port || datagram.destination != sink {
            return self.count(|stats| stats.unexpected.add(1));
        }
        if !is_rtcp {
            self.ordinal += 1;
            let is_thorough = self.ordinal.is_multiple_of(self.every);
            let check = Check { options: &self.options, is_thorough, arrival_ns, stats: &self.stats };
            receiver.receive(packet, &check, sent_at);
        } else if let Some(reports) = &mut receiver.reports {
            reports.receive(packet, &self.stats);
        } else {
            self.stats.unexpected.add(1);
        }
        Outcome::Counted
    }

    /// From now on, only each [`VerifyOptions::every`]-th packet is opened.
    pub fn start_sampling(&mut self) {
        self.every = self.options.every.max(1);
    }

    /// Whether a warm-up packet of the stream came.
    pub fn is_warm(&self, stream: usize) -> bool {
        self.receivers.get(stream).is_some_and(|receiver| receiver.is_warm)
    }

    fn count(&self, add: impl FnOnce(&Stats)) -> Outcome {
        add(&self.stats);
        Outcome::Counted
    }
}

impl Receiver {
    fn new(stream: &StreamPlan<'_>, identity: Identity, options: &VerifyOptions) -> Self {
        let reports = || Box::new(ReportReceiver::new(stream, identity.ssrc));
        Receiver {
            open: Opener::new(&stream.receiver.protection, options.keys),
            rx_port: stream.rx_port,
            sink: stream.sink,
            rtcp_sink: rtcp_ends(stream.receiver, stream.sink).0,
            id: stream.id,
            identity,
            tracker: Tracker::new(),
            reports: options.with_reports.then(reports),
            is_warm: false,
        }
    }

    /// Opens and checks an RTP packet, and counts what it is.
    #[inline]
    fn receive(&mut self, packet: &mut [u8], check: &Check<'_>, sent_at: impl Fn(u64) -> Option<u64>) {
        let stats = check.stats;
        let Ok(header) = rtp::Packet::new_checked(&*packet) else {
            return stats.header_changed.add(1);
        };
        let (ssrc, sequence_number, timestamp) =
            (header.ssrc(), header.sequence_number(), header.timestamp());
        let (header_len, payload_type, marker) =
            (header.header_len(), header.payload_type(), header.marker());
        let is_header_kept = ssrc == self.identity.ssrc
            && payload_type == self.identity.payload_type
            && !marker
            && header_len == rtp::HEADER_LEN;
        if !check.is_thorough {
            let is_whole = packet.len() == header_len + check.options.payload_len + self.open.trailer();
            return match self.identity.sequence_at(timestamp).filter(|_| is_header_kept) {
                None => stats.header_changed.add(1),
                Some(_) if !is_whole => stats.corrupted.add(1),
                Some(sequence) => self.count(sequence, Flags::NONE, stats),
            };
        }
        let len = match self.open.open(packet, header_len, ssrc.0, sequence_number.0) {
            Ok(len) => len,
            Err(OpenError::Replayed | OpenError::TooOld) => return stats.duplicated.add(1),
            Err(OpenError::SsrcChanged) => return stats.header_changed.add(1),
            Err(_) => return stats.auth_failed.add(1),
        };
        let Some(Ok(payload)) = packet.get(header_len..len).map(Payload::read) else {
            return stats.corrupted.add(1);
        };
        if payload.stream != self.id || len - header_len != check.options.payload_len {
            return stats.corrupted.add(1);
        }
        if payload.flags.contains(Flags::FORBIDDEN) {
            return stats.leaked.add(1);
        }
        let is_unchanged = is_header_kept
            && sequence_number.0 == payload.index as u16
            && timestamp == self.identity.timestamp(payload.sequence);
        if !is_unchanged {
            return stats.header_changed.add(1);
        }
        if payload.flags.contains(Flags::WARM_UP) {
            self.is_warm = true;
            return stats.warm_up_received.add(1);
        }
        let before = stats.received.value();
        self.count(payload.sequence, payload.flags, stats);
        if let Some(sent_ns) = sent_at(payload.sent).filter(|_| stats.received.value() > before) {
            let latency_ns = check.arrival_ns.saturating_sub(sent_ns);
            stats.latency.record(latency_ns);
            if latency_ns > LATE_NS {
                stats.late.add(1);
            }
        }
    }

    /// Counts packet `sequence` of the stream as received, unless it came before.
    #[inline]
    fn count(&mut self, sequence: u64, flags: Flags, stats: &Stats) {
        match self.tracker.arrive(sequence) {
            Arrival::New => {}
            Arrival::Reordered if flags.contains(Flags::HELD_BACK) => stats.reordered_on_purpose.add(1),
            Arrival::Reordered => stats.reordered.add(1),
            Arrival::Duplicate | Arrival::TooOld => return stats.duplicated.add(1),
        }
        stats.received.add(1);
    }
}

/// Streams by the gateway's address and port: one flat table per address, of which there are few.
#[derive(Default)]
struct Lookup {
    tables: HashMap<IpAddr, Box<[u32]>>,
}

impl Lookup {
    /// No stream.
    const NONE: u32 = u32::MAX;

    fn insert(&mut self, local: SocketAddr, stream: usize) {
        let empty = || vec![Self::NONE; 1 << 16].into_boxed_slice();
        let table = self.tables.entry(local.ip()).or_insert_with(empty);
        if let Some(entry) = table.get_mut(usize::from(local.port())) {
            *entry = stream as u32;
        }
    }

    #[inline]
    fn find(&self, source: SocketAddr) -> Option<usize> {
        let entry = self.tables.get(&source.ip())?.get(usize::from(source.port()))?;
        (*entry != Self::NONE).then_some(*entry as usize)
    }
}
