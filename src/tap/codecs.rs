//! What the payload types of a leg mean, as far as their audio can be written without transcoding.

/// A codec whose packets fit a file as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Opus (RFC 7587): Ogg.
    Opus,
    /// PCMU (RFC 3551 §4.5.14): WAV format 7.
    Pcmu(Sampling),
    /// PCMA (RFC 3551 §4.5.14): WAV format 6.
    Pcma(Sampling),
    /// L16 (RFC 3551 §4.5.11): WAV format 1.
    L16(Sampling),
}

/// How sound is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// In Hz.
    pub rate: u32,
    /// 1 or more.
    pub channels: u8,
}

impl Sampling {
    /// 8 kHz, one channel.
    pub const TELEPHONE: Sampling = Sampling { rate: 8_000, channels: 1 };
}

impl Codec {
    /// Ticks of the RTP clock in a second.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::Pcmu(sampling) | Codec::Pcma(sampling) | Codec::L16(sampling) => sampling.rate,
        }
    }

    /// End of the file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Codec::Opus => "ogg",
            _ => "wav",
        }
    }
}

/// By payload type the codec, where it is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codecs(Box<[Option<Codec>; 128]>);

impl Codecs {
    /// No payload type is known.
    pub fn none() -> Self {
        Codecs(Box::new([None; 128]))
    }

    /// The payload types that RFC 3551 §6 assigns for good.
    pub fn of_static_types() -> Self {
        Self::none()
            .with(0, Codec::Pcmu(Sampling::TELEPHONE))
            .with(8, Codec::Pcma(Sampling::TELEPHONE))
            .with(10, Codec::L16(Sampling { rate: 44_100, channels: 2 }))
            .with(11, Codec::L16(Sampling { rate: 44_100, channels: 1 }))
    }

    /// The same, and `payload_type` (7 bits; others are ignored) is `codec`.
    #[must_use]
    pub fn with(mut self, payload_type: u8, codec: Codec) -> Self {
        if let Some(place) = self.0.get_mut(usize::from(payload_type)) {
            *place = Some(codec);
        }
        self
    }

    /// What `payload_type` is.
    pub fn of(&self, payload_type: u8) -> Option<Codec> {
        self.0.get(usize::from(payload_type)).copied().flatten()
    }
}
