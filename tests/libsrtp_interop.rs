//! libsrtp at the other end, for every suite: first two of its ends against each other, so that what they claim is
//! known to be true, then on both legs of the gateway, for every pair of suites, in both directions. In between, the
//! reference implementation stands in for the gateway: so it speaks what libsrtp speaks, and the gateway is held
//! against it in `differential.rs`.
//!
//! The sequence numbers roll over within every call, RTCP goes along, and part of the packets is sent twice or
//! preceded by a damaged copy. What arrives is held to every octet; what the gateway refused, to the exact number.

mod harness;
mod reference;
#[path = "libsrtp/relay.rs"]
mod relay;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::config_text::LegKeys;
use harness::libsrtp::{Call, Counts, Program};
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, addr};
use voxlane::srtp::{Mki, Suite};

/// What SDES calls the suites, and octets of master key and salt (RFC 4568 §6.2, RFC 6188 §3, RFC 7714 §12).
const SUITES: [(&str, usize); 5] = [
    ("AEAD_AES_128_GCM", 16 + 12),
    ("AEAD_AES_256_GCM", 32 + 12),
    ("AES_CM_128_HMAC_SHA1_80", 16 + 14),
    ("AES_CM_128_HMAC_SHA1_32", 16 + 14),
    ("AES_256_CM_HMAC_SHA1_80", 32 + 14),
];
/// The suite whose tags of SRTP and SRTCP differ in length (RFC 4568 §6.2.2).
const SHORT_TAG: &str = "AES_CM_128_HMAC_SHA1_32";
/// RTP packets in each direction of a call, RTCP packets among them, and the sequence number of the first.
const COUNT: u64 = 200;
const RTCP_EVERY: u64 = 10;
const FIRST_SEQ: u64 = 65_500;
/// One packet in so many is sent twice, or goes after a damaged copy.
const DUPLICATE_EVERY: u64 = 7;
const CORRUPT_EVERY: u64 = 11;
/// The window bounds what is on the way however slow the machine is.
const OPTIONS: [(&str, u64); 6] = [
    ("count", COUNT),
    ("first-seq", FIRST_SEQ),
    ("rtcp-every", RTCP_EVERY),
    ("ptime-us", 2_000),
    ("window", 8),
    ("limit-ms", 20_000),
];
const COPIES: [(&str, u64); 2] = [("duplicate-every", DUPLICATE_EVERY), ("corrupt-every", CORRUPT_EVERY)];
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn two_ends_of_libsrtp_understand_each_other() {
    let machine = Machine::take();
    let ends = Ends::new(&machine);
    let calls = || SUITES.iter().map(|&(suite, len)| direct_call(suite, key(len), key(len)));

    let (a, b) = ends.converse(calls(), &[]);
    assert_all("clean", &a, &b, |_| Counts::clean(COUNT, COUNT / RTCP_EVERY));

    // Every copy is refused, for the right reason.
    let copies = Counts {
        extra_sent: COUNT / DUPLICATE_EVERY + COUNT / CORRUPT_EVERY,
        replayed: COUNT / DUPLICATE_EVERY,
        auth_failed: COUNT / CORRUPT_EVERY,
        ..Counts::clean(COUNT, COUNT / RTCP_EVERY)
    };
    let (a, b) = ends.converse(calls(), &COPIES);
    assert_all("copies", &a, &b, |_| copies);
}

#[test]
fn two_ends_of_libsrtp_change_keys_under_an_mki() {
    let machine = Machine::take();
    let ends = Ends::new(&machine);
    let two = |len, mkis: [&str; 2]| mkis.map(|mki| format!("{}|{mki}", key(len))).join(";");
    let calls = |short_tag: bool| {
        let suites = SUITES.into_iter().filter(move |(suite, _)| (*suite == SHORT_TAG) == short_tag);
        suites.map(|(suite, len)| direct_call(suite, two(len, ["1:4", "2:4"]), two(len, ["7:1", "200:1"])))
    };
    let rekey = ("rekey-after", COUNT / 3);
    let (a, b) = ends.converse(calls(false), &[rekey]);
    assert_eq!(a.len(), SUITES.len() - 1);
    assert_all("key change", &a, &b, |_| Counts::clean(COUNT, COUNT / RTCP_EVERY));
    // libsrtp 2.5 looks for the MKI of SRTCP where the length of SRTP's tag would put it (cisco/libsrtp#733).
    let (a, b) = ends.converse(calls(true), &[rekey, ("rtcp-every", 0)]);
    assert_all("key change", &a, &b, |_| Counts::clean(COUNT, 0));
}

