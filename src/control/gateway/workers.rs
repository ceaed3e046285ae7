//! Workers: launched on their cores, waited for, and what they could not log themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::GatewayError;
use super::ports::Opened;
use crate::control::config::{Config, Protection};
use crate::dpdk::{Eal, LcoreHandle, Mempool};
use crate::fastpath::control_link::WorkerEnd;
use crate::fastpath::warm_up::SuitePair;
use crate::fastpath::{
    HandoverEnds, Pipeline, PipelinePort, Transmitter, WarmUp, Worker, WorkerPort, WorkerShared,
};
use crate::rate_limit::TokenBucket;
use crate::session::{Lookup, NextHops, Streams};
use crate::srtp::Provider;
use crate::tap::TapWriter;
use crate::telemetry::QueueCounters;

/// How long workers may take to warm up, a million streams included.
const WORKER_LIMIT: Duration = Duration::from_secs(30);

/// What the workers are made of: what they share, and by worker what each has for itself.
pub(super) struct Crew<'a, P: Provider> {
    pub config: &'a Config,
    pub shared: &'a [Arc<WorkerShared>],
    pub lookup: Arc<Lookup>,
    /// By port.
    pub next_hops: Vec<Arc<NextHops>>,
    /// By worker, then port.
    pub counters: &'a [Vec<Arc<QueueCounters>>],
    pub streams: Vec<Streams<P>>,
    pub links: Vec<WorkerEnd>,
    pub mesh: Vec<HandoverEnds>,
    /// None without a tap.
    pub tap_writers: Vec<TapWriter>,
    /// The pool that a worker's queues receive into.
    pub pools: Vec<Mempool>,
}

impl<P: Provider> Crew<'_, P> {
    /// Launches the workers, each with the next queue of every port. They warm up and then wait to be let go.
    pub(super) fn launch(self, eal: &Eal, ports: &mut [Opened]) -> Result<Launched<P>, GatewayError> {
        let Crew { config, shared, lookup, next_hops, counters, streams, links, mesh, tap_writers, pools } =
            self;
        let tsc_hz = eal.tsc_hz();
        let punts = config.host.punt_per_second / shared.len() as u32;
        let suites = suite_pairs(config);
        let mut tap_writers = tap_writers.into_iter();
        let mut launched = Launched { on_drop: LetGo(shared.to_vec()), handles: Vec::new() };
        let of_worker = streams.into_iter().zip(mesh).zip(links).zip(pools).zip(shared).zip(counters);
        for (number, (((((streams, handover), link), pool), shared), counters)) in of_worker.enumerate() {
            let pipeline = Pipeline {
                worker: number as u16,
                lookup: Arc::clone(&lookup),
                streams,
                next_hops: next_hops.clone(),
            };
            let mut worker_ports = Vec::new();
            let mut transmitters = Vec::new();
            for (opened, counters) in ports.iter_mut().zip(counters) {
                let (rx, tx) = opened.queues.remove(0);
                transmitters.push(Transmitter::new(tx));
                worker_ports.push(WorkerPort {
                    rx,
                    pipeline: PipelinePort {
                        index: opened.facts.index,
                        mac: opened.facts.mac,
                        vlan: opened.facts.vlan,
                        counters: Arc::clone(counters),
                        punt_limit: TokenBucket::new(punts.max(1), tsc_hz),
                    },
                });
            }
            let worker = Worker::<P>::new(
                pipeline,
                worker_ports,
                transmitters,
                Arc::clone(shared),
                handover,
                link,
                tsc_hz,
            )
            .with_lockdown(config.worker.lockdown)
            .with_warm_up(WarmUp::new(&suites, pool)?)
            .with_tap(tap_writers.next());
            shared.wait();
            launched.handles.push(eal.launch(number as u32 + 1, move || worker.run())?);
        }
        Ok(launched)
    }
}

/// Workers whose start may still fail.
pub(super) struct Launched<P: Provider> {
    /// Declared before the handles, so that it lets the workers go before those wait for them.
    on_drop: LetGo,
    handles: Vec<LcoreHandle<Worker<P>>>,
}

impl<P: Provider> Launched<P> {
    /// Waits until all workers are as far as `is_there` says.
    pub(super) fn wait(&self, is_there: impl Fn(&WorkerShared) -> bool) -> Result<(), GatewayError> {
        let shared = &self.on_drop.0;
        let deadline = Instant::now() + WORKER_LIMIT;
        while let Some(worker) = shared.iter().position(|worker| !is_there(worker)) {
            let has_ended = self.handles.get(worker).is_none_or(LcoreHandle::is_finished);
            if has_ended || Instant::now() >= deadline {
                let said = shared[worker].panic_note.take();
                let reason = said.unwrap_or_else(|| "it does not get on".to_owned());
                return Err(GatewayError::Worker { worker, reason });
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    pub(super) fn log_warm_up(&self) {
        for (worker, shared) in self.on_drop.0.iter().enumerate() {
            let (frames, forwarded) =
                (shared.counters.warm_up_frames.value(), shared.counters.warm_up_forwarded.value());
            if frames == forwarded {
                tracing::info!(worker, frames, "worker warm");
            } else {
                tracing::error!(
                    worker,
                    frames,
                    forwarded,
                    "a warm-up lost frames of its own: a bug to report"
                );
            }
        }
    }

    /// The workers of a start that has succeeded.
    pub(super) fn into_handles(mut self) -> Vec<LcoreHandle<Worker<P>>> {
        self.on_drop.0.clear();
        self.handles
    }
}

/// Lets workers go that a start which failed leaves behind: whoever drops their handles waits for them.
struct LetGo(Vec<Arc<WorkerShared>>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.iter().for_each(|worker| worker.stop());
    }
}

/// Each pair of suites that some session has, once for each direction.
fn suite_pairs(config: &Config) -> Vec<SuitePair> {
    let suite = |protection: &Protection, is_remote: bool| match protection {
        Protection::Plain => None,
        Protection::Srtp { remote_keys, .. } if is_remote => Some(remote_keys.active().suite()),
        Protection::Srtp { local_keys, .. } => Some(local_keys.active().suite()),
    };
    let mut pairs = Vec::new();
    for session in &config.sessions {
        for (sender, receiver) in [(&session.a, &session.b), (&session.b, &session.a)] {
            let pair = (suite(&sender.protection, true), suite(&receiver.protection, false));
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    pairs
}

/// What workers could not log themselves.
pub(super) fn log_panics(workers: &[Arc<WorkerShared>], tsc_hz: u64) {
    for (worker, shared) in workers.iter().enumerate() {
        if let Some(message) = shared.panic_note.take() {
            let panics = shared.counters.panics.value();
            tracing::error!(worker, panics, "{message}; what it did last:\n{}", shared.flight.dump(tsc_hz));
        }
    }
}
