//! What every ADTS header says and RFC 3640 says once, in `config` of the leg's fmtp: object type, sampling frequency,
//! channels (ISO/IEC 14496-3 §1.6.2.1, AudioSpecificConfig).
//!
//! Comes from the configuration, is part of a stream's rules, and goes into the ADTS headers that the gateway makes.

/// The part of an AudioSpecificConfig that an ADTS header carries, in two octets: profile 2 bits, sampling frequency index 4,
/// channel configuration 3.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AacConfig(u16);

/// Why an AudioSpecificConfig cannot be told in ADTS headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AacConfigError {
    /// The octets end too early.
    #[error("AudioSpecificConfig of {octets} octets is too short; copy all of config from the SDP")]
    Truncated {
        /// Octets there are.
        octets: usize,
    },
    /// An audio object type that two bits cannot say.
    #[error("ADTS cannot carry audio object type {0}; it has 1 to 4, and with SBR or PS on top of these")]
    ObjectType(u8),
    /// A sampling frequency outside of the table.
    #[error("ADTS has no sampling frequency index {0}; use a frequency of ISO/IEC 14496-3 table 1.18")]
    SamplingFrequency(u8),
    /// A channel configuration that ADTS leaves to the raw data block, or has no bits for.
    #[error("channel configuration {0} has no place in an ADTS header; use 1 to 7")]
    Channels(u8),
    /// Frames of 960 samples.
    #[error("ADTS frames have 1024 samples, the configuration says 960")]
    ShortFrames,
}

/// Spectral band replication, and parametric stereo: an extension on top of another object type.
const SBR: u32 = 5;
const PS: u32 = 29;

impl AacConfig {
    /// Of a payload that is no AAC. No ADTS header says this.
    pub const NONE: Self = AacConfig(0);

    /// Of AAC that ADTS cannot carry. No ADTS header says this either.
    pub const FOREIGN: Self = AacConfig(u16::MAX);

    /// AAC of audio object type `object_type` (2 is LC).
    ///
    /// # Errors
    /// [`AacConfigError`].
    pub const fn new(
        object_type: u8,
        sampling_frequency_index: u8,
        channel_configuration: u8,
    ) -> Result<Self, AacConfigError> {
        if object_type == 0 || object_type > 4 {
            return Err(AacConfigError::ObjectType(object_type));
        }
        if sampling_frequency_index > 12 {
            return Err(AacConfigError::SamplingFrequency(sampling_frequency_index));
        }
        if channel_configuration == 0 || channel_configuration > 7 {
            return Err(AacConfigError::Channels(channel_configuration));
        }
        let fields = [object_type - 1, sampling_frequency_index, channel_configuration];
        Ok(AacConfig((fields[0] as u16) << 7 | (fields[1] as u16) << 3 | fields[2] as u16))
    }

    /// Reads `config` of an fmtp (RFC 3640 §4.1), from hexadecimal to octets already.
    ///
    /// # Errors
    /// [`AacConfigError`].
    pub fn from_audio_specific_config(octets: &[u8]) -> Result<Self, AacConfigError> {
        let mut bits = Bits { octets, at: 0 };
        let mut take = |count| bits.take(count).ok_or(AacConfigError::Truncated { octets: octets.len() });
        let mut object_type = take(5)?;
        let frequency = take(4)?;
        let channels = take(4)?;
        if object_type == SBR || object_type == PS {
            // The extension's own frequency; the core's is what ADTS says.
            if take(4)? == 15 {
                take(24)?;
            }
            object_type = take(5)?;
        }
        // GASpecificConfig begins with frameLengthFlag.
        let is_short = take(1)? == 1;
        let config = Self::new(object_type as u8, frequency as u8, channels as u8)?;
        if is_short { Err(AacConfigError::ShortFrames) } else { Ok(config) }
    }

