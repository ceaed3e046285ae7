//! A packet buffer seen as an audio frame, with how far it has come in its type.
//!
//! ```text
//! Received → Parsed → Matched → Opened → Checked → Encapsulated → Tagged → Sealed
//! ```
//!
//! This module alone makes one state out of another, a file for each pair of steps, and each step does the work that the
//! next state's name promises: there is no way to an [`Opened`] frame but through the tag's verification (or a leg that is plain
//! by policy), none to a [`Checked`] one but through the rules, none to a [`Sealed`] one but through the other
//! leg's key. Transmission takes [`Sealed`] frames only. A step that fails consumes the frame: its buffer goes
//! back to the pool, and the reason is what remains.
//!
//! A received frame cannot be transmitted:
//!
//! ```compile_fail,E0308
//! use voxlane::fastpath::{Buffer, Frame, HeapBuffer, Sealed};
//!
//! fn transmit(_: Frame<HeapBuffer, Sealed>) {}
//! transmit(Frame::received(HeapBuffer::new(&[0; 60], 0), 0));
//! ```
//!
//! Nor can anybody else claim that a frame is sealed:
//!
//! ```compile_fail,E0451
//! use voxlane::fastpath::{Frame, HeapBuffer, Sealed};
//!
//! fn forge(buffer: HeapBuffer, state: Sealed) -> Frame<HeapBuffer, Sealed> {
//!     Frame { buffer, state }
//! }
//! ```

mod check;
mod open;
mod parse;
mod seal;

use super::DropReason;
use crate::session::{Endpoint, StreamId};
use crate::srtp::{PacketIndex, Ticket};

/// A packet buffer in state `S`.
#[derive(Debug)]
pub struct Frame<B, S> {
    buffer: B,
    state: S,
}

/// As the port delivered it.
#[derive(Debug)]
pub struct Received {
    rx_cycles: u64,
}

/// Headers are checked; the buffer holds exactly the UDP payload.
#[derive(Debug)]
pub struct Parsed {
    rx_cycles: u64,
    datagram: Datagram,
}

/// Where a UDP datagram came from and went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Source address and port.
    pub source: Endpoint,
    /// Slot of the local address in the lookup.
    pub slot: u16,
    /// Destination port.
    pub port: u16,
    /// Whether the payload is RTCP (RFC 5761 §4).
    pub is_rtcp: bool,
}

/// The stream is found and the source is acceptable.
#[derive(Debug)]
pub struct Matched {
    rx_cycles: u64,
    source: Endpoint,
    stream: StreamId,
    /// The worker that owns the stream.
    home: u16,
    is_rtcp: bool,
}

/// Authenticated and decrypted (or plain by policy); the buffer holds the RTP or RTCP packet.
#[derive(Debug)]
pub struct Opened {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
}

/// Held against the rules of its leg.
#[derive(Debug)]
pub struct Checked {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
}

/// In the form of the other leg, with room for its headers in front and for the tag behind.
#[derive(Debug)]
pub struct Encapsulated {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
    next_hop_mac: [u8; 6],
}

/// Sealed with the receiving leg's key; the headers in front of it are still missing.
#[derive(Debug)]
pub struct Tagged {
    rx_cycles: u64,
    stream: StreamId,
    is_rtcp: bool,
    next_hop_mac: [u8; 6],
}

/// Sealed, headers written: fit to leave.
#[derive(Debug)]
pub struct Sealed {
    rx_cycles: u64,
    port: u8,
}

/// What the later stages need to know of an opened packet.
#[derive(Debug)]
enum Packet {
    Rtp { header_len: u16, ssrc: u32, ticket: Ticket<PacketIndex> },
    Rtcp { ssrc: u32, ticket: Option<Ticket<u32>> },
}

/// Who sent a packet, if it authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    /// The stream.
    pub stream: StreamId,
    /// Where the packet came from.
    pub source: Endpoint,
    /// Whether it was RTCP.
    pub is_rtcp: bool,
}

/// What became of a received frame.
#[derive(Debug)]
pub enum Classified<B> {
    /// Media for one of the local addresses; the frame is with the others of its kind.
    Media(Datagram),
    /// For the host: ARP, neighbour discovery, ICMP, STUN, DTLS. Still as the port delivered it.
    Punt(B),
    /// Refused.
    Drop(DropReason),
}
