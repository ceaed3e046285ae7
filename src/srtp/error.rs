//! Why a packet was not opened, or not sealed.
//!
//! Both enums are one byte and carry no text of their own: on the packet path they become a drop reason,
//! which is a counter. Variants stand in the order in which the checks are made.

use thiserror::Error;

/// Why a received SRTP or SRTCP packet was refused. The context is unchanged after every one of these,
/// and the octets that were to be decrypted must not be read: they are still ciphertext, or garbage.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum OpenError {
    /// Shorter than its header, its tag and (SRTCP) its index word.
    #[error("the packet is shorter than its header, tag and trailer")]
    Truncated,
    /// SRTCP with the E flag clear (RFC 7714 §9.3): authenticated at best, and readable by anyone.
    #[error("the SRTCP packet is not encrypted (E flag clear), which this policy requires")]
    NotEncrypted,
    /// Not the SSRC that the first authentic packet pinned.
    #[error("the SSRC differs from the one that this stream was pinned to")]
    SsrcChanged,
    /// Older than the first packet of a source that replaced another: its index would be one of that other's.
    #[error("the packet is older than the first one of a source that replaced another")]
    BeforeSource,
    /// The packet index space of this key is used up (2^48 SRTP or 2^31 SRTCP packets, RFC 3711 §9.2).
    #[error("the key has no packet index left: the session must be re-keyed")]
    KeyExhausted,
    /// The index lies before the replay window, so a replay could not be told from a late packet.
    #[error("the packet index lies before the replay window")]
    TooOld,
    /// A packet with this index was already received (RFC 3711 §3.3.2).
    #[error("a packet with this index was already received")]
    Replayed,
    /// The master key identifier is none of those that were agreed.
    #[error("the packet names a master key that was not agreed")]
    UnknownMki,
    /// The tag does not fit: forged, damaged, or sealed with another key or roll-over counter.
    #[error("the authentication tag does not match")]
    AuthFailed,
}

/// Why a packet was not sealed. The context and the packet are unchanged after every one of these.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum SealError {
    /// No room for the header, the tag and (SRTCP) the index word in the slice.
    #[error("the packet has no room for its header, tag and trailer")]
    Truncated,
    /// Not the SSRC that the first sealed packet pinned; a second one needs a context of its own.
    #[error("the SSRC differs from the one that this context seals for")]
    SsrcChanged,
    /// The packet index space of this key is used up (2^48 SRTP or 2^31 SRTCP packets, RFC 3711 §9.2).
    #[error("the key has no packet index left: the session must be re-keyed")]
    KeyExhausted,
    /// The index lies below the floor: an earlier run of the gateway may have used it.
    #[error("the packet index lies below the floor that was reserved for an earlier run")]
    IndexReserved,
    /// The index was sealed before, or lies so far back that this cannot be ruled out. Sealing it would
    /// use a nonce twice, which gives away the authentication key of GCM (RFC 7714 §8.1).
    #[error("the packet index was sealed before, or is too old to be sure that it was not")]
    IndexReused,
}
