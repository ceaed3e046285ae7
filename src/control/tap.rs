//! Which sessions are tapped: starts the recorder, numbers the taps, tells worker and recorder when one begins or ends.
//!
//! A tap begins because the configuration or the operator's own call says so, and for no other reason; each begin and
//! end is logged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::config::{self, Config, Session};
use super::plan;
use super::rekey::LegName;
use crate::dpdk::arena::arena;
use crate::dpdk::arena_sync::Slab;
use crate::dpdk::{self, Eal, Memory, cycles};
use crate::session::Codec as Negotiated;
use crate::tap::{
    Codec, Codecs, Directory, DirectoryError, Formats, Leg, Limits, Order, Recorder, RecorderThread,
    Sampling, TapCounters, TapLeg, TapPlan, TapTag, TapWriter, prepare_thread,
};

/// How long the recorder may take at the end, after the workers have stopped.
const STOP_LIMIT: Duration = Duration::from_millis(700);
const MIB: u64 = 1024 * 1024;

/// Why the tap cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no memory for the blocks.
    #[error(transparent)]
    Memory(#[from] dpdk::Error),
    /// No thread.
    #[error("the tap's threads cannot be started: {0}; see the limits on processes")]
    Thread(#[from] std::io::Error),
}

/// Control's side of the tap.
pub(super) struct Taps {
    recorder: Option<RecorderThread>,
    directory: String,
    tsc_hz: u64,
    next: u32,
}

/// The tap before its workers run.
pub(super) struct Started {
    /// Control's side.
    pub taps: Taps,
    /// By worker.
    pub writers: Vec<TapWriter>,
    /// What is counted.
    pub counters: Arc<TapCounters>,
}

/// Opens the directory, takes the memory and starts the recorder.
pub(super) fn start(eal: &Eal, config: &Config, tap: &config::Tap) -> Result<Started, TapError> {
    let limits = Limits {
        file_bytes: u64::from(tap.max_file_mib) * MIB,
        total_bytes: u64::from(tap.max_total_mib) * MIB,
        files: tap.max_files.into(),
        free_bytes: u64::from(tap.min_free_mib) * MIB,
    };
    let directory = Directory::open(&tap.directory, limits)?;
    let (workers, blocks) = (config.cores.workers.len(), tap.blocks as usize);
    let counters = Arc::new(TapCounters::new(workers, blocks));
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for counters in &counters.workers {
        let (writer, reader) = arena(Slab::new(Memory::Huge(eal, None), blocks)?);
        writers.push(TapWriter::new(writer, Arc::clone(counters)));
        readers.push(reader);
    }
    let formats = Formats { pcapng: tap.pcapng, audio: tap.audio };
    let recorder = Recorder::new(readers, directory, formats, Arc::clone(&counters))?;
    let cores = config.cores.control.clone();
    let on_start = move || {
        if let Err(error) = dpdk::pin_current_thread(&cores) {
            tracing::warn!(%error, "the tap's thread is not pinned");
        }
        prepare_thread();
    };
    let taps = Taps {
        recorder: Some(RecorderThread::start(recorder, on_start)?),
        directory: tap.directory.display().to_string(),
        tsc_hz: eal.tsc_hz(),
        next: 1,
    };
    Ok(Started { taps, writers, counters })
}

impl Taps {
    /// Begins the tap of a session: the number for its streams' tags.
    pub(super) fn begin(&mut self, session: &Session) -> u32 {
        let tap = self.next;
        self.next = (tap + 1) % TapTag::TAPS;
        let legs = [tap_leg(&session.a), tap_leg(&session.b)];
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Before its streams carry the tag, so that the recorder knows it when their first packet comes.
        self.order(Order::Start(Box::new(TapPlan {
            tap,
            session: session.id.clone(),
            legs,
            started_cycles: cycles(),
            started_unix_ns: started.as_nanos() as u64,
            tsc_hz: self.tsc_hz,
        })));
        tracing::warn!(
            session = %session.id,
            directory = %self.directory,
            "tap begins: opened media of this session is written to disk"
        );
        tap
    }

    /// Ends a tap of which no worker has a packet any more.
    pub(super) fn end(&self, tap: u32) {
        tracing::info!(tap, "tap ends");
        self.order(Order::Stop { tap });
    }

    /// A leg of a tapped session has another remote.
    pub(super) fn remote(&self, tap: u32, leg: Leg, remote: SocketAddr, [rtp, rtcp]: [bool; 2]) {
        self.order(Order::Remote { tap, leg, remote, rtp, rtcp });
    }

    /// The workers have stopped: completes all files.
    pub(super) fn stop(mut self) {
        if let Some(recorder) = self.recorder.take()
            && !recorder.stop(Instant::now() + STOP_LIMIT)
        {
            tracing::error!(
                directory = %self.directory,
                "the disk is too slow to complete all tap files now; the next start completes them"
            );
        }
    }

    fn order(&self, order: Order) {
        if let Some(recorder) = &self.recorder {
            recorder.order(order);
        }
    }
}

/// The tag of the packets that a leg sends.
pub(super) fn tag(tap: u32, leg: LegName) -> TapTag {
    TapTag::new(tap, leg_of(leg))
}

/// The tap's name of a leg.
pub(super) fn leg_of(leg: LegName) -> Leg {
    match leg {
        LegName::A => Leg::A,
        LegName::B => Leg::B,
    }
}

fn tap_leg(leg: &config::Leg) -> TapLeg {
    let codecs = match &leg.negotiated {
        None => Codecs::of_static_types(),
        Some(negotiated) => negotiated.formats.iter().fold(Codecs::none(), |codecs, format| {
            let sampling = Sampling { rate: format.clock_rate, channels: format.channels };
            let codec = match format.codec {
                Negotiated::Opus => Codec::Opus,
                Negotiated::Pcmu => Codec::Pcmu(sampling),
                Negotiated::Pcma => Codec::Pcma(sampling),
                Negotiated::L16 => Codec::L16(sampling),
                _ => return codecs,
            };
            codecs.with(format.payload_type, codec)
        }),
    };
    TapLeg {
        local: leg.local,
        remote: leg.remote,
        rtcp_local: plan::rtcp_local(leg),
        rtcp_remote: plan::rtcp_remote(leg),
        codecs,
    }
}
