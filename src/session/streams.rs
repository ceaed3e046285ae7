//! All streams that are homed on one worker, laid out by how often they are read.
//!
//! At a hundred thousand sessions the cost of a packet is the memory that it touches, not what is computed. So a
//! stream is no object: its parts lie in three slabs of hugepage memory, each at the stream's position, and the
//! stages ask for exactly the lines that the next stage will read ([`Streams::prefetch_receive`] and the others).
//!
//! | slab | octets a stream | an RTP packet reads | a report reads |
//! |---|---|---|---|
//! | hot: [`Receive`], ring, [`Send`] | 64 + 128 + 128 | the first line, one of the ring's two, the last two | first |
//! | keys: to open, to seal | 2 × the provider's | round keys; as many powers of the hash key as it has blocks | |
//! | cold: [`Cold`] | 384 | | all |
//! | sets: [`KeySet`] | 8 | nothing, unless there are several keys | the same |
//!
//! Owned and written by the one worker; nothing in here changes because of a packet that has not authenticated. The
//! keys of reports are not kept expanded: a report comes every few seconds, and its session key is expanded then, or
//! found among those of the latest reports.

use super::cold::Cold;
use super::rtcp_keys::RtcpKeys;
use super::stream::{Learn, OpenedRtcp, OpenedRtp, StreamId, StreamSetup};
use super::{Egress, Endpoint, JournalSlot, KeySet};
use crate::dpdk::{self, CACHE_LINE, HugeVec, Memory};
use crate::srtp::mki;
use crate::srtp::provider::BATCH;
use crate::srtp::{
    Batch, CounterHmac, InboundState, MasterKey, OpenError, PacketIndex, Provider, RTP_WORDS, Ring,
    SealError, SessionKey, SessionKeys, Suite, Ticket,
};

/// The streams of one worker.
pub struct Streams<P: Provider> {
    pub(super) hot: HugeVec<Hot>,
    pub(super) keys: HugeVec<Keys<P>>,
    pub(super) cold: HugeVec<Cold>,
    /// Of streams with several keys.
    pub(super) sets: HugeVec<Option<Box<KeySet>>>,
    pub(super) rtcp_keys: RtcpKeys<P>,
    pub(super) batch: P::Batch,
    /// The suites of the first stream.
    pub(super) usual_open: Option<Suite>,
    pub(super) usual_seal: Option<Suite>,
}

/// What RTP packets read of a stream, but for its keys.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    pub(super) receive: Receive,
    pub(super) ring: Ring<RTP_WORDS>,
    pub(super) send: Send,
}

/// One line: what is known of the sender.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Receive {
    /// Read and written for each packet.
    pub(super) state: InboundState,
    /// Read for each packet: bit `n % 64` of word `n / 64` is set when payload type `n` was negotiated.
    payload_types: [u64; 2],
    /// Read for each packet; written when a remote is learned.
    source: Option<Endpoint>,
    /// `None` is a plain leg.
    pub(super) suite: Option<Suite>,
    /// Octets of master key identifier in each packet.
    pub(super) mki_len: u8,
    learn: Learn,
    /// Whether packets may be sealed with a key of the stream's set that is not in its own place.
    pub(super) several: bool,
}

/// Two lines: what is known of the receiver.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Send {
    /// Headers of each packet; written when a remote is learned.
    egress: Option<Egress>,
    /// `None` is a plain leg.
    pub(super) suite: Option<Suite>,
    mki_len: u8,
    /// The first index beyond the lifetime of the key.
    pub(super) end: u64,
    /// Of which most packets read one word.
    pub(super) journal: Option<JournalSlot>,
}

const _: () = assert!(size_of::<Receive>() == CACHE_LINE);
const _: () = assert!(size_of::<Send>() == 2 * CACHE_LINE);
const _: () = assert!(size_of::<Hot>() == 5 * CACHE_LINE);

