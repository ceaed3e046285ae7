//! A call between two ends that negotiated AAC differently, over real ports: ADTS frames in RTP on the one leg, RFC 3640 on the
//! other, with payload types and header extensions of their own. What ffmpeg encoded is what ffmpeg decodes at the other
//! end; GStreamer takes the RFC 3640 packets apart and makes those that go back.

mod harness;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use harness::call::Sealer;
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, aac, frame};
use voxlane::codec::rfc3640;
use voxlane::srtp::{AesGcmProvider, ReplayWindowSize, RtpInbound};
use voxlane::wire::rtp::Packet;

const LIMIT: Duration = Duration::from_secs(30);
const ADTS: u8 = 97;
const RFC3640: u8 = 96;
const EVENTS: [u8; 2] = [101, 110];
const CSRC: &[u8] = b"CSRC";

/// One end of the call.
struct End {
    socket: UdpSocket,
    gateway: SocketAddr,
    seal: Sealer,
    open: RtpInbound<AesGcmProvider>,
}

/// What arrived, opened.
struct Heard {
    payload_type: u8,
    marker: bool,
    csrcs: usize,
    elements: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

impl End {
    fn new(namespace: &Namespace, leg: &LegText, ssrc: u32) -> Self {
        End {
            socket: namespace.udp(leg.remote.expect("an end has an address")),
            gateway: leg.local,
            seal: Sealer::new(leg, ssrc, 100),
            open: RtpInbound::new(&leg.keys().local, ReplayWindowSize::default()),
        }
    }

    /// Sends a packet with a CSRC, and with elements 1 and 2 in its extension.
    fn say(&mut self, payload_type: u8, payload: &[u8]) {
        let extension = [CSRC, &[0xbe, 0xde, 0, 2, 0x10, 0x55, 0x22, 7, 8, 9, 0, 0]].concat();
        let packet = self.seal.rtp_with(0x91, payload_type, &extension, payload);
        let _ = self.socket.send_to(&packet, self.gateway);
    }

    fn hear(&mut self, limit: Duration) -> Option<Heard> {
        self.socket.set_read_timeout(Some(limit)).expect("not zero");
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, self.gateway);
        let packet = &mut buffer[..len];
        let header = Packet::new_checked(&packet[..]).expect("a header");
        let (header_len, ssrc, seq) = (header.header_len(), header.ssrc().0, header.sequence_number().0);
        let opened = self.open.open(packet, header_len, ssrc, seq).expect("the gateway seals with its key");
        let packet = Packet::new_checked(&packet[..opened.len]).expect("a header");
        let elements =
            packet.extension().into_iter().flat_map(|extension| extension.elements()).map(|element| {
                let element = element.expect("valid");
                (element.id, element.data.to_vec())
            });
        Some(Heard {
            payload_type: packet.payload_type().0,
            marker: packet.marker(),
            csrcs: packet.csrc_count(),
            elements: elements.collect(),
            payload: packet.payload().to_vec(),
        })
    }
}

/// Lets `from` talk until `to` hears it, which waits out address resolution.
fn connect(from: &mut End, to: &mut End, payload_type: u8) {
    let deadline = Instant::now() + LIMIT;
    loop {
        from.say(payload_type, &[1, 0x0a, 0, 160]);
        if to.hear(Duration::from_millis(100)).is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "no packet came through");
    }
    while to.hear(Duration::from_millis(100)).is_some() {}
}

/// Five seconds of a sweep in stereo.
const SOUND: aac::Sound<'_> = aac::Sound {
    source: "aevalsrc=0.4*sin(220*2*PI*t*t)|0.3*sin(3000*2*PI*t):d=5",
    hz: 48_000,
    channels: 2,
    rate: "96k",
};

