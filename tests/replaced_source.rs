//! The source of a leg is replaced in the middle of a call, as after a transfer, over real ports: other SSRCs, sequence numbers,
//! timestamps, keys and addresses, new keys in between, and sequence numbers that start over on both sides. The other leg
//! hears one source that goes on, and nothing that it is sent was sealed with a nonce of before.
//!
//! The gateway runs in this process, for only whoever embeds it can replace a source.

mod harness;

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use harness::call::Sealer;
use harness::config_text::LegKeys;
use harness::gateway::write_config;
use harness::{ConfigText, LegText, Machine, Namespace, PortText, Scrape, SessionText, Veth, scrape};
use voxlane::control::config::{Config, Session};
use voxlane::control::{Gateway, rekey::LegName};
use voxlane::srtp::{
    AesGcmProvider, IpsecMbProvider, Provider, ReplayWindowSize, RtcpInbound, RtpInbound, Suite,
};

const LIMIT: Duration = Duration::from_secs(30);
/// What one packet may take on a busy machine.
const SOON: Duration = Duration::from_millis(200);
const PCMU: u8 = 0;
const RATE_HZ: f64 = 8_000.0;
/// 20 ms of PCMU.
const PACKET: u32 = 160;
/// The gateway keeps arrival times to half a millisecond, which is 4 units; and what is rounded.
const COARSE: u32 = 6;
/// Packets that are said in a row.
const TURN: usize = 40;

/// A (key, SSRC, index) that a packet was sealed with, RTP or RTCP.
type Nonce = ([u8; 8], bool, u32, u64);

/// One far end: a socket, what it seals with, and all that it may open.
struct End {
    name: &'static str,
    socket: UdpSocket,
    gateway: SocketAddr,
    say: Sealer,
    timestamp: u32,
    ears: Vec<Ear>,
    nonces: HashSet<Nonce>,
}

/// Opens what one key sealed.
struct Ear {
    key: [u8; 8],
    rtp: RtpInbound<AesGcmProvider>,
    rtcp: RtcpInbound<AesGcmProvider>,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Rtp { index: u64, ssrc: u32, timestamp: u32, payload: Vec<u8> },
    Rtcp { index: u32, octets: Vec<u8> },
}

impl Ear {
    fn new(leg: &LegText) -> Self {
        let key = &leg.keys().local;
        let window = ReplayWindowSize::default();
        let text = key.to_sdes_inline();
        let octets = text.as_bytes().split_at(7).1;
        Ear {
            key: octets[..8].try_into().expect("a key is longer"),
            rtp: RtpInbound::new(key, window),
            rtcp: RtcpInbound::new(key, window),
        }
    }
}

impl End {
    fn new(
        name: &'static str,
        namespace: &Namespace,
        leg: &LegText,
        ssrc: u32,
        first: u64,
        timestamp: u32,
    ) -> Self {
        End {
            name,
            socket: namespace.udp(leg.remote.expect("an end has an address")),
            gateway: leg.local,
            say: Sealer::new(leg, ssrc, first),
            timestamp,
            ears: vec![Ear::new(leg)],
            nonces: HashSet::new(),
        }
    }

    /// The same socket and keys, another source.
    fn replaced_by(
        mut self,
        name: &'static str,
        leg: &LegText,
        ssrc: u32,
        first: u64,
        timestamp: u32,
    ) -> Self {
        let reports = self.say.next_rtcp_index();
        self.say = Sealer::new(leg, ssrc, first);
        self.say.set_rtcp_index(reports / 2);
        (self.name, self.timestamp) = (name, timestamp);
        self
    }

    /// Says its next packet, in which its name and index are; answers it as sent.
    fn say(&mut self) -> Said {
        let said = Said { index: self.say.next_index(), timestamp: self.timestamp, payload: self.payload() };
        let packet = self.say.rtp_at(PCMU, self.timestamp, &said.payload);
        self.timestamp = self.timestamp.wrapping_add(PACKET);
        let _ = self.socket.send_to(&packet, self.gateway);
        said
    }

    fn payload(&self) -> Vec<u8> {
        let text = format!("{} {:012} ", self.name, self.say.next_index());
        text.bytes().cycle().take(PACKET as usize).collect()
    }

    fn skip(&mut self, packets: u32) {
        self.say.skip(packets.into());
        self.timestamp = self.timestamp.wrapping_add(packets * PACKET);
    }

    fn report(&mut self, plain: &[Vec<u8>]) {
        let packet = self.say.rtcp_compound(&plain.concat());
        let _ = self.socket.send_to(&packet, self.gateway);
    }