/// `None` is a plain leg.
pub(super) struct Keys<P: Provider> {
    pub(super) open: Option<SessionKey<P>>,
    pub(super) seal: Option<SessionKey<P>>,
}

/// A packet of a suite that is opened in batches, once it has passed all checks that come before its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningRtp {
    /// The stream.
    pub stream: StreamId,
    /// Length of the RTP header in bytes.
    pub header_len: u16,
    /// The header's SSRC.
    pub ssrc: u32,
    /// The index that the packet has if it is authentic.
    pub index: PacketIndex,
}

/// How a stream's RTP packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all, or by an AEAD: one packet at a time.
    Single,
    /// By AES-CM and HMAC-SHA1: in batches.
    Batched,
}

impl<P: Provider> Streams<P> {
    /// Room for `capacity` streams.
    ///
    /// # Errors
    /// [`dpdk::Error::Memory`].
    pub fn with_capacity(memory: Memory<'_>, capacity: usize) -> Result<Self, dpdk::Error> {
        Ok(Streams {
            hot: HugeVec::with_capacity(memory, capacity, "stream states")?,
            keys: HugeVec::with_capacity(memory, capacity, "stream keys")?,
            cold: HugeVec::with_capacity(memory, capacity, "stream reports")?,
            sets: HugeVec::with_capacity(memory, capacity, "key sets")?,
            rtcp_keys: RtcpKeys::new(memory)?,
            batch: P::Batch::new(),
            usual_open: None,
            usual_seal: None,
        })
    }

    /// Bytes that each stream takes in the slabs.
    pub const BYTES_PER_STREAM: usize =
        size_of::<Hot>() + size_of::<Keys<P>>() + size_of::<Cold>() + size_of::<Option<Box<KeySet>>>();

    /// Memory that the slabs take, in bytes.
    pub fn memory(&self) -> usize {
        self.hot.capacity() * Self::BYTES_PER_STREAM
    }

    /// Streams there are.
    pub fn len(&self) -> usize {
        self.hot.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty()
    }

    /// Adds a stream; `None` when there is no room for it.
    pub fn push(&mut self, setup: StreamSetup<'_>) -> Option<StreamId> {
        let id = StreamId(self.hot.len() as u32);
        let StreamSetup { keys, rules, learn, source, rtcp_source, rtp_egress, rtcp_egress, .. } = setup;
        if self.hot.is_empty() {
            self.usual_open = keys.open.map(|key| key.suite());
            self.usual_seal = keys.seal.map(|key| key.suite());
        }
        let mut ring = Ring::new();
        let mut state =
            InboundState::new(keys.replay_window, keys.open.map_or(48, |key| key.rtp_index_bits()));
        let resumed = setup.rtp_journal.as_ref().and_then(|(_, resumed)| *resumed);
        // What was relayed before a restart must not be relayed after it.
        if let (Some(_), Some(resumed)) = (keys.open, resumed)
            && let Some(last) = resumed.floor.checked_sub(1).and_then(PacketIndex::from_u64)
        {
            state.resume(&mut ring, resumed.ssrc, last);
        }
        let set = setup.key_set;
        if let Some(set) = &set {
            state.limit_to(set.index_bits());
        }
        let hot = Hot {
            receive: Receive {
                state,
                payload_types: [rules.payload_types as u64, (rules.payload_types >> 64) as u64],
                source,
                suite: keys.open.map(|key| key.suite()),
                mki_len: mki_len(keys.open),
                learn,
                several: set.as_ref().is_some_and(|set| set.is_needed(None)),
            },
            ring,
            send: Send {
                egress: rtp_egress,
                suite: keys.seal.map(|key| key.suite()),
                mki_len: mki_len(keys.seal),
                end: 1 << keys.seal.map_or(48, |key| key.rtp_index_bits()),
                journal: setup.rtp_journal.map(|(slot, _)| slot),
            },
        };
        let expanded = Keys {
            open: keys.open.map(|key| SessionKey::new(&SessionKeys::rtp(key))),
            seal: keys.seal.map(|key| SessionKey::new(&SessionKeys::rtp(key))),
        };
        let cold = Cold::new(keys, rules, rtcp_source, rtcp_egress, setup.rtcp_journal);
        self.hot.push(hot).ok()?;
        self.keys.push(expanded).ok()?;
        self.cold.push(cold).ok()?;
        self.sets.push(set).ok()?;
        Some(id)
    }

