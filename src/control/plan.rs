//! From the configuration's sessions to the workers' streams.
//!
//! Both streams of a session are homed on one worker, sessions in turn over the workers, so that what is learned
//! about a leg concerns one worker only.

use std::net::{IpAddr, SocketAddr};

use super::config::{Config, Leg, Protection, RemotePolicy, RtcpPolicy, Session};
use super::host::{Host, RouteError};
use crate::session::{
    Egress, EgressPort, Endpoint, Journal, JournalError, JournalKind, Learn, Lookup, LookupBuilder,
    LookupError, Media, NextHop, PayloadRules, Stream, StreamId, StreamKeys, Target,
};
use crate::srtp::{MasterKey, Provider};

/// What the packet path works on.
#[derive(Debug)]
pub struct Plan<P: Provider> {
    /// From local address and port to stream.
    pub lookup: Lookup,
    /// Streams by worker.
    pub streams: Vec<Vec<Stream<P>>>,
    /// By worker and stream: where it belongs.
    pub homes: Vec<Vec<Home>>,
}

/// What control remembers of a stream, to answer what a worker reports about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Position of the session in the configuration.
    pub session: u32,
    /// Whether the sending leg is `a`.
    pub sender_is_a: bool,
}

/// Why the sessions cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No way to a remote.
    #[error("session {session:?} leg {leg}: {reason}")]
    Route {
        /// The session's id.
        session: String,
        /// `a` or `b`.
        leg: char,
        /// Why.
        reason: RouteError,
    },
    /// The lookup refused an endpoint.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The index journal refused a key.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl<P: Provider> Plan<P> {
    /// Builds streams for all sessions. `hosts` and `ports` are by port index; `journal` remembers which indices
    /// were sealed.
    ///
    /// # Errors
    /// [`PlanError`], the first that applies.
    pub fn new(
        config: &Config,
        hosts: &mut [Host],
        ports: &[EgressPort],
        mut journal: Option<&mut Journal>,
    ) -> Result<Self, PlanError> {
        let workers = config.cores.workers.len().max(1);
        let mut builder = LookupBuilder::default();
        for (index, (port, facts)) in config.ports.iter().zip(ports).enumerate() {
            for net in &port.addresses {
                builder.address(net.address(), index as u8);
            }
            if port.addresses.iter().any(|net| net.address().is_ipv6()) {
                builder.address(IpAddr::V6(facts.mac.link_local()), index as u8);
            }
        }
        let mut streams: Vec<Vec<Stream<P>>> = (0..workers).map(|_| Vec::new()).collect();
        let mut homes: Vec<Vec<Home>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, session) in config.sessions.iter().enumerate() {
            let worker = number % workers;
            let first = streams[worker].len() as u32;
            for (sender_is_a, sender, receiver) in
                [(true, &session.a, &session.b), (false, &session.b, &session.a)]
            {
                let stream = StreamId(streams[worker].len() as u32);
                bind(&mut builder, sender, worker as u16, stream);
                let mut state = stream_of(config, sender, receiver, journal.as_deref_mut())?;
                set_egress(&mut state, receiver, hosts, ports).map_err(|reason| PlanError::Route {
                    session: session.id.clone(),
                    leg: if sender_is_a { 'b' } else { 'a' },
                    reason,
                })?;
                streams[worker].push(state);
                homes[worker].push(Home { session: number as u32, sender_is_a });
            }
            debug_assert_eq!(first + 2, streams[worker].len() as u32);
        }
        Ok(Plan { lookup: builder.build()?, streams, homes })
    }
}

/// The other stream of a session: both stand side by side.
pub fn opposite(stream: StreamId) -> StreamId {
    StreamId(stream.0 ^ 1)
}

/// The leg that sends a stream.
pub fn sender(session: &Session, home: Home) -> &Leg {
    if home.sender_is_a { &session.a } else { &session.b }
}

/// The way from `local` to `remote` out of the leg's port.
///
/// # Errors
/// [`RouteError`] when the remote is neither on a link nor behind a gateway.
pub fn egress(
    leg: &Leg,
    local: SocketAddr,
    remote: SocketAddr,
    hosts: &mut [Host],
    ports: &[EgressPort],
) -> Result<Egress, RouteError> {
    let next_hop = hosts[leg.port].next_hop(remote.ip())?;
    Ok(Egress::new(ports[leg.port], local, remote, NextHop(next_hop.0)))
}

/// Local endpoint of a leg's RTCP.
pub fn rtcp_local(leg: &Leg) -> SocketAddr {
    match leg.rtcp {
        RtcpPolicy::Mux => leg.local,
        RtcpPolicy::Separate { local, .. } => local,
    }
}

fn bind(builder: &mut LookupBuilder, leg: &Leg, worker: u16, stream: StreamId) {
    let muxed = leg.rtcp == RtcpPolicy::Mux;
    let media = if muxed { Media::Muxed } else { Media::Rtp };
    builder.bind(Endpoint::from(leg.local), Target { worker, stream, media });
    if !muxed {
        let media = Media::Rtcp;
        builder.bind(Endpoint::from(rtcp_local(leg)), Target { worker, stream, media });
    }
}

fn stream_of<P: Provider>(
    config: &Config,
    sender: &Leg,
    receiver: &Leg,
    journal: Option<&mut Journal>,
) -> Result<Stream<P>, JournalError> {
    let keys = StreamKeys {
        open: key(&sender.protection, |remote, _| remote),
        seal: key(&receiver.protection, |_, local| local),
        replay_window: config.srtp.replay_window,
    };
    let rules = PayloadRules {
        payload_types: sender.payload_types.bits(),
        reduced_size_rtcp: sender.reduced_size_rtcp,
    };
    let learn = match sender.remote_policy {
        RemotePolicy::Pinned => Learn::Never,
        RemotePolicy::Learn => Learn::Authenticated,
    };
    let mut stream = Stream::new(keys, rules, learn);
    stream.source = sender.remote.map(Endpoint::from);
    stream.rtcp_source = rtcp_remote(sender).map(Endpoint::from);
    if let (Some(journal), Some(seal)) = (journal, keys.seal) {
        let (slot, resumed) = journal.slot(seal.fingerprint(), JournalKind::Srtp)?;
        stream.journal_rtp(slot, resumed);
        let (slot, resumed) = journal.slot(seal.fingerprint(), JournalKind::Srtcp)?;
        stream.journal_rtcp(slot, resumed);
    }
    Ok(stream)
}

fn set_egress<P: Provider>(
    stream: &mut Stream<P>,
    receiver: &Leg,
    hosts: &mut [Host],
    ports: &[EgressPort],
) -> Result<(), RouteError> {
    if let Some(remote) = receiver.remote {
        stream.rtp_egress = Some(egress(receiver, receiver.local, remote, hosts, ports)?);
    }
    if let Some(remote) = rtcp_remote(receiver) {
        stream.rtcp_egress = Some(egress(receiver, rtcp_local(receiver), remote, hosts, ports)?);
    }
    Ok(())
}

fn rtcp_remote(leg: &Leg) -> Option<SocketAddr> {
    match leg.rtcp {
        RtcpPolicy::Mux => leg.remote,
        RtcpPolicy::Separate { remote, .. } => remote,
    }
}

fn key(
    protection: &Protection,
    pick: impl for<'a> Fn(&'a MasterKey, &'a MasterKey) -> &'a MasterKey,
) -> Option<&MasterKey> {
    match protection {
        Protection::Plain => None,
        Protection::Srtp { remote_key, local_key } => Some(pick(remote_key, local_key)),
    }
}
