//! The configuration, read again: sessions that are new, changed or gone.
//!
//! Sessions come, change and go as they do for whoever embeds the gateway. What a session cannot change while it runs,
//! and everything in the configuration that is no session, waits for a restart and is said so.

use std::collections::HashSet;

use super::config::Config;
use super::sessions::{Hosts, SessionError, Sessions};
use crate::session::EndReason;
use crate::srtp::Provider;

/// What came of reading the configuration again: ids of sessions.
#[derive(Debug, Default)]
pub struct ReloadReport {
    /// New ones.
    pub added: Vec<String>,
    /// Those that differ from before.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those that stay as they were, or away, and why.
    pub refused: Vec<(String, SessionError)>,
}

/// Makes the sessions those of `config`.
pub(super) fn apply<P: Provider>(
    sessions: &mut Sessions<P>,
    hosts: &mut Hosts,
    config: &Config,
) -> ReloadReport {
    let mut report = ReloadReport::default();
    let wanted: HashSet<&str> = config.sessions.iter().map(|session| session.id.as_str()).collect();
    let gone: Vec<String> =
        sessions.names().filter(|name| !wanted.contains(name)).map(str::to_owned).collect();
    // First of all: others may need what they leave.
    for name in gone {
        match sessions.remove(&name, EndReason::Removed) {
            Ok(()) => report.removed.push(name),
            Err(reason) => report.refused.push((name, reason)),
        }
    }
    for session in &config.sessions {
        let name = session.id.clone();
        let (outcome, list) = match sessions.get(&name) {
            Some(known) if known == session => continue,
            Some(_) => (sessions.change(session.clone(), hosts), &mut report.changed),
            None => (sessions.add(session.clone(), hosts), &mut report.added),
        };
        match outcome {
            Ok(_) => list.push(name),
            Err(reason) => report.refused.push((name, reason)),
        }
    }
    report
}

/// Tells the operator.
pub(super) fn log(report: &ReloadReport) {
    let lists = [("added", &report.added), ("changed", &report.changed), ("removed", &report.removed)];
    for (what, sessions) in lists {
        sessions.iter().for_each(|session| tracing::info!(%session, "session {what}"));
    }
    for (session, reason) in &report.refused {
        tracing::error!(%session, %reason, "the session stays as it is");
    }
    let (added, changed, removed) = (report.added.len(), report.changed.len(), report.removed.len());
    tracing::info!(added, changed, removed, refused = report.refused.len(), "sessions read again");
}
