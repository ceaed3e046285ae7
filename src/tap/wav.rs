//! PCMU, PCMA and L16 as a WAV file, sample by sample as they were sent.
//!
//! Gaps are silence, so that time in the file is time in the call; what overlaps with what is there already is left out.
//! The header's lengths are written when the file is complete; [`recover`](super::recover) writes them if that never came.

use super::codecs::{Codec, Sampling};

/// Silence in PCMU: the code of 0 (G.711 table 2).
const PCMU_ZERO: u8 = 0xff;
/// Silence in PCMA: the code of the smallest value, even bits inverted (G.711 table 1).
const PCMA_ZERO: u8 = 0xd5;

const FORMAT_PCM: u16 = 1;
const FORMAT_PCMA: u16 = 6;
const FORMAT_PCMU: u16 = 7;

/// Octets of the header of PCM, up to the samples.
const PCM_HEADER: usize = 44;
/// Of the other formats: two octets of extension size, and a `fact` chunk.
const OTHER_HEADER: usize = 58;

/// Encodes a WAV file.
#[derive(Debug)]
pub(super) struct Wav {
    format: u16,
    rate: u32,
    channels: u8,
    /// Octets of a sample frame.
    frame: u64,
    silence: u8,
    /// Sample frames written.
    frames: u64,
}

impl Wav {
    /// `None` for a codec that is no PCM.
    pub(super) fn new(codec: Codec) -> Option<Self> {
        let (format, sampling, octets, silence) = match codec {
            Codec::Opus => return None,
            Codec::Pcmu(sampling) => (FORMAT_PCMU, sampling, 1, PCMU_ZERO),
            Codec::Pcma(sampling) => (FORMAT_PCMA, sampling, 1, PCMA_ZERO),
            Codec::L16(sampling) => (FORMAT_PCM, sampling, 2, 0),
        };
        let Sampling { rate, channels } = sampling;
        let frame = octets * u64::from(channels.max(1));
        Some(Wav { format, rate, channels, frame, silence, frames: 0 })
    }

    /// The header for what was written so far.
    pub(super) fn header(&self) -> Vec<u8> {
        let data = (self.frames * self.frame) as u32;
        let is_pcm = self.format == FORMAT_PCM;
        let header_len = if is_pcm { PCM_HEADER } else { OTHER_HEADER };
        let mut header = Vec::with_capacity(OTHER_HEADER);
        header.extend(b"RIFF");
        header.extend((header_len as u32 - 8 + data + data % 2).to_le_bytes());
        header.extend(b"WAVEfmt ");
        header.extend((if is_pcm { 16_u32 } else { 18 }).to_le_bytes());
        header.extend(self.format.to_le_bytes());
        header.extend(u16::from(self.channels).to_le_bytes());
        header.extend(self.rate.to_le_bytes());
        header.extend((self.rate * self.frame as u32).to_le_bytes());
        header.extend((self.frame as u16).to_le_bytes());
        header.extend((8 * self.frame as u16 / u16::from(self.channels.max(1))).to_le_bytes());
        if !is_pcm {
            header.extend(0_u16.to_le_bytes());
            header.extend(b"fact");
            header.extend(4_u32.to_le_bytes());
            header.extend((self.frames as u32).to_le_bytes());
        }
        header.extend(b"data");
        header.extend(data.to_le_bytes());
        header
    }

    /// Sample frames written so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Octets that the file has at most if it ends with this payload.
    pub(super) fn len_with(&self, position: u64, payload: &[u8]) -> u64 {
        let before = self.frames.max(position) * self.frame;
        OTHER_HEADER as u64 + before + payload.len() as u64 + 1
    }

    /// Adds a payload whose first sample frame belongs at `position`.
    pub(super) fn packet(&mut self, position: u64, payload: &[u8], out: &mut Vec<u8>) {
        let gap = position.saturating_sub(self.frames) * self.frame;
        out.resize(out.len() + gap as usize, self.silence);
        self.frames += gap / self.frame;
        let overlap = ((self.frames - position.min(self.frames)) * self.frame) as usize;
        let payload = payload.get(overlap..).unwrap_or_default();
        let whole = payload.len() - payload.len() % self.frame as usize;
        let samples = payload.get(..whole).unwrap_or_default();
        if self.format == FORMAT_PCM {
            // Network order (RFC 3551 §4.5.11) becomes little-endian.
            out.extend(samples.chunks_exact(2).flat_map(|sample| [sample[1], sample[0]]));
        } else {
            out.extend(samples);
        }
        self.frames += whole as u64 / self.frame;
    }

