//! The three-stage gate over a real port: every way to break a payload, a header extension in disguise, a loop, packets
//! that are sealed where none should be. Then the same to a session that only counts, and what real encoders make.
//!
//! The cases of the stages before are in `drop_reasons.rs`; `docs/gate.md` has them all.

#[path = "gate/payloads.rs"]
mod payloads;

mod harness;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use harness::call::{Sealer, rtcp_header};
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, frame};
use payloads::{FORMATS, OPUS, PCMU};
use voxlane::fastpath::DropReason;
use voxlane::srtp::{AesGcmProvider, ReplayWindowSize, RtpInbound};

const LIMIT: Duration = Duration::from_secs(20);
const SSRC: u32 = 0x6a7e_0001;

/// A call through the gateway: what leg `a` gets comes out of leg `b`.
struct Call {
    a: UdpSocket,
    b: UdpSocket,
    to: std::net::SocketAddr,
    sealer: Sealer,
    opens: RtpInbound<AesGcmProvider>,
}

impl Call {
    fn new(namespace: &Namespace, session: &SessionText) -> Self {
        let socket = |leg: &LegText| namespace.udp(leg.remote.expect("configured"));
        Call {
            a: socket(&session.a),
            b: socket(&session.b),
            to: session.a.local,
            sealer: Sealer::new(&session.a, SSRC, 100),
            opens: RtpInbound::new(&session.b.keys().local, ReplayWindowSize::default()),
        }
    }

    fn send(&self, packet: &[u8]) {
        self.a.send_to(packet, self.to).expect("the namespace has a route");
    }

    fn say(&mut self, payload_type: u8, payload: &[u8]) {
        let packet = self.sealer.rtp_with(0x80, payload_type, &[], payload);
        self.send(&packet);
    }

    /// The next payload that comes out, with its type.
    fn hear(&mut self, limit: Duration) -> Option<(u8, Vec<u8>)> {
        self.b.set_read_timeout(Some(limit)).expect("not zero");
        let mut buffer = [0; 2048];
        let len = self.b.recv(&mut buffer).ok()?;
        let packet = &mut buffer[..len];
        let (seq, ssrc) = (
            u16::from_be_bytes([packet[2], packet[3]]),
            u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]),
        );
        let opened = self.opens.open(packet, 12, ssrc, seq).expect("the gateway seals with its key");
        Some((packet[1] & 0x7f, packet[12..opened.len].to_vec()))
    }

    /// Talks until something comes out, which waits out address resolution.
    fn connect(&mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.say(PCMU, &[0xff; 160]);
            if self.hear(Duration::from_millis(100)).is_some() {
                break;
            }
            assert!(Instant::now() < deadline, "no packet came through");
        }
        while self.hear(Duration::from_millis(100)).is_some() {}
    }
}

/// The gateway with its calls, both ends in one namespace.
struct Scene {
    gateway: Gateway,
    config: ConfigText,
    namespace: Namespace,
    _veths: [Veth; 2],
    machine: Machine,
}

const ENFORCES: usize = 0;
const COUNTS: usize = 1;
const PLAIN: usize = 2;
const LOOPS: usize = 3;

