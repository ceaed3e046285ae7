//! Why a frame was not forwarded.
//!
//! One enum is at once the counter's index, the metric's label and the row in `docs/drop-reasons.md`
//! (a test compares the two). A frame that is not forwarded has exactly one reason, the first check that
//! refused it; checks run in the order of the packet path, and so do the variants below.

macro_rules! drop_reasons {
    ($( $stage:ident { $( $variant:ident => $label:literal, $meaning:literal; )+ } )+) => {
        /// The one cause for which a frame was not forwarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $( $( #[doc = $meaning] $variant, )+ )+
        }

        impl DropReason {
            /// Every reason, in the order of the packet path; the position is [`DropReason::index`].
            pub const ALL: &'static [DropReason] = &[ $( $( DropReason::$variant, )+ )+ ];

            /// How many reasons there are: the length of a per-queue counter array.
            pub const COUNT: usize = Self::ALL.len();

            /// The `reason` label of `voxlane_dropped_packets_total`.
            pub const fn label(self) -> &'static str {
                match self { $( $( DropReason::$variant => $label, )+ )+ }
            }

            /// The stage of the packet path that refuses the frame.
            pub const fn stage(self) -> &'static str {
                match self { $( $( DropReason::$variant => stringify!($stage), )+ )+ }
            }

            /// One sentence for the operator: what was wrong with the frame.
            pub const fn meaning(self) -> &'static str {
                match self { $( $( DropReason::$variant => $meaning, )+ )+ }
            }
        }
    };
}

