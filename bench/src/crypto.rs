//! The one place where the generator meets voxlane's SRTP contexts: a stream's remote endpoint seals and opens.
//!
//! With expanded keys a stream costs about a kilobyte, which two million streams do not have. A flood seals and
//! checks with its clock stopped, so there the keys can be derived anew for each packet
//! ([`KeyUse::Derived`]): slower, and a master key is all that is kept.

use voxlane::control::config::Protection;
use voxlane::srtp::{
    AesGcmProvider, MasterKey, Mki, OpenError, PacketIndex, ReplayWindowSize, RtpInbound, RtpOutbound,
    SealError,
};

/// Whether streams keep expanded keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Expanded once, kept.
    Kept,
    /// Derived from the master key for each packet. Opening then has no roll-over counter but 0 and no replay
    /// window: [`crate::track::Tracker`] finds what comes twice.
    Derived,
}

/// How a stream's packets are sealed.
pub enum Sealer {
    /// Not at all: a plain leg.
    Plain,
    /// With an expanded key.
    Kept(Box<RtpOutbound<AesGcmProvider>>),
    /// With a key derived for each packet.
    Derived(MasterKey),
}

/// How a stream's packets are opened.
pub enum Opener {
    /// Not at all: a plain leg.
    Plain,
    /// With an expanded key.
    Kept(Box<RtpInbound<AesGcmProvider>>),
    /// With a key derived for each packet.
    Derived(MasterKey),
}

impl Sealer {
    /// Seals as the remote endpoint of the leg with `protection` does.
    pub fn new(protection: &Protection, keys: KeyUse) -> Self {
        match (protection, keys) {
            (Protection::Plain, _) => Sealer::Plain,
            (Protection::Srtp { remote_keys, .. }, KeyUse::Kept) => {
                Sealer::Kept(Box::new(RtpOutbound::new(remote_keys.active())))
            }
            (Protection::Srtp { remote_keys, .. }, KeyUse::Derived) => {
                Sealer::Derived(remote_keys.active().clone())
            }
        }
    }

    /// Whether packets go out as they are.
    #[inline]
    pub const fn is_plain(&self) -> bool {
        matches!(self, Sealer::Plain)
    }

    /// Octets that sealing appends.
    #[inline]
    pub fn trailer(&self) -> usize {
        match self {
            Sealer::Plain => 0,
            Sealer::Kept(context) => context.trailer(),
            Sealer::Derived(key) => trailer(key),
        }
    }

    /// Seals a whole packet in place, with [`Sealer::trailer`] octets of room at its end.
    ///
    /// # Errors
    /// [`SealError`]. With derived keys an index that is used twice is not noticed here; the caller counts up.
    #[inline]
    pub fn seal(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SealError> {
        let index = PacketIndex::from_u64(index).ok_or(SealError::KeyExhausted)?;
        match self {
            Sealer::Plain => Ok(()),
            Sealer::Kept(context) => context.seal(packet, header_len, ssrc, index),
            Sealer::Derived(key) => {
                RtpOutbound::<AesGcmProvider>::new(key).seal(packet, header_len, ssrc, index)
            }
        }
    }
}

impl Opener {
    /// Opens as the remote endpoint of the leg with `protection` does.
    pub fn new(protection: &Protection, keys: KeyUse) -> Self {
        match (protection, keys) {
            (Protection::Plain, _) => Opener::Plain,
            (Protection::Srtp { local_keys, .. }, KeyUse::Kept) => {
                Opener::Kept(Box::new(RtpInbound::new(local_keys.active(), ReplayWindowSize::default())))
            }
            (Protection::Srtp { local_keys, .. }, KeyUse::Derived) => {
                Opener::Derived(local_keys.active().clone())
            }
        }
    }

    /// Octets that sealing appended.
    #[inline]
    pub fn trailer(&self) -> usize {
        match self {
            Opener::Plain => 0,
            Opener::Kept(context) => context.trailer(),
            Opener::Derived(key) => trailer(key),
        }
    }

    /// Opens a whole packet in place and returns the length without the tag.
    ///
    /// # Errors
    /// [`OpenError`].
    #[inline]
    pub fn open(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence_number: u16,
    ) -> Result<usize, OpenError> {
        let opened = match self {
            Opener::Plain => return Ok(packet.len()),
            Opener::Kept(context) => context.open(packet, header_len, ssrc, sequence_number),
            Opener::Derived(key) => {
                let window = ReplayWindowSize::default();
                RtpInbound::<AesGcmProvider>::new(key, window).open(packet, header_len, ssrc, sequence_number)
            }
        };
        opened.map(|opened| opened.len)
    }
}

/// Octets that an SRTP packet under this key ends with: tag and MKI.
fn trailer(key: &MasterKey) -> usize {
    key.suite().rtp_tag_len() + key.mki().map_or(0, Mki::len)
}
