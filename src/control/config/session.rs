//! One session, whether from `[[session]]` or from a line of the sessions file.

use std::collections::HashMap;
use std::net::IpAddr;

use super::leg::{self, choose};
use super::model::{Leg, Port, Session, Timeouts};
use super::node::Table;
use super::reader::{Given, Name, Reader, Scope, Subject};
use super::registry::{LegRef, Registry};
use super::sections;
use crate::session::Strictness;

/// Longest session id in characters: it is a metric label and a log field.
const MAX_ID: usize = 64;

/// What a session has to agree with: the ports and the sessions before it.
pub(super) struct World<'p> {
    pub(super) ports: &'p [Port],
    /// Own addresses with the index of their port.
    pub(super) port_of: HashMap<IpAddr, usize>,
    /// `false` if some port's address was wrong and is missing in `port_of`.
    pub(super) all_addresses_known: bool,
    pub(super) registry: Registry,
    /// Of sessions that do not say.
    pub(super) strictness: Strictness,
    /// The same.
    pub(super) timeouts: Timeouts,
    /// Whether there is a `[tap]`.
    pub(super) has_tap: bool,
}

impl<'p> World<'p> {
    pub(super) fn new(
        ports: &'p [Port],
        all_addresses_known: bool,
        strictness: Strictness,
        timeouts: Timeouts,
        has_tap: bool,
    ) -> Self {
        let addresses_of =
            |(index, port): (usize, &'p Port)| port.addresses.iter().map(move |net| (net.address(), index));
        let port_of = ports.iter().enumerate().flat_map(addresses_of).collect();
        Self {
            ports,
            port_of,
            all_addresses_known,
            registry: Registry::default(),
            strictness,
            timeouts,
            has_tap,
        }
    }
}

/// Reads the session in `table`, whose place is `line`; `fallback` names it as long as it has no valid id.
/// `None` if something was wrong, after it was recorded.
pub(super) fn session(
    world: &mut World<'_>,
    scope: Scope<'_>,
    fallback: Name<'_>,
    table: &Table<'_>,
    line: u32,
) -> Option<Session> {
    let before = scope.problems.count();
    let given_id =
        table.entries().iter().find(|entry| entry.key == "id").and_then(|entry| entry.node.string());
    let id = given_id.filter(|id| is_id(id));
    let subject = Subject { kind: "session", name: id.map_or(fallback, Name::Given), leg: None };
    let reader = Reader::new(scope.about(subject), table, line);
    let (number, first) = world.registry.session(id, scope.file, line);
    check_id(&reader, first.map(|first| world.registry.describe(first, scope.problems)));
    let a = leg_of(world, &reader, "a", LegRef { session: number, leg: "a" });
    let b = leg_of(world, &reader, "b", LegRef { session: number, leg: "b" });
    let strictness = reader.optional("strictness").and_then(|given| strictness_of(&given));
    let timeouts = sections::timeouts(&reader, world.timeouts);
    let tap = reader.boolean("tap", false);
    if tap && !world.has_tap {
        reader.at("tap").error(
            "= true, but there is no [tap] to say where to",
            "add [tap] with a directory, or remove it",
        );
    }
    reader.finish();
    let strictness = strictness.unwrap_or(world.strictness);
    let session = Session { id: id?.to_owned(), a: a?, b: b?, strictness, timeouts, tap };
    (scope.problems.count() == before).then_some(session)
}

/// `"enforce"` or `"count"`.
pub(super) fn strictness_of(given: &Given<'_, '_>) -> Option<Strictness> {
    match given.string("enforce")? {
        "enforce" => Some(Strictness::Enforce),
        "count" => Some(Strictness::Count),
        other => {
            given.error_showing(other, "is not a strictness", choose(other, &["enforce", "count"]));
            None
        }
    }
}

fn check_id(reader: &Reader<'_, '_>, first: Option<String>) {
    let Some(given) = reader.required("id", "add id = \"call-1\"") else {
        return;
    };
    let Some(id) = given.string("call-1") else { return };
    if !is_id(id) {
        let remedy = format!("use 1 to {MAX_ID} printable characters");
        given.error_showing(id, "is not a session id", remedy);
    } else if let Some(first) = first {
        given.error_showing(
            id,
            format_args!("is already the id of {first}"),
            "give each session an id of its own",
        );
    }
}

fn is_id(id: &str) -> bool {
    let count = id.chars().take(MAX_ID + 1).count();
    // Line separators and direction marks would let an id forge the look of a log line.
    let is_unprintable = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (1..=MAX_ID).contains(&count) && !id.contains(is_unprintable) && !id.trim().is_empty()
}

fn leg_of(world: &mut World<'_>, session: &Reader<'_, '_>, key: &'static str, this: LegRef) -> Option<Leg> {
    let example = "add it: { local = \"ADDRESS:PORT\", remote = \"ADDRESS:PORT\", suite = \"AEAD_AES_128_GCM\", remote_key = \"inline:...\", local_key = \"inline:...\" }";
    let given = session.required(key, example)?;
    let table = given.table("write it as { local = \"ADDRESS:PORT\", ... }")?;
    let subject = Subject { leg: Some(key), ..session.scope().subject };
    let reader = Reader::new(given.scope.about(subject), table, given.line);
    leg::leg(world, reader, this)
}
