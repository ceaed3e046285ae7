//! Sessions, their legs and their streams: the state that the packet path works on.
//!
//! One [`Lookup`] that every worker reads, and per worker the [`Streams`] that are homed on it. Control fills a stream
//! in ([`StreamKeeper`]) before its worker takes it over; from then on until the worker gives it back nobody else
//! touches it. The words of the lookup and of the next-hop table are what one thread writes while others read.

#![forbid(unsafe_code)]

mod at_work;
mod cold;
mod egress;
mod endpoint;
mod journal;
mod keeper;
mod key_set;
mod lifecycle;
mod lookup;
mod next_hop;
mod pool;
mod prefetch;
mod profile;
mod replace;
mod rtcp_keys;
mod several_keys;
mod stream;
mod streams;

pub use crate::reframe::Reframe;
pub use at_work::Blamed;
pub use egress::{Egress, EgressPort, HEADERS_MAX};
pub use endpoint::Endpoint;
pub use journal::{Journal, JournalError, JournalSlot, Resumed, Slot};
pub use keeper::{Remains, StreamKeeper};
pub use key_set::{KeyChange, KeySet, LATE_PACKETS, SealChange};
pub use lifecycle::{Active, Activity, EndReason, Ended, SWEEP_TICKS, TICKS_PER_SECOND, Timers, sweep};
pub use lookup::{Lookup, LookupBuilder, LookupError, Media, Place, Target};
pub use next_hop::{NextHop, NextHops};
pub use pool::{PoolCount, SessionId, SessionPool, Taken};
pub use profile::{Codec, ExtensionRule, Profile, ProfileId, Rule, Strictness};
pub use replace::{ReplaceError, Replacement, SourceClock};
pub use stream::{Learn, OpenedRtcp, OpenedRtp, PayloadRules, StreamId, StreamKeys, StreamSetup};
pub use streams::Streams;
pub use streams::asked::Protection;
pub use streams::protect::OpeningRtp;