    /// The remote of the sending leg is known.
    pub fn set_source(&mut self, id: StreamId, remote: Endpoint, rtp: bool, rtcp: bool) {
        if rtp && let Some(hot) = self.hot.get_mut(id.0 as usize) {
            hot.receive.source = Some(remote);
        }
        if rtcp && let Some(cold) = self.cold.get_mut(id.0 as usize) {
            cold.source = Some(remote);
        }
    }

    /// The way to the receiving leg's remote is known, or known no more.
    pub fn set_egress(&mut self, id: StreamId, egress: Option<&Egress>, rtp: bool, rtcp: bool) {
        if rtp && let Some(hot) = self.hot.get_mut(id.0 as usize) {
            hot.send.egress = egress.cloned();
        }
        if rtcp && let Some(cold) = self.cold.get_mut(id.0 as usize) {
            cold.egress = egress.cloned();
        }
    }

    /// Writes the exact state of a clean stop to the journal, for all streams.
    pub fn settle_journals(&mut self) {
        for (hot, cold) in self.hot.iter_mut().zip(self.cold.iter_mut()) {
            if let Some(slot) = &mut hot.send.journal {
                slot.settle(hot.receive.state.highest_index().map(PacketIndex::as_u64));
            }
            cold.settle_journal();
        }
    }
}

/// What the stages ask of a stream. `id` comes from the lookup, which was built together with the streams; a stream
/// that does not exist has no source, no rules and no way out.
impl<P: Provider> Streams<P> {
    /// Whether the stream accepts packets from `source`. One that learns its remote decides after the tag has
    /// verified.
    #[inline(always)]
    pub fn accepts_source(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.hot.get(id.0 as usize) else { return false };
        hot.receive.learn == Learn::Authenticated || self.source(id, is_rtcp) == Some(source)
    }

    /// Whether an authenticated, newest packet from `source` says that the remote has moved.
    #[inline(always)]
    pub fn has_moved(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.hot.get(id.0 as usize) else { return false };
        // Only a protected packet proves who sent it.
        hot.receive.learn == Learn::Authenticated
            && hot.receive.suite.is_some()
            && self.source(id, is_rtcp) != Some(source)
    }

    /// The sender's address, if it is known.
    #[inline(always)]
    pub fn source(&self, id: StreamId, is_rtcp: bool) -> Option<Endpoint> {
        if is_rtcp {
            return self.cold.get(id.0 as usize)?.source;
        }
        self.hot.get(id.0 as usize)?.receive.source
    }

    /// The way out.
    #[inline(always)]
    pub fn egress(&self, id: StreamId, is_rtcp: bool) -> Option<&Egress> {
        if is_rtcp {
            return self.cold.get(id.0 as usize)?.egress.as_ref();
        }
        self.hot.get(id.0 as usize)?.send.egress.as_ref()
    }

    /// Whether RTP payload type `payload_type` was negotiated.
    #[inline(always)]
    pub fn accepts_payload_type(&self, id: StreamId, payload_type: u8) -> bool {
        let Some(hot) = self.hot.get(id.0 as usize) else { return false };
        let word = usize::from(payload_type >> 6);
        hot.receive.payload_types.get(word).is_some_and(|word| word >> (payload_type & 63) & 1 == 1)
    }

