//! AAC as ADTS frames in an RTP payload (ISO/IEC 13818-7 §6.2, ISO/IEC 14496-3 §1.A.2.2).
//!
//! No RFC defines it, senders do it all the same: the payload is one whole ADTS frame after another, each with its own
//! header, and nothing else. A frame that goes on in the next packet is refused, because nothing in the packet says so.
//!
//! # What the CRC tells
//!
//! `crc_check` (where `protection_absent` is 0) is the CRC-16 of ISO/IEC 11172-3 §2.4.3.1: polynomial 0x8005, start
//! 0xFFFF, most significant bit first. Which bits it covers depends on the number of raw data blocks in the frame:
//!
//! - **Several blocks** (`number_of_raw_data_blocks_in_frame` > 0): `adts_header_error_check` covers the 56 bits of the
//!   header and the `raw_data_block_position`s, nothing else. All of it is here, and a mismatch is refused
//!   ([`Error::Crc`]). The positions are held against the frame as well ([`Error::BlockPosition`]). Each block is
//!   followed by a CRC of its own, of the kind of the next item.
//! - **One block**: `adts_error_check` covers the header, the first 192 bits of each channel element, the first 128 bits
//!   of a pair's second channel and all of each data stream element. Where the second of any of these begins only the
//!   Huffman codes before it tell, that is, a decoder. So the two bytes must be there and be counted in the frame's
//!   length ([`Error::FrameLength`]), and their value goes on to the receiver, whose decoder checks it.

/// Length of the header without CRC in bytes.
pub const HEADER_LEN: usize = 7;
/// Length of a CRC, and of a raw data block's position, in bytes.
pub const CRC_LEN: usize = 2;
/// PCM samples that a raw data block decodes to, for each channel (ISO/IEC 14496-3 §1.A.2.2.1: ADTS has no 960).
pub const SAMPLES_PER_BLOCK: u32 = 1024;

/// Sampling frequencies by their index in Hz (ISO/IEC 14496-3 table 1.18). 13 and 14 are reserved, 15 is an escape that
/// ADTS does not have.
const SAMPLING_FREQUENCIES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Object type of the two-bit profile field that MPEG-2 reserves and MPEG-4 calls AAC LTP.
const LTP_PROFILE: u8 = 3;

/// Why bytes are not whole ADTS frames. Offsets count from the start of the payload, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The payload has no byte.
    #[error("an ADTS payload without a frame: drop the packet")]
    Empty,
    /// The twelve bits of the syncword are not all ones.
    #[error("no ADTS syncword at byte {offset}: drop the packet")]
    Sync {
        /// Where the frame should begin.
        offset: usize,
    },
    /// The layer is not 0.
    #[error("ADTS layer {actual} at byte {offset}, where AAC has 0: drop the packet")]
    Layer {
        /// Where the frame begins.
        offset: usize,
        /// The layer found.
        actual: u8,
    },
    /// A profile that the standard of the frame's ID bit reserves.
    #[error("ADTS profile {actual} at byte {offset} is reserved: drop the packet")]
    Profile {
        /// Where the frame begins.
        offset: usize,
        /// The profile found.
        actual: u8,
    },
    /// A sampling frequency index of 13, 14 or 15.
    #[error("ADTS sampling frequency index {actual} at byte {offset} has no meaning: drop the packet")]
    SamplingFrequency {
        /// Where the frame begins.
        offset: usize,
        /// The index found.
        actual: u8,
    },
    /// A frame's fixed header is not that of the frame before it (ISO/IEC 13818-7 §6.2.1: it does not change).
    #[error(
        "the fixed header of the ADTS frame at byte {offset} is not that of the one before: drop the packet"
    )]
    HeaderChanged {
        /// Where the frame begins.
        offset: usize,
    },
    /// The frame's length is shorter than its header and one byte, or reaches behind the payload's end.
    #[error(
        "the ADTS frame at byte {offset} states {stated} bytes where {least} to {available} are possible: drop the packet"
    )]
    FrameLength {
        /// Where the frame begins.
        offset: usize,
        /// `aac_frame_length`.
        stated: usize,
        /// The header with its CRC, and one byte for each raw data block.
        least: usize,
        /// Bytes from there to the end of the payload.
        available: usize,
    },
    /// A raw data block's position lies outside of the frame or not behind the one before it.
    #[error(
        "raw data block {block} of the ADTS frame at byte {offset} lies at {position}, outside of its place: drop the packet"
    )]
    BlockPosition {
        /// Where the frame begins.
        offset: usize,
        /// The block, from 1: block 0 has no position.
        block: usize,
        /// `raw_data_block_position`.
        position: usize,
    },
    /// The header's CRC does not verify.
    #[error(
        "the ADTS header CRC at byte {offset} is {stated:#06x}, but its bits make {computed:#06x}: drop the packet"
    )]
    Crc {
        /// Where the frame begins.
        offset: usize,
        /// `crc_check`.
        stated: u16,
        /// The CRC over header and positions.
        computed: u16,
    },
}

