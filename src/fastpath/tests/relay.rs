//! What is forwarded, handed over and learned.

use super::*;

#[test]
fn relays_to_the_other_leg_under_its_key_with_aes_gcm() {
    every_pair_of_suites::<AesGcmProvider>();
}

#[test]
fn relays_to_the_other_leg_under_its_key_with_ipsec_mb() {
    if crate::srtp::tests::has_ipsec_mb(module_path!()) {
        every_pair_of_suites::<IpsecMbProvider>();
    }
}

fn every_pair_of_suites<P: Provider>() {
    for suite_a in Suite::ALL {
        for suite_b in Suite::ALL {
            let setup = Setup { suite_a, suite_b, ..Setup::default() };
            let pair = format!("{suite_a} to {suite_b}");
            relays_rtp(&mut SceneOf::<P>::with(&setup), &pair);
            relays_rtcp(&mut SceneOf::<P>::with(&setup), &pair);
            relays_a_burst(&mut SceneOf::<P>::with(&setup), &pair);
        }
    }
}

fn relays_rtp<P: Provider>(scene: &mut SceneOf<P>, pair: &str) {
    for seq in 5..100 {
        let voice = vec![seq as u8; 20 + usize::from(seq)];
        let packet = scene.srtp(seq, &voice);
        assert_eq!(scene.receive(media(&packet)), [], "{pair}");
        let (port, sent) = scene.out.sent.pop().expect("forwarded");
        assert_eq!(port, 1);
        let mut packet = udp_payload(&sent);
        let opened = scene.b_opens.open(&mut packet, 12, SSRC, seq).expect("sealed with the other leg's key");
        assert_eq!(packet[..opened.len], rtp(seq, &voice)[..], "{pair}");
    }
}

fn relays_rtcp<P: Provider>(scene: &mut SceneOf<P>, pair: &str) {
    let packet = scene.srtcp(7);
    assert_eq!(scene.receive(media(&packet)), [], "{pair}");
    let mut packet = udp_payload(&scene.out.sent[0].1);
    let opened = scene.b_opens_rtcp.open(&mut packet).expect("sealed with the other leg's key");
    assert_eq!(packet[..opened.len], receiver_report()[..], "{pair}");
}

/// A whole burst of one stream: out of order, one packet twice and one forged.
fn relays_a_burst<P: Provider>(scene: &mut SceneOf<P>, pair: &str) {
    let order = [9, 3, 4, 10, 11, 5, 3, 12, 8, 7, 13, 14, 15, 2, 16, 17];
    let mut burst = Burst::new();
    let mut packets: Vec<Vec<u8>> = (0..18).map(|seq| scene.srtp(seq, &[seq as u8; 160])).collect();
    packets[12][40] ^= 1;
    order.iter().for_each(|&seq| burst.push(media(&packets[seq])));
    scene.pipeline.process(&mut scene.ports[0], &mut burst, 1_000_000_000, &mut scene.out);
    let mut relayed = Vec::new();
    for (_, sent) in std::mem::take(&mut scene.out.sent) {
        let mut packet = udp_payload(&sent);
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let opened = scene.b_opens.open(&mut packet, 12, SSRC, seq).expect("sealed with the other leg's key");
        assert_eq!(packet[..opened.len], rtp(seq, &[seq as u8; 160])[..], "{pair}");
        relayed.push(usize::from(seq));
    }
    assert_eq!(relayed, [9, 3, 4, 10, 11, 5, 8, 7, 13, 14, 15, 2, 16, 17], "{pair}");
    let counters = &scene.ports[0].counters;
    assert_eq!(counters.dropped_for(DropReason::SrtpReplayed), 1, "{pair}");
    assert_eq!(counters.dropped_for(DropReason::SrtpAuthFailed), 1, "{pair}");
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
    scene.pipeline.worker = 1;
    scene.pipeline.process_handed_over(&scene.ports[0], &mut Burst::from_iter([frame]), &mut scene.out);
    assert_eq!((scene.out.sent.len(), counters.handed_over_in.value()), (1, 1));
    assert!(scene.balance().is_exact());
    scene.pipeline.worker = 0;

    scene.out.full = true;
    let packet = scene.srtp(2, b"voice");
    assert_eq!(scene.receive(media(&packet)), [DropReason::HandoverFull]);
    assert!(scene.balance().is_exact());
}

