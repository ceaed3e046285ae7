//! What is refused, each with its own reason.

use super::*;

/// Sends `frame` into a fresh scene and expects one reason.
#[track_caller]
fn refused(frame: &[u8], reason: DropReason) {
    let mut scene = Scene::new();
    assert_eq!(scene.receive(HeapBuffer::new(frame, 0)), [reason]);
    assert!(scene.out.sent.is_empty() && scene.out.punted.is_empty());
    assert!(scene.balance().is_exact());
}

/// A valid frame with bytes replaced; IPv4 header checksum mended if `mend`.
fn altered(mend: bool, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let packet = Scene::new().srtp(1, &[1; 60]);
    let mut bytes = frame(A_REMOTE, A_LOCAL, None, &packet);
    change(&mut bytes);
    if mend {
        let header = usize::from(bytes[14] & 0xf) * 4;
        bytes[24..26].fill(0);
        let sum = crate::wire::checksum::checksum(&bytes[14..14 + header]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

#[test]
fn classify_refuses_with_its_own_reason() {
    use DropReason as R;
    refused(&[1; 13], R::EthernetMalformed);
    refused(&altered(false, |f| f[5] ^= 1), R::EthernetNotOurs);
    refused(&altered(false, |f| f[12..14].copy_from_slice(&[0x88, 0xb5])), R::EthertypeUnknown);
    refused(&frame(A_REMOTE, A_LOCAL, Some(5), b"x"), R::VlanUnexpected);
    refused(&altered(false, |f| f[14] = 0x65), R::Ipv4Malformed);
    refused(&altered(false, |f| f[22] ^= 1), R::Ipv4Checksum);
    refused(
        &altered(true, |f| {
            f[14] = 0x46;
            f.splice(34..34, [1, 1, 1, 0]);
            f[17] += 4;
        }),
        R::Ipv4Options,
    );
    refused(&altered(true, |f| f[20] = 0x20), R::Ipv4Fragment);
    refused(&altered(true, |f| f[26] = 224), R::IpSourceInvalid);
    refused(&altered(true, |f| f[33] ^= 3), R::IpNotLocal);
    refused(&altered(true, |f| f[23] = 6), R::IpProtocolUnknown);
    refused(&altered(false, |f| f[39] ^= 1), R::UdpMalformed);
    refused(&altered(false, |f| f[60] ^= 1), R::UdpChecksum);
    refused(&altered(true, |f| f[0..6].fill(0xff)), R::EthernetNotOurs);
    refused(&frame(A_REMOTE, A_LOCAL, None, b""), R::PayloadEmpty);
    refused(&frame(A_REMOTE, A_LOCAL, None, &[100, 0]), R::DemuxUnknown);
    refused(&frame(A_REMOTE, "10.1.0.1:9", None, &rtp(1, b"x")), R::PortUnknown);
    refused(&frame(A_REMOTE, "10.1.0.1:9", None, &[0, 1, 2, 3]), R::PortUnknown);
    let v6 = frame("[fd00::2]:5", "[fd00::1]:6", None, b"x");
    refused(&v6, R::IpNotLocal);
    refused(
        &{
            let mut f = v6.clone();
            f[14] = 0x45;
            f
        },
        R::Ipv6Malformed,
    );
    refused(
        &{
            let mut f = v6.clone();
            f[20] = 44;
            f
        },
        R::Ipv6Fragment,
    );
    refused(
        &{
            let mut f = v6;
            f[20] = 0;
            f
        },
        R::Ipv6ExtensionHeader,
    );
    let mut scene = Scene::new();
    assert_eq!(scene.receive(media(&rtp(1, b"x")).segmented()), [R::FrameSegmented]);
    let bad = media(&scene.srtp(1, b"x")).with_rx_checksums(Checksum::Bad);
    assert_eq!(scene.receive(bad), [R::Ipv4Checksum]);
}

#[test]
fn udp_checksum_may_be_absent_over_ipv4_and_not_over_ipv6() {
    let mut scene = Scene::new();
    let packet = scene.srtp(1, b"voice");
    let mut bytes = frame(A_REMOTE, A_LOCAL, None, &packet);
    bytes[40..42].fill(0);
    assert_eq!(scene.receive(HeapBuffer::new(&bytes, 0)), []);
    let setup = Setup { a_local: "[fd00:1::1]:20000", a_remote: "[fd00:1::2]:30000", ..Setup::default() };
    for found in [Checksum::Unknown, Checksum::Good] {
        let mut scene = Scene::with(&setup);
        let packet = scene.srtp(1, b"voice");
        let mut bytes = frame(setup.a_remote, setup.a_local, None, &packet);
        assert_eq!(scene.receive(HeapBuffer::new(&bytes, 0).with_rx_checksums(found)), []);
        bytes[60..62].fill(0);
        let absent = HeapBuffer::new(&bytes, 0).with_rx_checksums(found);
        assert_eq!(scene.receive(absent), [DropReason::UdpChecksum]);
    }
}

#[test]
fn punts_what_is_for_the_host_and_counts_what_does_not_fit() {
    let mut arp = vec![0xff; 6];
    arp.extend(PEER_MAC.0);
    arp.extend([0x08, 0x06]);
    arp.resize(60, 0);
    let icmp = altered(true, |f| f[23] = 1);
    let stun = frame(A_REMOTE, A_LOCAL, None, &[0, 1, 0, 0]);
    let dtls = frame(A_REMOTE, A_LOCAL, None, &[22, 254, 253]);
    for bytes in [&arp, &icmp, &stun, &dtls] {
        let mut scene = Scene::new();
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), []);
        assert_eq!(scene.out.punted, std::slice::from_ref(bytes));
        assert_eq!(scene.ports[0].counters.punted.value(), 1);
        assert!(scene.balance().is_exact());
        scene.out.full = true;
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), [DropReason::PuntFull]);
        scene.ports[0].punt_limit = TokenBucket::new(0, 1);
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), [DropReason::PuntRateLimited]);
        assert!(scene.balance().is_exact());
    }
}