    /// The gateway seals with the keys of `leg` from now on or soon; the roll-over counter goes on.
    fn also_opens(&mut self, leg: &LegText) {
        let mut ear = Ear::new(leg);
        let last = &self.ears.last().expect("an end has an ear").rtp;
        if let (Some(ssrc), Some(highest)) = (last.ssrc(), last.highest_index()) {
            ear.rtp.resume(ssrc, highest);
        }
        self.ears.push(ear);
    }

    /// The next packet if it comes within a millisecond. Every one that comes opens, and has a nonce of its own.
    fn hear(&mut self) -> Option<Heard> {
        self.socket.set_read_timeout(Some(Duration::from_millis(1))).expect("not zero");
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, self.gateway, "somebody else sends to {}", self.name);
        let sealed = &buffer[..len];
        let is_rtcp = matches!(sealed[1], 192..=223);
        let mut refusals = Vec::new();
        for ear in &mut self.ears {
            let mut packet = sealed.to_vec();
            let heard = if is_rtcp {
                let ssrc = u32::from_be_bytes(packet[4..8].try_into().expect("four"));
                ear.rtcp.open(&mut packet).map(|opened| {
                    packet.truncate(opened.len);
                    let index = opened.index;
                    ((ear.key, true, ssrc, u64::from(index)), Heard::Rtcp { index, octets: packet })
                })
            } else {
                let field = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
                let (seq, timestamp, ssrc) = (field(0) as u16, field(4), field(8));
                ear.rtp.open(&mut packet, 12, ssrc, seq).map(|opened| {
                    let (index, payload) = (opened.index.as_u64(), packet[12..opened.len].to_vec());
                    ((ear.key, false, ssrc, index), Heard::Rtp { index, ssrc, timestamp, payload })
                })
            };
            match heard {
                Ok((nonce, heard)) => {
                    assert!(self.nonces.insert(nonce), "{} was sent {nonce:?} twice", self.name);
                    return Some(heard);
                }
                Err(error) => refusals.push(error),
            }
        }
        panic!("{} cannot open what it is sent, {:02x?}: {refusals:?}", self.name, &sealed[..12]);
    }
}

/// What an end said.
#[derive(Debug, Clone)]
struct Said {
    index: u64,
    timestamp: u32,
    payload: Vec<u8>,
}

/// What a receiver knows of the source that it hears.
#[derive(Debug, Clone, Copy)]
struct Known {
    ssrc: u32,
    index: u64,
    timestamp: u32,
    /// Around the time at which the gateway received the latest packet.
    came: [Instant; 2],
}

/// A gateway in this process; its control thread is this one.
struct Site<P: Provider> {
    gateway: Gateway<P>,
    start: Instant,
}

impl<P: Provider> Site<P> {
    fn poll(&mut self) {
        self.gateway.poll(self.start.elapsed());
    }

    fn page(&mut self) -> Scrape {
        let server = self.gateway.metrics_address().expect("configured");
        let (status, body) = scrape::get(server, "/metrics").expect("it is served by a thread of its own");
        assert_eq!(status, 200);
        Scrape::parse(body)
    }

    fn wait_for<T>(&mut self, what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            self.poll();
            if let Some(value) = look() {
                return value;
            }
            assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        }
    }

    /// The next packet of media to `end` within `limit`.
    fn hear(&mut self, end: &mut End, limit: Duration) -> Option<Heard> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            self.poll();
            if let Some(heard) = end.hear() {
                return Some(heard);
            }
        }
        None
    }

    /// `from` speaks until `to` hears it: what was said and heard, and when.
    fn begin(&mut self, from: &mut End, to: &mut End) -> (Said, Known) {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let before = Instant::now();
            let said = from.say();
            if let Some(heard) = self.hear(to, SOON) {
                let known = is_what_was_said(&said, &heard, before);
                return (said, known);
            }
        }
        panic!("{} does not hear {}", to.name, from.name);
    }

    /// So many packets arrive, each as the next one of what `to` knows.
    fn talk(&mut self, from: &mut End, to: &mut End, known: &mut Known, packets: usize) -> Said {
        let mut latest = None;
        for _ in 0..packets {
            let before = Instant::now();
            let said = from.say();
            let heard = self.hear(to, LIMIT).expect("each packet arrives");
            let next = is_what_was_said(&said, &heard, before);
            let wanted = (known.ssrc, known.index + 1, known.timestamp.wrapping_add(PACKET));
            assert_eq!((next.ssrc, next.index, next.timestamp), wanted, "{} hears {}", to.name, from.name);
            *known = next;
            latest = Some(said);
        }
        latest.expect("more than none")
    }

    /// Nothing comes, and the drops that `why` names are so many more.
    fn refuses(&mut self, why: &str, end: &mut End, packets: u64, send: impl FnOnce()) {
        let of = |page: &Scrape| page.drops("a").get(why).copied().unwrap_or(0);
        let before = of(&self.page());
        send();
        let deadline = Instant::now() + LIMIT;
        loop {
            assert_eq!(self.hear(end, Duration::from_millis(20)), None, "{why}: it came through");
            let page = self.page();
            if of(&page) == before + packets {
                return;
            }
            assert!(Instant::now() < deadline, "{packets} not refused as {why}: {:?}", page.drops("a"));
        }
    }
}

