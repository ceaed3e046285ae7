//! PCMU, PCMA, G.722 and L16 (RFC 3551 §4.5): sample-based, so any number of whole samples is a payload.
//!
//! RFC 3551 §4.3: "For sample-based encodings ... each audio sample is represented by a fixed number of bits ... An RTP
//! audio packet may contain any number of audio samples, subject to the constraint that the number of bits per sample
//! times the number of samples per packet yields an integral octet count. Samples for multiple channels MUST be
//! interleaved". A payload is therefore a multiple of the sample frame: one sample of each channel.
//!
//! | encoding | octets for each tick of the RTP clock and channel |
//! |---|---|
//! | PCMU, PCMA | 1 (8 bits a sample, 8000 Hz as a rule) |
//! | G.722 | 1: 64 kbit/s, and "the assigned RTP clock rate for G.722 is 8,000 Hz because that value was erroneously assigned in RFC 1890" (§4.5.2), though it samples at 16,000 Hz |
//! | L16 | 2 |

/// A payload is not a whole number of sample frames, or is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{actual} bytes are no whole number of sample frames of {frame} bytes: drop the packet")]
pub struct Error {
    /// Bytes of a sample frame.
    pub frame: u8,
    /// Length of the payload in bytes.
    pub actual: usize,
}

/// How long a payload of `len` bytes plays, in ticks of its RTP clock. `frame` is a sample frame in bytes: octets of one
/// tick times channels.
///
/// # Errors
/// [`Error`].
#[inline]
pub fn ticks(len: usize, frame: u8) -> Result<u32, Error> {
    let error = Error { frame, actual: len };
    // Most frames are one byte, which spares the division.
    let ticks = match frame {
        0 => return Err(error),
        1 => len,
        2 if len.is_multiple_of(2) => len / 2,
        4 if len.is_multiple_of(4) => len / 4,
        2 | 4 => return Err(error),
        _ if len.is_multiple_of(usize::from(frame)) => len / usize::from(frame),
        _ => return Err(error),
    };
    if ticks == 0 { Err(error) } else { Ok(ticks as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_a_whole_number_of_sample_frames() {
        for frame in 0..=255_u8 {
            for len in 0..3_000_usize {
                let expected = match usize::from(frame) {
                    0 => None,
                    frame => Some((len / frame) as u32).filter(|&ticks| ticks > 0 && len % frame == 0),
                };
                assert_eq!(ticks(len, frame).ok(), expected, "{len} {frame}");
            }
        }
    }

    #[test]
    fn twenty_milliseconds_of_each_encoding() {
        assert_eq!(ticks(160, 1), Ok(160), "PCMU, PCMA and G.722 at their clock of 8000");
        assert_eq!(ticks(1764, 2), Ok(882), "L16/44100/1");
        assert_eq!(ticks(1760, 4), Ok(440), "L16/44100/2");
        assert_eq!(ticks(1762, 4), Err(Error { frame: 4, actual: 1762 }));
    }
}