    /// What belongs behind the samples.
    pub(super) fn trailer(&self) -> &'static [u8] {
        // Chunks are of even length.
        if (self.frames * self.frame).is_multiple_of(2) { &[] } else { &[0] }
    }
}

/// The header of a file of `len` octets that begins with `header` and was never completed; how many octets of padding
/// are missing at its end. `None`: it is no WAV file of ours.
pub(super) fn completed_header(header: &[u8], len: u64) -> Option<(Vec<u8>, u64, usize)> {
    if header.get(..4)? != b"RIFF" || header.get(8..16)? != b"WAVEfmt " {
        return None;
    }
    let two = |at: usize| Some(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?));
    let (format, channels) = (two(20)?, two(22)?);
    let rate = u32::from_le_bytes(header.get(24..28)?.try_into().ok()?);
    let sampling = Sampling { rate, channels: u8::try_from(channels).ok()? };
    let codec = match format {
        FORMAT_PCMU => Codec::Pcmu(sampling),
        FORMAT_PCMA => Codec::Pcma(sampling),
        FORMAT_PCM => Codec::L16(sampling),
        _ => return None,
    };
    let mut wav = Wav::new(codec)?;
    let header_len = wav.header().len() as u64;
    wav.frames = len.checked_sub(header_len)? / wav.frame;
    let whole = header_len + wav.frames * wav.frame;
    Some((wav.header(), whole, wav.trailer().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_silence_and_overlaps_are_left_out() {
        let mut wav = Wav::new(Codec::Pcmu(Sampling::TELEPHONE)).expect("PCM");
        let mut out = Vec::new();
        wav.packet(0, &[1, 2], &mut out);
        wav.packet(4, &[3, 4], &mut out);
        wav.packet(5, &[9, 5], &mut out);
        wav.packet(1, &[9, 9], &mut out);
        assert_eq!(out, [1, 2, 0xff, 0xff, 3, 4, 5]);
        assert_eq!((wav.frames, wav.trailer()), (7, &[0_u8][..]));
        let header = wav.header();
        assert_eq!(header.len(), OTHER_HEADER);
        assert_eq!(header[4..8], (58_u32 - 8 + 8).to_le_bytes());
        assert_eq!(header[46..50], 7_u32.to_le_bytes(), "fact");
        assert_eq!(header[54..58], 7_u32.to_le_bytes(), "data");
    }

    #[test]
    fn l16_is_turned_round() {
        let mut wav = Wav::new(Codec::L16(Sampling { rate: 16_000, channels: 2 })).expect("PCM");
        let mut out = Vec::new();
        wav.packet(0, &[1, 2, 3, 4, 5], &mut out);
        wav.packet(2, &[5, 6, 7, 8], &mut out);
        assert_eq!(out, [2, 1, 4, 3, 0, 0, 0, 0, 6, 5, 8, 7]);
        assert_eq!(wav.header().len(), PCM_HEADER);
    }

    #[test]
    fn a_header_is_completed_from_the_length() {
        let stereo = Sampling { rate: 44_100, channels: 2 };
        for codec in [Codec::Pcmu(Sampling::TELEPHONE), Codec::Pcma(stereo), Codec::L16(stereo)] {
            let mut wav = Wav::new(codec).expect("PCM");
            let begun = wav.header();
            let mut out = begun.clone();
            wav.packet(0, &[7; 163], &mut out);
            let found = completed_header(&begun, out.len() as u64 + 1);
            let extra = u64::from(wav.frame == 1);
            wav.frames += extra;
            let whole = out.len() as u64 + extra;
            assert_eq!(found, Some((wav.header(), whole, wav.trailer().len())), "{codec:?}");
        }
        assert_eq!(completed_header(b"OggS", 1000), None);
    }
}
