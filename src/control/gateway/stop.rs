//! The end of a gateway, in an order in which nothing is closed that somebody still uses.
//!
//! Workers drain → workers return → tap complete → metrics stop → queues and ports close → pools counted → report.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Gateway;
use super::workers::log_panics;
use crate::dpdk::LcoreHandle;
use crate::fastpath::Worker;
use crate::session::Journal;
use crate::srtp::Provider;
use crate::telemetry::FinalReport;

/// How long draining workers may take before they are told to stop at once.
const DRAIN_LIMIT: Duration = Duration::from_millis(1000);

impl<P: Provider> Gateway<P> {
    /// Drains, stops and closes everything; the report says where every frame went and whether all buffers are
    /// back.
    pub fn stop(self) -> FinalReport {
        let Gateway {
            mut host,
            handle,
            inbox,
            workers,
            shared,
            ports,
            buffers,
            telemetry,
            server,
            ready,
            eal,
            _lock,
            ..
        } = self;
        drop((handle, inbox));
        ready.store(false, Ordering::Release);
        shared.iter().for_each(|worker| worker.drain());
        let deadline = Instant::now() + DRAIN_LIMIT;
        while workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        shared.iter().for_each(|worker| worker.stop());
        log_panics(&shared, eal.tsc_hz());
        // Joined workers come back with their queues: nobody polls any more when the ports close.
        let mut returned: Vec<_> = workers.into_iter().map(LcoreHandle::join).collect();
        for outcome in &mut returned {
            match outcome {
                Ok(worker) => worker.finish(),
                Err(_) => tracing::error!("a worker ended by a panic outside of a burst"),
            }
        }
        host.sessions.stop_taps();
        let carry_out = || returned.iter_mut().flatten().for_each(Worker::carry_out);
        if let Some(Err(error)) = host.sessions.finish(&mut host.hosts, carry_out).map(Journal::close) {
            tracing::warn!(%error, "the index journal was not closed");
        }
        if let Some(server) = server {
            server.stop();
        }
        drop(host);
        for port in &ports {
            if let Some(port) = port.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                port.stop();
            }
        }
        drop(returned);
        drop(shared);
        for port in &ports {
            drop(port.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        let report = FinalReport::collect(&telemetry);
        drop(telemetry);
        drop(buffers);
        drop(eal);
        report
    }
}