/// A frame's header, fixed and variable part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
}

impl Header {
    /// Reads the header at the start of `bytes`, which is at `offset` of the payload.
    ///
    /// # Errors
    /// [`Error::FrameLength`] if fewer than 7 bytes are left, [`Error::Sync`], [`Error::Layer`], [`Error::Profile`],
    /// [`Error::SamplingFrequency`].
    #[inline]
    pub fn parse(bytes: &[u8], offset: usize) -> Result<Header, Error> {
        // A syncword that is not there is told before a length, so that garbage is called what it is.
        match *bytes {
            [0xff, second, ..] if second & 0xf0 == 0xf0 => {}
            _ => return Err(Error::Sync { offset }),
        }
        let Some(&bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            let available = bytes.len();
            return Err(Error::FrameLength { offset, stated: available, least: HEADER_LEN + 1, available });
        };
        let header = Header { bytes };
        // ISO/IEC 13818-7 §6.2.1: "layer: Indicates which layer is used. Set to '00'."
        let layer = bytes[1] >> 1 & 3;
        if layer != 0 {
            return Err(Error::Layer { offset, actual: layer });
        }
        if header.is_mpeg2() && header.profile() == LTP_PROFILE {
            return Err(Error::Profile { offset, actual: header.profile() });
        }
        if usize::from(header.sampling_frequency_index()) >= SAMPLING_FREQUENCIES.len() {
            return Err(Error::SamplingFrequency { offset, actual: header.sampling_frequency_index() });
        }
        Ok(header)
    }

    /// The ID bit: MPEG-2 AAC where it is set, MPEG-4 otherwise.
    #[inline]
    pub fn is_mpeg2(&self) -> bool {
        self.bytes[1] & 0x08 != 0
    }

    /// Whether the header carries a CRC: `protection_absent` is 0.
    #[inline]
    pub fn is_protected(&self) -> bool {
        self.bytes[1] & 0x01 == 0
    }

    /// The two-bit profile; in MPEG-4 the audio object type minus one: 0 Main, 1 LC, 2 SSR, 3 LTP.
    #[inline]
    pub fn profile(&self) -> u8 {
        self.bytes[2] >> 6
    }

    /// The sampling frequency's index, 0 to 12.
    #[inline]
    pub fn sampling_frequency_index(&self) -> u8 {
        self.bytes[2] >> 2 & 0x0f
    }

    /// The sampling frequency in Hz. With spectral band replication that is the core's, half of what is played.
    #[inline]
    pub fn sampling_frequency(&self) -> u32 {
        SAMPLING_FREQUENCIES.get(usize::from(self.sampling_frequency_index())).copied().unwrap_or(0)
    }

    /// The channel configuration, 0 to 7; 0 says that the raw data block has it.
    #[inline]
    pub fn channel_configuration(&self) -> u8 {
        (self.bytes[2] & 1) << 2 | self.bytes[3] >> 6
    }

    /// How many channels the configuration has; `None` if the raw data block says so.
    #[inline]
    pub fn channels(&self) -> Option<u8> {
        match self.channel_configuration() {
            0 => None,
            7 => Some(8),
            count => Some(count),
        }
    }

    /// Length of the whole frame in bytes, header and CRCs included.
    #[inline]
    pub fn frame_len(&self) -> usize {
        usize::from(self.bytes[3] & 3) << 11
            | usize::from(self.bytes[4]) << 3
            | usize::from(self.bytes[5] >> 5)
    }

    /// State of the encoder's bit reservoir; 0x7FF is variable rate.
    #[inline]
    pub fn buffer_fullness(&self) -> u16 {
        u16::from(self.bytes[5] & 0x1f) << 6 | u16::from(self.bytes[6] >> 2)
    }

    /// How many raw data blocks the frame holds, 1 to 4.
    #[inline]
    pub fn blocks(&self) -> usize {
        usize::from(self.bytes[6] & 3) + 1
    }

    /// Length of the header in bytes: 7, or with a CRC 9 and two for each raw data block after the first.
    #[inline]
    pub fn len(&self) -> usize {
        if self.is_protected() { HEADER_LEN + CRC_LEN * self.blocks() } else { HEADER_LEN }
    }

