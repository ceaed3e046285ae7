//! What a receiver and a sender remember of a stream: every index, in a set that never forgets, and the roll-over
//! counter exactly as in RFC 3711 App. A.

use std::collections::HashSet;

use super::Reason;

/// The last SRTCP index (RFC 3711 §9.2).
pub const LAST_RTCP_INDEX: u32 = (1 << 31) - 1;

/// The receiving side of an RTP stream.
#[derive(Default)]
pub struct RtpHistory {
    /// Set by the first packet that authenticated, as are the next two.
    pub ssrc: Option<u32>,
    /// ROC and s_l of RFC 3711 §3.2.1.
    pub roc: u32,
    pub s_l: u16,
    seen: HashSet<u64>,
}

/// The receiving side of an RTCP stream.
#[derive(Default)]
pub struct RtcpHistory {
    pub ssrc: Option<u32>,
    pub highest: u32,
    seen: HashSet<u32>,
}

impl RtpHistory {
    /// The index of a packet with this sequence number (RFC 3711 App. A), held against SSRC and window.
    pub fn admit(&self, ssrc: u32, seq: u16, window: u64) -> Result<u64, Reason> {
        match self.ssrc {
            // RFC 3711 §3.3.1: a session starts with a roll-over counter of zero.
            None => return Ok(u64::from(seq)),
            Some(pinned) if pinned != ssrc => return Err("ssrc_changed"),
            Some(_) => {}
        }
        let v = self.guess(seq).ok_or("key_exhausted")?;
        let index = u64::from(v) << 16 | u64::from(seq);
        let highest = self.highest();
        if index < highest && highest - index >= window {
            return Err("srtp_too_old");
        }
        if self.seen.contains(&index) {
            return Err("srtp_replayed");
        }
        Ok(index)
    }

    /// RFC 3711 App. A:
    ///
    /// ```text
    /// if (s_l < 32,768)
    ///     if (SEQ - s_l > 32,768) set v to (ROC-1) mod 2^32
    ///     else                    set v to ROC
    /// else
    ///     if (s_l - 32,768 > SEQ) set v to (ROC+1) mod 2^32
    ///     else                    set v to ROC
    /// ```
    ///
    /// Two edges are the gateway's own: nothing was ever sealed before counter 0, so it stays 0 there; and nothing
    /// may be sealed after the last one.
    fn guess(&self, seq: u16) -> Option<u32> {
        let (roc, s_l, seq) = (self.roc, i64::from(self.s_l), i64::from(seq));
        if s_l < 32_768 {
            if seq - s_l > 32_768 { Some(roc.saturating_sub(1)) } else { Some(roc) }
        } else if s_l - 32_768 > seq {
            roc.checked_add(1)
        } else {
            Some(roc)
        }
    }

    pub fn highest(&self) -> u64 {
        u64::from(self.roc) << 16 | u64::from(self.s_l)
    }

    /// Whether a packet that authenticated is newer than all before it.
    pub fn is_newest(&self, index: u64) -> bool {
        self.ssrc.is_none() || index > self.highest()
    }

    /// A packet authenticated (RFC 3711 §3.3.1): ROC and s_l move on if it is newer.
    pub fn commit(&mut self, ssrc: u32, index: u64) {
        if self.is_newest(index) {
            self.roc = (index >> 16) as u32;
            self.s_l = index as u16;
        }
        self.ssrc = Some(ssrc);
        assert!(self.seen.insert(index), "the reference itself let index {index} pass twice");
    }
}

impl RtcpHistory {
    /// Holds an explicit index against SSRC and window.
    pub fn admit(&self, ssrc: u32, index: u32, window: u64) -> Result<(), Reason> {
        match self.ssrc {
            None => return Ok(()),
            Some(pinned) if pinned != ssrc => return Err("ssrc_changed"),
            Some(_) => {}
        }
        if index < self.highest && u64::from(self.highest - index) >= window {
            // A sender that starts over after the last index would repeat nonces (RFC 3711 §9.2).
            return Err(if self.highest == LAST_RTCP_INDEX { "key_exhausted" } else { "srtp_too_old" });
        }
        if self.seen.contains(&index) { Err("srtp_replayed") } else { Ok(()) }
    }

    pub fn is_newest(&self, index: u32) -> bool {
        self.ssrc.is_none() || index > self.highest
    }

    pub fn commit(&mut self, ssrc: u32, index: u32) {
        if self.is_newest(index) {
            self.highest = index;
        }
        self.ssrc = Some(ssrc);
        assert!(self.seen.insert(index), "the reference itself let SRTCP index {index} pass twice");
    }
}
