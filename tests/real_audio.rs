//! Speech through the gateway: GStreamer encodes, seals, opens and decodes; the gateway has another key on each
//! side. Both directions at once, over IPv4, over IPv6, and from one to the other; on packet sockets and on
//! AF_XDP.
//!
//! What comes out is held to the strictest measure there is: the Opus packets are the very bits that went in,
//! and the decoded sound is that of a call without a network.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::gstreamer::{self, Listener, Talker};
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, addr, audio, wait_until,
};
use voxlane::srtp::MasterKey;

const SPEECH: [&str; 2] = [
    "Good morning. You are connected to the gateway. Every word of this sentence was sealed with one key, \
     opened, checked, and sealed again with another.",
    "Thank you, I hear you very well. Nothing was lost, nothing was repeated, and nobody else was listening. \
     Shall we go on?",
];
/// The decoder may start one frame early or late.
const SHIFT: usize = audio::RATE / 10;

/// One session, seen from outside: local and remote address of each leg.
struct Route {
    name: &'static str,
    a: [&'static str; 2],
    b: [&'static str; 2],
}

const ROUTES: [Route; 3] = [
    Route {
        name: "ipv4",
        a: ["10.77.1.1:20000", "10.77.1.2:30000"],
        b: ["10.77.2.1:20000", "10.77.2.2:30000"],
    },
    Route {
        name: "ipv6",
        a: ["[fd77:1::1]:20002", "[fd77:1::2]:30002"],
        b: ["[fd77:2::1]:20002", "[fd77:2::2]:30002"],
    },
    Route {
        name: "ipv4-to-ipv6",
        a: ["10.77.1.1:20004", "10.77.1.2:30004"],
        b: ["[fd77:2::1]:20004", "[fd77:2::2]:30004"],
    },
];
/// The negative control: its listener has a key that nobody uses.
const DEAF: Route = Route {
    name: "deaf",
    a: ["10.77.1.1:20006", "10.77.1.2:30006"],
    b: ["10.77.2.1:20006", "10.77.2.2:30006"],
};

#[test]
fn speech_is_bit_identical_over_af_packet() {
    speech_is_bit_identical("net_af_packet");
}

#[test]
fn speech_is_bit_identical_over_af_xdp() {
    speech_is_bit_identical("net_af_xdp");
}

/// One direction of a session.
struct Way<'s> {
    name: String,
    from: &'s Namespace,
    talk: &'s LegText,
    ssrc: u32,
    wav: PathBuf,
    reference: PathBuf,
    listener: Listener,
}

fn speech_is_bit_identical(driver: &str) {
    let machine = Machine::take();
    let (side_a, side_b) = (Namespace::new(), Namespace::new());
    let veth_a = Veth::new(&side_a, &["10.77.1.2/24", "fd77:1::2/64"]);
    let veth_b = Veth::new(&side_b, &["10.77.2.2/24", "fd77:2::2/64"]);
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veth_a.device(driver, 0), &["10.77.1.1/24", "fd77:1::1/64"]),
            PortText::new("b", veth_b.device(driver, 1), &["10.77.2.1/24", "fd77:2::1/64"]),
        ],
        sessions: ROUTES.iter().chain([&DEAF]).map(session).collect(),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    if driver == "net_af_xdp" {
        // Its rings are kept filled, which is the one way to see this gauge move from outside.
        let in_use = gateway.scrape().sum("voxlane_pool_in_use", &[]);
        assert!(in_use > 1_000, "{in_use} buffers in the rings of two AF_XDP ports");
    }

    let mut ways = Vec::new();
    for (number, (route, session)) in (1..).zip(ROUTES.iter().zip(&config.sessions)) {
        let there = (&session.a, &session.b, &side_a, &side_b, 1_000 + number, SPEECH[0]);
        let back = (&session.b, &session.a, &side_b, &side_a, 2_000 + number, SPEECH[1]);
        for (talk, hear, from, to, ssrc, text) in [there, back] {
            let name = format!("{driver}-{}-{ssrc}", route.name);
            let [wav, reference, heard] =
                [".wav", "-reference.wav", "-heard"].map(|end| machine.path(&format!("{name}{end}")));
            audio::speak(text, &wav);
            gstreamer::reference(&wav, &reference);
            let listener =
                Listener::start(to, &heard, hear.remote.expect("configured"), &hear.keys().local, ssrc);
            ways.push(Way { name, from, talk, ssrc, wav, reference, listener });
        }
    }
    let mut talkers: Vec<Talker> = ways.iter().map(Way::talk).collect();
    let heard = heard_by_the_deaf(&machine, &config, &side_a, &side_b);
    assert_eq!(heard, 0, "a listener with a wrong key heard {heard} bytes");
    for (way, talker) in ways.iter_mut().zip(&mut talkers) {
        talker.finish(Duration::from_secs(60));
        way.judge(&talker.opus);
    }

    gateway.quiet_scrape();
    let stopped = gateway.stop();
    for port in ["a", "b"] {
        let mut drops = stopped.drops(port);
        // The kernel inside reports its multicast groups (RFC 3810), behind a hop-by-hop header.
        drops.remove("ipv6_extension_header");
        assert!(drops.is_empty(), "port {port}: {drops:?}");
        assert!(stopped.port(port, "tx") > 500, "port {port} forwarded {}", stopped.port(port, "tx"));
    }
    println!(
        "{driver}: {} directions of speech bit-identical, {} packets, none dropped",
        ways.len(),
        stopped.total("tx")
    );
}

