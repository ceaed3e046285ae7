//! The control thread's side of the packet path: what workers punt is answered, next hops are kept resolved,
//! learned remotes become commands.
//!
//! Runs on the control cores. It talks to the workers through their bounded queues and the next-hop tables only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use super::config::{Config, Protection, RtcpPolicy, Session};
use super::host::{Counters, Event, FrameKind, Host, Outcome};
use super::plan::{self, Home};
use super::rekey::{LegName, Planned, RekeyError, RekeyReport, Rekeying};
use super::telemetry::SharedPort;
use crate::dpdk::{Mbuf, Mempool};
use crate::fastpath::{Command, LearnEvent, WorkerShared};
use crate::session::{EgressPort, Endpoint, Journal, NextHop, NextHops, StreamId};

/// How often link states are read.
const LINK_INTERVAL_NS: u64 = 50_000_000;
/// Frames of one worker that are handled before the others get their turn.
const PUNTS_PER_TURN: usize = 64;

/// The gateway as a host on the networks of its ports.
pub(super) struct HostSide {
    sessions: Vec<Session>,
    /// By port.
    hosts: Vec<Host>,
    facts: Vec<EgressPort>,
    port_names: Vec<String>,
    next_hops: Vec<Arc<NextHops>>,
    counts: Vec<Arc<HostCounts>>,
    link_up: Vec<bool>,
    next_link_check_ns: u64,
    /// By worker.
    workers: Vec<Arc<WorkerShared>>,
    homes: Vec<Vec<Home>>,
    /// Sources that a command was sent for, so that the packets under way do not ask again.
    learned: HashMap<(u16, StreamId, bool), Endpoint>,
    rekeying: Rekeying,
    pool: Mempool,
}

/// Counts of one port's host, for the metrics thread.
///
/// Written by the control thread, read by metrics.
#[derive(Debug)]
pub(super) struct HostCounts(Box<[AtomicU64]>);

impl HostSide {
    pub(super) fn new(
        config: &Config,
        hosts: Vec<Host>,
        facts: Vec<EgressPort>,
        next_hops: Vec<Arc<NextHops>>,
        workers: Vec<Arc<WorkerShared>>,
        homes: Vec<Vec<Home>>,
        pool: Mempool,
    ) -> Self {
        HostSide {
            rekeying: Rekeying::new(&config.sessions, workers.len()),
            sessions: config.sessions.clone(),
            counts: hosts.iter().map(|_| Arc::new(HostCounts::new())).collect(),
            link_up: vec![false; hosts.len()],
            port_names: config.ports.iter().map(|port| port.name.clone()).collect(),
            hosts,
            facts,
            next_hops,
            next_link_check_ns: 0,
            workers,
            homes,
            learned: HashMap::new(),
            pool,
        }
    }

    /// Counts by port, for the metrics thread.
    pub(super) fn counts(&self) -> Vec<Arc<HostCounts>> {
        self.counts.clone()
    }

    /// One round at time `now_ns`. Returns whether there was something to do.
    pub(super) fn poll(&mut self, now_ns: u64, ports: &[SharedPort]) -> bool {
        let mut busy = false;
        for worker in 0..self.workers.len() {
            busy |= self.take_punts(worker, now_ns);
            busy |= self.take_learned(worker);
            // What changes of keys replaced is freed here, never by the worker.
            while self.workers[worker].retired.pop().is_some() {}
        }
        busy |= self.send_key_changes();
        if now_ns >= self.next_link_check_ns {
            self.next_link_check_ns = now_ns + LINK_INTERVAL_NS;
            self.check_links(now_ns, ports);
        }
        for port in 0..self.hosts.len() {
            if self.link_up[port] && self.hosts[port].next_deadline_ns().is_some_and(|due| due <= now_ns) {
                self.with_host(port, |host, send| host.poll(now_ns, send));
                busy = true;
            }
            self.publish(port);
        }
        busy
    }

    /// Gives legs the keys that `config` has for them.
    pub(super) fn rekey(&mut self, config: &Config, journal: Option<&mut Journal>) -> RekeyReport {
        self.rekeying.apply(&mut self.sessions, config, journal)
    }

    /// Gives one leg new keys; `false` if it has them.
    pub(super) fn set_keys(
        &mut self,
        session: &str,
        leg: LegName,
        protection: &Protection,
        journal: Option<&mut Journal>,
    ) -> Result<bool, RekeyError> {
        let unknown = || RekeyError::UnknownSession { session: session.to_owned() };
        let at = self.rekeying.position(session).ok_or_else(unknown)?;
        self.rekeying.set_keys(&mut self.sessions, at, leg, protection, journal)
    }

    /// Sends what there is room for, in order.
    fn send_key_changes(&mut self) -> bool {
        let mut busy = false;
        while let Some(Planned { worker, change }) = self.rekeying.waiting.pop_front() {
            let Some(shared) = self.workers.get(worker) else { continue };
            match shared.commands.push(Command::SetKeys(change)) {
                Ok(()) => busy = true,
                Err(Command::SetKeys(change)) => {
                    self.rekeying.waiting.push_front(Planned { worker, change });
                    break;
                }
                Err(_) => {}
            }
        }
        busy
    }

    fn take_punts(&mut self, worker: usize, now_ns: u64) -> bool {
        let shared = Arc::clone(&self.workers[worker]);
        let mut busy = false;
        for punt in std::iter::from_fn(|| shared.punts.pop()).take(PUNTS_PER_TURN) {
            busy = true;
            let port = usize::from(punt.port);
            self.with_host(port, |host, send| host.receive(now_ns, punt.frame.data(), send));
        }
        busy
    }

