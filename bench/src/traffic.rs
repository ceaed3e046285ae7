//! What is sent: valid packets of every stream, sealed as the remote endpoint seals them, and impaired ones.
//!
//! [`Traffic::send_next`] makes the next packet of a stream and whatever goes with it, into a [`Sink`]: a
//! port, or memory for pre-sealed traffic. It keeps no clock; the sink says what time stamp a payload gets.
//! Nothing here allocates after set-up.

use std::net::IpAddr;
use std::sync::Arc;

use voxlane::srtp::{SealError, Suite};
use voxlane::wire::MacAddress;
use voxlane::wire::rtp::{self, PayloadType, RtpTime, SequenceNumber, Ssrc};

use super::crypto::{KeyUse, Sealer};
use super::frame::{MAX_HEADERS, MixedFamilies, Template};
use super::impair::{self, Kind, MAX_REORDER_DISTANCE, Shares};
use super::payload::{Flags, Payload};
use super::plan::{Plan, StreamPlan};
use super::rng::Rng;
use super::stats::Stats;

/// Room for one frame in a sink, in bytes: what one mbuf holds.
pub const FRAME_ROOM: usize = 2_048;

/// Most frames that one step puts into the sink.
pub const MAX_FRAMES_PER_STEP: usize = 8;

/// Clock ticks from packet to packet: 20 ms at 48 kHz, whatever the real pace is.
pub const TIMESTAMP_STEP: u32 = 960;

/// Where frames go.
pub trait Sink {
    /// Room for the next frame: [`FRAME_ROOM`] bytes, or none when the sink is full.
    fn slot(&mut self) -> &mut [u8];
    /// The first `len` bytes of the latest slot are a frame. `is_valid`: the other side is to receive it.
    fn commit(&mut self, len: usize, is_valid: bool);
    /// What a payload written now gets as its send time.
    fn stamp(&self) -> u64;
}

/// What a run's packets look like.
#[derive(Debug, Clone, Copy)]
pub struct TrafficOptions {
    /// Plain payload in bytes, at least [`super::payload::SHORT_HEADER_LEN`].
    pub payload_len: usize,
    /// First sequence number of every stream; random below 2^15 if not given.
    pub start_sequence: Option<u16>,
    /// What is impaired.
    pub impair: Shares,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether streams keep expanded keys.
    pub keys: KeyUse,
}

/// The sending side of all streams.
pub struct Traffic {
    senders: Vec<Sender>,
    options: TrafficOptions,
    rng: Rng,
    stats: Arc<Stats>,
    scratch: Box<[u8; FRAME_ROOM]>,
}

/// What the receiver must find in a stream's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Synchronization source.
    pub ssrc: Ssrc,
    /// Payload type of valid packets.
    pub payload_type: PayloadType,
    /// Timestamp of packet 0.
    pub first_timestamp: RtpTime,
}

impl Identity {
    /// Which packet has the timestamp, if one of the stream's first four million has.
    #[inline]
    pub fn sequence_at(&self, timestamp: RtpTime) -> Option<u64> {
        let elapsed = timestamp.0.wrapping_sub(self.first_timestamp.0);
        elapsed.is_multiple_of(TIMESTAMP_STEP).then_some(u64::from(elapsed / TIMESTAMP_STEP))
    }

    /// The timestamp of packet `sequence`.
    #[inline]
    pub fn timestamp(&self, sequence: u64) -> RtpTime {
        self.first_timestamp.wrapping_add((sequence as u32).wrapping_mul(TIMESTAMP_STEP))
    }
}

/// One stream's sender: a remote endpoint.
struct Sender {
    template: Template,
    seal: Sealer,
    id: u32,
    tx_port: usize,
    rx_port: usize,
    destination: IpAddr,
    identity: Identity,
    bad_payload_type: Option<PayloadType>,
    next_index: u64,
    next_sequence: u64,
    held: Option<Held>,
}

/// A packet held back to be overtaken.
struct Held {
    index: u64,
    sequence: u64,
    /// Packets that are still to overtake it; at least one.
    overtakers: u64,
}