    /// Whether RTCP packets need not begin with a report (RFC 5506).
    pub fn accepts_reduced_size_rtcp(&self, id: StreamId) -> bool {
        self.cold.get(id.0 as usize).is_some_and(|cold| cold.reduced_size_rtcp)
    }

    /// Bytes that sealing appends to a packet.
    #[inline(always)]
    pub fn trailer(&self, id: StreamId, is_rtcp: bool) -> usize {
        let Some(Hot { send: Send { suite: Some(suite), mki_len, .. }, .. }) = self.hot.get(id.0 as usize)
        else {
            return 0;
        };
        let tag_len =
            if is_rtcp { suite.rtcp_tag_len() + crate::srtp::SRTCP_INDEX_LEN } else { suite.rtp_tag_len() };
        tag_len + usize::from(*mki_len)
    }

    /// How the stream's RTP packets are to be opened.
    #[inline(always)]
    pub fn open_protection(&self, id: StreamId) -> Protection {
        match self.hot.get(id.0 as usize) {
            Some(hot) if !hot.receive.several => protection(hot.receive.suite),
            _ => Protection::Single,
        }
    }

    /// How they are to be sealed.
    #[inline(always)]
    pub fn seal_protection(&self, id: StreamId) -> Protection {
        protection(self.hot.get(id.0 as usize).and_then(|hot| hot.send.suite))
    }
}

#[inline(always)]
fn protection(suite: Option<Suite>) -> Protection {
    match suite {
        Some(suite) if !suite.is_aead() => Protection::Batched,
        _ => Protection::Single,
    }
}

