//! The whole generator against a gateway in memory that opens and re-seals as the real one does: what is
//! clean passes, and each fault the gateway can have is found and counted under its own name.

mod fake_gateway;
mod faults;
mod runs;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use fake_gateway::{FakeGateway, Fault};
use voxlane::control::config::Config;
use voxlane::dpdk::cycles;
use voxlane::srtp::{MasterKey, Suite};
use voxlane::wire::MacAddress;

use super::clock::Clock;
use super::crypto::KeyUse;
use super::engine::{
    Control, Engine, EngineOptions, FloodOptions, Mode, PacedOptions, PrepareError, STALL_NS, paths,
};
use super::impair::Shares;
use super::line::Line;
use super::neighbours::Neighbours;
use super::pace::Pacer;
use super::plan::{Directions, Plan};
use super::report::{Report, Setup};
use super::reports::Reports;
use super::stats::Stats;
use super::step::Step;
use super::traffic::{FRAME_ROOM, Sink, Traffic, TrafficOptions};
use super::verify::{Verifier, VerifyOptions};

const MACS: [MacAddress; 2] = [MacAddress([2, 0, 0, 0, 1, 1]), MacAddress([2, 0, 0, 0, 1, 2])];

/// One of our ports, joined to the gateway in memory.
struct MemoryLine {
    port: usize,
    gateway: Rc<RefCell<FakeGateway>>,
    clock: Clock,
    slot: Box<[u8; FRAME_ROOM]>,
    waiting: Vec<Vec<u8>>,
}

impl Sink for MemoryLine {
    fn slot(&mut self) -> &mut [u8] {
        &mut *self.slot
    }

    fn commit(&mut self, len: usize, _is_valid: bool) {
        self.waiting.push(self.slot[..len].to_vec());
    }

    fn stamp(&self) -> u64 {
        self.clock.now_ns()
    }
}

impl Line for MemoryLine {
    fn room(&mut self) -> usize {
        64_usize.saturating_sub(self.waiting.len())
    }

