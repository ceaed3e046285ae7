//! One tapped session: its capture and the audio of each direction.

use std::net::SocketAddr;

use super::capture::Capture;
use super::codecs::{Codec, Codecs};
use super::counters::{Loss, TapCounters};
use super::directory::{Directory, sanitized, utc};
use super::finisher::Finisher;
use super::ogg_opus::OggOpus;
use super::partial_file::{Lost, PartialFile};
use super::record::{Head, Leg};
use super::recorder::Formats;
use super::reorder::{AudioPacket, Reorder};
use super::timeline::Timeline;
use super::wav::Wav;
use crate::dpdk::cycles_to_ns;
use crate::wire::rtp;

/// How long no file is tried after one could not be begun or written, in nanoseconds.
const RETRY_NS: u64 = 5_000_000_000;
/// A pause after which a direction's audio goes on in another file, in seconds: no file holds hours of silence.
const LONGEST_PAUSE_S: u64 = 600;
/// Files of one kind that a session may have: a sender that changes its codec with each packet fills no directory.
const MOST_PARTS: u32 = 32;

/// What control says of a session to be tapped.
#[derive(Debug, Clone)]
pub struct TapPlan {
    /// The tap's number, below [`TapTag::TAPS`](super::TapTag::TAPS) and never used before in this run.
    pub tap: u32,
    /// The session's id.
    pub session: String,
    /// Both legs, a first.
    pub legs: [TapLeg; 2],
    /// When it starts, by the time-stamp counter.
    pub started_cycles: u64,
    /// The same moment in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// Cycles in a second.
    pub tsc_hz: u64,
}

/// One leg of it.
#[derive(Debug, Clone)]
pub struct TapLeg {
    /// Where the gateway receives RTP.
    pub local: SocketAddr,
    /// Where the leg's RTP comes from, once that is known.
    pub remote: Option<SocketAddr>,
    /// Where the gateway receives RTCP.
    pub rtcp_local: SocketAddr,
    /// Where the leg's RTCP comes from.
    pub rtcp_remote: Option<SocketAddr>,
    /// What the payload types mean that the leg sends.
    pub codecs: Codecs,
}

/// What the encoders write through.
pub(super) struct Disk<'d> {
    pub(super) directory: &'d mut Directory,
    pub(super) finisher: &'d Finisher,
    pub(super) counters: &'d TapCounters,
    /// Of the recorder's own clock.
    pub(super) now_ns: u64,
}

pub(super) struct TapSession {
    plan: TapPlan,
    formats: Formats,
    capture: Output<Capture>,
    tracks: [Track; 2],
}

impl TapSession {
    pub(super) fn new(plan: TapPlan, formats: Formats) -> Self {
        let name = format!("{}.{}.{}", sanitized(&plan.session), utc(plan.started_unix_ns), plan.tap);
        let track = |leg: Leg| Track::new(format!("{name}.{}", leg.label()));
        let tracks = [track(Leg::A), track(Leg::B)];
        TapSession { capture: Output::new(name), tracks, plan, formats }
    }

    /// The leg's packets come from elsewhere now.
    pub(super) fn set_remote(&mut self, leg: Leg, remote: SocketAddr, rtp: bool, rtcp: bool) {
        let leg = &mut self.plan.legs[leg.index()];
        if rtp {
            leg.remote = Some(remote);
        }
        if rtcp {
            leg.rtcp_remote = Some(remote);
        }
    }

    /// A packet of this session.
    pub(super) fn record(&mut self, head: &Head, packet: &[u8], disk: &mut Disk<'_>) {
        let leg = head.tag.leg();
        // A packet that was in the worker's hands when the tap began.
        let cycles = head.rx_cycles.saturating_sub(self.plan.started_cycles);
        let since_ns = cycles_to_ns(cycles, self.plan.tsc_hz);
        let from = &self.plan.legs[leg.index()];
        if self.formats.pcapng {
            let (local, remote) = match head.is_rtcp {
                true => (from.rtcp_local, from.rtcp_remote),
                false => (from.local, from.remote),
            };
            let unix_ns = self.plan.started_unix_ns + since_ns;
            let session = &self.plan.session;
            let encode = |capture: &mut Capture, out: &mut Vec<u8>| {
                // It writes into memory.
                let _ = capture.packet(leg, local, remote, unix_ns, packet);
                capture.take(out);
            };
            self.capture.write(disk, "pcapng", |_| Capture::new(session).ok(), encode);
        }
        if self.formats.audio && !head.is_rtcp {
            let title = format!("TITLE={} leg {}", self.plan.session, leg.label());
            self.tracks[leg.index()].packet(&from.codecs, packet, since_ns, &title, disk);
        }
    }

