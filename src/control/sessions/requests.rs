//! Asking a running gateway to add, change and remove sessions, from any thread.
//!
//! A [`GatewayHandle`] puts requests into a bounded channel and wakes the control thread, which answers each. Whoever
//! wants many at a time [submits](GatewayHandle::submit) them and collects the answers later.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::SessionError;
use crate::control::config::{Leg, Session};
use crate::control::rekey::LegName;
use crate::session::{EndReason, SessionId};

/// Requests that wait for the control thread at most.
const DEPTH: usize = 65_536;

/// What can be asked for.
#[derive(Debug)]
pub enum Request {
    /// A new session.
    Add(Box<Session>),
    /// Makes an existing session this one, as far as that can be done while it runs: remotes, keys, payload types,
    /// time-outs, tap.
    Change(Box<Session>),
    /// Another source for a leg, with the remote and the keys of `new`.
    ReplaceSource {
        /// The session's id.
        session: String,
        /// Which leg.
        leg: LegName,
        /// The leg as it is from now on.
        new: Box<Leg>,
    },
    /// The end of the session with this id.
    Remove(String),
    /// Why the session with this id ended, if it did.
    Ended(String),
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// It was added, or changed.
    Done(SessionId),
    /// It was removed.
    Removed,
    /// Why it ended: `None` if it runs, or nothing is known of it.
    Ended(Option<EndReason>),
    /// Nothing has changed.
    Refused(SessionError),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// More requests wait than there is room for.
    #[error("{DEPTH} requests wait for the gateway's control thread; ask again in a moment")]
    Busy,
    /// The gateway has stopped.
    #[error("the gateway has stopped")]
    Stopped,
}

type Queued = (Request, Sender<Answer>);

/// The asking end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GatewayHandle {
    requests: Sender<Queued>,
    control: Arc<Mutex<Option<Thread>>>,
}

/// The answering end.
pub(crate) struct Inbox {
    requests: Receiver<Queued>,
    control: Arc<Mutex<Option<Thread>>>,
}

/// Both ends.
pub(crate) fn requests() -> (GatewayHandle, Inbox) {
    let (sender, receiver) = bounded(DEPTH);
    let control = Arc::default();
    (GatewayHandle { requests: sender, control: Arc::clone(&control) }, Inbox { requests: receiver, control })
}

impl GatewayHandle {
    /// Puts a request in; the answer goes to `answers`, in the order of the requests that share it.
    ///
    /// # Errors
    /// [`HandleError`]; the request is dropped then.
    pub fn submit(&self, request: Request, answers: &Sender<Answer>) -> Result<(), HandleError> {
        self.requests.try_send((request, answers.clone())).map_err(|error| match error {
            TrySendError::Full(_) => HandleError::Busy,
            TrySendError::Disconnected(_) => HandleError::Stopped,
        })?;
        if let Some(control) = &*self.control.lock().unwrap_or_else(PoisonError::into_inner) {
            control.unpark();
        }
        Ok(())
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`HandleError`].
    pub fn ask(&self, request: Request) -> Result<Answer, HandleError> {
        let (sender, answers) = bounded(1);
        self.submit(request, &sender)?;
        drop(sender);
        answers.recv().map_err(|_| HandleError::Stopped)
    }
}

impl Inbox {
    /// The calling thread is the one to wake from now on.
    pub(crate) fn attend(&self) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
    }

    /// The next request, and where its answer goes.
    pub(crate) fn next(&self) -> Option<Queued> {
        self.requests.try_recv().ok()
    }
}
