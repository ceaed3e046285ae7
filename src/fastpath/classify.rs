//! Stage 1: Ethernet, VLAN, IP and UDP headers, and what kind of payload this is.
//!
//! Everything that is not media for a local address leaves here: to the host side (punt) or dropped.

use super::faults::{self, Point};
use super::frame::{Classified, Datagram, Parsed, Received};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame, LOOK_AHEAD, find_stream};
use crate::dpdk::Checksum;
use crate::session::{Endpoint, Lookup, Streams};
use crate::srtp::Provider;
use crate::wire::checksum::PseudoHeader;
use crate::wire::demux::{self, Demux};
use crate::wire::{EtherType, MacAddress, Protocol, ethernet, ipv4, ipv6, udp, vlan};

/// What is local on the port that a frame arrived by.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Index of the port.
    pub port: u8,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its VLAN, if it is tagged.
    pub vlan: Option<u16>,
    /// Local addresses and bound ports.
    pub lookup: &'a Lookup,
}

/// What a frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A datagram with media in `len` bytes from offset `start`.
    Datagram { datagram: Datagram, start: usize, len: usize },
    /// Something for the host.
    Punt,
    /// Refused.
    Drop(DropReason),
}

/// Runs the stage over a burst, which is in reverse.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &mut PipelinePort,
    lookup: &Lookup,
    streams: &Streams<P>,
    burst: &mut Burst<Frame<B, Received>>,
    now_cycles: u64,
    parsed: &mut Burst<Frame<B, Parsed>>,
    sink: &mut impl Sink<B>,
) {
    let local = Local { port: port.index, mac: port.mac, vlan: port.vlan, lookup };
    for frame in burst.iter().rev().take(LOOK_AHEAD) {
        frame.prefetch();
    }
    while let Some(frame) = burst.pop() {
        faults::at(Point::Classify);
        if let Some(later) = burst.len().checked_sub(LOOK_AHEAD).and_then(|at| burst.get(at)) {
            later.prefetch();
        }
        match frame.classify_into(&local, parsed) {
            Classified::Media(datagram) => {
                lookup.prefetch(datagram.slot, datagram.port);
                // What the lookup says of an earlier frame is there by now: the stream's lines can be asked for.
                if let Some(earlier) = parsed.len().checked_sub(LOOK_AHEAD + 1).and_then(|at| parsed.get(at))
                {
                    find_stream::prefetch(lookup, streams, earlier);
                }
            }
            Classified::Drop(reason) => port.counters.count_dropped(reason, 1),
            Classified::Punt(buffer) => {
                if !port.punt_limit.take(now_cycles) {
                    port.counters.count_dropped(DropReason::PuntRateLimited, 1);
                } else if sink.punt(port.index, buffer) {
                    port.counters.punted.add(1);
                } else {
                    port.counters.count_dropped(DropReason::PuntFull, 1);
                }
            }
        }
    }
    for last in parsed.iter().rev().take(LOOK_AHEAD) {
        find_stream::prefetch(lookup, streams, last);
    }
}

/// Classifies one frame.
#[inline]
pub fn classify<B: Buffer>(buffer: &B, local: &Local<'_>) -> Outcome {
    match checked(buffer, local) {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Drop(reason),
    }
}

#[inline(always)]
fn checked<B: Buffer>(buffer: &B, local: &Local<'_>) -> Result<Outcome, DropReason> {
    if !buffer.is_contiguous() {
        return Err(DropReason::FrameSegmented);
    }
    let bytes = buffer.data();
    let frame = ethernet::Frame::new_checked(bytes).map_err(|_| DropReason::EthernetMalformed)?;
    let destination = frame.destination();
    let group = destination.is_multicast();
    if !group && destination != local.mac {
        return Err(DropReason::EthernetNotOurs);
    }
    let (ethertype, packet) = untag(frame, local.vlan)?;
    match ethertype {
        EtherType::IPV4 => ipv4_packet(buffer, packet, group, local),
        EtherType::IPV6 => ipv6_packet(buffer, packet, group, local),
        EtherType::ARP => Ok(Outcome::Punt),
        _ => Err(DropReason::EthertypeUnknown),
    }
}

/// The EtherType and payload behind the VLAN tag that the port must, or must not, have.
#[inline(always)]
fn untag(frame: ethernet::Frame<&[u8]>, vlan: Option<u16>) -> Result<(EtherType, &[u8]), DropReason> {
    let tagged = frame.ethertype() == EtherType::VLAN;
    match vlan {
        None if !tagged => Ok((frame.ethertype(), frame.into_payload())),
        Some(id) if tagged => {
            let tag =
                vlan::Tag::new_checked(frame.into_payload()).map_err(|_| DropReason::EthernetMalformed)?;
            if tag.vlan_id() != id || tag.ethertype() == EtherType::VLAN {
                return Err(DropReason::VlanUnexpected);
            }
            Ok((tag.ethertype(), tag.into_payload()))
        }
        _ => Err(DropReason::VlanUnexpected),
    }
}

