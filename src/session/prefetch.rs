//! Asking the cache for a stream's lines before they are read.
//!
//! The stages call these in the order in which what they need becomes known: `classify` once it knows the stream, `open`
//! and `seal` a few packets ahead. None of them waits for anything but what an earlier one asked for.

use std::mem::offset_of;

use super::stream::StreamId;
use super::streams::{Keys, Streams};
use crate::dpdk::{self, CACHE_LINE};
use crate::srtp::{Provider, RTP_WORDS, Ring, SessionKey};

impl<P: Provider> Streams<P> {
    /// What finding out who sent packet `seq` reads, and whether it is a replay: two lines.
    #[inline(always)]
    pub fn prefetch_receive(&self, id: StreamId, seq: u16) {
        let line = self.rows.first_address(id.0);
        dpdk::prefetch_line(line);
        let word = usize::from(seq) / 64 % RTP_WORDS * 8;
        dpdk::prefetch_line(line.wrapping_add(CACHE_LINE + word));
    }

    /// Both keys, long before: most of what a packet reads of its stream, and so the first thing to ask for. The suites are
    /// not known yet, so those of the first stream are assumed; a wrong guess fetches a few lines too many or too few.
    #[inline(always)]
    pub fn prefetch_keys_far(&self, id: StreamId, len: usize) {
        let keys = self.rows.second_address(id.0).cast::<u8>();
        if let Some(suite) = self.usual_open {
            SessionKey::<P>::prefetch_slot_far(keys.wrapping_add(offset_of!(Keys<P>, open)), suite, len);
        }
        if let Some(suite) = self.usual_seal {
            SessionKey::<P>::prefetch_slot_far(keys.wrapping_add(offset_of!(Keys<P>, seal)), suite, len);
        }
    }

    /// What sealing reads besides the key, and the headers: two lines.
    #[inline(always)]
    pub fn prefetch_send(&self, id: StreamId) {
        let send = self.rows.first_address(id.0).wrapping_add(CACHE_LINE + size_of::<Ring<RTP_WORDS>>());
        dpdk::prefetch_line(send);
        dpdk::prefetch_line(send.wrapping_add(CACHE_LINE));
    }

    /// What opening a packet of `len` octets reads of the key. The stream's first line should be there.
    #[inline(always)]
    pub fn prefetch_open_key(&self, id: StreamId, len: usize) {
        if let Some(suite) = self.rows.first(id.0).and_then(|hot| hot.receive.suite) {
            let keys = self.rows.second_address(id.0).cast::<u8>();
            SessionKey::<P>::prefetch_slot(keys.wrapping_add(offset_of!(Keys<P>, open)), suite, len);
        }
    }

    /// What sealing a packet of `len` octets reads of the key. [`Streams::prefetch_send`] should be through.
    #[inline(always)]
    pub fn prefetch_seal_key(&self, id: StreamId, len: usize) {
        if let Some(suite) = self.rows.first(id.0).and_then(|hot| hot.send.suite) {
            let keys = self.rows.second_address(id.0).cast::<u8>();
            SessionKey::<P>::prefetch_slot(keys.wrapping_add(offset_of!(Keys<P>, seal)), suite, len);
        }
    }
}
