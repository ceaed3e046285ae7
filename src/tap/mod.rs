//! The media tap: writes the opened packets of chosen sessions to disk.
//!
//! ```text
//! worker: inspect → TapWriter ─ dpdk::arena ─► recorder thread ─► sessions ─► pcapng, Ogg/Opus, WAV ─► finisher: fsync, rename
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `record` | what a record says besides the packet |
//! | `writer` | the worker's end: one record for each packet of a tapped stream, or a count |
//! | `recorder` | the thread: takes records out of the arenas and gives them to their sessions |
//! | `session` | the files of one tapped session |
//! | `output` | an encoder and the files that it fills one after the other |
//! | `capture`, `ogg_opus`, `wav` | one encoder each: packets in, octets of the file out |
//! | `reorder`, `timeline` | packets in RTP order, and where on the file's time line they belong |
//! | `directory`, `partial_file`, `finisher`, `recover` | files: safely made, bounded, completed, or found incomplete |
//!
//! The tap writes voice in the clear, so nothing that a peer sends can start it: it is off unless the configuration or
//! the operator's own call says otherwise, and its start is logged. Losing is its way out of every trouble: what the
//! worker finds no block for, or the recorder no room, is counted by reason ([`Loss`]) and never held back a packet.

#![forbid(unsafe_code)]

mod capture;
mod codecs;
mod counters;
mod directory;
mod finisher;
mod ogg_opus;
mod output;
mod partial_file;
mod record;
mod recorder;
mod recover;
mod reorder;
mod session;
mod timeline;
mod wav;
mod writer;

pub use codecs::{Codec, Codecs, Sampling};
pub use counters::{Loss, TapCounters, WorkerTapCounters};
pub use directory::{Directory, DirectoryError, Limits};
pub use record::{Leg, TapTag};

pub(crate) use recorder::prepare_thread;
pub use recorder::{Formats, Order, Recorder, RecorderThread};
pub use session::{TapLeg, TapPlan};
pub use writer::TapWriter;

#[cfg(test)]
mod tests;