#[test]
fn an_end_of_libsrtp_with_another_key_hears_nothing() {
    let machine = Machine::take();
    let ends = Ends::new(&machine);
    let calls = SUITES.iter().map(|&(suite, len)| {
        let mut call = direct_call(suite, key(len), key(len));
        call[1].receive = key(len);
        call
    });
    let (a, b) = ends.converse(calls, &[("window", 0), ("limit-ms", 1_000)]);
    let rtcp = COUNT / RTCP_EVERY;
    for (suite, deaf) in b {
        let expected =
            Counts { sent: COUNT, rtcp_sent: rtcp, auth_failed: COUNT + rtcp, ..Counts::default() };
        assert_eq!(deaf, expected, "{suite}");
        assert_eq!(a[&suite], Counts::clean(COUNT, rtcp), "{suite}: the other direction");
    }
}

#[test]
fn every_pair_of_suites_through_the_reference() {
    let machine = Machine::take();
    let ends = Ends::new(&machine);
    let pairs: Vec<[reference::srtp::Suite; 2]> =
        reference::srtp::SUITES.iter().flat_map(|&a| reference::srtp::SUITES.map(|b| [a, b])).collect();
    let (rtcp, copies) = (COUNT / RTCP_EVERY, COUNT / DUPLICATE_EVERY + COUNT / CORRUPT_EVERY);
    let clean = Counts { extra_sent: copies, ..Counts::clean(COUNT, rtcp) };
    let calls = 2 * pairs.len() as u64;
    let refused = BTreeMap::from([
        ("srtp_auth_failed", calls * (COUNT / CORRUPT_EVERY)),
        ("srtp_replayed", calls * (COUNT / DUPLICATE_EVERY)),
    ]);
    let (a, b, drops) = relay::converse(&ends, &pairs, false, &COPIES);
    assert_all("reference", &a, &b, |_| clean);
    assert_eq!(drops, refused);

    // With MKIs and a change of keys. libsrtp 2.5 cannot read SRTCP under a short tag then (cisco/libsrtp#733).
    let (short, long): (Vec<_>, Vec<_>) =
        pairs.iter().partition(|pair| pair.iter().any(|suite| suite.name == SHORT_TAG));
    let rekey = ("rekey-after", COUNT / 3);
    let (a, b, drops) = relay::converse(&ends, &long, true, &[rekey]);
    assert_all("reference with MKI", &a, &b, |_| Counts::clean(COUNT, rtcp));
    assert!(drops.is_empty(), "{drops:?}");
    let (a, b, drops) = relay::converse(&ends, &short, true, &[rekey, ("rtcp-every", 0)]);
    assert_all("reference with MKI and short tags", &a, &b, |_| Counts::clean(COUNT, 0));
    assert!(drops.is_empty(), "{drops:?}");
}

#[test]
fn every_pair_of_suites_through_the_gateway() {
    let pairs: Vec<[Suite; 2]> = Suite::ALL.iter().flat_map(|&a| Suite::ALL.map(|b| [a, b])).collect();
    through_the_gateway(&pairs, RTCP_EVERY, LegKeys::generate_for);
}

