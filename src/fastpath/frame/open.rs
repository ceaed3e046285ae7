//! Matched → Opened: the packet's tag is verified with the stream's key, and it is decrypted in place. Packets of suites
//! without an AEAD go in batches.

use super::{Authenticated, Frame, Matched, Opened, Packet};
use crate::fastpath::faults::{self, Point};
use crate::fastpath::{Buffer, Burst, DropReason, inspect};
use crate::session::{OpenedRtp, OpeningRtp, StreamId, Streams};
use crate::srtp::{OpenError, Provider, TAG_LEN};
use crate::wire::rtp;

impl<B: Buffer> Frame<B, Matched> {
    /// The worker that owns the stream.
    #[inline(always)]
    pub(in crate::fastpath) fn home(&self) -> u16 {
        self.state.home
    }

    /// Asks the cache for the packet's first line, which another core wrote last.
    #[inline(always)]
    pub(in crate::fastpath) fn prefetch(&self) {
        self.buffer.prefetch_data();
    }

    /// The stream.
    #[inline(always)]
    pub(in crate::fastpath) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// When it was received.
    #[inline(always)]
    pub(in crate::fastpath) fn rx_cycles(&self) -> u64 {
        self.state.rx_cycles
    }

    /// The stream that it claims to belong to, and where it came from.
    #[inline(always)]
    pub(in crate::fastpath) fn sender(&self) -> Authenticated {
        let Matched { stream, source, is_rtcp, .. } = self.state;
        Authenticated { stream, source, is_rtcp }
    }

    /// Length of the encrypted payload in bytes, if the packet has neither CSRCs nor extension and a tag of 16: which
    /// lines of a key are asked for depends on it.
    #[inline(always)]
    pub(in crate::fastpath) fn payload_estimate(&self) -> usize {
        self.buffer.data().len().saturating_sub(rtp::HEADER_LEN + TAG_LEN)
    }

    /// Verifies the tag, decrypts in place and puts the opened frame into `out`. Says whether no newer packet of the
    /// stream was received before: only such a one may move the remote.
    ///
    /// This and the next steps write the new state where it will stay: returned by value it would be written to the
    /// stack and read back in wider pieces at once, which stalls.
    #[inline(always)]
    pub(in crate::fastpath) fn open_into<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        if self.state.is_rtcp {
            return self.open_rtcp_into(streams, out);
        }
        let (header_len, ssrc, seq) = self.rtp_header()?;
        let stream = self.state.stream;
        if streams.collides(stream, ssrc) {
            return Err(DropReason::SsrcCollision);
        }
        let opened =
            streams.open_rtp(stream, self.buffer.data_mut(), header_len, ssrc, seq).map_err(open_reason)?;
        self.opened_rtp_into(header_len as u16, ssrc, opened, out)
    }

    /// All checks of [`Frame::open`] that come before the tag, of an RTP packet that is then opened in a batch.
    #[inline]
    pub(in crate::fastpath) fn begin<P: Provider>(
        &self,
        streams: &Streams<P>,
    ) -> Result<OpeningRtp, DropReason> {
        let (header_len, ssrc, seq) = self.rtp_header()?;
        if streams.collides(self.state.stream, ssrc) {
            return Err(DropReason::SsrcCollision);
        }
        streams.begin_rtp(self.state.stream, self.buffer.data(), header_len, ssrc, seq).map_err(open_reason)
    }

    /// Verifies and decrypts several packets together, as [`Frame::open_into`] does one.
    pub(in crate::fastpath) fn open_batch_into<P: Provider>(
        batch: &mut Burst<(Self, OpeningRtp)>,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
        mut each: impl FnMut(&Streams<P>, Authenticated, Result<bool, DropReason>),
    ) {
        let mut outcomes: Burst<Result<OpenedRtp, OpenError>> = Burst::new();
        let packets = batch.iter_mut().map(|(frame, opening)| (*opening, frame.buffer.data_mut()));
        streams.open_rtp_batch(packets, |outcome| {
            faults::at(Point::OpenBatch);
            outcomes.push(outcome);
        });
        for ((frame, opening), outcome) in batch.drain(..).zip(outcomes) {
            let sender = frame.sender();
            streams.work_on(sender.stream);
            let opened = outcome
                .map_err(open_reason)
                .and_then(|opened| frame.opened_rtp_into(opening.header_len, opening.ssrc, opened, out));
            each(streams, sender, opened);
        }
    }

    #[inline(always)]
    fn rtp_header(&self) -> Result<(usize, u32, u16), DropReason> {
        let header = rtp::Packet::new_checked(self.buffer.data()).map_err(inspect::header_reason)?;
        Ok((header.header_len(), header.ssrc().0, header.sequence_number().0))
    }

    /// Only an [`OpenedRtp`] makes an RTP frame an opened one, and only the stream's key makes that.
    #[inline(always)]
    fn opened_rtp_into(
        mut self,
        header_len: u16,
        ssrc: u32,
        opened: OpenedRtp,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        let Matched { rx_cycles, stream, .. } = self.state;
        let OpenedRtp { len, ticket, newest } = opened;
        if !self.buffer.resize(len) {
            return Err(DropReason::SrtpTruncated);
        }
        let packet = Packet::Rtp { header_len, ssrc, ticket };
        out.push(Frame { buffer: self.buffer, state: Opened { rx_cycles, stream, packet } });
        Ok(newest)
    }

    fn open_rtcp_into<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        let Matched { rx_cycles, stream, .. } = self.state;
        // Demultiplexing let version 2 alone come this far; the SSRC is in the clear part (RFC 3711 §3.4).
        if self.buffer.data().len() < 8 {
            return Err(DropReason::RtcpMalformed);
        }
        let opened = streams.open_rtcp(stream, self.buffer.data_mut()).map_err(open_reason)?;
        if !self.buffer.resize(opened.len) {
            return Err(DropReason::SrtpTruncated);
        }
        let packet = Packet::Rtcp { ssrc: opened.ssrc, ticket: opened.ticket };
        out.push(Frame { buffer: self.buffer, state: Opened { rx_cycles, stream, packet } });
        Ok(opened.newest)
    }
}

fn open_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Truncated => DropReason::SrtpTruncated,
        OpenError::NotEncrypted => DropReason::SrtcpNotEncrypted,
        OpenError::SsrcChanged => DropReason::SsrcChanged,
        OpenError::BeforeSource => DropReason::BeforeSource,
        OpenError::TooOld => DropReason::SrtpTooOld,
        OpenError::Replayed => DropReason::SrtpReplayed,
        OpenError::UnknownMki => DropReason::SrtpMkiUnknown,
        OpenError::AuthFailed => DropReason::SrtpAuthFailed,
        OpenError::KeyExhausted => DropReason::KeyExhausted,
    }
}
