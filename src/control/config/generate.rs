//! Sessions by the thousand, with fresh keys: for the demo, the load generator and tests.
//!
//! [`generate_sessions`] lays sessions out over lists of addresses; [`write_jsonl`] writes one as the line
//! that [`Config::load`](super::Config::load) reads back to the same value.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::model::{
    Leg, Negotiated, PayloadFormat, PayloadTypes, Protection, RemotePolicy, RtcpPolicy, Session, Timeouts,
};
use super::payload::event_text;
use crate::session::{Codec, Strictness};
use crate::srtp::{MasterKey, MasterKeys, Suite};

/// First RTP port of a generated session.
const FIRST_PORT: u16 = 10_000;

/// How many sessions one address carries: the even ports from 10000 to 65534. Odd ones stay free for RTCP.
pub const EVEN_PORTS_PER_ADDRESS: usize = (u16::MAX as usize - FIRST_PORT as usize) / 2 + 1;

/// One side of the sessions to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Index into [`Config::ports`](super::Config::ports) of the port that has the `local` addresses.
    pub port: usize,
    /// The gateway's addresses: the next is used once the ports of one are used up.
    pub local: Vec<IpAddr>,
    /// The other end's addresses, in the same way.
    pub remote: Vec<IpAddr>,
    /// `None` for plain RTP.
    pub suite: Option<Suite>,
}

/// What sessions to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPlan {
    /// How many.
    pub count: usize,
    /// Ids are this and the number from 0: `call-0`.
    pub id_prefix: String,
    /// One side.
    pub a: EndpointPlan,
    /// The other side; its `local` addresses are not those of `a`.
    pub b: EndpointPlan,
    /// RTP payload types of both sides.
    pub payload_types: PayloadTypes,
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// Both sides would use the same local address and port.
    #[error("{0} is a local address of both legs; give each leg addresses of its own")]
    SharedAddress(IpAddr),
    /// The addresses of a leg do not have enough ports.
    #[error(
        "{count} sessions need {needed} {which} addresses on each leg, at {EVEN_PORTS_PER_ADDRESS} sessions each, \
         and there are {found}; give more addresses or ask for fewer sessions"
    )]
    TooFewAddresses {
        /// Sessions asked for.
        count: usize,
        /// `local` or `remote`.
        which: &'static str,
        /// Addresses needed.
        needed: usize,
        /// Addresses in the plan.
        found: usize,
    },
    /// Local and remote addresses of a leg are not of one family.
    #[error("{0} and {1} are addresses of one leg; use IPv4 for all of them or IPv6 for all of them")]
    MixedFamilies(IpAddr, IpAddr),
}

/// The sessions of `plan`, one by one: muxed RTCP, pinned remotes, keys from `random`, which fills a slice
/// with unpredictable bytes ([`system_random`]).
///
/// # Errors
/// A plan whose addresses do not suffice or do not fit together.
pub fn generate_sessions<R: FnMut(&mut [u8])>(
    plan: SessionPlan,
    mut random: R,
) -> Result<impl ExactSizeIterator<Item = Session>, GenerateError> {
    check(&plan)?;
    Ok((0..plan.count).map(move |number| Session {
        id: format!("{}{number}", plan.id_prefix),
        a: leg(&plan.a, number, plan.payload_types, &mut random),
        b: leg(&plan.b, number, plan.payload_types, &mut random),
        strictness: Strictness::Enforce,
        timeouts: Timeouts::default(),
        tap: false,
    }))
}

/// Fills `bytes` from the kernel's random source.
///
/// # Panics
/// Never on a running Linux: getrandom(2) without flags fails for bad pointers only.
pub fn system_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("getrandom(2) without flags fails for bad pointers only");
}

/// Writes `session` as one line of a sessions file, key material included.
///
/// # Errors
/// Those of `writer`.
pub fn write_jsonl(session: &Session, writer: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, &SessionLine::from(session))?;
    writer.write_all(b"\n")
}

/// Writes `sessions` to a new file at `path` that only its owner can read; one that exists is replaced.
/// Returns how many were written.
///
/// # Errors
/// Those of the file system.
pub fn write_sessions_file(path: &Path, sessions: impl IntoIterator<Item = Session>) -> io::Result<usize> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Not opened if it exists again: the mode of somebody else's file would stay.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut writer = BufWriter::new(file);
    let mut count: usize = 0;
    for session in sessions {
        write_jsonl(&session, &mut writer)?;
        count = count.saturating_add(1);
    }
    writer.flush()?;
    Ok(count)
}

fn check(plan: &SessionPlan) -> Result<(), GenerateError> {
    let needed = plan.count.div_ceil(EVEN_PORTS_PER_ADDRESS);
    for leg in [&plan.a, &plan.b] {
        for (which, addresses) in [("local", &leg.local), ("remote", &leg.remote)] {
            if addresses.len() < needed {
                let (count, found) = (plan.count, addresses.len());
                return Err(GenerateError::TooFewAddresses { count, which, needed, found });
            }
        }
        let mut all = leg.local.iter().chain(&leg.remote);
        if let Some(first) = all.next()
            && let Some(other) = all.find(|other| other.is_ipv4() != first.is_ipv4())
        {
            return Err(GenerateError::MixedFamilies(*first, *other));
        }
    }
    match plan.a.local.iter().find(|address| plan.b.local.contains(address)) {
        Some(shared) => Err(GenerateError::SharedAddress(*shared)),
        None => Ok(()),
    }
}