impl Way<'_> {
    fn talk(&self) -> Talker {
        let path = (self.talk.remote.expect("configured"), self.talk.local);
        Talker::start(self.from, &self.wav, path, &self.talk.keys().remote, self.ssrc)
    }

    /// Opus packets and decoded sound against what was sent.
    fn judge(&mut self, sent: &Path) {
        let name = &self.name;
        let sent = fs::read(sent).expect("the talker wrote it");
        assert!(sent.len() > 10_000, "{name}: only {} bytes of Opus were sent", sent.len());
        wait_until(&format!("{name}: all {} bytes of Opus", sent.len()), Duration::from_secs(10), || {
            (self.listener.heard_bytes() >= sent.len() as u64).then_some(())
        });
        self.listener.stop();
        let received = fs::read(&self.listener.opus).expect("the listener wrote it");
        assert!(
            sent == received,
            "{name}: {} bytes of Opus sent, {} other ones received",
            sent.len(),
            received.len()
        );

        let (reference, heard) = (audio::samples(&self.reference), audio::samples(&self.listener.wav));
        assert!(audio::loudness(&reference) > 300.0, "{name}: the reference is silence");
        let difference = reference.len().abs_diff(heard.len());
        assert!(difference <= SHIFT, "{name}: {} samples became {}", reference.len(), heard.len());
        let likeness = audio::correlation(&reference, &heard, SHIFT);
        assert!(likeness >= 0.99, "{name}: correlation with the reference is {likeness:.4}");
        println!("{name}: {} bytes of Opus identical, correlation {likeness:.4}", sent.len());
    }
}

/// A call whose listener holds a wrong key: how many bytes of Opus it made of what the gateway sent.
fn heard_by_the_deaf(machine: &Machine, config: &ConfigText, side_a: &Namespace, side_b: &Namespace) -> u64 {
    let session = config.sessions.last().expect("the deaf session is the last");
    let wav = machine.path("deaf.wav");
    audio::speak("Can you hear me?", &wav);
    let wrong = MasterKey::generate(session.b.keys().suite, &mut voxlane::control::config::system_random);
    let ear = session.b.remote.expect("configured");
    let mut listener = Listener::start(side_b, &machine.path("deaf-heard"), ear, &wrong, 7);
    let path = (session.a.remote.expect("configured"), session.a.local);
    let mut talker = Talker::start(side_a, &wav, path, &session.a.keys().remote, 7);
    talker.finish(Duration::from_secs(60));
    let heard = listener.heard_bytes();
    listener.stop();
    heard
}

fn session(route: &Route) -> SessionText {
    let [[a_local, a_remote], [b_local, b_remote]] = [route.a, route.b];
    assert_eq!(addr(a_local).is_ipv4(), addr(a_remote).is_ipv4());
    // The gate looks into every packet of it.
    let leg =
        |local, remote| LegText { formats: vec!["96 opus/48000/2 ptime=20"], ..LegText::new(local, remote) };
    SessionText::new(route.name, leg(a_local, a_remote), leg(b_local, b_remote))
}
