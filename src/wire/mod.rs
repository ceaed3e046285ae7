//! Wire formats: every header that voxlane reads or writes, as checked views over bytes.
//!
//! Bytes come from a received mbuf (or a test buffer) and go to the stages of the packet path, the host on
//! the network and the load generator. One file per protocol, each in the same shape:
//!
//! - `Packet<T>` (Ethernet's is `Frame`, a VLAN's is `Tag`) is a view over a buffer. It has one constructor,
//!   `new_checked`, which compares every length field with the buffer. After it no accessor fails, and no
//!   accessor or setter panics whatever the bytes hold: a field that a later write pushed out of the buffer
//!   reads as zero.
//! - `Repr` is the validated value: `parse` makes one out of a view, `emit` writes one into a buffer and
//!   returns the checked view, so a view never exists over unchecked bytes.
//!
//! Multi-byte fields are in network byte order on the wire and in host order in every argument and result.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod demux;
pub mod ethernet;
mod field;
pub mod icmpv4;
pub mod icmpv6;
mod ip_net;
pub mod ipv4;
pub mod ipv6;
mod mac_address;
pub mod ndp;
mod protocol;
pub mod rtcp;
pub mod rtp;
#[cfg(test)]
pub(crate) mod testing;
pub mod udp;
pub mod vlan;

pub use ethernet::EtherType;
pub use ip_net::{IpNet, ParseIpNetError};
pub use mac_address::{MacAddress, ParseMacAddressError};
pub use protocol::Protocol;

/// Why bytes are not the header for which they were taken, or do not fit into the buffer.
///
/// RTP, RTCP and neighbour discovery have richer rules and therefore error types of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The checksum over the header or message does not verify.
    #[error("checksum {found:#06x} does not verify: the packet was damaged in transit, drop it")]
    Checksum {
        /// The checksum field as received.
        found: u16,
    },
    /// The packet is a fragment, which a single `Repr` cannot describe.
    #[error("fragment at byte {offset}: reassembly is not supported, lower the sender's packet size")]
    Fragment {
        /// Fragment offset in bytes.
        offset: usize,
    },
    /// A length field disagrees with the buffer or with another length field.
    #[error("a length field says {stated} bytes where {least} to {most} are possible: drop the packet")]
    LengthField {
        /// What the field says, in bytes.
        stated: usize,
        /// The smallest value possible here, in bytes.
        least: usize,
        /// The largest value possible here, in bytes.
        most: usize,
    },
    /// The buffer is shorter than the header, or than the packet to be written.
    #[error("{actual} bytes are too few, {needed} are needed")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// A field holds a value of which this module knows no meaning.
    #[error("{field} {value:#x} is not supported: drop the packet")]
    Unsupported {
        /// The field's name in its standard.
        field: &'static str,
        /// The value found.
        value: u32,
    },
    /// The IP version is not the one that the EtherType announced.
    #[error("IP version {actual} where {expected} was announced: drop the packet")]
    Version {
        /// The version that the view is for.
        expected: u8,
        /// The version found.
        actual: u8,
    },
}

/// Refuses a buffer of fewer than `needed` bytes.
#[inline]
pub(crate) fn require(bytes: &[u8], needed: usize) -> Result<(), Error> {
    if bytes.len() < needed { Err(Error::Truncated { needed, actual: bytes.len() }) } else { Ok(()) }
}

/// Refuses a length field that says less than `least` or more than `most` bytes.
#[inline]
pub(crate) fn require_length(stated: usize, least: usize, most: usize) -> Result<(), Error> {
    if stated < least || stated > most { Err(Error::LengthField { stated, least, most }) } else { Ok(()) }
}