drop_reasons! {
    classify {
        FrameSegmented => "frame_segmented", "The frame spans more than one mbuf: it is larger than a buffer's data room.";
        EthernetMalformed => "ethernet_malformed", "The frame is shorter than an Ethernet header.";
        EthernetNotOurs => "ethernet_not_ours", "The unicast destination MAC address is not the port's.";
        VlanUnexpected => "vlan_unexpected", "The VLAN tag is missing, doubled or not the port's.";
        EthertypeUnknown => "ethertype_unknown", "The EtherType is none of IPv4, IPv6 and ARP.";
        Ipv4Malformed => "ipv4_malformed", "The IPv4 version, header length or total length disagrees with the frame (RFC 791 section 3.1).";
        Ipv4Checksum => "ipv4_checksum", "The IPv4 header checksum is wrong.";
        Ipv4Options => "ipv4_options", "The IPv4 header carries options; media never does.";
        Ipv4Fragment => "ipv4_fragment", "The packet is an IPv4 fragment; media is never reassembled.";
        Ipv6Malformed => "ipv6_malformed", "The IPv6 version or payload length disagrees with the frame (RFC 8200 section 3).";
        Ipv6ExtensionHeader => "ipv6_extension_header", "The IPv6 packet carries an extension header other than a fragment header.";
        Ipv6Fragment => "ipv6_fragment", "The packet is an IPv6 fragment; media is never reassembled.";
        IpSourceInvalid => "ip_source_invalid", "The source address is multicast, broadcast, loopback or unspecified.";
        IpNotLocal => "ip_not_local", "The destination address is not one of the port's own.";
        IpProtocolUnknown => "ip_protocol_unknown", "The IP protocol is none of UDP and ICMP.";
        UdpMalformed => "udp_malformed", "The UDP length disagrees with the IP payload (RFC 768).";
        UdpChecksum => "udp_checksum", "The UDP checksum is wrong, or absent over IPv6 (RFC 8200 section 8.1).";
        PayloadEmpty => "payload_empty", "The UDP datagram carries no byte.";
        DemuxUnknown => "demux_unknown", "The first byte is in no range that RFC 7983 section 7 assigns.";
    }
    find_stream {
        PortUnknown => "port_unknown", "No leg is bound to the local address and port.";
        RtpUnexpected => "rtp_unexpected", "RTP arrived on a leg's RTCP port.";
        RtcpUnexpected => "rtcp_unexpected", "RTCP arrived on the RTP port of a leg without rtcp-mux (RFC 5761).";
        SourceNotPinned => "source_not_pinned", "The source is not the leg's pinned remote address and port.";
        HandoverFull => "handover_full", "The ring to the worker on which the stream is homed was full.";
    }
    open {
        StreamQuarantined => "stream_quarantined", "An earlier packet of the stream made the worker panic; the stream is out of service until it is changed.";
        RtpMalformed => "rtp_malformed", "The packet is too short for an RTP header (RFC 3550 section 5.1).";
        RtpCsrcCount => "rtp_csrc_count", "The CSRC count says more contributing sources than the packet has room for (RFC 3550 section 5.1).";
        RtpExtensionLength => "rtp_extension_length", "The header extension's length reaches behind the packet's end (RFC 3550 section 5.3.1).";
        RtcpMalformed => "rtcp_malformed", "The packet is too short for an RTCP header (RFC 3550 section 6.4).";
        SrtpTruncated => "srtp_truncated", "The packet is too short for its authentication tag or SRTCP trailer.";
        SrtcpNotEncrypted => "srtcp_not_encrypted", "The SRTCP E-bit is clear on a leg that requires encryption (RFC 7714 section 9.3).";
        SsrcChanged => "ssrc_changed", "The SSRC is not the one that the stream authenticated first.";
        BeforeSource => "before_source", "The packet is older than the first one of a source that replaced another: its index belongs to that other.";
        SsrcCollision => "ssrc_collision", "The SSRC is that of the session's other leg: a loop, or two sources that chose the same (RFC 3550 section 8.2).";
        SrtpTooOld => "srtp_too_old", "The packet index lies behind the replay window (RFC 3711 section 3.3.2).";
        SrtpReplayed => "srtp_replayed", "The packet index was received before (RFC 3711 section 3.3.2).";
        SrtpMkiUnknown => "srtp_mki_unknown", "The master key identifier is none that was agreed for the leg (RFC 3711 section 3.1).";
        SrtpAuthFailed => "srtp_auth_failed", "The authentication tag does not verify.";
        KeyExhausted => "key_exhausted", "The key has reached its packet limit: 2^48 SRTP, 2^31 SRTCP (RFC 3711 section 9.2).";
    }
    inspect {
        PayloadTypeNotNegotiated => "payload_type_not_negotiated", "The RTP payload type was not negotiated for the leg.";
        HeaderExtensionMalformed => "header_extension_malformed", "A one- or two-byte header extension element overruns the extension (RFC 8285 section 4).";
        HeaderExtensionRtcp => "header_extension_rtcp", "The header extension, or an element of it, is an RTCP packet in disguise (RFC 4585 section 6.1).";
        RtpPadding => "rtp_padding", "The RTP padding count is zero or larger than the payload (RFC 3550 section 5.1).";
        RtpPayloadEmpty => "rtp_payload_empty", "The RTP packet carries no payload.";
        OpusFrameSize => "opus_frame_size", "An Opus frame has more than 1275 bytes (RFC 6716 section 3.4 R2).";
        OpusFraming => "opus_framing", "The frame lengths, count or padding of an Opus packet do not fit it (RFC 6716 section 3.4 R3, R4, R6, R7).";
        OpusFrameCount => "opus_frame_count", "An Opus packet of code 3 says that it has no frame (RFC 6716 section 3.4 R5).";
        OpusDuration => "opus_duration", "An Opus packet of code 3 plays more than 120 ms (RFC 6716 section 3.4 R5).";
        AdtsSync => "adts_sync", "There is no ADTS syncword where a frame must begin (ISO/IEC 14496-3 section 1.A.2.2).";
        AdtsHeader => "adts_header", "An ADTS header's layer, profile, sampling frequency or channels are impossible, changed, or not those negotiated.";
        AdtsFrameLength => "adts_frame_length", "An ADTS frame's length, or the place of a raw data block in it, disagrees with the payload.";
        AdtsCrc => "adts_crc", "The CRC over an ADTS header of several raw data blocks is wrong.";
        AacAuHeader => "aac_au_header", "AU-headers-length is no number of 16-bit AU-headers, or they leave no data (RFC 3640 section 3.2.1).";
        AacInterleaved => "aac_interleaved", "An AU-Index or AU-Index-delta is not zero: interleaving was not negotiated (RFC 3640 section 3.2.1.1).";
        AacAuSize => "aac_au_size", "The AU-sizes do not add up to the data behind the AU-headers (RFC 3640 section 3.2.3).";
        PcmSampleFrame => "pcm_sample_frame", "The payload is no whole number of samples of all channels (RFC 3551 section 4.3).";
        PtimeOutOfRange => "ptime_out_of_range", "The packet plays a shorter or longer time than was negotiated (RFC 8866 section 6.4).";
        TelephoneEventMalformed => "telephone_event_malformed", "The payload is no whole number of event reports of 4 bytes, or a reserved bit is set (RFC 4733 section 2.3).";
        TelephoneEventNotNegotiated => "telephone_event_not_negotiated", "The telephone event is none that was negotiated (RFC 4733 section 2.4.1).";
        ComfortNoiseMalformed => "comfort_noise_malformed", "The noise level is above 127, a coefficient is reserved, or there are more than 32 (RFC 3389 section 3).";
        RtcpCompound => "rtcp_compound", "The RTCP compound packet's structure is wrong (RFC 3550 section 6.1, RFC 5506).";
    }
    reencapsulate {
        RemoteUnknown => "remote_unknown", "The receiving leg has no remote address yet; none was configured and none authenticated.";
        NextHopUnresolved => "next_hop_unresolved", "The receiving leg's next hop has no MAC address yet.";
        MtuExceeded => "mtu_exceeded", "The packet would be larger than the MTU of the port that it leaves by.";
        ReframeImpossible => "reframe_impossible", "The payload has no form on the receiving leg: no whole access units, another AAC configuration, or too many (RFC 3640).";
        RoomExhausted => "room_exhausted", "The buffer has no headroom or tailroom for the other leg's headers and tag.";
    }
    seal {
        IndexReserved => "index_reserved", "The packet index lies in a range that an earlier run may have sealed under the same key.";
    }
    transmit {
        TxFull => "tx_full", "The port did not take the frame within the bounded number of retries.";
    }
    punt {
        PuntRateLimited => "punt_rate_limited", "More frames for the host arrived than the punt rate limit allows.";
        PuntFull => "punt_full", "The ring to the control thread was full.";
    }
    worker {
        HandoverMisrouted => "handover_misrouted", "The hand-over ring brought the frame to a worker that does not own its stream; a bug to report.";
        WorkerPanic => "worker_panic", "The worker panicked while it processed the burst that held the frame.";
    }
}

impl DropReason {
    /// Whether a leg that counts only lets such packets pass: what is wrong with the payload alone, and would not keep the
    /// gateway from relaying it.
    pub const fn is_tolerable(self) -> bool {
        matches!(
            self,
            DropReason::OpusFrameSize
                | DropReason::OpusFraming
                | DropReason::OpusFrameCount
                | DropReason::OpusDuration
                | DropReason::AdtsSync
                | DropReason::AdtsHeader
                | DropReason::AdtsFrameLength
                | DropReason::AdtsCrc
                | DropReason::AacAuHeader
                | DropReason::AacInterleaved
                | DropReason::AacAuSize
                | DropReason::PcmSampleFrame
                | DropReason::PtimeOutOfRange
                | DropReason::TelephoneEventMalformed
                | DropReason::TelephoneEventNotNegotiated
                | DropReason::ComfortNoiseMalformed
        )
    }

    /// The reason's position in [`DropReason::ALL`] and in every per-queue counter array.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn index_is_the_position_in_all() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), position);
        }
    }

    #[test]
    fn labels_are_unique_and_snake_case() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert!(
            labels
                .iter()
                .all(|l| l.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()))
        );
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);
    }
}