/// Opening and sealing RTP.
impl<P: Provider> Streams<P> {
    /// Opens an RTP packet in place. `header_len`, `ssrc` and `seq` are those of its header.
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then, and the payload must not be read.
    #[inline]
    pub fn open_rtp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpenedRtp, OpenError> {
        let at = id.0 as usize;
        let (Some(hot), Some(keys)) = (self.hot.get_mut(at), self.keys.get(at)) else {
            return Err(OpenError::AuthFailed);
        };
        let Hot { receive, ring, .. } = hot;
        let Some(key) = &keys.open else {
            let index = receive.state.accept(ring, ssrc, seq)?;
            let ticket = receive.state.commit(ring, ssrc, index)?;
            return Ok(OpenedRtp { len: packet.len(), ticket, newest: true });
        };
        if receive.several {
            return self.open_rtp_of_several(id, packet, header_len, ssrc, seq);
        }
        let mki_len = usize::from(receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = receive.state.accept(ring, ssrc, seq)?;
        if mki_len > 0
            && !self.cold.get(at).is_some_and(|cold| mki::is_in_rtp(&cold.open_mki, packet, key.suite()))
        {
            return Err(OpenError::UnknownMki);
        }
        let len = key.open_rtp(&mut self.batch, packet, header_len, mki_len, ssrc, index)?;
        let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = receive.state.commit(ring, ssrc, index)?;
        Ok(OpenedRtp { len, ticket, newest })
    }

    /// All checks of [`Streams::open_rtp`] that come before the tag, for a packet that is then opened together with
    /// others. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn begin_rtp(
        &self,
        id: StreamId,
        packet: &[u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpeningRtp, OpenError> {
        let at = id.0 as usize;
        let (Some(hot), Some(Keys { open: Some(key), .. })) = (self.hot.get(at), self.keys.get(at)) else {
            return Err(OpenError::AuthFailed);
        };
        let mki_len = usize::from(hot.receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = hot.receive.state.accept(&hot.ring, ssrc, seq)?;
        if mki_len > 0
            && !self.cold.get(at).is_some_and(|cold| mki::is_in_rtp(&cold.open_mki, packet, key.suite()))
        {
            return Err(OpenError::UnknownMki);
        }
        Ok(OpeningRtp { stream: id, header_len: header_len as u16, ssrc, index })
    }

    /// Whether `opening` would come out the same whichever of the packets before it in the batch, up to `latest` of the
    /// same stream, turn out to be authentic. A packet that goes on in order does: it is ahead of all of them, and by
    /// less than half of the sequence numbers.
    #[inline]
    pub fn is_independent(&self, opening: &OpeningRtp, latest: PacketIndex) -> bool {
        const FAR: u64 = 1 << 14;
        self.hot.get(opening.stream.0 as usize).and_then(|hot| hot.receive.state.highest_index()).is_some_and(
            |highest| {
                let ahead = opening.index.as_u64().checked_sub(highest.as_u64());
                opening.index > latest && ahead.is_some_and(|ahead| ahead < FAR)
            },
        )
    }

    /// Opens packets that [`Streams::begin_rtp`] let pass, as many as [`BATCH`], and hands each
    /// outcome to `each` in order.
    pub fn open_rtp_batch<'p>(
        &mut self,
        packets: impl Iterator<Item = (OpeningRtp, &'p mut [u8])>,
        mut each: impl FnMut(Result<OpenedRtp, OpenError>),
    ) {
        let mut jobs = Jobs::<P>::new();
        let mut openings = arrayvec::ArrayVec::<Result<OpeningRtp, OpenError>, BATCH>::new();
        for (opening, packet) in packets.take(BATCH) {
            let at = opening.stream.0 as usize;
            let (Some(hot), Some(Keys { open: Some(key), .. })) = (self.hot.get(at), self.keys.get(at))
            else {
                openings.push(Err(OpenError::AuthFailed));
                continue;
            };
            let (header_len, mki_len) = (opening.header_len.into(), hot.receive.mki_len.into());
            let job = key.open_rtp_job(packet, header_len, mki_len, opening.ssrc, opening.index);
            openings.push(job.map(|job| {
                jobs.push(job);
                opening
            }));
        }
        self.batch.open(&mut jobs);
        let mut opened = jobs.iter();
        for opening in openings {
            each(opening.and_then(|opening| {
                let (job, hot) = (opened.next(), self.hot.get_mut(opening.stream.0 as usize));
                let (Some(job), Some(Hot { receive, ring, .. })) = (job, hot) else {
                    return Err(OpenError::AuthFailed);
                };
                if !job.verified {
                    return Err(OpenError::AuthFailed);
                }
                let newest = receive.state.highest_index().is_none_or(|highest| opening.index > highest);
                let ticket = receive.state.commit(ring, opening.ssrc, opening.index)?;
                Ok(OpenedRtp { len: job.cipher_start + job.cipher_len, ticket, newest })
            }));
        }
    }

    /// Seals an RTP packet in place; `packet` ends with [`Streams::trailer`] spare bytes.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        ticket: Ticket<PacketIndex>,
    ) -> Result<(), SealError> {
        let at = id.0 as usize;
        let (Some(hot), Some(keys)) = (self.hot.get_mut(at), self.keys.get(at)) else {
            return Err(SealError::Truncated);
        };
        let Some(key) = &keys.seal else { return Ok(()) };
        let index = cover(&mut hot.send, ssrc, ticket)?;
        let mki = match hot.send.mki_len {
            0 => &[][..],
            _ => self.cold.get(at).map_or(&[][..], |cold| mki::octets(&cold.seal_mki)),
        };
        key.seal_rtp(&mut self.batch, packet, header_len, mki, ssrc, index)
    }

    /// Seals packets of suites that are sealed in batches, as many as [`BATCH`], and hands each
    /// outcome to `each` in order. As [`Streams::seal_rtp`] otherwise.
    pub fn seal_rtp_batch<'p>(
        &mut self,
        packets: impl Iterator<Item = (StreamId, &'p mut [u8], usize, u32, Ticket<PacketIndex>)>,
        mut each: impl FnMut(Result<(), SealError>),
    ) {
        let mut jobs = Jobs::<P>::new();
        let mut outcomes = arrayvec::ArrayVec::<Result<StreamId, SealError>, BATCH>::new();
        let mut trailers = arrayvec::ArrayVec::<&mut [u8], BATCH>::new();
        for (id, packet, header_len, ssrc, ticket) in packets.take(BATCH) {
            let at = id.0 as usize;
            let (Some(hot), Some(Keys { seal: Some(key), .. })) = (self.hot.get_mut(at), self.keys.get(at))
            else {
                outcomes.push(Err(SealError::Truncated));
                continue;
            };
            let sealed = cover(&mut hot.send, ssrc, ticket).and_then(|index| {
                let mki_len = usize::from(hot.send.mki_len);
                key.seal_rtp_job(packet, header_len, mki_len, ssrc, index)
            });
            match sealed {
                Ok((job, trailer)) => {
                    jobs.push(job);
                    trailers.push(trailer);
                    outcomes.push(Ok(id));
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        self.batch.seal(&mut jobs);
        let mut sealed = jobs.into_iter().zip(trailers);
        for outcome in outcomes {
            each(outcome.map(|id| {
                if let Some((job, trailer)) = sealed.next() {
                    let mki =
                        self.cold.get(id.0 as usize).map_or(&[][..], |cold| mki::octets(&cold.seal_mki));
                    SessionKey::<P>::finish_rtp(job, trailer, mki);
                }
            }));
        }
    }
}

fn mki_len(key: Option<&MasterKey>) -> u8 {
    key.and_then(MasterKey::mki).map_or(0, |mki| mki.len() as u8)
}

type Jobs<'a, P> = arrayvec::ArrayVec<CounterHmac<'a, <P as Provider>::Key>, BATCH>;

/// The index that a ticket stands for, once it is recorded that it is used.
#[inline(always)]
fn cover(send: &mut Send, ssrc: u32, ticket: Ticket<PacketIndex>) -> Result<PacketIndex, SealError> {
    let index = ticket.spend();
    if index.as_u64() >= send.end {
        return Err(SealError::KeyExhausted);
    }
    // The journal first: should the process die between the two, an index is lost, never used twice.
    if let Some(slot) = &mut send.journal {
        if index.as_u64() < slot.floor() {
            return Err(SealError::IndexReserved);
        }
        slot.cover(ssrc, index.as_u64());
    }
    Ok(index)
}

/// Opening and sealing RTCP.
impl<P: Provider> Streams<P> {
    /// Opens an RTCP packet in place.
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then, and the packet must not be read.
    pub fn open_rtcp(&mut self, id: StreamId, packet: &mut [u8]) -> Result<OpenedRtcp, OpenError> {
        let at = id.0 as usize;
        let (Some(Hot { receive, .. }), Some(cold)) = (self.hot.get(at), self.cold.get_mut(at)) else {
            return Err(OpenError::AuthFailed);
        };
        let highest = receive.state.highest_index().map(PacketIndex::as_u64);
        let set = self.sets.get(at).and_then(Option::as_deref).filter(|_| receive.several);
        cold.open(id, packet, set.map(|set| (set, highest)), &mut self.rtcp_keys, &mut self.batch)
    }

    /// Seals an RTCP packet in place; `packet` ends with [`Streams::trailer`] spare bytes. Without a ticket (the
    /// sender's leg is plain) the packet gets the next free index.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    pub fn seal_rtcp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        ssrc: u32,
        ticket: Option<Ticket<u32>>,
    ) -> Result<(), SealError> {
        let cold = self.cold.get_mut(id.0 as usize).ok_or(SealError::Truncated)?;
        cold.seal(id, packet, ssrc, ticket, &mut self.rtcp_keys, &mut self.batch)
    }
}

/// Shows all that packets may change, nothing of a key.
impl<P: Provider> std::fmt::Debug for Streams<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.hot.iter().zip(self.cold.iter())).finish()
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
