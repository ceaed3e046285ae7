//! Payload formats: what may stand inside an RTP packet of each codec, as checked views over bytes.
//!
//! Bytes come from an opened RTP packet (header and padding already taken off) and go on to the inspect stage, which
//! refuses what does not parse, and to re-framing between legs. Nothing is decoded: the gateway forwards voice as it
//! is. Each file has a view with one constructor, which compares every count and length with the buffer; after it no
//! accessor fails. There is no state, no heap and no input that panics.
//!
//! | file | payload | standard |
//! |---|---|---|
//! | [`opus`] | Opus packets | RFC 6716, RFC 7587 |
//! | [`adts`] | AAC as whole ADTS frames | ISO/IEC 13818-7, ISO/IEC 14496-3 |
//! | [`rfc3640`] | AAC as access units, mode AAC-hbr | RFC 3640 |
//! | [`pcm`] | PCMU, PCMA, G.722, L16 | RFC 3551 |
//! | [`telephone_event`] | telephone events (DTMF) | RFC 4733 |
//! | [`comfort_noise`] | comfort noise | RFC 3389 |

#![forbid(unsafe_code)]

pub mod adts;
pub mod comfort_noise;
pub mod opus;
pub mod pcm;
pub mod rfc3640;
pub mod telephone_event;
#[cfg(test)]
mod testing;
