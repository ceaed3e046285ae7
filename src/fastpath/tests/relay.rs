//! What is forwarded, handed over and learned.

use super::*;

#[test]
fn relays_rtp_to_the_other_leg_under_its_key() {
    let mut scene = Scene::new();
    for seq in 5..100 {
        let voice = vec![seq as u8; 20 + usize::from(seq)];
        let packet = scene.srtp(seq, &voice);
        assert_eq!(scene.receive(media(&packet)), []);
        let (port, sent) = scene.out.sent.pop().expect("forwarded");
        assert_eq!(port, 1);
        let mut packet = udp_payload(&sent);
        let opened = scene.b_opens.open(&mut packet, 12, SSRC, seq).expect("sealed with the other leg's key");
        assert_eq!(packet[..opened.len], rtp(seq, &voice)[..]);
    }
}

#[test]
fn relays_rtcp_to_the_other_leg_under_its_key() {
    let mut scene = Scene::new();
    let packet = scene.srtcp(7);
    assert_eq!(scene.receive(media(&packet)), []);
    let mut packet = udp_payload(&scene.out.sent[0].1);
    let opened = scene.b_opens_rtcp.open(&mut packet).expect("sealed with the other leg's key");
    assert_eq!(packet[..opened.len], receiver_report()[..]);
}

#[test]
fn crosses_from_ipv4_to_ipv6() {
    let setup = Setup { b_local: "[fd00:2::1]:20002", b_remote: "[fd00:2::2]:30002", ..Setup::default() };
    let mut scene = Scene::with(&setup);
    let packet = scene.srtp(1, &[7; 160]);
    assert_eq!(scene.receive(media(&packet)), []);
    let sent = &scene.out.sent[0].1;
    let ip = ipv6::Packet::new_checked(&sent[14..]).expect("an IPv6 packet");
    let pseudo = PseudoHeader::v6(ip.source(), ip.destination(), Protocol::UDP);
    let udp = udp::Packet::new_checked(ip.payload()).expect("a UDP datagram");
    assert_eq!(udp.verify_checksum(pseudo), udp::ChecksumState::Valid);
    assert_eq!(udp.payload().len(), packet.len());
}

#[test]
fn a_sent_frame_holds_nothing_of_an_earlier_packet() {
    // The same packet through buffers with different residue comes out the same.
    for length in [1, 20, 160, 700, 1400] {
        let mut frames = Vec::new();
        for residue in [0x00, 0xff, 0x5a] {
            let mut scene = Scene::with(&Setup { vlan: Some(7), ..Setup::default() });
            let packet = scene.srtp(1, &vec![1; length]);
            let buffer = HeapBuffer::new(&frame(A_REMOTE, A_LOCAL, Some(7), &packet), residue);
            assert_eq!(scene.receive(buffer), []);
            frames.push(scene.out.sent.pop().expect("forwarded").1);
        }
        assert_eq!(frames[0], frames[1], "{length}");
        assert_eq!(frames[0], frames[2], "{length}");
    }
}

#[test]
fn a_stream_of_another_worker_is_handed_over_and_never_processed_here() {
    let mut scene = Scene::with(&Setup { home: 1, ..Setup::default() });
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), []);
    assert!(scene.out.sent.is_empty());
    let counters = Arc::clone(&scene.ports[0].counters);
    assert_eq!(counters.handed_over_out.value(), 1);
    assert!(scene.balance().is_exact());
    let (worker, frame) = scene.out.handed_over.pop().expect("handed over");
    assert_eq!(worker, 1);

    // The owner goes on where the receiver stopped.
    counters.handed_over_in.add(1);
    let mut burst = Burst::new();
    burst.push(frame);
    scene.pipeline.process_matched(&scene.ports[0], burst, &mut scene.out);
    assert_eq!(scene.out.sent.len(), 1);
    assert!(scene.balance().is_exact());

    scene.out.full = true;
    let packet = scene.srtp(2, b"voice");
    assert_eq!(scene.receive(media(&packet)), [DropReason::HandoverFull]);
    assert!(scene.balance().is_exact());
}

#[test]
fn a_remote_is_learned_only_from_a_packet_that_authenticated() {
    let mut scene = Scene::with(&Setup { learn: Learn::Authenticated, ..Setup::default() });
    let from = |source: &str, packet: &[u8]| HeapBuffer::new(&frame(source, A_LOCAL, None, packet), 0);
    let mut forged = scene.srtp(1, b"voice");
    forged[20] ^= 1;
    assert_eq!(scene.receive(from("10.1.0.66:666", &forged)), [DropReason::SrtpAuthFailed]);
    assert!(scene.out.learned.is_empty(), "a forged packet teaches nothing");

    let packet = scene.srtp(2, b"voice");
    assert_eq!(scene.receive(from("10.1.0.2:4444", &packet)), []);
    let (stream, learned) = scene.out.learned.pop().expect("reported");
    assert_eq!((stream, learned.source.socket_addr()), (StreamId(0), address("10.1.0.2:4444")));
    scene.pipeline.streams[0].source = Some(learned.source);

    let packet = scene.srtp(3, b"voice");
    assert_eq!(scene.receive(from("10.1.0.2:4444", &packet)), []);
    assert!(scene.out.learned.is_empty(), "known by now");

    // NAT rebinding: authenticated and newest. An older packet, recorded and held back by an attacker, is
    // authentic as well, but moves nothing.
    let (held_back, newest) = (scene.srtp(4, b"voice"), scene.srtp(5, b"voice"));
    assert_eq!(scene.receive(from("10.1.0.2:5555", &newest)), []);
    assert_eq!(scene.out.learned.len(), 1);
    assert_eq!(scene.receive(from("10.1.0.66:666", &held_back)), []);
    assert_eq!(scene.out.learned.len(), 1);
}

#[test]
fn v4_and_v6_addresses_of_the_same_octets_are_different_hosts() {
    let setup = Setup { a_local: "10.1.0.1:20000", ..Setup::default() };
    let scene = Scene::with(&setup);
    let v6: IpAddr = "::a01:1".parse().expect("a literal");
    let slot = scene.pipeline.lookup.slot(&Endpoint::from(SocketAddr::new(v6, 0)).octets(), 0);
    assert_eq!(slot, None);
}
