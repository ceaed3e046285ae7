//! The real packet path against the reference implementation, on random traffic: every frame must have the same fate,
//! and every frame that leaves must be the same to the octet.
//!
//! `world` and `traffic` make up what happens, `sender`, `packet` and `wire` how it looks; `glue` gives it to the product.
//! Worlds follow from their seeds, which a failure names. `VOXLANE_DIFFERENTIAL_WORLDS=N` runs N of them instead of
//! the usual number, `VOXLANE_DIFFERENTIAL_SEED=S` begins with seed S.

#[path = "differential/glue.rs"]
mod glue;
#[path = "differential/packet.rs"]
mod packet;
#[path = "differential/random.rs"]
mod random;
mod reference;
#[path = "differential/sender.rs"]
mod sender;
#[path = "differential/traffic.rs"]
mod traffic;
#[path = "differential/vectors.rs"]
mod vectors;
#[path = "differential/wire.rs"]
mod wire;
#[path = "differential/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use glue::{Fate, Product, UNREACHABLE};
use random::Random;
use reference::link::{self, Seen};
use reference::srtp::{SUITES, Suite};
use reference::{Gateway, MKI_UNKNOWN, Outcome, Reason, World};
use traffic::Traffic;
use voxlane::fastpath::DropReason;
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, Provider};

const WORLDS: u64 = 120;
const FRAMES_PER_WORLD: usize = 2_500;

#[test]
fn every_frame_has_the_fate_that_the_reference_says() {
    every_frame_agrees::<AesGcmProvider>();
}

#[test]
fn every_frame_has_the_fate_that_the_reference_says_with_ipsec_mb() {
    IpsecMbProvider::is_available().expect("apt-get install libipsec-mb-dev");
    every_frame_agrees::<IpsecMbProvider>();
}

fn every_frame_agrees<P: Provider>() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let first = number("VOXLANE_DIFFERENTIAL_SEED").unwrap_or(1);
    let worlds = number("VOXLANE_DIFFERENTIAL_WORLDS").unwrap_or(WORLDS);
    let mut tally = Tally::default();
    for seed in first..first + worlds {
        run_world::<P>(seed, &mut tally);
    }
    println!("{}: {worlds} worlds, {tally}", P::NAME);
    if worlds >= WORLDS {
        assert!(tally.frames() >= 200_000, "{tally}");
        // Traffic that does not reach a rule proves nothing about it.
        for reason in DropReason::ALL {
            // Legs here name payload types by their numbers: tests/gate.rs and the tests of each format are for the rest.
            let reachable =
                !reason.is_tolerable() && !UNREACHABLE.iter().any(|(unreachable, _)| unreachable == reason);
            let frames = tally.0.get(reason.label()).copied().unwrap_or(0);
            assert_eq!(frames > 0, reachable, "{reason}: {frames} frames");
        }
        assert!(tally.0["sent"] > tally.frames() / 3, "most traffic is good: {tally}");
    }
}

fn run_world<P: Provider>(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut suites: Vec<Option<Suite>> = glue::suites().iter().map(|name| Some(suite(name))).collect();
    suites.push(None);
    let mut world = world::world(&mut random, &suites, seed as usize * 5, glue::MKI_KEYS);
    let mut traffic = Traffic::new(&mut random, &world);
    world.rtcp_window = world.window.min(glue::RTCP_WINDOW_MAX);
    let mut product = Product::<P>::new(&world);
    let mut reference = Gateway::new(world.clone());
    let (mut frames_in, mut bursts) = (0, 0);
    while frames_in < FRAMES_PER_WORLD {
        let (port, frames) = traffic.burst(&mut random);
        let got = product.burst(port, &frames);
        let expected: Vec<Outcome> = frames.iter().map(|frame| reference.receive(port, frame)).collect();
        expected.iter().for_each(|outcome| tally.add(outcome));
        let differs =
            (0..frames.len()).find(|&number| !agree(&expected[number], &got.frames[number], &frames[number]));
        if let Some(number) = differs {
            panic!(
                "seed {seed}, burst {bursts}, frame {number} on port {port}:\n  frame     {}\n  reference {}\n  \
                 product   {}\n{}{}",
                hex(&frames[number]),
                shown(&expected[number]),
                shown_fate(&got.frames[number]),
                shown_burst(&world, port, &frames, &expected, &got),
                shown_world(&world)
            );
        }
        let mut reasons: Vec<&str> = expected.iter().filter_map(reason).collect();
        reasons.sort_by_key(|label| DropReason::ALL.iter().position(|reason| reason.label() == *label));
        assert!(
            got.dropped == reasons,
            "seed {seed}, burst {bursts} on port {port}: other drop reasons\n{}{}",
            shown_burst(&world, port, &frames, &expected, &got),
            shown_world(&world)
        );
        for (flow, sent) in flows(&world, port, &frames, &got.sent) {
            assert!(sent.is_sorted(), "seed {seed}, burst {bursts}: {flow:?} was sent in the order {sent:?}");
        }
        frames_in += frames.len();
        bursts += 1;
    }
}

