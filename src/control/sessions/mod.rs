//! The sessions there are: added, changed and removed while packets flow.
//!
//! Control alone has the table. To add a session it claims everything that the session needs (name, local ports, keys,
//! next hops, records of the index journal, a place of the [`SessionPool`](crate::session::SessionPool)), fills the session's two rows in and sends
//! its worker the right to them; if anything is missing, what was claimed is given back and the caller is told what it
//! was. A session that ends goes the other way: its worker stops accepting its packets and sends the rights back, the
//! rows rest until no worker can have a frame of theirs ([`line`]), and then everything is released.
//!
//! | step | where | cost |
//! |---|---|---|
//! | claim, derive and expand keys, fill in | control | microseconds |
//! | take over, or give up | worker, between two bursts | a few cache lines |
//! | overwrite, release | control | less than a microsecond |

mod history;
mod keys;
mod line;
mod ports;
mod profiles;
mod requests;
pub(super) mod table;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::host::RouteError;
use super::rekey::RekeyError;
use crate::session::{EndReason, JournalError};

pub use requests::{Answer, GatewayHandle, HandleError, Request};
pub(super) use requests::{Inbox, requests};
pub use table::Hosts;
pub(super) use table::{Placed, Sessions, Start};

/// Why a session cannot be added or changed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is such a session.
    #[error("session {session:?} exists already; remove it first, or change it")]
    Exists {
        /// Its id.
        session: String,
    },
    /// There is no such session.
    #[error("session {session:?} does not exist")]
    Unknown {
        /// The id asked for.
        session: String,
    },
    /// All places are taken.
    #[error("all {capacity} places for sessions are taken; raise [sessions] capacity and restart")]
    Full {
        /// Places there are.
        capacity: u64,
    },
    /// Another leg receives there.
    #[error("{local} is in use by another leg; give each leg a local address and port of its own")]
    PortInUse {
        /// The endpoint.
        local: SocketAddr,
    },
    /// A session that has just ended received there.
    #[error(
        "{local} was used by a session that has just ended and rests for {rest_ms} ms more; take another port"
    )]
    PortResting {
        /// The endpoint.
        local: SocketAddr,
        /// For how long.
        rest_ms: u64,
    },
    /// The address is none of the gateway's.
    #[error("{local} is not on an address of any port of the gateway")]
    NotLocal {
        /// The endpoint.
        local: SocketAddr,
    },
    /// There is no way to a remote.
    #[error("leg {leg}: {reason}")]
    Route {
        /// `a` or `b`.
        leg: char,
        /// Why.
        reason: RouteError,
    },
    /// Another leg seals with one of its keys.
    #[error(
        "leg {leg}: another leg seals with its local key, which would repeat nonces; generate a fresh one"
    )]
    KeyInUse {
        /// `a` or `b`.
        leg: char,
    },
    /// A leg that has ended sealed with it.
    #[error(
        "leg {leg}: its local key was used before in this run, and no index journal says how far; generate a fresh one"
    )]
    KeyLeft {
        /// `a` or `b`.
        leg: char,
    },
    /// No record for a sealing key.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Too many different sets of payload types.
    #[error(
        "the legs of all sessions have {capacity} different sets of payload types; use one of those, or remove sessions"
    )]
    ProfilesFull {
        /// Sets there can be.
        capacity: usize,
    },
    /// Something that stays for a session's life.
    #[error("leg {leg}: {what} cannot change while the session runs; remove it and add it anew")]
    Fixed {
        /// `a` or `b`.
        leg: char,
        /// What.
        what: &'static str,
    },
    /// It is to be tapped, and there is no tap.
    #[error(
        "the session is to be tapped, but there is no [tap] in the configuration; add it with a directory and restart"
    )]
    NoTap,
    /// New keys that the leg cannot take.
    #[error("leg {leg}: {reason}")]
    Keys {
        /// `a` or `b`.
        leg: char,
        /// Why.
        reason: RekeyError,
    },
    /// The worker has not yet carried out what was asked before.
    #[error("worker {worker} has {waiting} changes to make first; ask again in a moment")]
    Busy {
        /// The worker.
        worker: u16,
        /// Changes that wait.
        waiting: usize,
    },
}

/// What the metrics thread reads of the table. Written by control alone.
#[derive(Debug, Default)]
pub(super) struct SessionCounts {
    /// Sessions that accept packets.
    pub(super) active: AtomicU64,
    /// Sessions that were added.
    pub(super) added: AtomicU64,
    /// Changes that were made.
    pub(super) changed: AtomicU64,
    /// Requests that were refused.
    pub(super) refused: AtomicU64,
    /// Ends, by [`EndReason::index`].
    pub(super) ended: [AtomicU64; EndReason::ALL.len()],
    /// Of the pool: places, handed out, of these used before, taken back, most at a time, exhausted.
    pub(super) pool: [AtomicU64; 6],
    /// The same of the expanded keys in the sessions' rows.
    pub(super) codecs: [AtomicU64; 6],
}

impl SessionCounts {
    fn add(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// One of the counts.
    pub(super) fn value(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