fn is_what_was_said(said: &Said, heard: &Heard, before: Instant) -> Known {
    let Heard::Rtp { index, ssrc, timestamp, payload } = heard else { panic!("not RTP: {heard:?}") };
    assert_eq!(*payload, said.payload, "the very octets");
    Known { ssrc: *ssrc, index: *index, timestamp: *timestamp, came: [before, Instant::now()] }
}

/// How far the timestamp may have gone on between two packets: one packet, or the time that has passed.
fn advance(last: Known, next: Known) -> RangeInclusive<u32> {
    let units = |time: Duration| (time.as_secs_f64() * RATE_HZ) as u32;
    let least = units(next.came[0].saturating_duration_since(last.came[1])).saturating_sub(COARSE);
    let most = units(next.came[1].duration_since(last.came[0])) + COARSE;
    least.max(PACKET)..=most.max(PACKET)
}

/// A sender report of `ssrc` without blocks, and the SDES that belongs to it.
fn sender_report(ssrc: u32, timestamp: u32) -> Vec<Vec<u8>> {
    let words = [ssrc, 0x1111_2222, 0x3333_4444, timestamp, 50, 8_000];
    vec![rtcp(0, 200, &words), rtcp(1, 202, &[ssrc, 0x0104_6361, 0x6c6c_0000])]
}

/// A receiver report of `ssrc` about `source`, and a NACK.
fn receiver_report(ssrc: u32, source: u32, highest: u32, missing: u16) -> Vec<Vec<u8>> {
    vec![
        rtcp(1, 201, &[ssrc, source, 0, highest, 7, 0xaaaa_bbbb, 0x0001_0000]),
        rtcp(1, 202, &[ssrc, 0x0104_6361, 0x6c6c_0000]),
        rtcp(1, 205, &[ssrc, source, u32::from(missing) << 16]),
    ]
}

fn rtcp(count: u8, packet_type: u8, words: &[u32]) -> Vec<u8> {
    let mut octets = vec![0x80 | count, packet_type];
    octets.extend((words.len() as u16).to_be_bytes());
    octets.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    octets
}

/// The leg with other keys, at another remote port.
fn elsewhere(leg: &LegText, port: u16) -> LegText {
    let mut remote = leg.remote.expect("an end has an address");
    remote.set_port(port);
    LegText { remote: Some(remote), ..rekeyed(leg) }
}

fn rekeyed(leg: &LegText) -> LegText {
    LegText { keys: Some(LegKeys::generate_for(leg.keys().suite)), ..leg.clone() }
}

/// The session as the gateway reads it from a configuration.
fn session(machine: &Machine, base: &ConfigText, a: &LegText, b: &LegText) -> Session {
    let text = ConfigText {
        name: format!("{}-again", base.name),
        sessions: vec![SessionText::new("call", a.clone(), b.clone())],
        ..base.clone()
    };
    let config = Config::load(&write_config(machine, &text)).unwrap_or_else(|errors| panic!("{errors}"));
    config.sessions.into_iter().next().expect("one session")
}

/// A call whose caller is replaced twice.
struct Call<'m> {
    machine: &'m Machine,
    namespace: &'m Namespace,
    config: &'m ConfigText,
    id: &'static str,
    a: LegText,
    b: LegText,
}