    /// Writes what was collected, and gives up gaps that have been waited for; `unix_ns` is the time now.
    pub(super) fn tick(&mut self, cycles: u64, disk: &mut Disk<'_>) {
        self.capture.flush(disk);
        let since_ns = cycles_to_ns(cycles.saturating_sub(self.plan.started_cycles), self.plan.tsc_hz);
        for (track, leg) in self.tracks.iter_mut().zip([Leg::A, Leg::B]) {
            let title = format!("TITLE={} leg {}", self.plan.session, leg.label());
            let mut ready = Vec::new();
            track.reorder.release(since_ns, &mut ready);
            track.write(&self.plan.legs[leg.index()].codecs, ready, &title, disk);
            track.output.flush(disk);
        }
    }

    /// Ends all files.
    pub(super) fn finish(mut self, disk: &mut Disk<'_>) {
        self.capture.finish(disk);
        for (track, leg) in self.tracks.iter_mut().zip([Leg::A, Leg::B]) {
            let title = format!("TITLE={} leg {}", self.plan.session, leg.label());
            let mut rest = Vec::new();
            track.reorder.flush(&mut rest);
            track.write(&self.plan.legs[leg.index()].codecs, rest, &title, disk);
            track.output.finish(disk);
        }
    }
}

/// The audio that one leg sends.
struct Track {
    reorder: Reorder,
    codec: Option<Codec>,
    timeline: Timeline,
    output: Output<Audio>,
}

impl Track {
    fn new(name: String) -> Self {
        Track {
            reorder: Reorder::default(),
            codec: None,
            timeline: Timeline::new(1),
            output: Output::new(name),
        }
    }

    fn packet(&mut self, codecs: &Codecs, packet: &[u8], arrival_ns: u64, title: &str, disk: &mut Disk<'_>) {
        let Ok(packet) = rtp::Packet::new_checked(packet) else { return };
        let payload_type = packet.payload_type().0;
        // What has no place in an audio file still has one in the order: its sequence number is no gap.
        let payload = packet.payload();
        let len = payload.len() - packet.padding_len().unwrap_or(0).min(payload.len());
        let packet = AudioPacket {
            ssrc: packet.ssrc().0,
            seq: packet.sequence_number().0,
            timestamp: packet.timestamp().0,
            payload_type,
            arrival_ns,
            payload: payload.get(..len).unwrap_or_default().to_vec(),
        };
        let is_audio = codecs.of(payload_type).is_some();
        let mut ready = Vec::new();
        if !self.reorder.push(packet, &mut ready) && is_audio {
            disk.counters.count_lost(Loss::Late, 1);
        }
        self.write(codecs, ready, title, disk);
    }

    fn write(&mut self, codecs: &Codecs, packets: Vec<AudioPacket>, title: &str, disk: &mut Disk<'_>) {
        for packet in packets {
            let Some(codec) = codecs.of(packet.payload_type) else { continue };
            if self.codec != Some(codec) {
                self.output.finish(disk);
                self.codec = Some(codec);
            }
            if !self.output.is_open() {
                self.timeline = Timeline::new(codec.clock_rate());
            }
            let (before, mut position) = self.timeline.step(packet.ssrc, packet.timestamp, packet.arrival_ns);
            if position.saturating_sub(before) > LONGEST_PAUSE_S * u64::from(codec.clock_rate()) {
                self.output.finish(disk);
                self.timeline = Timeline::new(codec.clock_rate());
                (_, position) = self.timeline.step(packet.ssrc, packet.timestamp, packet.arrival_ns);
            }
            let make = |part| Audio::new(codec, packet.ssrc ^ part, &packet.payload, title);
            let encode = |audio: &mut Audio, out: &mut Vec<u8>| audio.packet(position, &packet.payload, out);
            self.output.write(disk, codec.extension(), make, encode);
        }
    }
}

enum Audio {
    Opus(Box<OggOpus>),
    /// And whether its header is still to be written.
    Wav(Wav, bool),
}

impl Audio {
    fn new(codec: Codec, serial: u32, first: &[u8], title: &str) -> Option<Self> {
        match codec {
            // It writes into memory.
            Codec::Opus => OggOpus::new(serial, first, title).ok().map(Box::new).map(Audio::Opus),
            _ => Wav::new(codec).map(|wav| Audio::Wav(wav, true)),
        }
    }

