//! Sessions that come and go, for `tests/soak.rs`: runs beside the gateway in its process and asks for them through a
//! [`GatewayHandle`], as an operator's own control plane would.
//!
//! | kind | how it ends |
//! |---|---|
//! | removed, changed | by a request; some get another remote first |
//! | idle, lifetime, set-up | by itself: nothing is sent to it; the reason is asked for |
//! | visitor | a session of the configuration that is talked to all the time: it goes while packets come, and comes back with the same keys |
//!
//! Beside that a session that stays is tapped and untapped in turn.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};
use voxlane::control::config::{Config, Leg, Protection, Session, Timeouts, system_random};
use voxlane::control::{Answer, GatewayHandle, HandleError, Request, SessionError};
use voxlane::session::EndReason;
use voxlane::srtp::{MasterKey, Suite};

/// Ids of the sessions that go and come back begin so.
pub const VISITOR: &str = "visitor-";
/// The session that is tapped and untapped in turn.
pub const TAPPED_IN_TURN: &str = "call-2";
/// Seconds for which ports rest: `[sessions] port_rest` of the configuration.
pub const PORT_REST_S: u64 = 2;
/// How often the tap begins or ends.
pub const TAP_TURN: Duration = Duration::from_secs(1);

/// Nothing happens yet.
pub const WAIT: u8 = 0;
/// Sessions a second are [`FAST_RATE`]: until everything that remembers the latest sessions is full.
pub const FAST: u8 = 1;
/// They are [`STEADY_RATE`].
pub const STEADY: u8 = 2;
/// No session comes any more, and all end.
pub const END: u8 = 3;

/// Sessions added a second at first.
pub const FAST_RATE: u32 = 4_000;
/// Sessions added a second for the rest of the run.
pub const STEADY_RATE: u32 = 2_000;

/// Even ports of sessions that come and go: those of the others are below.
const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = (u16::MAX as u32 + 1 - FIRST_PORT as u32) / 2;
/// Sessions that have come and not yet ended, at most. As many come at once at the start, so that no pool is used more
/// later, however slow a busy machine makes the gateway.
const MOST_ALIVE: u64 = 8_000;
/// Requests without an answer at which no more sessions come.
const MOST_ASKED: usize = 1_024;
/// Requests to add a session in one round.
const MOST_AT_ONCE: u32 = 256;
/// How long the reason of an end may keep us waiting after it is due.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Descriptions of what should not have happened that are kept.
const MOST_SURPRISES: usize = 20;

/// What was asked for and what came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Sessions added.
    pub added: u64,
    /// Sessions changed, those with a tap that began or ended included.
    pub changed: u64,
    /// Sessions that ended, by reason, as the gateway answers.
    pub ended: BTreeMap<String, u64>,
    /// Requests that were refused, by the error's name.
    pub refused: BTreeMap<String, u64>,
    /// Times that the gateway's queue of requests was full.
    pub busy: u64,
    /// Of the added, those that came back with the same keys while packets came for them.
    pub visits: u64,
    /// Times that the tap began or ended.
    pub taps: u64,
    /// What should not have happened.
    pub surprises: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Removed,
    Changed,
    Idle,
    Lifetime,
    Setup,
    /// The place in the list, and whether it ends by its lifetime.
    Visitor(usize, bool),
}

/// One session and what is to become of it.
#[derive(Debug, Clone)]
struct Call {
    kind: Kind,
    session: Box<Session>,
    /// From when on it is asked for its end.
    due: Instant,
}

#[derive(Debug)]
enum Step {
    Add(Call),
    Change(Call),
    Remove(Call),
    AskEnd(Call),
    Tap,
}

/// What an answer is the answer to.
enum Asked {
    Add(Call),
    Change(Call),
    Remove(Call),
    End(Call),
    Tap,
}

pub struct Churn<'a> {
    handle: GatewayHandle,
    answers: (Sender<Answer>, Receiver<Answer>),
    asked: VecDeque<Asked>,
    steps: BTreeMap<(Instant, u64), Step>,
    next_step: u64,
    config: &'a Config,
    tapped: Session,
    made: u64,
    counts: Counts,
}

impl<'a> Churn<'a> {
    pub fn new(handle: GatewayHandle, config: &'a Config) -> Self {
        let tapped = config.sessions.iter().find(|session| session.id == TAPPED_IN_TURN);
        Churn {
            handle,
            answers: unbounded(),
            asked: VecDeque::new(),
            steps: BTreeMap::new(),
            next_step: 0,
            config,
            tapped: tapped.expect("the configuration has it").clone(),
            made: 0,
            counts: Counts::default(),
        }
    }