#[test]
fn stages_behind_classify_refuse_with_their_own_reason() {
    use DropReason as R;
    let mut scene = Scene::new();
    let packet = scene.srtp(10, &[1; 60]);
    let elsewhere = HeapBuffer::new(&frame("10.1.0.2:30001", A_LOCAL, None, &packet), 0);
    assert_eq!(scene.receive(elsewhere), [R::SourceNotPinned]);
    assert_eq!(scene.receive(media(&packet[..27])), [R::SrtpTruncated]);
    assert_eq!(scene.receive(media(&[0x80; 11])), [R::RtpMalformed]);
    assert_eq!(scene.receive(media(&[0x8f; 60])), [R::RtpCsrcCount]);
    assert_eq!(scene.receive(media(&[0x90; 60])), [R::RtpExtensionLength]);
    assert_eq!(scene.receive(media(&[0x80, 200, 0, 0, 1])), [R::RtcpMalformed]);
    let mut damaged = packet.clone();
    damaged[30] ^= 1;
    assert_eq!(scene.receive(media(&damaged)), [R::SrtpAuthFailed]);
    assert_eq!(scene.receive(media(&packet)), []);
    assert_eq!(scene.receive(media(&packet)), [R::SrtpReplayed]);
    let mut other = packet.clone();
    other[8] ^= 1;
    assert_eq!(scene.receive(media(&other)), [R::SsrcChanged]);
    // What the gateway sends to leg B, as if B were its sender: nothing of B has come yet.
    assert!(scene.pipeline.streams.collides(StreamId(1), SSRC));
    assert!(!scene.pipeline.streams.collides(StreamId(1), SSRC ^ 1));
    assert!(!scene.pipeline.streams.collides(StreamId(0), SSRC), "its own");
    for seq in [2000, 4000] {
        let newer = scene.srtp(seq, b"voice");
        assert_eq!(scene.receive(media(&newer)), []);
    }
    let mut late = Scene::new().srtp(2900, b"voice");
    assert_eq!(scene.receive(media(&late)), [R::SrtpTooOld]);
    late.clear();

    let mut clear = receiver_report();
    clear.extend([0; 20]);
    assert_eq!(scene.receive(media(&clear)), [R::SrtcpNotEncrypted]);
    assert!(scene.balance().is_exact());
    assert_eq!(scene.balance().tx, 3);
}