impl Traffic {
    /// The senders of all streams of `plan`; `macs` are the MAC addresses of our ports in its order.
    ///
    /// # Errors
    /// [`MixedFamilies`] when a leg's addresses are of two families, which the configuration excludes.
    pub fn new(
        plan: &Plan<'_>,
        macs: &[MacAddress],
        options: TrafficOptions,
        stats: Arc<Stats>,
    ) -> Result<Self, MixedFamilies> {
        let mut rng = Rng::new(options.seed);
        // An odd multiplier maps distinct numbers to distinct ones, so no two streams share an SSRC.
        let salt = rng.next_u64() as u32;
        let senders = plan
            .streams
            .iter()
            .map(|stream| {
                let ssrc = Ssrc(stream.id.wrapping_mul(0x9e37_79b1) ^ salt);
                let vlan = plan.ports[stream.tx_port].gateway.vlan;
                let template = Template::new(stream.source, stream.sender.local, macs[stream.tx_port], vlan)?;
                Ok(Sender::new(stream, template, ssrc, &options, &mut rng))
            })
            .collect::<Result<_, _>>()?;
        Ok(Traffic { senders, options, rng, stats, scratch: Box::new([0; FRAME_ROOM]) })
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.senders.len()
    }

    /// The port through which a stream is sent, as an index into [`Plan::ports`].
    #[inline]
    pub fn tx_port(&self, stream: usize) -> usize {
        self.senders[stream].tx_port
    }

    /// The port on which a stream comes back, as an index into [`Plan::ports`].
    #[inline]
    pub fn rx_port(&self, stream: usize) -> usize {
        self.senders[stream].rx_port
    }

    /// The longest that a frame of the run can be in bytes, sent or received.
    pub fn longest_frame(&self) -> usize {
        MAX_HEADERS + rtp::HEADER_LEN + self.options.payload_len + Suite::MAX_RTP_TRAILER
    }

