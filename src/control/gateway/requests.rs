//! Sessions that are added, changed and removed while the gateway runs.
//!
//! Who owns the [`Gateway`] calls it; other threads ask through a [`GatewayHandle`](crate::control::GatewayHandle), whose
//! requests [`Gateway::poll`] takes from the inbox. Either way `control::sessions` does it, and tells the workers.

use super::Gateway;
use crate::control::config::{Config, Leg, Protection, Session};
use crate::control::rekey::{LegName, RekeyError};
use crate::control::reload::{self, ReloadReport};
use crate::control::sessions::{Answer, Request, SessionError};
use crate::session::{EndReason, SessionId};
use crate::srtp::Provider;

impl<P: Provider> Gateway<P> {
    /// Adds a session. Its packets are accepted as soon as its worker has come to the end of a burst.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has changed then.
    pub fn add_session(&mut self, session: Session) -> Result<SessionId, SessionError> {
        self.host.sessions.add(session, &mut self.host.hosts)
    }

    /// Makes the session with the id of `session` that one, as far as that can be done while it runs: remotes, keys,
    /// payload types, time-outs, tap. Packets under way are not lost.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn change_session(&mut self, session: Session) -> Result<SessionId, SessionError> {
        self.host.sessions.change(session, &mut self.host.hosts)
    }

    /// Another source for a leg, such as after the transfer of a call: its remote and its keys are those of `new`, and its
    /// SSRC, sequence numbers and timestamps are its own. Towards the other leg the stream goes on as if it were the same
    /// source. What the one before sends is refused.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn replace_source(
        &mut self,
        session: &str,
        leg: LegName,
        new: &Leg,
    ) -> Result<SessionId, SessionError> {
        self.host.sessions.replace_source(session, leg, new, &mut self.host.hosts)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub fn remove_session(&mut self, session: &str) -> Result<(), SessionError> {
        self.host.sessions.remove(session, EndReason::Removed)
    }

    /// Why a session ended; `None` if it runs, or if nothing is known of it (any more: the latest 65,536 ends are).
    pub fn session_end(&self, session: &str) -> Option<EndReason> {
        self.host.sessions.ended(session)
    }

    /// Adds, changes and removes sessions so that there are those of `config`. Nothing else of it has an effect.
    pub fn reload(&mut self, config: &Config) -> ReloadReport {
        reload::apply(&mut self.host.sessions, &mut self.host.hosts, config)
    }

    /// Gives one leg new keys; `false` if it has these keys already. Packets under the old keys that are still under way
    /// are accepted. Takes effect while [`Gateway::run`] runs.
    ///
    /// # Errors
    /// [`RekeyError`]; the leg keeps its keys.
    pub fn set_keys(
        &mut self,
        session: &str,
        leg: LegName,
        protection: &Protection,
    ) -> Result<bool, RekeyError> {
        self.host.sessions.set_keys(session, leg, protection)
    }

    /// Begins or ends the tap of a session, whose opened media is then written to the `[tap] directory`; `false` if that
    /// is so already. Takes effect while [`Gateway::run`] runs.
    ///
    /// # Errors
    /// [`SessionError::NoTap`], [`SessionError::Unknown`].
    pub fn set_tap(&mut self, session: &str, on: bool) -> Result<bool, SessionError> {
        let unknown = || SessionError::Unknown { session: session.to_owned() };
        let known = self.host.sessions.get(session).ok_or_else(unknown)?;
        if known.tap == on {
            return Ok(false);
        }
        let changed = Session { tap: on, ..known.clone() };
        self.change_session(changed).map(|_| true)
    }

    /// Carries out what another thread asks for.
    pub(super) fn carry_out(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Add(session) => self.add_session(*session).map(Answer::Done),
            Request::Change(session) => self.change_session(*session).map(Answer::Done),
            Request::ReplaceSource { session, leg, new } => {
                self.replace_source(&session, leg, &new).map(Answer::Done)
            }
            Request::Remove(session) => self.remove_session(&session).map(|()| Answer::Removed),
            Request::Ended(session) => Ok(Answer::Ended(self.session_end(&session))),
        };
        answer.unwrap_or_else(Answer::Refused)
    }
}