impl Scene {
    fn new() -> Self {
        let machine = Machine::take();
        let namespace = Namespace::new();
        let veths = [&["10.86.1.2/24"], &["10.86.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
        let leg = |port: u8, number: u16| {
            let local = format!("10.86.{port}.1:{}", 20_000 + number);
            let mut leg = LegText::new(&local, &format!("10.86.{port}.2:{}", 30_000 + number));
            leg.formats = FORMATS.to_vec();
            leg
        };
        let session = |id: &str, number: u16| SessionText::new(id, leg(1, number), leg(2, number));
        let mut counts = session("counts", 2);
        counts.strictness = Some("count");
        let mut plain = session("plain", 4);
        plain.a.keys = None;
        let mut loops = session("loops", 6);
        (loops.a.keys, loops.b.keys) = (None, None);
        let config = ConfigText {
            ports: vec![
                PortText::new("a", veths[0].device("net_af_packet", 0), &["10.86.1.1/24"]),
                PortText::new("b", veths[1].device("net_af_packet", 1), &["10.86.2.1/24"]),
            ],
            sessions: vec![session("enforces", 0), counts, plain, loops],
            ..ConfigText::default()
        };
        let gateway = Gateway::start(&machine, &config);
        Scene { gateway, config, namespace, _veths: veths, machine }
    }

    fn call(&self, session: usize) -> Call {
        Call::new(&self.namespace, &self.config.sessions[session])
    }

    /// What the stages behind classify refused, by reason. (The kernel's own multicast is classify's business.)
    fn drops(&self) -> BTreeMap<String, u64> {
        let page = self.gateway.scrape();
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL.iter().filter(|reason| reason.stage() != "classify") {
            let count = page.sum("voxlane_dropped_packets_total", &[("reason", reason.label())]);
            drops.extend((count > 0).then(|| (reason.label().to_owned(), count)));
        }
        drops
    }

    fn tolerated(&self) -> BTreeMap<String, u64> {
        let page = self.gateway.scrape();
        let samples = page.samples("voxlane_tolerated_packets_total", &[]);
        let mut tolerated = BTreeMap::new();
        for sample in samples.filter(|sample| sample.value > 0.0) {
            *tolerated.entry(sample.labels["reason"].clone()).or_default() += sample.value as u64;
        }
        tolerated
    }

    /// Sends what is refused for `reason` and for nothing else.
    fn refuses(&self, reason: DropReason, what: &str, send: impl FnOnce()) {
        let before = self.drops();
        send();
        let after = self.gateway.wait_for(&format!("{reason} for {what}"), LIMIT, |_| {
            Some(self.drops()).filter(|drops| *drops != before)
        });
        assert_eq!(moved(&before, &after), [(reason.label().to_owned(), 1)], "{what}");
    }
}

fn moved(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let by = |(key, count): (&String, &u64)| (key.clone(), count - before.get(key).copied().unwrap_or(0));
    after.iter().map(by).filter(|(_, by)| *by > 0).collect()
}

/// What is refused whatever the session's strictness: header, what it carries, and protocol.
fn never_tolerated(call: &mut Call) -> Vec<(DropReason, &'static str, Vec<u8>)> {
    use DropReason as R;
    let sealer = &mut call.sealer;
    let voice = [0xff; 160];
    // RFC 4585 §6.3.1: a picture loss indication, as the extension itself and as a one-byte element.
    let loss = [0x81, 206, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    let dressed = [&[0xbe, 0xde, 0, 4, 0x1b][..], &loss, &[0, 0, 0]].concat();
    let overrun = [0xbe, 0xde, 0, 1, 0x1f, 1, 2, 3];
    let mut short_tag = sealer.rtp(&voice);
    short_tag.truncate(short_tag.len() - 8);
    vec![
        (R::PayloadTypeNotNegotiated, "payload type 96", sealer.rtp_with(0x80, 96, &[], &voice)),
        (
            R::HeaderExtensionRtcp,
            "feedback in place of an extension",
            sealer.rtp_with(0x90, PCMU, &loss, &voice),
        ),
        (R::HeaderExtensionRtcp, "feedback as an element", sealer.rtp_with(0x90, PCMU, &dressed, &voice)),
        (
            R::HeaderExtensionMalformed,
            "an element that overruns",
            sealer.rtp_with(0x90, PCMU, &overrun, &voice),
        ),
        (R::RtpPadding, "more padding than payload", sealer.rtp_with(0xa0, PCMU, &[], &[1, 2, 9])),
        (R::RtpPayloadEmpty, "a packet of no payload", sealer.rtp_with(0x80, PCMU, &[], &[])),
        (R::RtpPayloadEmpty, "a packet of padding", sealer.rtp_with(0xa0, PCMU, &[], &[0, 0, 3])),
        (R::RtpCsrcCount, "15 sources in 40 bytes", frame_of(0x8f, &[0; 28])),
        (R::RtpExtensionLength, "an extension of 256 words", frame_of(0x90, &[0xbe, 0xde, 1, 0, 0, 0, 0, 0])),
        (R::SrtpAuthFailed, "an eight-byte GCM tag", short_tag),
        (R::SrtpAuthFailed, "plaintext on an encrypted leg", frame_of(0x80, &voice)),
        (R::RtcpCompound, "a sender report without its report", sealer.rtcp(200, 1, &[])),
    ]
}

fn frame_of(first: u8, rest: &[u8]) -> Vec<u8> {
    [frame::rtp_header(first, PCMU, 1, SSRC), rest.to_vec()].concat()
}

#[test]
fn each_way_to_break_a_packet_has_its_own_reason() {
    let scene = Scene::new();
    let mut call = scene.call(ENFORCES);
    call.connect();
    let mut provoked = Vec::new();
    for (reason, what, payload_type, payload) in payloads::broken() {
        scene.refuses(reason, what, || call.say(payload_type, &payload));
        provoked.push(reason);
    }
    for (reason, what, packet) in never_tolerated(&mut call) {
        scene.refuses(reason, what, || call.send(&packet));
        provoked.push(reason);
    }
    assert_eq!(call.hear(Duration::from_millis(100)), None, "something of it came through");
    for reason in DropReason::ALL.iter().filter(|reason| reason.is_tolerable()) {
        assert!(provoked.contains(reason), "no case provokes {reason}");
    }
    assert!(scene.tolerated().is_empty());

    // A plain leg cannot tell that a packet is sealed, but what is sealed does not have the form of what is not.
    let (plain, sealed) = (scene.call_plain(PLAIN), &mut call.sealer);
    let to = scene.config.sessions[PLAIN].a.local;
    let srtp = sealed.rtp_with(0x80, PCMU, &[], &[0xff; 160]);
    let srtcp = sealed.rtcp(201, 1, &[]);
    let send = |packet: &[u8]| plain.send_to(packet, to).map(|_| ()).expect("the namespace has a route");
    scene.refuses(DropReason::PtimeOutOfRange, "a sealed packet on a plain leg", || send(&srtp));
    scene.refuses(DropReason::RtcpCompound, "a sealed report on a plain leg", || send(&srtcp));
    scene.refuses(DropReason::RtcpCompound, "a report that is none", || send(&rtcp_header(205, 1, SSRC)));

    // What leg b gets comes back from it.
    let session = &scene.config.sessions[LOOPS];
    let (a, b) = (scene.call_plain(LOOPS), scene.namespace.udp(session.b.remote.expect("configured")));
    let mut buffer = [0; 2048];
    b.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
    let deadline = Instant::now() + LIMIT;
    let mut seq = 0;
    let len = loop {
        seq += 1;
        let packet = [frame::rtp_header(0x80, PCMU, seq, SSRC), vec![0xff; 160]].concat();
        a.send_to(&packet, session.a.local).expect("the namespace has a route");
        match b.recv(&mut buffer) {
            Ok(len) => break len,
            Err(_) => assert!(Instant::now() < deadline, "no packet came through"),
        }
    };
    scene.refuses(DropReason::SsrcCollision, "the gateway's own packet", || {
        b.send_to(&buffer[..len], session.b.local).expect("the namespace has a route");
    });
    scene.gateway.stop().assert_clean();
    println!("{} cases, each refused under its own reason", provoked.len() + 4);
}

#[test]
fn a_session_that_counts_forwards_what_its_payload_alone_is_wrong_with() {
    let scene = Scene::new();
    let mut call = scene.call(COUNTS);
    call.connect();
    let drops = scene.drops();
    let mut before = scene.tolerated();
    assert!(before.is_empty(), "{before:?}");
    for (reason, what, payload_type, payload) in payloads::broken() {
        call.say(payload_type, &payload);
        let heard = call.hear(LIMIT);
        assert_eq!(heard, Some((payload_type, payload)), "{what}");
        let after = scene.gateway.wait_for(&format!("{reason} for {what}"), LIMIT, |_| {
            Some(scene.tolerated()).filter(|tolerated| *tolerated != before)
        });
        assert_eq!(moved(&before, &after), [(reason.label().to_owned(), 1)], "{what}");
        before = after;
    }
    assert_eq!(scene.drops(), drops, "nothing was dropped");
    for (reason, what, packet) in never_tolerated(&mut call) {
        scene.refuses(reason, what, || call.send(&packet));
    }
    assert_eq!(call.hear(Duration::from_millis(100)), None, "something of it came through");
    assert_eq!(scene.tolerated(), before);
    let stopped = scene.gateway.stop();
    stopped.assert_clean();
    let told = stopped.report["tolerated"].as_object().expect("the report lists what was tolerated");
    let told: BTreeMap<String, u64> =
        told.iter().map(|(reason, count)| (reason.clone(), count.as_u64().expect("a count"))).collect();
    assert_eq!(told, before, "in the final report");
}

#[test]
fn what_real_encoders_make_passes() {
    let scene = Scene::new();
    let mut call = scene.call(ENFORCES);
    call.connect();
    let drops = scene.drops();
    for (payload_type, payload) in payloads::sound() {
        call.say(payload_type, &payload);
        assert_eq!(call.hear(LIMIT), Some((payload_type, payload)));
    }
    for (what, payload_type, payloads) in payloads::real(&scene.machine) {
        let count = payloads.len();
        for payload in payloads {
            call.say(payload_type, &payload);
            assert_eq!(call.hear(LIMIT), Some((payload_type, payload)), "{what}");
        }
        println!("{what}: {count} packets");
    }
    assert_eq!(scene.drops(), drops, "nothing was dropped");
    // And they are looked into: the first of them with a frame count of none.
    scene.refuses(DropReason::OpusFrameCount, "code 3", || call.say(OPUS, &[3, 0, 1]));
    scene.gateway.stop().assert_clean();
}

impl Scene {
    /// The remote of a plain leg a.
    fn call_plain(&self, session: usize) -> UdpSocket {
        self.namespace.udp(self.config.sessions[session].a.remote.expect("configured"))
    }
}
