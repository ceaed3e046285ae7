//! What may exist only once among all sessions: ids, local ports, sealing keys.
//!
//! The registry lives as long as a configuration is being read. It keeps fingerprints, never keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use super::error::{FileId, Problems, shown};

/// The sessions seen so far and what they have taken.
#[derive(Default)]
pub(super) struct Registry {
    sessions: Vec<Seen>,
    by_id: HashMap<Arc<str>, SessionNumber>,
    endpoints: HashMap<SocketAddr, EndpointUse>,
    keys: HashMap<[u8; 16], KeyUse>,
}

/// A session by the order in which it was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionNumber(u32);

/// One leg of a registered session.
#[derive(Debug, Clone, Copy)]
pub(super) struct LegRef {
    pub(super) session: SessionNumber,
    /// `a` or `b`.
    pub(super) leg: &'static str,
}

/// What a leg uses a local address and port for.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointUse {
    pub(super) leg: LegRef,
    /// `RTP` or `RTCP`.
    pub(super) protocol: &'static str,
}

/// What a leg uses a key for.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyUse {
    pub(super) leg: LegRef,
    pub(super) role: KeyRole,
}

/// Which of a leg's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRole {
    /// The gateway seals with it.
    Local,
    /// The other end seals with it.
    Remote,
}

struct Seen {
    /// `None` if the session has no valid id.
    id: Option<Arc<str>>,
    file: FileId,
    line: u32,
}

impl Registry {
    /// Registers a session; one without a valid id can still be named by its place.
    ///
    /// The second value is the session that has the same id already.
    pub(super) fn session(
        &mut self,
        id: Option<&str>,
        file: FileId,
        line: u32,
    ) -> (SessionNumber, Option<SessionNumber>) {
        let number = SessionNumber(u32::try_from(self.sessions.len()).unwrap_or(u32::MAX));
        let id: Option<Arc<str>> = id.map(Arc::from);
        let first = id.clone().and_then(|id| match self.by_id.entry(id) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(free) => {
                free.insert(number);
                None
            }
        });
        self.sessions.push(Seen { id, file, line });
        (number, first)
    }

    /// Takes a local address and port, or says who has it.
    pub(super) fn endpoint(&mut self, address: SocketAddr, endpoint: EndpointUse) -> Result<(), EndpointUse> {
        match self.endpoints.entry(address) {
            Entry::Occupied(taken) => Err(*taken.get()),
            Entry::Vacant(free) => {
                free.insert(endpoint);
                Ok(())
            }
        }
    }

    /// Takes a key by its fingerprint, or says who has it.
    ///
    /// A key that the gateway seals with must be no other key at all: two sealers would number their
    /// packets alike and so use a nonce twice (RFC 3711 §9.1, RFC 7714 §8.4). That two remote ends seal with
    /// one key is for them to judge.
    pub(super) fn key(&mut self, fingerprint: [u8; 16], key: KeyUse) -> Result<(), KeyUse> {
        match self.keys.entry(fingerprint) {
            Entry::Occupied(taken) => {
                let is_harmless = key.role == KeyRole::Remote && taken.get().role == KeyRole::Remote;
                if is_harmless { Ok(()) } else { Err(*taken.get()) }
            }
            Entry::Vacant(free) => {
                free.insert(key);
                Ok(())
            }
        }
    }

    /// `session "call-1" (demo.toml:12)`.
    pub(super) fn describe(&self, session: SessionNumber, problems: &Problems) -> String {
        self.describe_with(session, "", problems)
    }

    /// `session "call-1" leg a (demo.toml:12)`.
    pub(super) fn describe_leg(&self, leg: LegRef, problems: &Problems) -> String {
        self.describe_with(leg.session, &format!(" leg {}", leg.leg), problems)
    }

    fn describe_with(&self, session: SessionNumber, leg: &str, problems: &Problems) -> String {
        let Some(seen) = usize::try_from(session.0).ok().and_then(|number| self.sessions.get(number)) else {
            return "another session".to_owned();
        };
        let place = problems.place(seen.file, seen.line);
        match &seen.id {
            Some(id) => format!("session {}{leg} ({place})", shown(id)),
            None => format!("the session at {place}{leg}"),
        }
    }
}

impl KeyRole {
    /// The key's name in the configuration.
    pub(super) fn key_name(self) -> &'static str {
        match self {
            Self::Local => "local_key",
            Self::Remote => "remote_key",
        }
    }
}
