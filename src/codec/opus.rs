//! Opus packets (RFC 6716 §3), as an RTP payload carries them: one packet, whole (RFC 7587 §4.2).
//!
//! [`Packet::new_checked`] holds a packet against the requirements R1 to R7 of RFC 6716 §3.4, which "a receiver MUST NOT
//! process" violations of. A frame of no byte is discontinuous transmission and valid (§3.2.1), so a packet may be a
//! single TOC byte.

/// The longest a frame may be in bytes (RFC 6716 §3.4 R2).
pub const MAX_FRAME_LEN: usize = 1275;
/// The clock of Opus in RTP in Hz, whatever the audio's bandwidth is (RFC 7587 §4.1).
pub const CLOCK_RATE: u32 = 48_000;
/// The longest that a packet may play: 120 ms in samples of [`CLOCK_RATE`] (RFC 6716 §3.4 R5).
pub const MAX_SAMPLES: u32 = 5_760;
/// The most frames in a packet: 120 ms of 2.5 ms each.
pub const MAX_FRAMES: usize = 48;

const CODE_MASK: u8 = 0x03;
const STEREO: u8 = 0x04;
const CONFIG_SHIFT: u8 = 3;

/// The frame count byte of code 3 (RFC 6716 §3.2.5): VBR, padding, count.
const VBR: u8 = 0x80;
const PADDING: u8 = 0x40;
const COUNT_MASK: u8 = 0x3f;

/// Samples a frame plays by its configuration (RFC 6716 §3.1, table 2).
const FRAME_SAMPLES: [u16; 32] = [
    480, 960, 1920, 2880, // SILK, narrowband
    480, 960, 1920, 2880, // SILK, medium band
    480, 960, 1920, 2880, // SILK, wideband
    480, 960, // hybrid, super-wideband
    480, 960, // hybrid, fullband
    120, 240, 480, 960, // CELT, narrowband
    120, 240, 480, 960, // CELT, wideband
    120, 240, 480, 960, // CELT, super-wideband
    120, 240, 480, 960, // CELT, fullband
];

/// Why bytes are not an Opus packet, by the requirement that they break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// R1: "Packets are at least one byte."
    #[error("an Opus packet without its TOC byte: drop the packet")]
    Empty,
    /// R2: "No implicit frame length is larger than 1275 bytes."
    #[error("an Opus frame of {len} bytes where 1275 are the most: drop the packet")]
    FrameSize {
        /// Length of the frame in bytes.
        len: usize,
    },
    /// R3, R4, R6, R7: counts and lengths do not fit the packet.
    #[error("the frames of an Opus packet of code {code} do not fill its {actual} bytes: drop the packet")]
    Framing {
        /// The code of the TOC byte, 1 to 3.
        code: u8,
        /// Length of the packet in bytes.
        actual: usize,
    },
    /// R5: "Code 3 packets contain at least one frame".
    #[error("an Opus packet of code 3 with no frame: drop the packet")]
    NoFrame,
    /// R5: "but no more than 120 ms of audio total."
    #[error(
        "an Opus packet of {samples} samples at 48 kHz where 5760 (120 ms) are the most: drop the packet"
    )]
    Duration {
        /// What its frames add up to in samples of 48 kHz.
        samples: u32,
    },
}

/// A checked packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    /// How many frames there are, 1 to 48.
    frames: u8,
    /// Where the first frame begins.
    start: usize,
    /// Where the last frame ends; behind it is padding.
    end: usize,
}

impl<'a> Packet<'a> {
    /// Takes an RTP payload without RTP padding.
    ///
    /// # Errors
    /// [`Error`], the first requirement that the packet breaks.
    #[inline]
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some((&toc, rest)) = bytes.split_first() else { return Err(Error::Empty) };
        let framing = Error::Framing { code: toc & CODE_MASK, actual: bytes.len() };
        match toc & CODE_MASK {
            0 => {
                implicit(rest.len())?;
                Ok(Packet { bytes, frames: 1, start: 1, end: bytes.len() })
            }
            1 => {
                // R3: "Code 1 packets have an odd total length, N, so that (N-1)/2 is an integer."
                if !rest.len().is_multiple_of(2) {
                    return Err(framing);
                }
                implicit(rest.len() / 2)?;
                Ok(Packet { bytes, frames: 2, start: 1, end: bytes.len() })
            }
            2 => {
                // R4: "Code 2 packets have enough bytes after the TOC for a valid frame length, and that length is no
                // larger than the number of bytes remaining in the packet."
                let (first, taken) = frame_length(rest).ok_or(framing)?;
                let second = rest.len().checked_sub(taken + first).ok_or(framing)?;
                implicit(second)?;
                Ok(Packet { bytes, frames: 2, start: 1 + taken, end: bytes.len() })
            }
            _ => code_3(bytes, toc),
        }
    }

    /// The configuration, 0 to 31: mode, bandwidth and frame size.
    #[inline]
    pub fn config(&self) -> u8 {
        self.toc() >> CONFIG_SHIFT
    }

    /// Whether the frames are stereo.
    #[inline]
    pub fn is_stereo(&self) -> bool {
        self.toc() & STEREO != 0
    }

    /// How many frames there are, 1 to 48.
    #[inline]
    pub fn frame_count(&self) -> usize {
        usize::from(self.frames)
    }

    /// How long the packet plays in samples of [`CLOCK_RATE`], at most [`MAX_SAMPLES`].
    #[inline]
    pub fn samples(&self) -> u32 {
        frame_samples(self.toc()) * u32::from(self.frames)
    }

    /// The frames in order; those of no byte are discontinuous transmission.
    #[inline]
    pub fn frames(&self) -> Frames<'a> {
        let code = self.toc() & CODE_MASK;
        let is_vbr = code == 2 || code == 3 && self.bytes.get(1).is_some_and(|count| count & VBR != 0);
        let data = self.bytes.get(self.start..self.end).unwrap_or_default();
        let lengths = match (is_vbr, code) {
            (false, _) => None,
            // The lengths of all frames but the last stand in front of the first.
            (true, 2) => self.bytes.get(1..self.start),
            (true, _) => self.bytes.get(2 + padding_field_len(self.bytes)..self.start),
        };
        Frames { data, offset: self.start, left: self.frames, lengths }
    }

    #[inline]
    fn toc(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }
}

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the payload.
    pub offset: usize,
    /// Its length in bytes, 0 to 1275.
    pub len: usize,
}

