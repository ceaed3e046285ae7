//! The source of a leg is replaced while packets flow.

use super::*;
use crate::session::{Replacement, SourceClock};

const CLOCK: SourceClock = SourceClock { rate_hz: 48_000, packet: 960, cycles_per_second: 1_000_000_000 };
const OTHER: u32 = 0x0dd_ba11;

fn packet<P: Provider>(sender: &mut RtpOutbound<P>, ssrc: u32, index: u64, timestamp: u32) -> Vec<u8> {
    let index = PacketIndex::from_u64(index).expect("48 bits");
    let mut packet = rtp(index.seq(), &[index.seq() as u8; 40]);
    packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet.resize(packet.len() + sender.trailer(), 0);
    sender.seal(&mut packet, 12, ssrc, index).expect("a fresh index");
    packet
}

/// A burst in at port `a`; what came out of `b`, opened, with the reasons for what did not.
fn burst<P: Provider>(
    scene: &mut SceneOf<P>,
    packets: &[Vec<u8>],
    cycles: u64,
) -> (Vec<Vec<u8>>, Vec<DropReason>) {
    let before = scene.drops();
    let mut burst: Burst<HeapBuffer> = packets.iter().map(|packet| media(packet)).collect();
    scene.pipeline.process(&mut scene.ports[0], &mut burst, cycles, &mut scene.out);
    let after = scene.drops();
    let reasons = DropReason::ALL.iter().copied();
    let reasons =
        reasons.flat_map(|reason| vec![reason; (after[reason.index()] - before[reason.index()]) as usize]);
    let sent = std::mem::take(&mut scene.out.sent).into_iter().map(|(_, sent)| {
        let mut packet = udp_payload(&sent);
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let opened = scene.b_opens.open(&mut packet, 12, SSRC, seq).expect("one source that goes on");
        packet[..opened.len].to_vec()
    });
    (sent.collect(), reasons.collect())
}

#[test]
fn the_receiver_hears_one_source() {
    for suite in Suite::ALL {
        replaced::<AesGcmProvider>(suite);
        if crate::srtp::tests::has_ipsec_mb(module_path!()) {
            replaced::<IpsecMbProvider>(suite);
        }
    }
}

fn replaced<P: Provider>(suite: Suite) {
    let mut scene = SceneOf::<P>::with(&Setup { suite_a: suite, suite_b: suite, ..Setup::default() });
    let mut first = RtpOutbound::<P>::new(&key(suite, 1));
    let old: Vec<_> = (100..110).map(|index| packet(&mut first, SSRC, index, index as u32 * 960)).collect();
    let (heard, refused) = burst(&mut scene, &old, 1_000_000_000);
    assert_eq!((heard.len(), refused), (10, vec![]), "{suite}");

    let second = key(suite, 9);
    let open = Some(Box::new(KeySet::new([&second])));
    let mut replacement = Replacement::new(StreamId(0), CLOCK, open, None);
    scene.pipeline.streams.replace_source(&mut replacement);
    replacement.outcome.expect("there is room");
    // One of the old source, the new one's in disorder, one of them twice, one of before its first, one forged.
    let mut sender = RtpOutbound::<P>::new(&second);
    let mut new: Vec<_> =
        (0..8).map(|index| packet(&mut sender, OTHER, 500 + index, 77 + index as u32 * 960)).collect();
    let late = packet(&mut first, SSRC, 110, 110 * 960);
    let mut forged = new[6].clone();
    forged[20] ^= 1;
    new.swap(3, 4);
    let arriving = [late, new[1].clone(), new[0].clone(), new[2].clone(), new[3].clone(), new[4].clone()];
    let arriving = [&arriving[..], &[new[2].clone(), forged, new[5].clone(), new[7].clone()]].concat();
    // Half a second after the last packet.
    let (heard, refused) = burst(&mut scene, &arriving, 1_500_000_000);
    assert_eq!(
        refused,
        [
            DropReason::BeforeSource,
            DropReason::SrtpReplayed,
            DropReason::SrtpAuthFailed,
            DropReason::SrtpAuthFailed
        ],
        "{suite}"
    );
    let first_timestamp = u32::from_be_bytes(heard[0][4..8].try_into().expect("four octets"));
    assert!((first_timestamp - 109 * 960).abs_diff(24_000) <= 48, "{suite}: {}", first_timestamp - 109 * 960);
    for (packet, number) in heard.iter().zip([0, 1, 3, 2, 4, 6]) {
        let mut expected = rtp(110 + number, &[(501 + number) as u8; 40]);
        expected[4..8].copy_from_slice(&(first_timestamp + u32::from(number) * 960).to_be_bytes());
        assert_eq!(packet, &expected, "{suite}");
    }
    assert_eq!(heard.len(), 6);
    assert!(Balance { tx: 16, ..scene.balance() }.is_exact(), "{suite}");
}

#[test]
fn its_reports_go_under_the_known_name() {
    let mut scene = Scene::new();
    let mut first = RtpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 1));
    burst(&mut scene, &[packet(&mut first, SSRC, 100, 5)], 1_000_000_000);
    let srtcp = scene.srtcp(7);
    assert_eq!(scene.receive(media(&srtcp)), []);
    scene.out.sent.clear();
    let mut replacement = Replacement::new(StreamId(0), CLOCK, None, None);
    scene.pipeline.streams.replace_source(&mut replacement);
    // The old source under the same key.
    let srtcp = scene.srtcp(8);
    assert_eq!(scene.receive(media(&srtcp)), [DropReason::SsrcChanged]);
    let mut sender = RtcpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 1));
    let mut report = receiver_report();
    report[4..8].copy_from_slice(&OTHER.to_be_bytes());
    report.resize(report.len() + sender.trailer(), 0);
    sender.seal(&mut report, 3).expect("a fresh index");
    assert_eq!(scene.receive(media(&report)), []);
    let mut packet = udp_payload(&scene.out.sent[0].1);
    let opened = scene.b_opens_rtcp.open(&mut packet).expect("sealed with the other leg's key");
    assert_eq!((opened.index, opened.ssrc), (8, SSRC));
    assert_eq!(packet[..opened.len], receiver_report()[..]);
}

/// A loop, or a collision, is with what the other leg is sent, under whatever SSRC that came.
#[test]
fn what_the_gateway_sends_collides_and_not_what_it_was_made_from() {
    let mut scene = Scene::new();
    let back = StreamId(1);
    let collides = |scene: &Scene| [SSRC, OTHER].map(|ssrc| scene.pipeline.streams.collides(back, ssrc));
    let mut sender = RtpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 1));
    burst(&mut scene, &[packet(&mut sender, SSRC, 100, 5)], 1_000_000_000);
    assert_eq!(collides(&scene), [true, false]);
    let mut replacement = Replacement::new(StreamId(0), CLOCK, None, None);
    scene.pipeline.streams.replace_source(&mut replacement);
    assert_eq!(collides(&scene), [true, false], "the new source has sent nothing");
    let mut other = RtpOutbound::<AesGcmProvider>::new(&key(Suite::AeadAes128Gcm, 1));
    let (heard, _) = burst(&mut scene, &[packet(&mut other, OTHER, 7, 5)], 1_500_000_000);
    assert_eq!(heard.len(), 1);
    assert_eq!(collides(&scene), [true, false]);
}