    /// Goes on until `mode` is [`END`] and all sessions that came have ended.
    pub fn run(mut self, mode: &AtomicU8) -> Counts {
        while mode.load(Ordering::Acquire) == WAIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.begin();
        let (mut last, mut owed, mut is_full) = (Instant::now(), 0.0, false);
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let (mode, now) = (mode.load(Ordering::Acquire), Instant::now());
            while let Ok(answer) = self.answers.1.try_recv() {
                self.take(answer, now, mode == END);
            }
            while let Some(entry) = self.steps.first_entry().filter(|entry| entry.key().0 <= now) {
                let step = entry.remove();
                self.carry_out(step, now, mode == END);
            }
            let rate = [0, FAST_RATE, STEADY_RATE, 0][usize::from(mode)];
            owed += f64::from(rate) * (now - last).as_secs_f64();
            // What a busy machine made impossible is not made up for.
            owed = owed.min(f64::from(MOST_AT_ONCE));
            last = now;
            is_full |= self.alive() >= MOST_ALIVE;
            if mode == FAST && !is_full {
                owed = f64::from(MOST_AT_ONCE);
            }
            while owed >= 1.0 && self.asked.len() < MOST_ASKED && self.alive() < MOST_ALIVE {
                owed -= 1.0;
                let call = self.another(now);
                self.carry_out(Step::Add(call), now, false);
            }
            if mode == END && self.asked.is_empty() && self.steps.is_empty() {
                return self.counts;
            }
        }
    }

    /// The sessions of the configuration that go and come back are there; the first ones go in a second.
    fn begin(&mut self) {
        let now = Instant::now();
        let visitors = self.config.sessions.iter().filter(|session| session.id.starts_with(VISITOR));
        for (number, session) in visitors.enumerate() {
            let due = now + Duration::from_millis(1_000 + 100 * number as u64);
            let call = Call { kind: Kind::Visitor(number, false), session: Box::new(session.clone()), due };
            self.plan(due, Step::Remove(call));
        }
        self.plan(now + TAP_TURN, Step::Tap);
    }

    /// Sessions that have come and not yet ended.
    fn alive(&self) -> u64 {
        self.counts.added.saturating_sub(self.counts.ended.values().sum())
    }

    fn plan(&mut self, at: Instant, step: Step) {
        self.next_step += 1;
        self.steps.insert((at, self.next_step), step);
    }

    fn carry_out(&mut self, step: Step, now: Instant, is_end: bool) {
        let (request, asked) = match step {
            // Nobody comes any more.
            Step::Add(_) | Step::Tap if is_end => return,
            Step::Add(call) => (Request::Add(call.session.clone()), Asked::Add(call)),
            Step::Change(mut call) => {
                call.session.b.remote = call.session.b.remote.map(|remote| elsewhere(remote, self.made));
                (Request::Change(call.session.clone()), Asked::Change(call))
            }
            Step::Remove(call) => (Request::Remove(call.session.id.clone()), Asked::Remove(call)),
            Step::AskEnd(call) => (Request::Ended(call.session.id.clone()), Asked::End(call)),
            Step::Tap => {
                let tapped = Session { tap: !self.tapped.tap, ..self.tapped.clone() };
                (Request::Change(Box::new(tapped)), Asked::Tap)
            }
        };
        match self.handle.submit(request, &self.answers.0) {
            Ok(()) => self.asked.push_back(asked),
            Err(HandleError::Stopped) => self.surprise("the gateway has stopped".to_owned()),
            Err(HandleError::Busy) => {
                self.counts.busy += 1;
                let again = match asked {
                    Asked::Add(call) if matches!(call.kind, Kind::Visitor(..)) => Step::Add(call),
                    // Another one comes soon enough.
                    Asked::Add(_) => return,
                    Asked::Change(call) | Asked::Remove(call) => Step::Remove(call),
                    Asked::End(call) => Step::AskEnd(call),
                    Asked::Tap => Step::Tap,
                };
                self.plan(now + Duration::from_millis(50), again);
            }
        }
    }

    fn take(&mut self, answer: Answer, now: Instant, is_end: bool) {
        let asked = self.asked.pop_front().expect("answers come in the order of the requests");
        match (asked, answer) {
            (Asked::Add(call), Answer::Done(_)) => self.came(call, now, is_end),
            (Asked::Add(call), Answer::Refused(error)) => {
                self.refused(&error);
                // Its ports may rest a little longer, its keys be released a little later.
                if matches!(call.kind, Kind::Visitor(..)) {
                    self.plan(now + Duration::from_millis(200), Step::Add(call));
                }
            }
            (Asked::Change(call), Answer::Done(_)) => {
                self.counts.changed += 1;
                self.plan(now + Duration::from_millis(100), Step::Remove(call));
            }
            (Asked::Change(call), Answer::Refused(error)) => {
                self.refused(&error);
                self.plan(now, Step::Remove(call));
            }
            (Asked::Remove(call), Answer::Removed) => self.went(call, EndReason::Removed, now),
            (Asked::End(call), Answer::Ended(Some(reason))) => {
                let wanted = match call.kind {
                    Kind::Idle => EndReason::IdleTimeout,
                    Kind::Setup => EndReason::SetupTimeout,
                    Kind::Lifetime | Kind::Visitor(..) => EndReason::MaxLifetime,
                    Kind::Removed | Kind::Changed => EndReason::Removed,
                };
                if reason != wanted {
                    self.surprise(format!("{} ended by {reason:?}: {:?}", call.session.id, call.kind));
                }
                self.went(call, reason, now);
            }
            (Asked::End(call), Answer::Ended(None)) if now < call.due + END_LIMIT => {
                self.plan(now + Duration::from_millis(250), Step::AskEnd(call));
            }
            (Asked::Tap, Answer::Done(_)) => {
                self.counts.changed += 1;
                self.counts.taps += 1;
                self.tapped.tap = !self.tapped.tap;
                self.plan(now + TAP_TURN, Step::Tap);
            }
            (Asked::Add(call) | Asked::Change(call) | Asked::Remove(call) | Asked::End(call), answer) => {
                self.surprise(format!("{:?} {}: {answer:?}", call.kind, call.session.id));
            }
            (Asked::Tap, answer) => self.surprise(format!("tap: {answer:?}")),
        }
    }

    /// A session is there: what becomes of it.
    fn came(&mut self, mut call: Call, now: Instant, is_end: bool) {
        self.counts.added += 1;
        let life = Duration::from_millis(100 + 90 * (self.made % 10));
        let timeout = Duration::from_secs(1);
        let (at, is_asked) = match call.kind {
            Kind::Removed | Kind::Changed => (now + life, false),
            Kind::Idle | Kind::Lifetime | Kind::Setup => (now + timeout, true),
            Kind::Visitor(_, by_lifetime) => {
                self.counts.visits += 1;
                (now + if by_lifetime { timeout } else { Duration::from_secs(2) }, by_lifetime)
            }
        };
        call.due = at;
        let step = match call.kind {
            _ if is_asked => Step::AskEnd(call),
            Kind::Changed if !is_end => Step::Change(call),
            _ => Step::Remove(call),
        };
        self.plan(at, step);
    }

    /// A session is gone; a visitor comes back when its ports have rested.
    fn went(&mut self, mut call: Call, reason: EndReason, now: Instant) {
        *self.counts.ended.entry(reason.label().to_owned()).or_default() += 1;
        if let Kind::Visitor(number, by_lifetime) = call.kind {
            call.kind = Kind::Visitor(number, !by_lifetime);
            call.session.timeouts =
                Timeouts { max_lifetime_s: (!by_lifetime).then_some(1), ..Timeouts::default() };
            self.plan(now + Duration::from_millis(1_000 * PORT_REST_S + 300), Step::Add(call));
        }
    }

    fn refused(&mut self, error: &SessionError) {
        let text = format!("{error:?}");
        let name = text.split([' ', '(', '{']).next().unwrap_or_default();
        *self.counts.refused.entry(name.to_owned()).or_default() += 1;
    }

    fn surprise(&mut self, what: String) {
        if self.counts.surprises.len() < MOST_SURPRISES {
            self.counts.surprises.push(what);
        }
    }

    /// The next session that nobody talks to.
    fn another(&mut self, now: Instant) -> Call {
        let number = self.made;
        self.made += 1;
        let port = FIRST_PORT + 2 * (number % u64::from(PORTS)) as u16;
        let kind = [Kind::Removed, Kind::Idle, Kind::Removed, Kind::Lifetime, Kind::Changed, Kind::Setup]
            [(number % 6) as usize];
        let (idle, lifetime, setup) = (kind == Kind::Idle, kind == Kind::Lifetime, kind == Kind::Setup);
        let timeouts = Timeouts {
            idle_s: idle.then_some(1),
            max_lifetime_s: lifetime.then_some(1),
            setup_s: setup.then_some(1),
        };
        let suite = if number.is_multiple_of(4) { Suite::AesCm128HmacSha1_80 } else { Suite::AeadAes128Gcm };
        let template = &self.config.sessions[0];
        let leg = |of: &Leg| {
            let remote = of.remote.expect("configured");
            let remote = if number.is_multiple_of(8) { elsewhere(remote, number) } else { remote };
            Leg {
                local: SocketAddr::new(of.local.ip(), port),
                remote: Some(SocketAddr::new(remote.ip(), port)),
                protection: Protection::Srtp {
                    remote_keys: MasterKey::generate(suite, &mut system_random).into(),
                    local_keys: MasterKey::generate(suite, &mut system_random).into(),
                },
                ..of.clone()
            }
        };
        let session = Session {
            id: format!("churn-{number}"),
            a: leg(&template.a),
            b: leg(&template.b),
            timeouts,
            tap: false,
            ..template.clone()
        };
        Call { kind, session: Box::new(session), due: now }
    }
}

/// Another host of the same network, which nobody is.
fn elsewhere(remote: SocketAddr, number: u64) -> SocketAddr {
    let IpAddr::V4(address) = remote.ip() else { return remote };
    let [a, b, c, _] = address.octets();
    SocketAddr::new(Ipv4Addr::new(a, b, c, 10 + (number % 200) as u8).into(), remote.port())
}