    fn take_learned(&mut self, worker: usize) -> bool {
        let shared = Arc::clone(&self.workers[worker]);
        let mut busy = false;
        while let Some(event) = shared.learned.pop() {
            busy = true;
            self.learn(worker as u16, event);
        }
        busy
    }

    /// A leg's packets authenticate from a new source: from now on its media goes there.
    fn learn(&mut self, worker: u16, event: LearnEvent) {
        let key = (worker, event.stream, event.is_rtcp);
        if self.learned.get(&key) == Some(&event.source) {
            return;
        }
        let Some(&home) =
            self.homes.get(usize::from(worker)).and_then(|homes| homes.get(event.stream.0 as usize))
        else {
            return;
        };
        let Some(session) = self.sessions.get(home.session as usize) else { return };
        let leg = plan::sender(session, home);
        let muxed = leg.rtcp == RtcpPolicy::Mux;
        let local = if event.is_rtcp { plan::rtcp_local(leg) } else { leg.local };
        let remote = event.source.socket_addr();
        let egress = match plan::egress(leg, local, remote, &mut self.hosts, &self.facts) {
            Ok(egress) => egress,
            Err(reason) => {
                tracing::warn!(session = %session.id, %remote, %reason, "a learned remote cannot be reached");
                self.learned.insert(key, event.source);
                return;
            }
        };
        let command = Command::SetRemote {
            inbound: event.stream,
            outbound: plan::opposite(event.stream),
            remote: event.source,
            egress,
            rtp: muxed || !event.is_rtcp,
            rtcp: muxed || event.is_rtcp,
        };
        // A full queue costs nothing: the stream's next packet reports again.
        if self.workers[usize::from(worker)].commands.push(command).is_ok() {
            tracing::info!(session = %session.id, %remote, rtcp = event.is_rtcp, "remote learned");
            self.learned.insert(key, event.source);
        }
    }

    fn check_links(&mut self, now_ns: u64, ports: &[SharedPort]) {
        for (index, port) in ports.iter().enumerate() {
            let up = port
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|port| port.link().up);
            if up == self.link_up[index] {
                continue;
            }
            self.link_up[index] = up;
            tracing::info!(port = %self.port_names[index], "link {}", if up { "up" } else { "down" });
            if up {
                self.with_host(index, |host, send| host.announce(now_ns, send));
            }
        }
    }

    /// Runs `work` on the host of `port`; what it sends leaves by the first worker's queue of that port.
    fn with_host(&mut self, port: usize, work: impl FnOnce(&mut Host, &mut dyn FnMut(&[u8]))) {
        let Some(host) = self.hosts.get_mut(port) else { return };
        let (pool, worker, counts) = (&self.pool, &self.workers[0], &self.counts[port]);
        work(host, &mut |bytes| {
            let sent =
                mbuf_of(pool, bytes).is_some_and(|frame| worker.originated.push((port as u8, frame)).is_ok());
            if !sent {
                counts.not_sent();
            }
        });
        self.counts[port].update(self.hosts[port].counters());
    }

    fn publish(&mut self, port: usize) {
        let (name, table) = (&self.port_names[port], &self.next_hops[port]);
        for event in self.hosts[port].events() {
            match event {
                Event::Resolved { next_hop, mac } => {
                    tracing::debug!(port = %name, next_hop = next_hop.0, %mac, "next hop resolved");
                    table.resolve(NextHop(next_hop.0), mac.0);
                }
                Event::Lost { next_hop } => {
                    tracing::warn!(port = %name, next_hop = next_hop.0, "next hop does not answer any more");
                    table.forget(NextHop(next_hop.0));
                }
                Event::AddressConflict { address, mac } => {
                    tracing::error!(port = %name, %address, %mac, "another station claims one of our addresses");
                }
            }
        }
    }
}

impl HostCounts {
    /// Labels `kind` and `outcome` of each position.
    pub(super) const LABELS: [(&'static str, &'static str); POSITIONS] = labels();

    fn new() -> Self {
        HostCounts((0..POSITIONS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn value(&self, position: usize) -> u64 {
        self.0.get(position).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn update(&self, counters: &Counters) {
        let received = FrameKind::ALL
            .iter()
            .flat_map(|&kind| Outcome::ALL.iter().map(move |&outcome| counters.received(kind, outcome)));
        let own = [counters.announcements, counters.solicitations, counters.conflicts];
        for (count, value) in self.0.iter().zip(received.chain(own)) {
            count.store(value, Ordering::Relaxed);
        }
    }

    fn not_sent(&self) {
        if let Some(count) = self.0.last() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const RECEIVED: usize = FrameKind::ALL.len() * Outcome::ALL.len();
const POSITIONS: usize = RECEIVED + 4;

const fn labels() -> [(&'static str, &'static str); POSITIONS] {
    let mut labels = [("", ""); POSITIONS];
    let mut position = 0;
    while position < RECEIVED {
        let kind = FrameKind::ALL[position / Outcome::ALL.len()];
        let outcome = Outcome::ALL[position % Outcome::ALL.len()];
        labels[position] = (kind.label(), outcome.label());
        position += 1;
    }
    labels[RECEIVED] = ("announcement", "sent");
    labels[RECEIVED + 1] = ("solicitation", "sent");
    labels[RECEIVED + 2] = ("conflict", "seen");
    labels[RECEIVED + 3] = ("any", "not_sent");
    labels
}

fn mbuf_of(pool: &Mempool, bytes: &[u8]) -> Option<Mbuf> {
    let mut frame = pool.alloc()?;
    if !frame.resize(bytes.len()) {
        return None;
    }
    frame.data_mut().copy_from_slice(bytes);
    Some(frame)
}