    /// AAC-LC of a sampling frequency in Hz and a number of channels, as it is without a configuration; `None` if ADTS has no
    /// such.
    pub fn low_complexity(sampling_frequency: u32, channels: u8) -> Option<Self> {
        const HZ: [u32; 13] = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
            7_350,
        ];
        let index = HZ.iter().position(|hz| *hz == sampling_frequency)?;
        let channels = match channels {
            8 => 7,
            7 => return None,
            channels => channels,
        };
        Self::new(2, index as u8, channels).ok()
    }

    /// The shortest AudioSpecificConfig that says this (ISO/IEC 14496-3 §1.6.2.1).
    pub const fn audio_specific_config(&self) -> u16 {
        let object_type = self.profile() as u16 + 1;
        object_type << 11
            | (self.sampling_frequency_index() as u16) << 7
            | (self.channel_configuration() as u16) << 3
    }

    /// The two-bit profile of ADTS: the audio object type minus one.
    pub const fn profile(&self) -> u8 {
        (self.0 >> 7) as u8 & 3
    }

    /// Sampling frequency index, 0 to 12.
    pub const fn sampling_frequency_index(&self) -> u8 {
        (self.0 >> 3) as u8 & 15
    }

    /// Channel configuration, 1 to 7.
    pub const fn channel_configuration(&self) -> u8 {
        self.0 as u8 & 7
    }
}

impl std::fmt::Debug for AacConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AacConfig")
            .field("profile", &self.profile())
            .field("sampling_frequency_index", &self.sampling_frequency_index())
            .field("channel_configuration", &self.channel_configuration())
            .finish()
    }
}

struct Bits<'a> {
    octets: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for at in self.at..self.at + count {
            value = value << 1 | u32::from(self.octets.get(at / 8)? >> (7 - at % 8) & 1);
        }
        self.at += count;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(octets: &[u8]) -> Result<AacConfig, AacConfigError> {
        AacConfig::from_audio_specific_config(octets)
    }

    #[test]
    fn the_configurations_of_usual_encoders() {
        // LC, 48 kHz, stereo; LC, 44.1 kHz, mono; LC, 8 kHz, mono.
        assert_eq!(parse(&[0x11, 0x90]), AacConfig::new(2, 3, 2));
        assert_eq!(parse(&[0x12, 0x08]), AacConfig::new(2, 4, 1));
        assert_eq!(parse(&[0x15, 0x88]), AacConfig::new(2, 11, 1));
        // HE-AAC, signalled explicitly: SBR on LC, 24 kHz core played at 48 kHz, stereo.
        assert_eq!(parse(&[0x2b, 0x11, 0x88, 0x00]), AacConfig::new(2, 6, 2));
    }

    #[test]
    fn what_is_usual_without_a_configuration() {
        assert_eq!(AacConfig::low_complexity(44_100, 2), AacConfig::new(2, 4, 2).ok());
        assert_eq!(AacConfig::low_complexity(7_350, 8), AacConfig::new(2, 12, 7).ok());
        assert_eq!((AacConfig::low_complexity(44_101, 2), AacConfig::low_complexity(8_000, 7)), (None, None));
        for octets in [[0x11, 0x90], [0x12, 0x08], [0x15, 0x88]] {
            let config = parse(&octets).expect("ADTS has it");
            assert_eq!(config.audio_specific_config().to_be_bytes(), octets);
        }
    }

    #[test]
    fn what_adts_cannot_say_is_refused() {
        assert_eq!(parse(&[]), Err(AacConfigError::Truncated { octets: 0 }));
        assert_eq!(parse(&[0x11]), Err(AacConfigError::Truncated { octets: 1 }));
        assert_eq!(parse(&[0xb9, 0x90]), Err(AacConfigError::ObjectType(23)), "AAC-LD");
        assert_eq!(parse(&[0x17, 0x88]), Err(AacConfigError::SamplingFrequency(15)));
        assert_eq!(parse(&[0x11, 0x80]), Err(AacConfigError::Channels(0)));
        assert_eq!(parse(&[0x11, 0x94]), Err(AacConfigError::ShortFrames));
    }
}