impl Call<'_> {
    fn replace<P: Provider>(&mut self, site: &mut Site<P>, a: &LegText) {
        let new = session(self.machine, self.config, a, &self.b);
        let done = site.gateway.replace_source(self.id, LegName::A, &new.a);
        done.unwrap_or_else(|error| panic!("{error}"));
        self.a = a.clone();
    }

    fn set_keys<P: Provider>(&mut self, site: &mut Site<P>, leg: LegName) {
        match leg {
            LegName::A => self.a = rekeyed(&self.a),
            LegName::B => self.b = rekeyed(&self.b),
        }
        let new = session(self.machine, self.config, &self.a, &self.b);
        let leg_of = match leg {
            LegName::A => new.a,
            LegName::B => new.b,
        };
        let changed = site.gateway.set_keys(self.id, leg, &leg_of.protection);
        assert!(changed.unwrap_or_else(|error| panic!("{error}")));
    }

    /// The source's report arrives as one of what the receiver knows; the receiver's own reports and its request arrive as
    /// ones about the source's own numbers.
    fn reports<P: Provider>(
        &self,
        site: &mut Site<P>,
        [source, receiver]: [&mut End; 2],
        said: &Said,
        known: Known,
        indices: &mut Vec<u32>,
    ) {
        let of_reports = |heard: Option<Heard>| match heard {
            Some(Heard::Rtcp { index, octets }) => (index, octets),
            other => panic!("no report, but {other:?}"),
        };
        source.report(&sender_report(source.say.ssrc, said.timestamp));
        let (index, octets) = of_reports(site.hear(receiver, LIMIT));
        let wanted = sender_report(known.ssrc, known.timestamp).concat();
        assert_eq!(octets, wanted, "{}'s report", source.name);
        assert!(indices.last().is_none_or(|last| index == last + 1), "{indices:?}, then {index}");
        indices.push(index);
        let missing = known.index - 3;
        receiver.report(&receiver_report(receiver.say.ssrc, known.ssrc, known.index as u32, missing as u16));
        let (_, octets) = of_reports(site.hear(source, LIMIT));
        let missing = (said.index - 3) as u16;
        let wanted = receiver_report(receiver.say.ssrc, source.say.ssrc, said.index as u32, missing).concat();
        assert_eq!(octets, wanted, "the report about {}", source.name);
    }

    /// The whole story. Answers how many packets the callee heard.
    fn run<P: Provider>(mut self, site: &mut Site<P>) -> usize {
        let (a1, b) = (self.a.clone(), self.b.clone());
        let mut first =
            End::new("first", self.namespace, &a1, 0xa1a1, 65_536 - TURN as u64, u32::MAX - 1_000);
        let mut callee = End::new("callee", self.namespace, &b, 0xb0b0, 65_536 - TURN as u64, 77);
        let mut indices = Vec::new();

        // The first source goes over the end of its sequence numbers, as does the callee.
        let (_, mut known) = site.begin(&mut first, &mut callee);
        let (_, mut back) = site.begin(&mut callee, &mut first);
        let said = site.talk(&mut first, &mut callee, &mut known, 2 * TURN);
        site.talk(&mut callee, &mut first, &mut back, 2 * TURN);
        assert!(known.index > 0xffff && back.index > 0xffff && known.index == said.index);
        self.reports(site, [&mut first, &mut callee], &said, known, &mut indices);

        // Another source with keys of its own, at another address, and a while later.
        let a2 = elsewhere(&a1, 31_000 + a1.local.port() % 1_000);
        self.replace(site, &a2);
        site.wait_for("a while", LIMIT, || {
            (known.came[1].elapsed() > Duration::from_millis(300)).then_some(())
        });
        let mut second = End::new("second", self.namespace, &a2, 0xa2a2, 7, 0x8765_4321);
        let (said, next) = site.begin(&mut second, &mut callee);
        goes_on(known, next);
        let first_of_second = said.index;
        known = next;
        let said = site.talk(&mut second, &mut callee, &mut known, TURN);
        // Whoever joins with a fresh key knows of no roll-over.
        let (_, next) = site.begin(&mut callee, &mut second);
        assert_eq!((next.ssrc, next.index & !0xffff), (back.ssrc, 0));
        assert!(next.index > back.index & 0xffff, "{next:?} after {back:?}");
        back = next;
        site.talk(&mut callee, &mut second, &mut back, TURN);
        self.reports(site, [&mut second, &mut callee], &said, known, &mut indices);
        // The one before is gone.
        site.refuses("source_not_pinned", &mut callee, 1, || _ = first.say());
        let mut early = Sealer::new(&a2, 0xa2a2, first_of_second - 1);
        let packet = early.rtp_at(PCMU, 5, &[0; PACKET as usize]);
        site.refuses("before_source", &mut callee, 1, || {
            second.socket.send_to(&packet, second.gateway).expect("the veth pair is up");
        });

        // New keys of both legs, one after the other, while it talks.
        self.set_keys(site, LegName::A);
        second.also_opens(&self.a);
        site.talk(&mut second, &mut callee, &mut known, TURN);
        second.say.rekey(&self.a);
        site.talk(&mut second, &mut callee, &mut known, TURN);
        self.set_keys(site, LegName::B);
        callee.also_opens(&self.b);
        site.talk(&mut second, &mut callee, &mut known, TURN);
        callee.say.rekey(&self.b);
        site.talk(&mut callee, &mut second, &mut back, TURN);
        let said = site.talk(&mut second, &mut callee, &mut known, TURN);
        self.reports(site, [&mut second, &mut callee], &said, known, &mut indices);

        // Far ahead, up to before the next end of the callee's sequence numbers.
        let mut left = 2 * 65_536 - 3 * TURN as u64 - known.index;
        while left > 0 {
            let jump = left.min(30_000);
            left -= jump;
            second.skip(jump as u32);
            known.index += jump;
            known.timestamp = known.timestamp.wrapping_add(jump as u32 * PACKET);
            site.talk(&mut second, &mut callee, &mut known, 1);
            left = left.saturating_sub(1);
        }
        let recorded = second.say.rtp_at(PCMU, 5, &[0; PACKET as usize]);

        // The same end starts anew: same keys, another SSRC, and it ends its own sequence numbers elsewhere than the callee
        // sees them end.
        self.replace(site, &self.a.clone());
        let mut third = second.replaced_by("third", &self.a, 0xa3a3, 65_536 - 2 * TURN as u64, 0x0102_0304);
        // Until the worker knows, nothing of the new SSRC comes through; from then on nothing of the old one.
        let (_, next) = site.begin(&mut third, &mut callee);
        goes_on(known, next);
        known = next;
        site.refuses("ssrc_changed", &mut callee, 1, || {
            third.socket.send_to(&recorded, third.gateway).expect("the veth pair is up");
        });
        let said = site.talk(&mut third, &mut callee, &mut known, 6 * TURN);
        assert!(said.index > 65_536 && known.index > 2 * 65_536, "{said:?} {known:?}");
        self.reports(site, [&mut third, &mut callee], &said, known, &mut indices);
        site.talk(&mut callee, &mut third, &mut back, TURN);
        assert_eq!((known.ssrc, back.ssrc), (0xa1a1, 0xb0b0), "nobody ever knew of another");
        callee.nonces.len()
    }
}

