//! Opening and sealing: RTP one packet at a time or in batches, and RTCP.
//!
//! A stream changes only once a packet's tag has verified; an index is recorded in the journal before a packet is sealed
//! with it.

use super::{FirstRollOver, Flags, Hot, Keys, Send, Streams};
use crate::dpdk::slots::Row;
use crate::session::replace::{Moment, timestamp_of};
use crate::session::stream::{OpenedRtcp, OpenedRtp, StreamId};
use crate::srtp::provider::BATCH;
use crate::srtp::{Batch, CounterHmac, OpenError, PacketIndex, Provider, SealError, SessionKey, Ticket, mki};

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
    /// The header's timestamp.
    pub timestamp: u32,
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
        let now = self.moment();
        let Some(Row(Hot { receive, ring, .. }, keys, cold, _)) = self.rows.row_mut(id.0) else {
            return Err(OpenError::AuthFailed);
        };
        if receive.state.is_replaced() {
            return self.open_rtp_of_replaced(id, packet, header_len, ssrc, seq);
        }
        let Some(key) = &keys.open else {
            let index = receive.state.accept(ring, ssrc, seq)?;
            let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
            let ticket = receive.state.commit(ring, ssrc, index)?;
            receive.note(now, newest, timestamp_of(packet));
            return Ok(OpenedRtp { len: packet.len(), ticket, newest });
        };
        if receive.flags.has(Flags::SEVERAL) {
            return self.open_rtp_of_several(id, packet, header_len, ssrc, seq);
        }
        let mki_len = usize::from(receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = receive.state.accept(ring, ssrc, seq)?;
        if mki_len > 0 && !mki::is_in_rtp(&cold.open_mki, packet, key.suite()) {
            return Err(OpenError::UnknownMki);
        }
        let len = key.open_rtp(&mut self.batch, packet, header_len, mki_len, ssrc, index)?;
        let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = receive.state.commit(ring, ssrc, index)?;
        receive.note(now, newest, timestamp_of(packet));
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
        let (Some(hot), Some(Keys { open: Some(key), .. })) = (self.rows.first(id.0), self.rows.second(id.0))
        else {
            return Err(OpenError::AuthFailed);
        };
        let mki_len = usize::from(hot.receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = hot.receive.state.accept(&hot.ring, ssrc, seq)?;
        if mki_len > 0
            && !self.rows.third(id.0).is_some_and(|cold| mki::is_in_rtp(&cold.open_mki, packet, key.suite()))
        {
            return Err(OpenError::UnknownMki);
        }
        let timestamp = timestamp_of(packet);
        Ok(OpeningRtp { stream: id, header_len: header_len as u16, ssrc, index, timestamp })
    }

    /// Whether `opening` would come out the same whichever of the packets before it in the batch, up to `latest` of the
    /// same stream, turn out to be authentic. A packet that goes on in order does: it is ahead of all of them, and by
    /// less than half of the sequence numbers.
    #[inline]
    pub fn is_independent(&self, opening: &OpeningRtp, latest: PacketIndex) -> bool {
        const FAR: u64 = 1 << 14;
        self.rows.first(opening.stream.0).and_then(|hot| hot.receive.state.highest_index()).is_some_and(
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
        self.at_work.begin_batch();
        let (mut hots, others) = self.rows.split();
        for (opening, packet) in packets.take(BATCH) {
            let row = opening.stream.0;
            self.at_work.on_next_of_batch(opening.stream);
            let (Some(hot), Some(Keys { open: Some(key), .. })) = (hots.get_mut(row), others.second(row))
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
        let now = Moment { ticks: self.now, fine: self.arrived };
        self.at_work.on_batch();
        self.batch.open(&mut jobs);
        let mut opened = jobs.iter();
        for opening in openings {
            each(opening.and_then(|opening| {
                let (job, hot) = (opened.next(), hots.get_mut(opening.stream.0));
                let (Some(job), Some(Hot { receive, ring, .. })) = (job, hot) else {
                    return Err(OpenError::AuthFailed);
                };
                if !job.verified {
                    return Err(OpenError::AuthFailed);
                }
                let newest = receive.state.highest_index().is_none_or(|highest| opening.index > highest);
                let ticket = receive.state.commit(ring, opening.ssrc, opening.index)?;
                receive.note(now, newest, opening.timestamp);
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
        let Some(Row(hot, keys, cold, _)) = self.rows.row_mut(id.0) else { return Err(SealError::Truncated) };
        let Some(key) = &keys.seal else { return Ok(()) };
        let index = cover(&mut hot.send, ssrc, ticket)?;
        let mki = match hot.send.mki_len {
            0 => &[][..],
            _ => mki::octets(&cold.seal_mki),
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
        self.at_work.begin_batch();
        let (mut hots, others) = self.rows.split();
        for (id, packet, header_len, ssrc, ticket) in packets.take(BATCH) {
            self.at_work.on_next_of_batch(id);
            let (Some(hot), Some(Keys { seal: Some(key), .. })) = (hots.get_mut(id.0), others.second(id.0))
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
        self.at_work.on_batch();
        self.batch.seal(&mut jobs);
        let mut sealed = jobs.into_iter().zip(trailers);
        for outcome in outcomes {
            each(outcome.map(|id| {
                if let Some((job, trailer)) = sealed.next() {
                    let mki = others.third(id.0).map_or(&[][..], |cold| mki::octets(&cold.seal_mki));
                    SessionKey::<P>::finish_rtp(job, trailer, mki);
                }
            }));
        }
    }
}

/// Opening and sealing RTCP.
impl<P: Provider> Streams<P> {
    /// Opens an RTCP packet in place.
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then, and the packet must not be read.
    pub fn open_rtcp(&mut self, id: StreamId, packet: &mut [u8]) -> Result<OpenedRtcp, OpenError> {
        let now = self.now;
        let Some(Row(Hot { receive, .. }, _, cold, margin)) = self.rows.row_mut(id.0) else {
            return Err(OpenError::AuthFailed);
        };
        let highest = receive.state.highest_index().map(PacketIndex::as_u64);
        let set = margin.set.as_deref().filter(|_| receive.flags.has(Flags::SEVERAL));
        let opened =
            cold.open(id, packet, set.map(|set| (set, highest)), &mut self.rtcp_keys, &mut self.batch)?;
        receive.last_seen = now;
        Ok(opened)
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
        let Some(Row(_, _, cold, _)) = self.rows.row_mut(id.0) else { return Err(SealError::Truncated) };
        cold.seal(id, packet, ssrc, ticket, &mut self.rtcp_keys, &mut self.batch)
    }
}

type Jobs<'a, P> = arrayvec::ArrayVec<CounterHmac<'a, <P as Provider>::Key>, BATCH>;

/// The index that a ticket stands for, once it is recorded that it is used.
#[inline(always)]
fn cover(send: &mut Send, ssrc: u32, ticket: Ticket<PacketIndex>) -> Result<PacketIndex, SealError> {
    let mut index = ticket.spend();
    if send.first != FirstRollOver::NONE {
        index = send.first.seal(index).ok_or(SealError::IndexReserved)?;
    }
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
