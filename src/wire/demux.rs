//! Telling apart what shares one UDP port: the first byte (RFC 7983 §7), then RTP from RTCP by the second
//! (RFC 5761 §4).

/// What a UDP payload claims to be by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demux {
    /// 0 to 3.
    Stun,
    /// 16 to 19.
    Zrtp,
    /// 20 to 63.
    Dtls,
    /// 64 to 79: a TURN channel message.
    TurnChannel,
    /// 128 to 191; tell the two apart by [`is_rtcp`].
    RtpOrRtcp,
    /// A byte that RFC 7983 assigns to nobody (RFC 9443 gives some of them to QUIC, which no leg speaks), or
    /// an empty payload.
    Unknown,
}

/// Demultiplexes a UDP payload by its first byte (RFC 7983 §7, figure 3).
#[inline]
pub fn classify(payload: &[u8]) -> Demux {
    match payload.first() {
        Some(128..=191) => Demux::RtpOrRtcp,
        Some(0..=3) => Demux::Stun,
        Some(16..=19) => Demux::Zrtp,
        Some(20..=63) => Demux::Dtls,
        Some(64..=79) => Demux::TurnChannel,
        _ => Demux::Unknown,
    }
}

/// Whether a payload of the kind [`Demux::RtpOrRtcp`] is RTCP: its second byte is a packet type of 192 to
/// 223, which in RTP would be payload types 64 to 95 with the marker set (RFC 5761 §4).
///
/// A payload of one byte is not RTCP; it is refused as truncated RTP.
#[inline]
pub fn is_rtcp(payload: &[u8]) -> bool {
    matches!(payload.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_kind_of_rfc_7983() {
        for byte in 0..=255u8 {
            let expected = if byte < 4 {
                Demux::Stun
            } else if byte < 16 {
                Demux::Unknown
            } else if byte < 20 {
                Demux::Zrtp
            } else if byte < 64 {
                Demux::Dtls
            } else if byte < 80 {
                Demux::TurnChannel
            } else if byte < 128 {
                Demux::Unknown
            } else if byte < 192 {
                Demux::RtpOrRtcp
            } else {
                Demux::Unknown
            };
            assert_eq!(classify(&[byte]), expected, "{byte}");
            assert_eq!(classify(&[byte, 200]), expected, "{byte}");
        }
        assert_eq!(classify(&[]), Demux::Unknown);
    }

    #[test]
    fn rtcp_is_payload_types_64_to_95_with_the_marker() {
        for byte in 0..=255u8 {
            let (marker, payload_type) = (byte & 0x80 != 0, byte & 0x7f);
            assert_eq!(is_rtcp(&[0x80, byte]), marker && (64..=95).contains(&payload_type), "{byte}");
        }
        assert!(!is_rtcp(&[0x80]) && !is_rtcp(&[]));
    }
}