    fn flush(&mut self) {
        let mut gateway = self.gateway.borrow_mut();
        for frame in self.waiting.drain(..) {
            gateway.receive(self.port, frame, self.clock.now_ns());
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn discard(&mut self) -> usize {
        self.waiting.drain(..).count()
    }

    fn receive(&mut self, mut each: impl FnMut(&mut [u8], u64)) -> usize {
        let frames = self.gateway.borrow_mut().transmit(self.port);
        let now_ns = self.clock.now_ns();
        let count = frames.len();
        for mut frame in frames {
            each(&mut frame, now_ns);
        }
        count
    }
}

/// A run to be made.
struct Run {
    config: String,
    sessions: Option<usize>,
    directions: Directions,
    payload_len: usize,
    impair: &'static str,
    start_sequence: Option<u16>,
    rtcp: bool,
    warm_up: bool,
    /// `None`: paced, 40 packets per stream.
    flood: Option<FloodOptions>,
    packets: u64,
    limit_ns: u64,
    in_flight: u64,
    keys: KeyUse,
    verify_every: u64,
    fault: Fault,
}

impl Run {
    fn of(config: String) -> Self {
        Run {
            config,
            sessions: None,
            directions: Directions::Both,
            payload_len: 160,
            impair: "",
            start_sequence: None,
            rtcp: false,
            warm_up: true,
            flood: None,
            packets: 40,
            limit_ns: u64::MAX,
            in_flight: u64::MAX,
            keys: KeyUse::Kept,
            verify_every: 1,
            fault: Fault::None,
        }
    }

    /// Makes the run; also returns the gateway with its counts.
    fn make(&self) -> (Result<Report, PrepareError>, Rc<RefCell<FakeGateway>>) {
        let config = Config::parse("test.toml", &self.config, Path::new(".")).expect("a valid configuration");
        let names = config.ports.iter().map(|port| (port.name.clone(), "net_test0".to_owned()));
        let devices: BTreeMap<_, _> = names.collect();
        let plan =
            Plan::new(&config, &devices, self.sessions, self.directions).expect("a playable configuration");
        let stats = Arc::new(Stats::new());
        // Any plausible rate does: the tests look at no absolute time.
        let clock = Clock::new(cycles(), 2_000_000_000);
        let gateway = Rc::new(RefCell::new(FakeGateway::new(&config, &MACS, self.fault)));
        let line = |port| MemoryLine {
            port,
            gateway: Rc::clone(&gateway),
            clock,
            slot: Box::new([0; FRAME_ROOM]),
            waiting: Vec::new(),
        };
        let options = TrafficOptions {
            payload_len: self.payload_len,
            start_sequence: self.start_sequence,
            impair: self.impair.parse::<Shares>().expect("valid shares"),
            seed: 42,
            keys: self.keys,
        };
        let traffic = Traffic::new(&plan, &MACS, options, Arc::clone(&stats)).expect("one family per leg");
        let streams = traffic.streams() as u64;
        let verify = VerifyOptions {
            payload_len: self.payload_len,
            with_reports: self.rtcp,
            keys: self.keys,
            every: self.verify_every,
        };
        let reports = self.rtcp.then(|| Reports::new(&plan, &MACS, &traffic, Arc::clone(&stats)));
        let mut engine = Engine {
            lines: (0..plan.ports.len()).map(line).collect::<Vec<_>>(),
            verifier: Verifier::new(&plan, &MACS, &traffic, verify, Arc::clone(&stats)),
            neighbours: Neighbours::new(&plan, &MACS).expect("routes to the gateway"),
            paths: paths(&plan),
            options: EngineOptions {
                mode: match self.flood {
                    Some(options) => Mode::Flood(FloodOptions {
                        step: Step { packets: self.packets * streams, ..options.step },
                        ..options
                    }),
                    None => Mode::Paced(PacedOptions {
                        media: Pacer::per_second(200_000, self.packets * streams).expect("not zero"),
                        reports: self.rtcp.then(|| Pacer::per_second(20_000, 3 * streams).expect("not zero")),
                        limit_ns: self.limit_ns,
                        in_flight: self.in_flight,
                    }),
                },
                prepare_ns: 300_000_000,
                warm_up: self.warm_up,
                drain_ns: 30_000_000,
            },
            traffic,
            reports: reports.transpose().expect("one family per leg"),
            clock,
            stats: Arc::clone(&stats),
            control: Arc::new(Control::default()),
        };
        let result = engine.run();
        let setup = Setup {
            sessions: plan.sessions,
            streams: plan.streams.len(),
            flood: self.flood.is_some(),
            payload_bytes: self.payload_len,
            seed: 42,
        };
        (result.map(|()| Report::new(&stats, setup)), gateway)
    }

    fn report(&self) -> Report {
        self.make().0.expect("the run is made")
    }
}

/// As fast as the gateway goes.
fn flood(chunk: usize, in_flight: u64) -> FloodOptions {
    let step = Step { limit_ns: u64::MAX, packets: 0, rate: None };
    FloodOptions {
        chunk,
        step,
        in_flight,
        settle: 0,
        stall_ns: STALL_NS,
        is_stepped: false,
        is_mirrored: false,
    }
}

/// The family and protection of a leg.
#[derive(Clone, Copy)]
struct LegKind {
    ipv6: bool,
    suite: Option<Suite>,
    /// RTCP on the next port.
    rtcp_next: bool,
}

const V4: LegKind = LegKind { ipv6: false, suite: Some(Suite::AeadAes128Gcm), rtcp_next: false };
const V6: LegKind = LegKind { ipv6: true, suite: Some(Suite::AeadAes256Gcm), rtcp_next: false };
const PLAIN: LegKind = LegKind { suite: None, ..V4 };

/// A gateway's configuration with `count` sessions between legs of these kinds.
fn config(count: usize, a: LegKind, b: LegKind, port_extra: &str) -> String {
    let mut text = "[gateway]\nname = \"test\"\nstate_directory = \"none\"\n\
        [cores]\ncontrol = [0]\nworkers = [1]\n"
        .to_owned();
    for (number, name) in ["a", "b"].iter().enumerate() {
        let net = number + 1;
        text += &format!(
            "[[port]]\nname = \"{name}\"\ndevice = \"net_null{number}\"\n\
             addresses = [\"10.{net}.0.1/24\", \"fd00:{net}::1/64\"]\n{port_extra}\n"
        );
    }
    let mut key = 0_u8;
    for session in 0..count {
        text += &format!("[[session]]\nid = \"call-{session}\"\n");
        for (net, name, kind) in [(1, "a", a), (2, "b", b)] {
            let at = |host: u8, port: usize| match kind.ipv6 {
                false => format!("10.{net}.0.{host}:{port}"),
                true => format!("[fd00:{net}::{host}]:{port}"),
            };
            let rtcp = if kind.rtcp_next { "rtcp = \"next\", " } else { "" };
            let keys = match kind.suite {
                None => "suite = \"none\"".to_owned(),
                Some(suite) => {
                    let mut inline = || {
                        key += 1;
                        let master = MasterKey::from_parts(
                            suite,
                            &vec![key; suite.key_len()],
                            &vec![key; suite.salt_len()],
                        );
                        master.expect("right lengths").to_sdes_inline().to_string()
                    };
                    let (remote, local) = (inline(), inline());
                    format!("suite = \"{suite}\", remote_key = \"{remote}\", local_key = \"{local}\"")
                }
            };
            let (local, remote) =
                (at(1, 20_000 + 2 * session), at(2 + (session % 3) as u8, 30_000 + 2 * session));
            text += &format!("{name} = {{ local = \"{local}\", remote = \"{remote}\", {rtcp}{keys} }}\n");
        }
    }
    text
}