    /// Never: a header has at least 7 bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bits of the fixed header, which are the same in all frames of a stream.
    #[inline]
    fn fixed(&self) -> u32 {
        u32::from_be_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3] & 0xf0])
    }
}

/// One frame of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Where it begins in the payload.
    pub offset: usize,
}

impl Frame {
    /// Where the raw data block begins in the payload; with several blocks the first one.
    #[inline]
    pub fn raw_offset(&self) -> usize {
        self.offset + self.header.len()
    }

    /// Length from the first raw data block to the frame's end in bytes. With one block that is the access unit; with
    /// several it is all of them and, where the frame is protected, the CRC behind each.
    #[inline]
    pub fn raw_len(&self) -> usize {
        self.header.frame_len() - self.header.len()
    }
}

/// A payload of whole frames.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    blocks: usize,
    first: Header,
}

impl<'a> Payload<'a> {
    /// Takes an RTP payload without padding and checks that whole frames with valid headers fill it.
    ///
    /// # Errors
    /// [`Error`].
    #[inline]
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        let first = Header::parse(bytes, 0)?;
        let (mut offset, mut blocks) = (0, 0);
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let header = Header::parse(rest, offset)?;
            if header.fixed() != first.fixed() {
                return Err(Error::HeaderChanged { offset });
            }
            let (stated, available) = (header.frame_len(), rest.len());
            // A raw data block has at least the three bits of its end, so one byte.
            let trailers = if header.is_protected() && header.blocks() > 1 { CRC_LEN } else { 0 };
            let least = header.len() + header.blocks() * (1 + trailers);
            if stated < least || stated > available {
                return Err(Error::FrameLength { offset, stated, least, available });
            }
            if header.is_protected() && header.blocks() > 1 {
                check_blocks(&header, rest, offset)?;
            }
            blocks += header.blocks();
            offset += stated;
        }
        Ok(Payload { bytes, blocks, first })
    }

    /// The first frame's header, whose fixed part all have.
    #[inline]
    pub fn header(&self) -> &Header {
        &self.first
    }

    /// The frames in order; at least one.
    #[inline]
    pub fn frames(&self) -> Frames<'a> {
        Frames { bytes: self.bytes, offset: 0 }
    }

    /// Raw data blocks in all frames: each is one access unit of [`SAMPLES_PER_BLOCK`] samples.
    #[inline]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// How long the payload plays, in samples of [`Header::sampling_frequency`].
    #[inline]
    pub fn samples(&self) -> u32 {
        (self.blocks as u32).saturating_mul(SAMPLES_PER_BLOCK)
    }
}

/// Iterator over the frames of a [`Payload`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let rest = self.bytes.get(self.offset..)?;
        // The payload was checked, so the only failure left is its end.
        let header = Header::parse(rest, self.offset).ok()?;
        let frame = Frame { header, offset: self.offset };
        self.offset += header.frame_len();
        Some(frame)
    }
}

/// CRC and positions of a protected frame of several blocks. `frame` begins with it and is long enough for its header.
fn check_blocks(header: &Header, frame: &[u8], offset: usize) -> Result<(), Error> {
    let crc_at = header.len() - CRC_LEN;
    let (covered, crc) = frame.split_at_checked(crc_at).unwrap_or((&[], &[]));
    let stated = crc.first_chunk().map_or(0, |word| u16::from_be_bytes(*word));
    let computed = crc16(covered);
    if stated != computed {
        return Err(Error::Crc { offset, stated, computed });
    }
    let (positions, _) = covered.get(HEADER_LEN..).unwrap_or_default().as_chunks::<2>();
    let mut before = 0;
    for (number, word) in positions.iter().enumerate() {
        // ISO/IEC 14496-3 §1.A.2.2.2: "raw_data_block_position: Start position of the i-th raw_data_block(), measured
        // as an offset in bytes from the start position of the first raw_data_block()".
        let position = usize::from(u16::from_be_bytes(*word));
        let room = header.frame_len() - header.len();
        if position <= before + CRC_LEN || position + CRC_LEN >= room {
            return Err(Error::BlockPosition { offset, block: number + 1, position });
        }
        before = position;
    }
    Ok(())
}

/// ISO/IEC 11172-3 §2.4.3.1: G(X) = X^16 + X^15 + X^2 + 1, start 0xFFFF.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte) << 8,
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 },
        )
    })
}

#[cfg(test)]
#[path = "adts_tests.rs"]
mod tests;