/// The new source's first packet is the next one of what the receiver knew.
fn goes_on(known: Known, next: Known) {
    assert_eq!((next.ssrc, next.index), (known.ssrc, known.index + 1));
    let (gone_on, wanted) = (next.timestamp.wrapping_sub(known.timestamp), advance(known, next));
    assert!(wanted.contains(&gone_on), "the timestamp went on by {gone_on}, not {wanted:?}");
}

#[test]
fn the_other_leg_hears_one_source_that_goes_on() {
    match IpsecMbProvider::is_available() {
        Ok(()) => calls_with::<IpsecMbProvider>(),
        Err(_) => calls_with::<AesGcmProvider>(),
    }
}

fn calls_with<P: Provider>() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.90.1.2/24"], &["10.90.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    // Of the second suite the gateway opens and seals batches.
    let suites = [("gcm", Suite::AeadAes128Gcm, 20_000), ("cm", Suite::AesCm128HmacSha1_80, 20_100)];
    let legs = suites.map(|(id, suite, port)| {
        let leg = |side: u8| LegText {
            keys: Some(LegKeys::generate_for(suite)),
            formats: vec!["0 PCMU/8000"],
            ..LegText::new(&format!("10.90.{side}.1:{port}"), &format!("10.90.{side}.2:{}", port + 10_000))
        };
        (id, leg(1), leg(2))
    });
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.90.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.90.2.1/24"]),
        ],
        sessions: legs.iter().map(|(id, a, b)| SessionText::new(id, a.clone(), b.clone())).collect(),
        state_directory: Some(machine.path("state")),
        ..ConfigText::default()
    };
    let loaded = Config::load(&write_config(&machine, &config)).unwrap_or_else(|errors| panic!("{errors}"));
    let gateway = Gateway::<P>::start(&loaded, false).unwrap_or_else(|error| panic!("{error}"));
    let mut site = Site { gateway, start: Instant::now() };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for (id, a, b) in legs {
            let call = Call { machine: &machine, namespace: &namespace, config: &config, id, a, b };
            let heard = call.run(&mut site);
            println!("{id}: {heard} packets of three sources heard as one, no nonce twice");
        }
    }));
    let drops: BTreeMap<String, u64> = site.page().drops("a");
    // Or nothing would end its workers.
    let report = site.gateway.stop();
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
    assert!(!drops.contains_key("worker_panic") && !drops.contains_key("index_reserved"), "{drops:?}");
    assert!(report.is_clean(), "{report}");
}