fn leg(
    plan: &EndpointPlan,
    number: usize,
    payload_types: PayloadTypes,
    random: &mut impl FnMut(&mut [u8]),
) -> Leg {
    let protection = match plan.suite {
        None => Protection::Plain,
        Some(suite) => Protection::Srtp {
            remote_keys: MasterKey::generate(suite, random).into(),
            local_keys: MasterKey::generate(suite, random).into(),
        },
    };
    Leg {
        port: plan.port,
        local: endpoint(&plan.local, number),
        remote: Some(endpoint(&plan.remote, number)),
        remote_policy: RemotePolicy::Pinned,
        rtcp: RtcpPolicy::Mux,
        protection,
        payload_types,
        negotiated: match payload_types {
            PayloadTypes::ALL_BUT_RTCP => None,
            named => Negotiated::of_types(named),
        },
        reduced_size_rtcp: true,
    }
}

/// Address and port of session `number` on `addresses`, which [`check`] found to be enough.
fn endpoint(addresses: &[IpAddr], number: usize) -> SocketAddr {
    let address = addresses.get(number / EVEN_PORTS_PER_ADDRESS);
    let address = address.copied().expect("check() counted the addresses");
    let offset =
        u16::try_from(number % EVEN_PORTS_PER_ADDRESS * 2).expect("twice the number of even ports fits");
    SocketAddr::new(address, FIRST_PORT.saturating_add(offset))
}

#[derive(Serialize)]
struct SessionLine<'s> {
    id: &'s str,
    a: LegLine<'s>,
    b: LegLine<'s>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strictness: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lifetime: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_timeout: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tap: bool,
}

/// A leg as the file has it: what has its default is left out.
#[derive(Serialize)]
struct LegLine<'s> {
    local: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtcp: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_rtcp: Option<SocketAddr>,
    suite: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "secret")]
    remote_key: Option<&'s MasterKeys>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "secret")]
    local_key: Option<&'s MasterKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_types: Option<Vec<NumberOrText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduced_size_rtcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<Vec<NumberOrText>>,
}

/// An element of `payload_types` or `extensions`.
#[derive(Serialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u8),
    Text(String),
}

impl<'s> From<&'s Session> for SessionLine<'s> {
    fn from(session: &'s Session) -> Self {
        Self {
            id: &session.id,
            a: (&session.a).into(),
            b: (&session.b).into(),
            strictness: (session.strictness == Strictness::Count).then_some("count"),
            idle_timeout: session.timeouts.idle_s,
            max_lifetime: session.timeouts.max_lifetime_s,
            setup_timeout: session.timeouts.setup_s,
            tap: session.tap,
        }
    }
}

impl<'s> From<&'s Leg> for LegLine<'s> {
    fn from(leg: &'s Leg) -> Self {
        let (rtcp, remote_rtcp) = match leg.rtcp {
            RtcpPolicy::Mux => (None, None),
            RtcpPolicy::Separate { local, remote } => (Some(local.port()), remote),
        };
        let (remote_key, local_key) = match &leg.protection {
            Protection::Plain => (None, None),
            Protection::Srtp { remote_keys, local_keys } => (Some(remote_keys), Some(local_keys)),
        };
        let learns = leg.remote.is_some() && leg.remote_policy == RemotePolicy::Learn;
        let all_types = leg.payload_types == PayloadTypes::ALL_BUT_RTCP;
        Self {
            local: leg.local,
            remote: leg.remote,
            remote_policy: learns.then_some("learn"),
            rtcp,
            remote_rtcp,
            suite: leg.protection.suite().map_or("none", Suite::name),
            remote_key,
            local_key,
            payload_types: (!all_types)
                .then(|| leg.payload_types.iter().map(|number| payload_type(leg, number)).collect()),
            reduced_size_rtcp: (!leg.reduced_size_rtcp).then_some(false),
            extensions: leg.negotiated.as_ref().and_then(|negotiated| negotiated.extensions.as_ref()).map(
                |list| {
                    let element = |&(id, outbound): &(u8, u8)| match id == outbound {
                        true => NumberOrText::Number(id),
                        false => NumberOrText::Text(format!("{id}={outbound}")),
                    };
                    list.iter().map(element).collect()
                },
            ),
        }
    }
}

fn payload_type(leg: &Leg, number: u8) -> NumberOrText {
    let negotiated = leg.negotiated.as_deref();
    let format = negotiated
        .and_then(|negotiated| negotiated.formats.iter().find(|format| format.payload_type == number));
    match (format, negotiated) {
        (Some(format), Some(negotiated)) if format.codec == Codec::TelephoneEvent => {
            NumberOrText::Text(format!("{format} {}", event_text(&negotiated.events)))
        }
        (Some(format), _) if PayloadFormat::of_static(number).as_ref() != Some(format) => {
            NumberOrText::Text(format.to_string())
        }
        _ => NumberOrText::Number(number),
    }
}

/// One key as a string, several as an array, as the configuration takes them.
fn secret<S: serde::Serializer>(keys: &Option<&MasterKeys>, serializer: S) -> Result<S::Ok, S::Error> {
    match keys {
        Some(keys) if keys.len() == 1 => serializer.serialize_str(&keys.active().to_sdes_inline()),
        Some(keys) => serializer.collect_seq(keys.iter().map(InlineKey)),
        None => serializer.serialize_none(),
    }
}

struct InlineKey<'k>(&'k MasterKey);

impl Serialize for InlineKey<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_sdes_inline())
    }
}