#[test]
fn inspect_refuses_what_was_not_negotiated_or_is_malformed_inside() {
    use DropReason as R;
    let sealed = |header: &[u8], payload: &[u8]| {
        let mut packet = rtp(1, payload);
        packet[..header.len()].copy_from_slice(header);
        let header_len = if header[0] & 0x10 == 0 { 12 } else { 12 + 4 + usize::from(payload[3]) * 4 };
        packet.extend([0; 16]);
        let mut seal = RtpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 1));
        seal.seal(&mut packet, header_len, SSRC, PacketIndex::new(0, 1)).expect("a fresh index");
        packet
    };
    for (header, payload, reason) in [
        (&[0x80, 97][..], &b"voice"[..], R::PayloadTypeNotNegotiated),
        (&[0x80, 96], b"", R::RtpPayloadEmpty),
        (&[0xa0, 96], &[1, 2, 3, 0], R::RtpPadding),
        (&[0xa0, 96], &[1, 2, 3, 9], R::RtpPadding),
        (&[0xa0, 96], &[1, 2, 3, 4], R::RtpPayloadEmpty),
        (&[0x90, 96], &[0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0, 1], R::HeaderExtensionMalformed),
        (&[0x90, 96], &[0x81, 206, 0, 1, 0, 0, 0, 0, 1], R::HeaderExtensionRtcp),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.receive(media(&sealed(header, payload))), [reason], "{header:?} {payload:?}");
    }
    let mut scene = Scene::new();
    let mut compound = vec![0x80, 203, 0, 1];
    compound.extend(SSRC.to_be_bytes());
    compound.extend([0; 20]);
    scene.a_seals_rtcp.seal(&mut compound, 1).expect("a fresh index");
    assert_eq!(scene.receive(media(&compound)), [R::RtcpCompound], "BYE first, without reduced size");
}

#[test]
fn the_way_out_refuses_with_its_own_reason() {
    use DropReason as R;
    let mut scene = Scene::with(&Setup { resolved: false, ..Setup::default() });
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), [R::NextHopUnresolved]);

    let mut scene = Scene::new();
    scene.pipeline.streams.set_egress(StreamId(0), None, true, false);
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), [R::RemoteUnknown]);

    let mut scene = Scene::with(&Setup { mtu: 200, ..Setup::default() });
    let packet = scene.srtp(1, &[0; 145]);
    assert_eq!(scene.receive(media(&packet)), [R::MtuExceeded]);
    let packet = scene.srtp(2, &[0; 144]);
    assert_eq!(scene.receive(media(&packet)), [], "20 + 8 + 12 + 144 + 16 is 200");

    // A plain packet that fills its buffer grows by a tag.
    let mut scene = Scene::with(&Setup { mtu: 9000, plain_a: true, ..Setup::default() });
    let packet = rtp(1, &[7; HeapBuffer::DATA_ROOM - 42 - 12]);
    assert_eq!(scene.receive(media(&packet)), [R::RoomExhausted]);

    for (media_kind, payload, reason) in
        [(Media::Rtp, receiver_report(), R::RtcpUnexpected), (Media::Rtcp, rtp(1, b"x"), R::RtpUnexpected)]
    {
        let mut scene = Scene::with(&Setup { media: media_kind, ..Setup::default() });
        assert_eq!(scene.receive(media(&payload)), [reason]);
    }
}

#[test]
fn index_of_an_earlier_run_is_refused() {
    use crate::srtp::SealError;
    let mut seal = RtpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 2));
    seal.set_floor(PacketIndex::new(0, 100));
    let mut packet = rtp(99, b"voice");
    packet.extend([0; 16]);
    assert_eq!(seal.seal(&mut packet, 12, SSRC, PacketIndex::new(0, 99)), Err(SealError::IndexReserved));
}
