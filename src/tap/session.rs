//! One tapped session: its capture and the audio of each direction.

use std::net::SocketAddr;

use super::capture::{Capture, Captured};
use super::codecs::{Codec, Codecs};
use super::counters::Loss;
use super::directory::{sanitized, utc};
use super::ogg_opus::OggOpus;
use super::output::{Disk, Encoder, Output};
use super::record::{Head, Leg};
use super::recorder::Formats;
use super::reorder::{AudioPacket, Reorder};
use super::timeline::Timeline;
use super::wav::Wav;
use crate::dpdk::cycles_to_ns;
use crate::wire::rtp;

/// A pause after which a direction's audio goes on in another file, in seconds: no file holds hours of silence.
const LONGEST_PAUSE_S: u64 = 600;

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
            let record = Captured { leg, local, remote, unix_ns, packet };
            self.capture.write(disk, "pcapng", &record, |_| Capture::new(session).ok());
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
    /// Where on the time line the file begins.
    base: u64,
    output: Output<Audio>,
}

impl Track {
    fn new(name: String) -> Self {
        Track {
            reorder: Reorder::default(),
            codec: None,
            timeline: Timeline::new(1),
            base: 0,
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
            if self.output.encoder().is_none() {
                self.begin(codec);
            }
            let (before, mut position) = self.timeline.step(packet.ssrc, packet.timestamp, packet.arrival_ns);
            if position.saturating_sub(before) > LONGEST_PAUSE_S * u64::from(codec.clock_rate()) {
                self.output.finish(disk);
                self.begin(codec);
                (_, position) = self.timeline.step(packet.ssrc, packet.timestamp, packet.arrival_ns);
            }
            let make = |part| Audio::new(codec, packet.ssrc ^ part, &packet.payload, title);
            let mut piece = Piece { position: position.saturating_sub(self.base), payload: &packet.payload };
            if self.output.is_full_for(&piece, disk) {
                // The next file goes on where this one ends: one after the other they are the whole call.
                self.base += self.output.encoder().map_or(0, Audio::end_position);
                piece.position = position.saturating_sub(self.base);
                self.output.turn(disk);
                if make(0).is_some_and(|audio| audio.len_with(&piece) > disk.directory.file_limit()) {
                    // But for silence that would fill a file by itself.
                    (self.base, piece.position) = (position, 0);
                }
            }
            self.output.write(disk, codec.extension(), &piece, make);
        }
    }

    /// Time begins anew, with another file.
    fn begin(&mut self, codec: Codec) {
        (self.timeline, self.base) = (Timeline::new(codec.clock_rate()), 0);
    }
}

/// A payload, and where in its file it belongs, in ticks of the RTP clock.
struct Piece<'p> {
    position: u64,
    payload: &'p [u8],
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

    /// How far the file has come, in ticks of the RTP clock.
    fn end_position(&self) -> u64 {
        match self {
            Audio::Opus(opus) => opus.end(),
            Audio::Wav(wav, _) => wav.frames(),
        }
    }
}

impl Encoder for Capture {
    type Record<'r> = Captured<'r>;

    fn len_with(&self, record: &Captured<'_>) -> u64 {
        self.len_with(record)
    }

    fn add(&mut self, record: &Captured<'_>, out: &mut Vec<u8>) {
        // It writes into memory.
        let _ = self.packet(record);
        self.take(out);
    }

    fn end(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        (Vec::new(), None)
    }
}

impl Encoder for Audio {
    type Record<'r> = Piece<'r>;

    fn len_with(&self, piece: &Piece<'_>) -> u64 {
        match self {
            Audio::Opus(opus) => opus.len_with(piece.position, piece.payload),
            Audio::Wav(wav, _) => wav.len_with(piece.position, piece.payload),
        }
    }

    fn add(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        match self {
            Audio::Opus(opus) => {
                let _ = opus.packet(piece.position, piece.payload, out);
            }
            Audio::Wav(wav, is_new) => {
                if std::mem::take(is_new) {
                    out.extend(wav.header());
                }
                wav.packet(piece.position, piece.payload, out);
            }
        }
    }

    fn held(&self) -> u64 {
        match self {
            Audio::Opus(opus) => opus.held(),
            Audio::Wav(..) => 0,
        }
    }

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