#[test]
fn aac_of_either_form_reaches_the_other_end_in_its_own() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.87.1.2/24"], &["10.87.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let mut a = LegText::new("10.87.1.1:20000", "10.87.1.2:30000");
    a.formats = vec!["97 aac-adts/48000/2", "101 telephone-event/8000"];
    a.extensions = vec!["1=3"];
    let mut b = LegText::new("10.87.2.1:20000", "10.87.2.2:30000");
    b.formats = vec!["96 mpeg4-generic/48000/2 config=1190", "110 telephone-event/8000"];
    b.extensions = vec!["2=1", "1=14"];
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.87.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.87.2.1/24"]),
        ],
        sessions: vec![SessionText::new("aac", a.clone(), b.clone())],
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let (mut a, mut b) = (End::new(&namespace, &a, 0xaaaa), End::new(&namespace, &b, 0xbbbb));
    connect(&mut a, &mut b, EVENTS[0]);
    connect(&mut b, &mut a, EVENTS[1]);

    let (file, stream, heard) =
        (machine.path("said.aac"), machine.path("stream.rtp"), machine.path("heard.aac"));
    aac::encode(&file, &SOUND);
    let said = fs::read(&file).expect("ffmpeg wrote it");
    let samples = aac::decode(&file);
    assert!(samples.len() > 4 * 48_000 * 4, "{} octets of sound", samples.len());
    let frames = aac::frames(&said);

    // There: one to three frames in a packet. The other end takes them as RFC 3640, by GStreamer.
    let (mut written, mut sent, mut rest, mut seq) = (Vec::new(), 0, &frames[..], 0_u16);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(1 + sent % 3));
        a.say(ADTS, &now.concat());
        let packet = b.hear(LIMIT).expect("each packet arrives");
        assert_eq!((packet.payload_type, packet.marker, packet.csrcs), (RFC3640, true, 1));
        assert_eq!(packet.elements, [(3, vec![0x55])], "element 1 by its other name, element 2 gone");
        let units = rfc3640::Payload::new_checked(&packet.payload).expect("a valid payload");
        assert_eq!(units.len(), now.len());
        let timestamp = (frames.len() - rest.len()) as u32 * 1024;
        let mut rtp = frame::rtp_header(0x80, 0x80 | RFC3640, seq, 0xaaaa);
        rtp[4..8].copy_from_slice(&timestamp.to_be_bytes());
        rtp.extend(&packet.payload);
        written.push(rtp);
        (rest, seq, sent) = (later, seq + 1, sent + 1);
    }
    aac::write_packets(&stream, &written);
    aac::take_apart(&stream, SOUND.hz, "1190", &heard);
    assert!(aac::decode(&heard) == samples, "the other end heard another sound");

    // Back: what GStreamer says by RFC 3640 arrives as ADTS.
    let (mut returned, mut answers) = (Vec::new(), 0);
    for packet in aac::put_together(&file, &stream) {
        b.say(RFC3640, &packet[12..]);
        let packet = a.hear(LIMIT).expect("each packet arrives");
        assert_eq!((packet.payload_type, packet.marker, packet.csrcs), (ADTS, false, 1));
        assert_eq!(packet.elements, [(14, vec![0x55]), (1, vec![7, 8, 9])]);
        returned.extend(packet.payload);
        answers += 1;
    }
    fs::write(&heard, &returned).expect("the test's directory is writable");
    assert!(aac::decode(&heard) == samples, "the answer is another sound");

    // Telephone events change their number alone.
    a.say(EVENTS[0], &[5, 0x8a, 3, 32]);
    let packet = b.hear(LIMIT).expect("the event arrives");
    assert_eq!((packet.payload_type, &packet.payload[..]), (EVENTS[1], &[5, 0x8a, 3, 32][..]));

    // What has no form over there: another object type; a part of an access unit.
    let mut other = frames[0].to_vec();
    other[2] &= 0x3f;
    a.say(ADTS, &other);
    gateway.wait_for("the refusal of AAC Main", LIMIT, |page| {
        (page.drops("a").get("reframe_impossible") == Some(&1)).then_some(())
    });
    b.say(RFC3640, &[0, 16, 0x40, 0, 1, 2, 3]);
    gateway.wait_for("the refusal of a fragment", LIMIT, |page| {
        (page.drops("b").get("reframe_impossible") == Some(&1)).then_some(())
    });
    a.say(EVENTS[0], &[5, 0x8a, 3, 32]);
    assert!(b.hear(LIMIT).is_some(), "the call goes on");
    gateway.quiet_scrape();
    gateway.stop().assert_clean();
    println!("{sent} packets of ADTS and {answers} of RFC 3640 were heard by the other end in its form");
}