#[test]
fn a_worker_that_does_not_own_the_stream_refuses_what_is_handed_to_it() {
    let mut scene = Scene::with(&Setup { home: 1, ..Setup::default() });
    let packets = [1, 2, 3].map(|sequence| scene.srtp(sequence, b"voice"));
    for packet in &packets {
        assert_eq!(scene.receive(media(packet)), []);
    }
    let mut frames: Vec<_> = scene.out.handed_over.drain(..).map(|(_, frame)| frame).collect();
    let before = format!("{:?}", scene.pipeline.streams);
    scene.pipeline.worker = 2;
    let mut one = frames.pop().into_iter().collect();
    scene.pipeline.process_handed_over(&scene.ports[0], &mut one, &mut scene.out);
    assert_eq!(scene.ports[0].counters.dropped_for(DropReason::HandoverMisrouted), 1);
    assert!(scene.out.sent.is_empty());
    assert_eq!(format!("{:?}", scene.pipeline.streams), before, "another's stream is not touched");

    scene.pipeline.worker = 1;
    scene.pipeline.process_handed_over(&scene.ports[0], &mut frames.into_iter().collect(), &mut scene.out);
    assert_eq!(scene.out.sent.len(), 2, "the owner takes the others");
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
    let learned = scene.out.learned.pop().expect("reported");
    assert_eq!((learned.stream, learned.source.socket_addr()), (StreamId(0), address("10.1.0.2:4444")));
    scene.pipeline.streams.set_source(StreamId(0), learned.source, true, false);

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
    let slot = scene.pipeline.lookup.slot(&Endpoint::from(SocketAddr::new(v6, 0)), 0);
    assert_eq!(slot, None);
}

/// New keys between two bursts: packets under the old and the new one share a burst, and each comes out once.
#[test]
fn a_burst_over_a_change_of_keys_loses_nothing() {
    for suite_a in Suite::ALL {
        for suite_b in Suite::ALL {
            let mut scene = Scene::with(&Setup { suite_a, suite_b, ..Setup::default() });
            let first = scene.srtp(1, &[1; 160]);
            assert_eq!(scene.receive(media(&first)), []);
            let old: Vec<_> = (2..10).map(|seq| scene.srtp(seq, &[seq as u8; 160])).collect();
            let (new_a, new_b) = (key(suite_a, 21), key(suite_b, 22));
            scene.pipeline.streams.change_keys(&mut KeyChange {
                inbound: StreamId(0),
                outbound: StreamId(1),
                open: Some(Box::new(KeySet::new([&key(suite_a, 1), &new_a]))),
                seal: None,
            });
            scene.pipeline.streams.change_keys(&mut KeyChange {
                inbound: StreamId(1),
                outbound: StreamId(0),
                open: None,
                seal: Some(SealChange::new(&new_b, None, None)),
            });
            scene.a_seals = RtpOutbound::new(&new_a);
            let new: Vec<_> = (10..18).map(|seq| scene.srtp(seq, &[seq as u8; 160])).collect();
            let mut burst = Burst::new();
            old.iter()
                .zip(&new)
                .flat_map(|(old, new)| [new, old])
                .for_each(|packet| burst.push(media(packet)));
            scene.out.sent.clear();
            scene.pipeline.process(&mut scene.ports[0], &mut burst, 1_000_000_000, &mut scene.out);
            let mut b_opens = RtpInbound::<AesGcmProvider>::new(&new_b, ReplayWindowSize::default());
            let mut seqs: Vec<u16> = Vec::new();
            for (_, sent) in std::mem::take(&mut scene.out.sent) {
                let mut packet = udp_payload(&sent);
                let seq = u16::from_be_bytes([packet[2], packet[3]]);
                let opened = b_opens.open(&mut packet, 12, SSRC, seq).expect("sealed with the new key");
                assert_eq!(packet[..opened.len], rtp(seq, &[seq as u8; 160])[..]);
                seqs.push(seq);
            }
            seqs.sort_unstable();
            assert_eq!(seqs, (2..18).collect::<Vec<_>>(), "{suite_a} to {suite_b}");
            assert_eq!(scene.drops().iter().sum::<u64>(), 0, "{suite_a} to {suite_b}");
        }
    }
}