#[test]
fn every_pair_of_suites_with_an_mki_through_the_gateway() {
    let pairs = Suite::ALL.iter().flat_map(|&a| Suite::ALL.map(|b| [a, b]));
    let (short, long): (Vec<_>, Vec<_>) =
        pairs.partition(|pair| pair.iter().any(|suite| suite.name() == SHORT_TAG));
    let keys = |suite| {
        let LegKeys { suite, remote, local, earlier_remote } = LegKeys::generate_for(suite);
        let mki = |text| Some(Mki::from_sdes(text).expect("a literal"));
        LegKeys {
            suite,
            remote: remote.with_mki(mki("1:4")),
            local: local.with_mki(mki("200:1")),
            earlier_remote,
        }
    };
    through_the_gateway(&long, RTCP_EVERY, keys);
    // libsrtp 2.5 cannot read SRTCP under a short tag then (cisco/libsrtp#733).
    through_the_gateway(&short, 0, keys);
}

/// A call for each pair of suites, all at once, with copies on top; `keys` makes the keys of a leg.
fn through_the_gateway(pairs: &[[Suite; 2]], rtcp_every: u64, keys: impl Fn(Suite) -> LegKeys) {
    let machine = Machine::take();
    let program = Program::build(&machine);
    let (side_a, side_b) = (Namespace::new(), Namespace::new());
    let veth_a = Veth::new(&side_a, &["10.79.1.2/24", "fd79:1::2/64"]);
    let veth_b = Veth::new(&side_b, &["10.79.2.2/24", "fd79:2::2/64"]);
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veth_a.device("net_af_packet", 0), &["10.79.1.1/24", "fd79:1::1/64"]),
            PortText::new("b", veth_b.device("net_af_packet", 1), &["10.79.2.1/24", "fd79:2::1/64"]),
        ],
        sessions: pairs
            .iter()
            .enumerate()
            .map(|(number, &pair)| session(number, pair.map(|suite| (suite, keys(suite)))))
            .collect(),
        ..ConfigText::default()
    };
    let calls: Vec<[Call; 2]> = config.sessions.iter().enumerate().map(|(n, s)| calls_of(n, s)).collect();
    let side = |side: usize| calls.iter().map(|call| call[side].clone()).collect::<Vec<_>>();
    let gateway = Gateway::start(&machine, &config);

    let options = [&OPTIONS[..], &COPIES, &[("rtcp-every", rtcp_every)]].concat();
    let mut a = program.start(&side_a, &options, &side(0));
    let mut b = program.start(&side_b, &options, &side(1));
    a.begin();
    b.begin();
    a.wait_until_done(LIMIT);
    b.wait_until_done(LIMIT);
    gateway.quiet_scrape();
    let (a, b) = (a.stop(), b.stop());
    assert_eq!((a.len(), b.len()), (pairs.len(), pairs.len()));
    let rtcp = COUNT.checked_div(rtcp_every).unwrap_or(0);
    assert_all("gateway", &a, &b, |_| Counts {
        extra_sent: COUNT / DUPLICATE_EVERY + COUNT / CORRUPT_EVERY,
        ..Counts::clean(COUNT, rtcp)
    });

    let stopped = gateway.stop();
    let calls = pairs.len() as u64;
    for port in ["a", "b"] {
        let mut drops = stopped.drops(port);
        // The kernel inside reports its multicast groups (RFC 3810), behind a hop-by-hop header.
        drops.remove("ipv6_extension_header");
        let expected = BTreeMap::from([
            ("srtp_auth_failed".to_owned(), calls * (COUNT / CORRUPT_EVERY)),
            ("srtp_replayed".to_owned(), calls * (COUNT / DUPLICATE_EVERY)),
        ]);
        assert_eq!(drops, expected, "port {port}");
        assert_eq!(stopped.port(port, "tx"), calls * (COUNT + rtcp), "port {port}");
    }
    println!("{calls} pairs of suites, {} packets through the gateway", stopped.total("tx"));
}

/// Two peers on the loopback of one namespace.
struct Ends {
    program: Program,
    namespace: Namespace,
}

impl Ends {
    fn new(machine: &Machine) -> Self {
        Ends { program: Program::build(machine), namespace: Namespace::new() }
    }