#[inline(always)]
fn ipv4_packet<B: Buffer>(
    buffer: &B,
    bytes: &[u8],
    group: bool,
    local: &Local<'_>,
) -> Result<Outcome, DropReason> {
    let packet = ipv4::Packet::new_checked(bytes).map_err(|_| DropReason::Ipv4Malformed)?;
    let valid = match buffer.rx_ip_checksum() {
        Checksum::Good => true,
        Checksum::Bad => false,
        Checksum::Unknown => packet.verify_checksum(),
    };
    if !valid {
        return Err(DropReason::Ipv4Checksum);
    }
    if packet.has_options() {
        return Err(DropReason::Ipv4Options);
    }
    if packet.is_fragment() {
        return Err(DropReason::Ipv4Fragment);
    }
    let (source, destination) = (packet.source(), packet.destination());
    if source.is_multicast() || source.is_broadcast() || source.is_loopback() || source.is_unspecified() {
        return Err(DropReason::IpSourceInvalid);
    }
    let slot = local.lookup.slot(&Endpoint::v4(destination, 0), local.port).ok_or(DropReason::IpNotLocal)?;
    // A unicast address inside a broadcast frame is somebody's trick (RFC 1122 §3.3.6).
    if group {
        return Err(DropReason::EthernetNotOurs);
    }
    match packet.protocol() {
        Protocol::UDP => {
            let pseudo = PseudoHeader::v4(source, destination, Protocol::UDP);
            let datagram = UdpIn { bytes: packet.into_payload(), pseudo, absent_is_valid: true };
            udp_datagram(buffer, datagram, |port| Endpoint::v4(source, port), slot, local)
        }
        Protocol::ICMP => Ok(Outcome::Punt),
        _ => Err(DropReason::IpProtocolUnknown),
    }
}

#[inline(always)]
fn ipv6_packet<B: Buffer>(
    buffer: &B,
    bytes: &[u8],
    group: bool,
    local: &Local<'_>,
) -> Result<Outcome, DropReason> {
    let packet = ipv6::Packet::new_checked(bytes).map_err(|_| DropReason::Ipv6Malformed)?;
    if packet.is_fragment() {
        return Err(DropReason::Ipv6Fragment);
    }
    if packet.has_extension_header() {
        return Err(DropReason::Ipv6ExtensionHeader);
    }
    let (source, destination) = (packet.source(), packet.destination());
    if source.is_multicast() || source.is_loopback() {
        return Err(DropReason::IpSourceInvalid);
    }
    let protocol = packet.next_header();
    // Neighbour discovery speaks to link-local groups (RFC 4861 §4); nothing else does.
    if destination.is_multicast() && protocol == Protocol::ICMPV6 {
        return Ok(Outcome::Punt);
    }
    let slot = local.lookup.slot(&Endpoint::v6(destination, 0), local.port).ok_or(DropReason::IpNotLocal)?;
    if group {
        return Err(DropReason::EthernetNotOurs);
    }
    match protocol {
        Protocol::ICMPV6 => Ok(Outcome::Punt),
        _ if source.is_unspecified() => Err(DropReason::IpSourceInvalid),
        Protocol::UDP => {
            let pseudo = PseudoHeader::v6(source, destination, Protocol::UDP);
            let datagram = UdpIn { bytes: packet.into_payload(), pseudo, absent_is_valid: false };
            udp_datagram(buffer, datagram, |port| Endpoint::v6(source, port), slot, local)
        }
        _ => Err(DropReason::IpProtocolUnknown),
    }
}

/// A UDP datagram as the IP layer hands it on.
struct UdpIn<'a> {
    bytes: &'a [u8],
    pseudo: PseudoHeader,
    /// A checksum of zero means "none" over IPv4 alone.
    absent_is_valid: bool,
}

#[inline(always)]
fn udp_datagram<B: Buffer>(
    buffer: &B,
    input: UdpIn<'_>,
    source: impl Fn(u16) -> Endpoint,
    slot: u16,
    local: &Local<'_>,
) -> Result<Outcome, DropReason> {
    let datagram = udp::Packet::new_checked(input.bytes).map_err(|_| DropReason::UdpMalformed)?;
    let valid = match buffer.rx_udp_checksum() {
        Checksum::Bad => false,
        // The port calls an absent checksum good, too; over IPv6 there must be one.
        Checksum::Good => datagram.checksum() != 0 || input.absent_is_valid,
        Checksum::Unknown => match datagram.verify_checksum(input.pseudo) {
            udp::ChecksumState::Valid => true,
            udp::ChecksumState::Absent => input.absent_is_valid,
            udp::ChecksumState::Invalid => false,
        },
    };
    if !valid {
        return Err(DropReason::UdpChecksum);
    }
    let (source, port) = (source(datagram.source_port()), datagram.destination_port());
    let payload = datagram.into_payload();
    if payload.is_empty() {
        return Err(DropReason::PayloadEmpty);
    }
    match demux::classify(payload) {
        Demux::RtpOrRtcp => {
            let datagram = Datagram { source, slot, port, is_rtcp: demux::is_rtcp(payload) };
            let start = payload.as_ptr().addr() - buffer.data().as_ptr().addr();
            Ok(Outcome::Datagram { datagram, start, len: payload.len() })
        }
        Demux::Stun | Demux::Dtls if local.lookup.target(slot, port).is_some() => Ok(Outcome::Punt),
        Demux::Stun | Demux::Dtls => Err(DropReason::PortUnknown),
        _ => Err(DropReason::DemuxUnknown),
    }
}
