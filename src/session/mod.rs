//! Sessions, their legs and their streams: the state that the packet path works on.
//!
//! The control side builds all of it from the configuration before the first packet: one [`Lookup`] that every
//! worker reads, and per worker the [`Streams`] that are homed on it, which nobody else touches. After that
//! only the owning worker writes a stream, and the next-hop table's words are the one thing that control
//! writes while workers read.

#![forbid(unsafe_code)]

mod cold;
mod egress;
mod endpoint;
mod journal;
mod key_set;
mod lookup;
mod next_hop;
mod prefetch;
mod rtcp_keys;
mod several_keys;
mod stream;
mod streams;

pub use egress::{Egress, EgressPort, HEADERS_MAX};
pub use endpoint::Endpoint;
pub use journal::{Journal, JournalError, JournalSlot, Kind as JournalKind, Resumed};
pub use key_set::{KeyChange, KeySet, LATE_PACKETS, SealChange};
pub use lookup::{Lookup, LookupBuilder, LookupError, Media, Target};
pub use next_hop::{NextHop, NextHops};
pub use stream::{Learn, OpenedRtcp, OpenedRtp, PayloadRules, StreamId, StreamKeys, StreamSetup};
pub use streams::{OpeningRtp, Protection, Streams};