    /// Lets both ends of the calls talk to each other, and returns what each of them counted by suite.
    fn converse(
        &self,
        calls: impl Iterator<Item = [Call; 2]>,
        more: &[(&str, u64)],
    ) -> (BTreeMap<String, Counts>, BTreeMap<String, Counts>) {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for (number, [mut a, mut b]) in (0_u16..).zip(calls) {
            for (call, host, peer) in [(&mut a, "127.0.0.1", "127.0.0.2"), (&mut b, "127.0.0.2", "127.0.0.1")]
            {
                call.local = addr(&format!("{host}:{}", 20_000 + number));
                call.remote = addr(&format!("{peer}:{}", 20_000 + number));
            }
            one.push(a);
            other.push(b);
        }
        let options = [&OPTIONS[..], more].concat();
        let mut a = self.program.start(&self.namespace, &options, &one);
        let mut b = self.program.start(&self.namespace, &options, &other);
        a.begin();
        b.begin();
        a.wait_until_done(LIMIT);
        b.wait_until_done(LIMIT);
        (a.stop(), b.stop())
    }
}

/// Both ends of a call without the gateway; its id is the suite, its addresses are set by whoever places it.
fn direct_call(suite: &'static str, there: String, back: String) -> [Call; 2] {
    let nowhere = addr("0.0.0.0:0");
    let end = |send: &String, receive: &String, ssrc, heard_ssrc| Call {
        id: suite.to_owned(),
        suite,
        send: send.clone(),
        receive: receive.clone(),
        local: nowhere,
        remote: nowhere,
        ssrc,
        heard_ssrc,
    };
    [end(&there, &back, 0x1111_0001, 0x2222_0002), end(&back, &there, 0x2222_0002, 0x1111_0001)]
}

/// A session between two suites; every other one goes from IPv4 to IPv6.
fn session(number: usize, [(a, a_keys), (b, b_keys)]: [(Suite, LegKeys); 2]) -> SessionText {
    let port = 20_000 + 2 * number;
    let leg = |side: usize, keys, ipv6| {
        let (local, remote) = if ipv6 {
            (format!("[fd79:{side}::1]:{port}"), format!("[fd79:{side}::2]:{port}"))
        } else {
            (format!("10.79.{side}.1:{port}"), format!("10.79.{side}.2:{port}"))
        };
        LegText { keys: Some(keys), ..LegText::new(&local, &remote) }
    };
    SessionText::new(&format!("{a}-to-{b}"), leg(1, a_keys, false), leg(2, b_keys, number % 2 == 1))
}

/// The far ends of a session's legs.
fn calls_of(number: usize, session: &SessionText) -> [Call; 2] {
    let (ssrc_a, ssrc_b) = (0xa000_0000 + number as u32, 0xb000_0000 + number as u32);
    [(&session.a, ssrc_a, ssrc_b), (&session.b, ssrc_b, ssrc_a)].map(|(leg, ssrc, heard_ssrc)| Call {
        id: session.id.clone(),
        suite: leg.keys().suite.name(),
        send: leg.keys().remote.to_sdes_inline().to_string(),
        receive: leg.keys().local.to_sdes_inline().to_string(),
        local: leg.remote.expect("the session has remotes"),
        remote: leg.local,
        ssrc,
        heard_ssrc,
    })
}

/// A fresh key of `len` octets with its salt, as SDES text.
fn key(len: usize) -> String {
    use base64::Engine;
    let mut octets = vec![0; len];
    voxlane::control::config::system_random(&mut octets);
    format!("inline:{}", base64::engine::general_purpose::STANDARD.encode(octets))
}

#[track_caller]
fn assert_all(
    what: &str,
    a: &BTreeMap<String, Counts>,
    b: &BTreeMap<String, Counts>,
    expected: impl Fn(&str) -> Counts,
) {
    for (side, counts) in [("a", a), ("b", b)] {
        assert!(!counts.is_empty(), "{what}: side {side} reported nothing");
        for (call, counts) in counts {
            assert_eq!(*counts, expected(call), "{what}: {call}, side {side}");
        }
    }
}
