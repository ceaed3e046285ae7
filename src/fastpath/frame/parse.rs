//! Received → Parsed → Matched: headers are checked and stripped, the stream that the lookup found is noted.

use super::{Classified, Datagram, Frame, Matched, Parsed, Received};
use crate::fastpath::{Buffer, Burst, DropReason, classify};
use crate::session::StreamId;
use crate::srtp::TAG_LEN;
use crate::wire::rtp;

impl<B: Buffer> Frame<B, Received> {
    /// A frame as the port delivered it, at time stamp `rx_cycles`.
    #[inline(always)]
    pub fn received(buffer: B, rx_cycles: u64) -> Self {
        Frame { buffer, state: Received { rx_cycles } }
    }

    /// Asks the cache for the frame's first line.
    #[inline(always)]
    pub(in crate::fastpath) fn prefetch(&self) {
        self.buffer.prefetch_data();
    }

    /// Length as received, in bytes.
    #[inline(always)]
    pub(in crate::fastpath) fn len(&self) -> usize {
        self.buffer.data().len()
    }

    /// Checks the headers and strips them; a frame with media goes into `out`.
    #[inline(always)]
    pub(in crate::fastpath) fn classify_into(
        mut self,
        local: &classify::Local<'_>,
        out: &mut Burst<Frame<B, Parsed>>,
    ) -> Classified<B> {
        match classify::classify(&self.buffer, local) {
            classify::Outcome::Datagram { datagram, start, len } => {
                if !self.buffer.move_start(start as isize) || !self.buffer.resize(len) {
                    return Classified::Drop(DropReason::FrameSegmented);
                }
                let state = Parsed { rx_cycles: self.state.rx_cycles, datagram };
                out.push(Frame { buffer: self.buffer, state });
                Classified::Media(datagram)
            }
            classify::Outcome::Punt => Classified::Punt(self.buffer),
            classify::Outcome::Drop(reason) => Classified::Drop(reason),
        }
    }
}

impl<B: Buffer> Frame<B, Parsed> {
    /// Where the datagram came from and went to.
    #[inline(always)]
    pub(in crate::fastpath) fn datagram(&self) -> &Datagram {
        &self.state.datagram
    }

    /// The sequence number that an RTP packet claims: for prefetching alone.
    #[inline(always)]
    pub(in crate::fastpath) fn claimed_seq(&self) -> u16 {
        match self.buffer.data() {
            [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    /// As that of a matched frame.
    #[inline(always)]
    pub(in crate::fastpath) fn payload_estimate(&self) -> usize {
        self.buffer.data().len().saturating_sub(rtp::HEADER_LEN + TAG_LEN)
    }

    /// Binds the frame to the stream that the lookup found, which is number `stream` of the worker `home`.
    #[inline(always)]
    pub(in crate::fastpath) fn matched(self, home: u16, stream: StreamId) -> Frame<B, Matched> {
        let Parsed { rx_cycles, datagram } = self.state;
        let Datagram { source, is_rtcp, .. } = datagram;
        let state = Matched { rx_cycles, source, stream, home, is_rtcp };
        Frame { buffer: self.buffer, state }
    }
}
