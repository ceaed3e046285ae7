//! SRTP and SRTCP (RFC 3711) with the AEAD suites of RFC 7714: what turns a packet off the wire into
//! one that is known to come from the peer, and back.
//!
//! This module does no input or output and keeps no clock. Bytes come in as one mutable slice (the
//! packet where it lies in its buffer), are opened or sealed in place, and the answer says how long the
//! result is. Nothing here allocates after a context was built, takes a lock, logs or panics on input.
//!
//! The way of a key and of a packet:
//!
//! ```text
//! "inline:…" ── MasterKey ── kdf (AES-CM PRF) ── session key + salt ── Provider::key
//!                                                                          │
//!  SRTP packet ── RtpInbound::open ── length → SSRC → index → window → verify, decrypt → commit
//!  RTP packet  ── RtpOutbound::seal ─ length → SSRC → floor → window → encrypt, tag → commit
//! ```
//!
//! | file | is about |
//! |---|---|
//! | [`suite`] | which algorithms, and their key, salt and tag lengths |
//! | [`master_key`] | the key as signalled (SDES), kept secret and wiped |
//! | [`master_keys`], [`mki`] | several keys of one sender, and what packets name them by |
//! | `kdf` | master key to session keys (RFC 3711 §4.3) |
//! | [`index`] | the 48-bit packet index and its estimate from a sequence number |
//! | [`replay`] | the sliding window of indices seen |
//! | [`provider`], `self_test` | the cryptography behind a small trait, and the known-answer self-test |
//! | [`provider_aes_gcm`] | the portable provider |
//! | [`provider_ipsec_mb`] | the fast provider, where intel-ipsec-mb is installed |
//! | `counter_hmac` | portable AES-CM with HMAC-SHA1 for the suites of RFC 3711 and RFC 6188 |
//! | `session_key` | an expanded key and what it does to a packet |
//! | `ticket` | the permission to seal one packet with one index |
//! | `epoch` | the shares of a sealing key's indices that the sources of a stream have, one after the other |
//! | [`error`] | why a packet was not opened or sealed |
//! | [`rtp`], [`rtcp`] | one direction of one stream: the four contexts |
//! | [`plain`] | the same pinning and duplicate check for a leg without keys |
//!
//! One context serves one direction of one (key, SSRC) pair:
//!
//! ```
//! use voxlane::srtp::{AesGcmProvider, MasterKey, PacketIndex, ReplayWindowSize};
//! use voxlane::srtp::{OpenError, RtpInbound, RtpOutbound, Suite};
//!
//! let key = MasterKey::from_parts(Suite::AeadAes128Gcm, &[7; 16], &[9; 12])?;
//! let mut sender = RtpOutbound::<AesGcmProvider>::new(&key);
//! let mut receiver = RtpInbound::<AesGcmProvider>::new(&key, ReplayWindowSize::default());
//!
//! // Twelve octets of header, five of payload, sixteen for the tag.
//! let mut packet = *b"\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2ahello................";
//! sender.seal(&mut packet, 12, 42, PacketIndex::new(0, 1)).expect("a fresh index");
//!
//! let mut copy = packet;
//! let opened = receiver.open(&mut packet, 12, 42, 1).expect("an authentic packet");
//! assert_eq!(&packet[12..opened.len], b"hello");
//! assert_eq!(receiver.open(&mut copy, 12, 42, 1), Err(OpenError::Replayed));
//! # Ok::<(), voxlane::srtp::MasterKeyError>(())
//! ```
#![deny(unsafe_code)]

mod counter_hmac;
mod epoch;
pub mod error;
pub mod index;
mod kdf;
pub mod master_key;
pub mod master_keys;
pub mod mki;
pub mod plain;
pub mod provider;
pub mod provider_aes_gcm;
pub mod provider_ipsec_mb;
pub mod replay;
pub mod rtcp;
pub mod rtp;
mod self_test;
mod session_key;
pub mod suite;
mod ticket;

pub(crate) use epoch::Epochs;
pub use error::{OpenError, SealError};
pub use index::PacketIndex;
pub use kdf::SessionKeys;
pub use master_key::{MasterKey, MasterKeyError};
pub use master_keys::{MasterKeys, MasterKeysError};
pub use mki::{Mki, MkiError};
pub use plain::PlainRtpInbound;
pub use provider::{AuthFailed, Batch, CounterHmac, Provider, SelfTestError};
pub use provider_aes_gcm::AesGcmProvider;
pub use provider_ipsec_mb::IpsecMbProvider;
pub(crate) use replay::{RTCP_WORDS, RTP_WORDS, Ring};
pub use replay::{ReplayWindowSize, ReplayWindowSizeError};
pub(crate) use rtcp::RtcpInboundState;
pub use rtcp::{RtcpInbound, RtcpOpened, RtcpOutbound};
pub(crate) use rtp::InboundState;
pub use rtp::{RtpInbound, RtpOpened, RtpOutbound};
pub(crate) use session_key::RtcpClear;
pub use session_key::SessionKey;
pub use suite::{Suite, UnknownSuite};
pub use ticket::Ticket;

/// Octets of authentication tag of the AEAD suites (RFC 7714 §13.1: 16, never fewer).
pub const TAG_LEN: usize = 16;

/// Octets of the `E || SRTCP index` word that follows the tag of an SRTCP packet (RFC 7714 §9.2).
pub const SRTCP_INDEX_LEN: usize = 4;

#[cfg(test)]
pub(crate) mod tests;