    fn packet(&mut self, position: u64, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Audio::Opus(opus) => {
                let _ = opus.packet(position, payload, out);
            }
            Audio::Wav(wav, is_new) => {
                if std::mem::take(is_new) {
                    out.extend(wav.header());
                }
                wav.packet(position, payload, out);
            }
        }
    }
}

/// What ends a file: octets at its end, octets over its start.
trait Encoder {
    fn end(&mut self) -> (Vec<u8>, Option<Vec<u8>>);
}

impl Encoder for Capture {
    fn end(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        (Vec::new(), None)
    }
}

impl Encoder for Audio {
    fn end(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Audio::Opus(opus) => {
                let mut trailer = Vec::new();
                let _ = opus.finish(&mut trailer);
                (trailer, None)
            }
            Audio::Wav(wav, _) => (wav.trailer().to_vec(), Some(wav.header())),
        }
    }
}

/// An encoder and the file that it fills, from the first record on.
struct Output<E> {
    name: String,
    open: Option<(E, PartialFile)>,
    /// Why there is none, and until when none is tried.
    closed: Option<(Loss, u64)>,
    parts: u32,
}

impl<E: Encoder> Output<E> {
    fn new(name: String) -> Self {
        Output { name, open: None, closed: None, parts: 0 }
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Encodes one record and adds it, or counts it as lost.
    fn write(
        &mut self,
        disk: &mut Disk<'_>,
        extension: &str,
        make: impl FnOnce(u32) -> Option<E>,
        encode: impl FnOnce(&mut E, &mut Vec<u8>),
    ) {
        if self.open.is_none()
            && let Err(reason) = self.begin(disk, extension, make)
        {
            disk.counters.count_lost(reason, 1);
            return;
        }
        let Some((encoder, file)) = &mut self.open else { return };
        let mut octets = Vec::new();
        encode(encoder, &mut octets);
        if let Err(lost) = file.append(disk.directory, disk.counters, &octets, 1) {
            self.give_up(lost, disk);
        }
    }

    fn begin(
        &mut self,
        disk: &mut Disk<'_>,
        extension: &str,
        make: impl FnOnce(u32) -> Option<E>,
    ) -> Result<(), Loss> {
        if let Some((reason, until)) = self.closed
            && disk.now_ns < until
        {
            return Err(reason);
        }
        if self.parts >= MOST_PARTS {
            return Err(Loss::FileCount);
        }
        let name = match self.parts {
            0 => format!("{}.{extension}", self.name),
            part => format!("{}-{}.{extension}", self.name, part + 1),
        };
        let encoder = make(self.parts).ok_or(Loss::WriteError)?;
        match PartialFile::create(disk.directory, name) {
            Ok(file) => {
                disk.counters.files_begun.add(1);
                self.parts += 1;
                self.closed = None;
                self.open = Some((encoder, file));
                Ok(())
            }
            Err(reason) => {
                self.closed = Some((reason, disk.now_ns + RETRY_NS));
                Err(reason)
            }
        }
    }

    fn flush(&mut self, disk: &mut Disk<'_>) {
        if let Some((_, file)) = &mut self.open
            && let Err(lost) = file.flush(disk.directory, disk.counters)
        {
            self.give_up(lost, disk);
        }
    }

    /// The file ends here, and what follows is lost: for good where the file has its full size, else until it is tried
    /// again.
    fn give_up(&mut self, lost: Lost, disk: &mut Disk<'_>) {
        disk.counters.count_lost(lost.reason, lost.records);
        tracing::warn!(file = %self.name, reason = lost.reason.label(), "a tap file ends early");
        let until = match lost.reason {
            Loss::FileLimit => u64::MAX,
            _ => disk.now_ns + RETRY_NS,
        };
        self.closed = Some((lost.reason, until));
        self.end(disk);
    }

    fn finish(&mut self, disk: &mut Disk<'_>) {
        self.end(disk);
    }

    fn end(&mut self, disk: &mut Disk<'_>) {
        let Some((mut encoder, file)) = self.open.take() else { return };
        let (trailer, header) = encoder.end();
        let ended = file.finish(disk.directory, disk.counters, &trailer, header.as_deref(), disk.finisher);
        if let Err(lost) = ended {
            disk.counters.count_lost(lost.reason, lost.records);
        }
    }
}
