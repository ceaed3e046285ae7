//! The control thread's side of the packet path: what workers punt is answered, next hops are kept resolved,
//! learned remotes become commands.
//!
//! Runs on the control cores. It talks to the workers through their bounded queues and the next-hop tables only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use super::config::Config;
use super::host::{Counters, Event, FrameKind, Host, Outcome};
use super::sessions::{Hosts, Sessions};
use super::telemetry::SharedPort;
use crate::dpdk::{self, AudioFramePool};
use crate::fastpath::WorkerShared;
use crate::session::{NextHop, NextHops};
use crate::srtp::Provider;

/// How often link states are read.
const LINK_INTERVAL_NS: u64 = 50_000_000;
/// Frames of one worker that are handled before the others get their turn.
const PUNTS_PER_TURN: usize = 64;

/// The gateway as a host on the networks of its ports.
pub(super) struct HostSide<P: Provider> {
    pub(super) sessions: Sessions<P>,
    pub(super) hosts: Hosts,
    port_names: Vec<String>,
    next_hops: Vec<Arc<NextHops>>,
    counts: Vec<Arc<HostCounts>>,
    link_up: Vec<bool>,
    next_link_check_ns: u64,
    /// By worker.
    workers: Vec<Arc<WorkerShared>>,
    /// Frames of what the hosts send. Workers transmit them and give them back.
    frames: AudioFramePool,
}

/// Counts of one port's host, for the metrics thread.
///
/// Written by the control thread, read by metrics.
#[derive(Debug)]
pub(super) struct HostCounts(Box<[AtomicU64]>);

impl<P: Provider> HostSide<P> {
    pub(super) fn new(
        config: &Config,
        sessions: Sessions<P>,
        hosts: Hosts,
        next_hops: Vec<Arc<NextHops>>,
        workers: Vec<Arc<WorkerShared>>,
        frames: AudioFramePool,
    ) -> Self {
        let ports = hosts.hosts.len();
        HostSide {
            sessions,
            hosts,
            counts: (0..ports).map(|_| Arc::new(HostCounts::new())).collect(),
            link_up: vec![false; ports],
            port_names: config.ports.iter().map(|port| port.name.clone()).collect(),
            next_hops,
            next_link_check_ns: 0,
            workers,
            frames,
        }
    }

    /// Next hops without a MAC address on ports whose link is up: on the others nobody can answer.
    pub(super) fn unresolved(&self) -> usize {
        let up = self.hosts.hosts.iter().zip(&self.link_up).filter(|(_, up)| **up);
        up.flat_map(|(host, _)| host.neighbours()).filter(|neighbour| neighbour.mac.is_none()).count()
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
            self.log_quarantined(worker);
        }
        busy |= self.sessions.poll(&mut self.hosts);
        if now_ns >= self.next_link_check_ns {
            self.next_link_check_ns = now_ns + LINK_INTERVAL_NS;
            self.check_links(now_ns, ports);
        }
        for port in 0..self.hosts.hosts.len() {
            if self.link_up[port]
                && self.hosts.hosts[port].next_deadline_ns().is_some_and(|due| due <= now_ns)
            {
                self.with_host(port, |host, send| host.poll(now_ns, send));
                busy = true;
            }
            self.publish(port);
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

    /// Says whose packets are refused from now on.
    fn log_quarantined(&self, worker: usize) {
        while let Some(stream) = self.workers[worker].quarantined.pop() {
            let id = self.sessions.name_at(worker as u16, stream).unwrap_or("?");
            let leg = if stream.0.is_multiple_of(2) { 'a' } else { 'b' };
            tracing::error!(session = %id, %leg, worker, "a packet made the worker panic; packets of this leg are refused");
        }
    }

    fn take_learned(&mut self, worker: usize) -> bool {
        let shared = Arc::clone(&self.workers[worker]);
        let mut busy = false;
        while let Some(event) = shared.learned.pop() {
            busy = true;
            self.sessions.learn(worker as u16, event, &mut self.hosts);
        }
        busy
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
                // A memif peer brings its rings along: the worker's first packets must not fault their pages in.
                let kib = dpdk::populate_peers() >> 10;
                tracing::debug!(port = %self.port_names[index], kib, "memory of memif peers mapped");
                self.with_host(index, |host, send| host.announce(now_ns, send));
            }
        }
    }

    /// Runs `work` on the host of `port`; what it sends leaves by the first worker's queue of that port.
    fn with_host(&mut self, port: usize, work: impl FnOnce(&mut Host, &mut dyn FnMut(&[u8]))) {
        let Some(host) = self.hosts.hosts.get_mut(port) else { return };
        let (frames, worker, counts) = (&mut self.frames, &self.workers[0], &self.counts[port]);
        work(host, &mut |bytes| {
            let sent = frames
                .acquire_with(bytes)
                .is_ok_and(|frame| worker.originated.push((port as u8, frame.into_mbuf())).is_ok());
            if !sent {
                counts.not_sent();
            }
        });
        self.counts[port].update(self.hosts.hosts[port].counters());
    }

    fn publish(&mut self, port: usize) {
        let (name, table) = (&self.port_names[port], &self.next_hops[port]);
        for event in self.hosts.hosts[port].events() {
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
