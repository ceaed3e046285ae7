//! The packet path: what a worker does with a burst, one file per stage.
//!
//! ```text
//! rx_burst → classify → find_stream → open → inspect → reencapsulate → seal → transmit
//!               │            │         │        │           │            │        │
//!               └ punt       └ hand over        └──────── drop(reason) ──┴────────┘
//! ```
//!
//! Every stage loops over the whole burst, so that what the next stage reads is prefetched while this one
//! works. How far a frame has come is in its type ([`Frame`]); only [`frame`] can move it on, and only a
//! [`Frame<_, Sealed>`] can be transmitted. No stage allocates, locks, calls the system, logs or panics on input.
//!
//! [`Pipeline`] is the stages without a port: it takes a burst and gives every frame to a [`Sink`], so tests
//! run the very same code over heap buffers. [`Worker`] is the loop around it over real queues.

#![forbid(unsafe_code)]

mod buffer;
mod classify;
pub mod control_link;
mod drop_reason;
pub mod faults;
mod find_stream;
pub mod frame;
pub mod handover;
pub mod inspect;
mod open;
mod panic_note;
mod pipeline;
mod reencapsulate;
mod seal;
mod timer_clock;
mod transmit;
pub mod warm_up;
mod worker;

pub use buffer::{Buffer, HeapBuffer};
pub use control_link::{Command, ControlEnd, Returned, control_link};
pub use drop_reason::DropReason;
pub use frame::{Frame, Matched, Sealed};
pub use handover::{Inbox, Outbox};
pub use panic_note::{PanicNote, install_hook as install_panic_hook};
pub use pipeline::{Pipeline, PipelinePort, Sink};
pub use transmit::{TX_ATTEMPTS, Transmitter};
pub use warm_up::WarmUp;
pub use worker::shared::{LearnEvent, Punt, WorkerShared};
pub use worker::{HandoverEnds, Worker, WorkerPort};

/// Most frames in a burst.
pub const BURST: usize = crate::dpdk::MAX_BURST;

/// How many frames ahead of the one that is opened or sealed the keys are asked for: far enough for a line to come from
/// memory meanwhile, near enough for it to be still there.
const LOOK_AHEAD: usize = 8;

/// A burst of `T`, without heap.
pub type Burst<T> = arrayvec::ArrayVec<T, BURST>;

#[cfg(test)]
mod tests;