/// Iterator over the frames of a [`Packet`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    data: &'a [u8],
    offset: usize,
    left: u8,
    /// Of frames that have a length of their own.
    lengths: Option<&'a [u8]>,
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        if self.left == 0 {
            return None;
        }
        let len = match &mut self.lengths {
            Some(lengths) if self.left > 1 => {
                let (len, taken) = frame_length(lengths)?;
                *lengths = lengths.get(taken..).unwrap_or_default();
                len
            }
            Some(_) => self.data.len(),
            None => self.data.len() / usize::from(self.left),
        };
        let frame = Frame { offset: self.offset, len };
        self.data = self.data.get(len..)?;
        self.offset += len;
        self.left -= 1;
        Some(frame)
    }
}

/// R2, R5, R6 and R7 for a packet whose frames are counted.
fn code_3(bytes: &[u8], toc: u8) -> Result<Packet<'_>, Error> {
    let framing = Error::Framing { code: 3, actual: bytes.len() };
    // R6, R7: "at least two bytes".
    let (_, rest) = bytes.split_at_checked(2).ok_or(framing)?;
    let count_byte = bytes.get(1).copied().unwrap_or(0);
    let frames = count_byte & COUNT_MASK;
    if frames == 0 {
        return Err(Error::NoFrame);
    }
    let samples = frame_samples(toc) * u32::from(frames);
    if samples > MAX_SAMPLES {
        return Err(Error::Duration { samples });
    }
    // R6: "the number of bytes added to indicate the padding size plus the trailing padding bytes themselves, P, is no
    // more than N-2".
    let (field, padding) = padding(count_byte, rest).ok_or(framing)?;
    let end = bytes.len().checked_sub(padding).filter(|end| 2 + field <= *end).ok_or(framing)?;
    let mut start = 2 + field;
    let body = bytes.get(start..end).ok_or(framing)?;
    if count_byte & VBR == 0 {
        // R6: "(N-2-P) is a non-negative integer multiple of M".
        if !body.len().is_multiple_of(usize::from(frames)) {
            return Err(framing);
        }
        implicit(body.len() / usize::from(frames))?;
        return Ok(Packet { bytes, frames, start, end });
    }
    // R7: "VBR code 3 packets are large enough to contain all the header bytes (TOC byte, frame count byte, any padding
    // length bytes, and any frame length bytes), plus the length of the first M-1 frames, plus any trailing padding
    // bytes."
    let (mut at, mut explicit) = (0, 0);
    for _ in 1..frames {
        let (len, taken) = frame_length(body.get(at..).unwrap_or_default()).ok_or(framing)?;
        at += taken;
        explicit += len;
    }
    let last = body.len().checked_sub(at + explicit).ok_or(framing)?;
    implicit(last)?;
    start += at;
    Ok(Packet { bytes, frames, start, end })
}

/// R2. Lengths that are written out cannot be more: 4 * 255 + 255.
#[inline]
fn implicit(len: usize) -> Result<(), Error> {
    if len > MAX_FRAME_LEN { Err(Error::FrameSize { len }) } else { Ok(()) }
}

/// A frame's length and how many bytes say it (RFC 6716 §3.2.1): up to 251 one; from 252 two, the second times four.
#[inline]
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [first @ 0..=251, ..] => Some((usize::from(first), 1)),
        [first, second, ..] => Some((usize::from(first) + usize::from(second) * 4, 2)),
        _ => None,
    }
}

/// How many bytes give the padding's length, and that length (RFC 6716 §3.2.5): each 255 adds 254 and goes on.
fn padding(count_byte: u8, bytes: &[u8]) -> Option<(usize, usize)> {
    if count_byte & PADDING == 0 {
        return Some((0, 0));
    }
    let full = bytes.iter().take_while(|&&byte| byte == 255).count();
    let last = bytes.get(full)?;
    Some((full + 1, full * 254 + usize::from(*last)))
}

fn padding_field_len(packet: &[u8]) -> usize {
    let rest = packet.get(2..).unwrap_or_default();
    packet.get(1).and_then(|&count_byte| padding(count_byte, rest)).map_or(0, |(field, _)| field)
}

#[inline]
fn frame_samples(toc: u8) -> u32 {
    FRAME_SAMPLES.get(usize::from(toc >> CONFIG_SHIFT)).map_or(0, |&samples| u32::from(samples))
}

#[cfg(test)]
#[path = "opus_tests.rs"]
mod tests;