/// Whether a frame has the fate that the reference says. Why it was dropped is compared for the burst.
fn agree(expected: &Outcome, fate: &Fate, frame: &[u8]) -> bool {
    match (expected, fate) {
        (Outcome::Sent(port, bytes), Fate::Sent(to, sent)) => port == to && bytes == sent,
        (Outcome::Punted, Fate::Punted(bytes)) => bytes == frame,
        (Outcome::Dropped(_), Fate::Dropped) => true,
        _ => false,
    }
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Dropped(reason) => Some(reason),
        _ => None,
    }
}

/// Numbers of the frames sent, by source, destination and whether they are RTCP: these leave in the order in which
/// they came. Others may overtake them.
fn flows(
    world: &World,
    port: usize,
    frames: &[Vec<u8>],
    sent: &[usize],
) -> BTreeMap<(SocketAddr, SocketAddr, bool), Vec<usize>> {
    let mut flows: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for &number in sent {
        let Ok(Seen::Media { source, destination, payload }) =
            link::read(&frames[number], &world.ports[port])
        else {
            panic!("the reference agreed that frame {number} is media");
        };
        let is_rtcp = (192..=223).contains(&payload[1]);
        flows.entry((source, destination, is_rtcp)).or_default().push(number);
    }
    flows
}

/// The same traffic under all five suites, with MKIs and changes of keys, through the reference alone: what the
/// product does not have yet is generated and understood.
#[test]
fn the_reference_relays_every_suite_and_changes_of_keys() {
    let suites: Vec<Option<Suite>> = SUITES.into_iter().map(Some).collect();
    let mut tally = Tally::default();
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let world = world::world(&mut random, &suites, seed as usize * 3, 4);
        let mut traffic = Traffic::new(&mut random, &world);
        let mut reference = Gateway::new(world);
        for _ in 0..40 {
            let (port, frames) = traffic.burst(&mut random);
            frames.iter().for_each(|frame| tally.add(&reference.receive(port, frame)));
        }
    }
    assert!(tally.0["sent"] > tally.frames() / 2, "{tally}");
    assert!(tally.0[MKI_UNKNOWN] > 0, "{tally}");
}

/// Frames by what became of them.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        let label = match outcome {
            Outcome::Sent(..) => "sent",
            Outcome::Punted => "punted",
            Outcome::Dropped(reason) => reason,
        };
        *self.0.entry(label).or_default() += 1;
    }

    fn frames(&self) -> u64 {
        self.0.values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} frames: {:?}", self.frames(), self.0)
    }
}

fn suite(name: &str) -> Suite {
    *SUITES.iter().find(|suite| suite.name == name).unwrap_or_else(|| panic!("the reference lacks {name}"))
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Sent(port, bytes) => format!("sent on port {port}: {}", hex(bytes)),
        other => format!("{other:?}"),
    }
}

fn shown_fate(fate: &Fate) -> String {
    match fate {
        Fate::Sent(port, bytes) => format!("sent on port {port}: {}", hex(bytes)),
        Fate::Punted(bytes) => format!("punted: {}", hex(bytes)),
        Fate::Dropped => "dropped".to_owned(),
    }
}

/// A line for each frame of a burst, and one for the product's drop reasons, which belong to no frame.
fn shown_burst(
    world: &World,
    port: usize,
    frames: &[Vec<u8>],
    expected: &[Outcome],
    got: &glue::Fates,
) -> String {
    let mut text = String::new();
    for (number, (frame, expected)) in frames.iter().zip(expected).enumerate() {
        let what = match link::read(frame, &world.ports[port]) {
            Ok(Seen::Media { source, destination, payload }) => {
                format!(
                    "{source} to {destination}, {} bytes: {}",
                    payload.len(),
                    hex(&payload[..payload.len().min(12)])
                )
            }
            other => format!("{other:?}"),
        };
        let expected =
            reason(expected).unwrap_or(if *expected == Outcome::Punted { "punted" } else { "sent" });
        let fate = match got.frames[number] {
            Fate::Sent(..) => "sent",
            Fate::Punted(_) => "punted",
            Fate::Dropped => "dropped",
        };
        let _ = writeln!(text, "  {number:2} reference {expected}, product {fate}: {what}");
    }
    let _ = writeln!(text, "  reasons of the product: {:?}", got.dropped);
    text
}

/// A line for each port and leg.
fn shown_world(world: &World) -> String {
    let ports = world.ports.iter().map(|port| format!("{port:?}"));
    let legs = world.sessions.iter().flat_map(|session| &session.legs).map(|leg| format!("{leg:?}"));
    ports.chain(legs).chain([format!("window {}", world.window)]).collect::<Vec<_>>().join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