    /// The seed of everything random.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// What the receiver must find, per stream.
    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        self.senders.iter().map(|sender| sender.identity)
    }

    /// Packets and payload bytes that a stream has sent, for its sender reports.
    pub fn sent_of(&self, stream: usize) -> (u64, u64) {
        let packets = self.senders[stream].next_sequence;
        (packets, packets.wrapping_mul(self.options.payload_len as u64))
    }

    /// Sends all that goes through `tx_port` to `destination` to the MAC address `mac` from now on.
    pub fn set_next_hop(&mut self, tx_port: usize, destination: IpAddr, mac: MacAddress) {
        for sender in &mut self.senders {
            if sender.tx_port == tx_port && sender.destination == destination {
                sender.template.set_destination_mac(mac);
            }
        }
    }

    /// Makes a stream's next packet, with the impaired packets around it. At most
    /// [`MAX_FRAMES_PER_STEP`] frames.
    #[inline]
    pub fn send_next(&mut self, stream: usize, sink: &mut impl Sink) {
        // The first packet of a stream goes alone: until the gateway has authenticated it, there is no
        // highest index that a bad one could be told from.
        let may_impair = !self.options.impair.is_none() && self.senders[stream].next_sequence > 0;
        if !may_impair {
            let (index, sequence) = self.senders[stream].take();
            return self.send_valid(stream, index, sequence, Flags::NONE, sink);
        }
        if self.draw(stream, Kind::Drop) {
            self.senders[stream].next_index += 1;
            return;
        }
        if let Some(bad) = self.senders[stream].bad_payload_type
            && self.draw(stream, Kind::BadPayloadType)
        {
            self.send_forbidden(stream, bad, sink);
        }
        let (index, sequence) = self.senders[stream].take();
        if self.senders[stream].held.is_none() && self.draw(stream, Kind::Reorder) {
            let overtakers = 1 + self.rng.below(MAX_REORDER_DISTANCE);
            self.senders[stream].held = Some(Held { index, sequence, overtakers });
            return;
        }
        self.send_with_copies(stream, index, sequence, sink);
        if let Some(held) = &mut self.senders[stream].held {
            held.overtakers -= 1;
            if held.overtakers == 0 {
                self.release(stream, sink);
            }
        }
    }

    /// Sends what a stream holds back, if anything.
    pub fn release(&mut self, stream: usize, sink: &mut impl Sink) {
        if let Some(held) = self.senders[stream].held.take() {
            self.send_valid(stream, held.index, held.sequence, Flags::HELD_BACK, sink);
        }
    }

    /// Sends a packet that opens the path and is not part of the result.
    pub fn send_warm_up(&mut self, stream: usize, sink: &mut impl Sink) {
        let sender = &mut self.senders[stream];
        let index = sender.next_index;
        sender.next_index += 1;
        let len = sender.emit(sink, index, 0, Flags::WARM_UP, sender.identity.payload_type, &self.options);
        count(&self.stats.warm_up_sent, len, true, sink, &self.stats);
    }

    fn send_valid(&mut self, stream: usize, index: u64, sequence: u64, flags: Flags, sink: &mut impl Sink) {
        let sender = &mut self.senders[stream];
        let len = sender.emit(sink, index, sequence, flags, sender.identity.payload_type, &self.options);
        count(&self.stats.sent, len, true, sink, &self.stats);
    }

    fn send_forbidden(&mut self, stream: usize, payload_type: PayloadType, sink: &mut impl Sink) {
        let sender = &mut self.senders[stream];
        let index = sender.next_index;
        sender.next_index += 1;
        let len =
            sender.emit(sink, index, sender.next_sequence, Flags::FORBIDDEN, payload_type, &self.options);
        count_extra(len, sink, &self.stats);
    }

    /// Sends a valid packet with the copies drawn for it. Bad copies go first: after the valid packet, their
    /// index would be known and they would be refused as replays before their own fault was looked at.
    fn send_with_copies(&mut self, stream: usize, index: u64, sequence: u64, sink: &mut impl Sink) {
        let corrupt = self.draw(stream, Kind::Corrupt);
        let truncate = self.draw(stream, Kind::Truncate);
        let bad_ssrc = self.draw(stream, Kind::BadSsrc);
        let replay = self.draw(stream, Kind::Replay);
        if !(corrupt || truncate || bad_ssrc || replay) {
            return self.send_valid(stream, index, sequence, Flags::NONE, sink);
        }
        let mut original = Scratch { room: &mut self.scratch, stamp: sink.stamp() };
        let sender = &mut self.senders[stream];
        let payload_type = sender.identity.payload_type;
        let len = sender.emit(&mut original, index, sequence, Flags::NONE, payload_type, &self.options);
        let (Ok(len), rng) = (len, &mut self.rng) else {
            return self.stats.not_built.add(1);
        };
        let (frame, template) = (&self.scratch[..len], &sender.template);
        let packet_len = len.saturating_sub(template.len());
        let mut copy = |change: &mut dyn FnMut(&mut [u8]) -> usize| {
            let written = copy_into(sink.slot(), frame, template, change);
            count_extra(written, sink, &self.stats);
        };
        if corrupt {
            copy(&mut |packet| {
                impair::corrupt(packet, rtp::HEADER_LEN, rng);
                packet_len
            });
        }
        if truncate {
            copy(&mut |_| impair::truncated_len(packet_len, rng));
        }
        if bad_ssrc {
            copy(&mut |packet| {
                // Octets 8 to 11 are the SSRC (RFC 3550 §5.1); another stream's is not hit but by chance.
                packet.get_mut(8..12).into_iter().flatten().for_each(|octet| *octet ^= 0xa5);
                packet_len
            });
        }
        let written = copy_into(sink.slot(), frame, template, &mut |_| packet_len);
        count(&self.stats.sent, written, true, sink, &self.stats);
        if replay {
            let written = copy_into(sink.slot(), frame, template, &mut |_| packet_len);
            count_extra(written, sink, &self.stats);
        }
    }

    /// Whether the stream's packet is to be impaired in this way; counts it if so.
    fn draw(&mut self, stream: usize, kind: Kind) -> bool {
        let is_plain = self.senders[stream].seal.is_plain();
        if (is_plain && kind.needs_authentication()) || !self.options.impair.draw(kind, &mut self.rng) {
            return false;
        }
        self.stats.impaired[kind.index()].add(1);
        true
    }
}

impl Sender {
    fn new(
        stream: &StreamPlan<'_>,
        template: Template,
        ssrc: Ssrc,
        options: &TrafficOptions,
        rng: &mut Rng,
    ) -> Self {
        // RFC 3711 §3.3.1: starting below 2^15 keeps the first roll-over away from lost first packets.
        let random_start = rng.below(1 << 15);
        Sender {
            template,
            seal: Sealer::new(&stream.sender.protection, options.keys),
            id: stream.id,
            tx_port: stream.tx_port,
            rx_port: stream.rx_port,
            destination: stream.sender.local.ip(),
            identity: Identity {
                ssrc,
                payload_type: stream.payload_type,
                first_timestamp: RtpTime(rng.next_u64() as u32),
            },
            bad_payload_type: stream.bad_payload_type,
            next_index: options.start_sequence.map_or(random_start, u64::from),
            next_sequence: 0,
            held: None,
        }
    }

    /// Index and sequence number of the next valid packet.
    fn take(&mut self) -> (u64, u64) {
        let taken = (self.next_index, self.next_sequence);
        self.next_index += 1;
        self.next_sequence += 1;
        taken
    }

    /// Writes a whole frame into the sink's next slot and returns its length.
    #[inline]
    fn emit(
        &mut self,
        sink: &mut impl Sink,
        index: u64,
        sequence: u64,
        flags: Flags,
        payload_type: PayloadType,
        options: &TrafficOptions,
    ) -> Result<usize, NotBuilt> {
        let sent = sink.stamp();
        let frame = sink.slot();
        let packet_len = rtp::HEADER_LEN + options.payload_len + self.seal.trailer();
        let packet = frame.get_mut(self.template.len()..).and_then(|rest| rest.get_mut(..packet_len));
        let packet = packet.ok_or(NotBuilt::Room)?;
        let header = rtp::Repr {
            marker: false,
            payload_type,
            sequence_number: SequenceNumber(index as u16),
            timestamp: self.identity.timestamp(sequence),
            ssrc: self.identity.ssrc,
            csrcs: &[],
            extension: None,
            payload: &[],
            padding_len: 0,
        };
        header.emit(packet).map_err(|_| NotBuilt::Room)?;
        let payload = Payload { stream: self.id, sequence, sent, index, flags };
        let body = packet.get_mut(rtp::HEADER_LEN..rtp::HEADER_LEN + options.payload_len);
        payload.write(body.ok_or(NotBuilt::Room)?);
        let sealed = self.seal.seal(packet, rtp::HEADER_LEN, self.identity.ssrc.0, index);
        sealed.map_err(NotBuilt::Seal)?;
        Ok(self.template.finish(frame, packet_len))
    }
}

/// Why a packet was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBuilt {
    /// The sink was full, or its slot too short.
    Room,
    /// The SRTP context refused.
    Seal(SealError),
}

/// Room for the original of impaired copies.
struct Scratch<'s> {
    room: &'s mut [u8; FRAME_ROOM],
    stamp: u64,
}

impl Sink for Scratch<'_> {
    fn slot(&mut self) -> &mut [u8] {
        self.room
    }

    fn commit(&mut self, _len: usize, _is_valid: bool) {}

    fn stamp(&self) -> u64 {
        self.stamp
    }
}

/// Copies `frame` into `slot`, lets `change` alter its UDP payload and say how long that is, and sets
/// lengths and checksums right again: only what is meant to be wrong is wrong.
fn copy_into(
    slot: &mut [u8],
    frame: &[u8],
    template: &Template,
    change: &mut dyn FnMut(&mut [u8]) -> usize,
) -> Result<usize, NotBuilt> {
    let copy = slot.get_mut(..frame.len()).ok_or(NotBuilt::Room)?;
    copy.copy_from_slice(frame);
    let packet = copy.get_mut(template.len()..).ok_or(NotBuilt::Room)?;
    let packet_len = change(packet);
    Ok(template.finish(copy, packet_len))
}

fn count(
    counter: &voxlane::telemetry::Counter,
    len: Result<usize, NotBuilt>,
    is_valid: bool,
    sink: &mut impl Sink,
    stats: &Stats,
) {
    match len {
        Ok(len) => {
            sink.commit(len, is_valid);
            counter.add(1);
        }
        Err(_) => stats.not_built.add(1),
    }
}

fn count_extra(len: Result<usize, NotBuilt>, sink: &mut impl Sink, stats: &Stats) {
    match len {
        Ok(len) => sink.commit(len, false),
        Err(_) => stats.not_built.add(1),
    }
}
