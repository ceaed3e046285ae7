//! From the configuration's sessions to the workers' streams.
//!
//! Both streams of a session are homed on one worker, so that what is learned about a leg concerns one worker only.
//! Where a leg's port spreads by RSS, that is a worker whose queue the leg's packets arrive on ([`rss`]); of two such
//! workers the one with fewer streams. Where nothing is known of either leg, sessions are homed in turn.

use std::net::{IpAddr, SocketAddr};

use super::config::{Config, Leg, Protection, RemotePolicy, RtcpPolicy, Session};
use super::host::{Host, RouteError};
use super::rss;
use crate::dpdk::Rss;
use crate::dpdk::{self, Memory};
use crate::session::{
    Egress, EgressPort, Endpoint, Journal, JournalError, JournalKind, KeySet, Learn, Lookup, LookupBuilder,
    LookupError, Media, NextHop, PayloadRules, StreamId, StreamKeys, StreamSetup, Streams, Target,
};
use crate::srtp::{MasterKey, Provider};

/// What the packet path works on.
#[derive(Debug)]
pub struct Plan<P: Provider> {
    /// From local address and port to stream.
    pub lookup: Lookup,
    /// Streams by worker.
    pub streams: Vec<Streams<P>>,
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
    /// There is not enough memory for the streams.
    #[error(transparent)]
    Memory(#[from] dpdk::Error),
}

impl<P: Provider> Plan<P> {
    /// Builds streams for all sessions in `memory`. `hosts`, `ports` and `spreads` (how the port spreads packets over its
    /// queues, where it says) are by port index; `journal` remembers which indices were sealed.
    ///
    /// # Errors
    /// [`PlanError`], the first that applies.
    pub fn new(
        config: &Config,
        hosts: &mut [Host],
        ports: &[EgressPort],
        spreads: &[Option<Rss>],
        mut journal: Option<&mut Journal>,
        memory: Memory<'_>,
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
        let mut sessions_of = vec![0; workers];
        let choose = |(number, session)| {
            let worker = home(session, spreads, &sessions_of).unwrap_or(number % workers);
            sessions_of[worker] += 1;
            worker
        };
        let placed: Vec<usize> = config.sessions.iter().enumerate().map(choose).collect();
        let mut streams = Vec::new();
        for sessions in sessions_of {
            streams.push(Streams::<P>::with_capacity(memory, 2 * sessions)?);
        }
        let mut homes: Vec<Vec<Home>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, (session, worker)) in config.sessions.iter().zip(placed).enumerate() {
            let first = streams[worker].len() as u32;
            for (sender_is_a, sender, receiver) in
                [(true, &session.a, &session.b), (false, &session.b, &session.a)]
            {
                let stream = StreamId(streams[worker].len() as u32);
                bind(&mut builder, sender, worker as u16, stream);
                let mut setup = setup(config, sender, receiver, journal.as_deref_mut())?;
                set_egress(&mut setup, receiver, hosts, ports).map_err(|reason| PlanError::Route {
                    session: session.id.clone(),
                    leg: if sender_is_a { 'b' } else { 'a' },
                    reason,
                })?;
                let added = streams[worker].push(setup);
                debug_assert_eq!(added, Some(stream), "there is room for two streams of each session");
                homes[worker].push(Home { session: number as u32, sender_is_a });
            }
            debug_assert_eq!(first + 2, streams[worker].len() as u32);
        }
        Ok(Plan { lookup: builder.build()?, streams, homes })
    }
}

impl<P: Provider> Plan<P> {
    /// Where legs on device port `port` receive, RTP and separate RTCP, with the worker that owns their stream.
    pub fn locals<'a>(
        &'a self,
        config: &'a Config,
        port: usize,
    ) -> impl Iterator<Item = (SocketAddr, u16)> + 'a {
        let homes = self.homes.iter().zip(0_u16..);
        let homes = homes.flat_map(|(homes, worker)| homes.iter().map(move |home| (*home, worker)));
        let legs = homes.filter_map(move |(home, worker)| {
            let leg = sender(config.sessions.get(home.session as usize)?, home);
            (leg.port == port).then_some((leg, worker))
        });
        legs.flat_map(|(leg, worker)| {
            let rtcp = Some(rtcp_local(leg)).filter(|rtcp| *rtcp != leg.local);
            [Some(leg.local), rtcp].into_iter().flatten().map(move |local| (local, worker))
        })
    }
}

/// The worker on whose queue packets of a leg arrive, where a port says: of two the one with fewer sessions so far, of
/// two equal ones that of leg A.
fn home(session: &Session, spreads: &[Option<Rss>], sessions_of: &[usize]) -> Option<usize> {
    let arrives = |leg: &Leg| {
        let spread = spreads.get(leg.port)?.as_ref()?;
        let queue = usize::from(rss::queue(spread, leg.remote, leg.local)?);
        (queue < sessions_of.len()).then_some(queue)
    };
    // `min_by_key` keeps the first of equals.
    [&session.a, &session.b].into_iter().filter_map(arrives).min_by_key(|&worker| sessions_of[worker])
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

fn setup<'c>(
    config: &Config,
    sender: &'c Leg,
    receiver: &'c Leg,
    journal: Option<&mut Journal>,
) -> Result<StreamSetup<'c>, JournalError> {
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
    let mut setup = StreamSetup::new(keys, rules, learn);
    if let Protection::Srtp { remote_keys, .. } = &sender.protection
        && remote_keys.len() > 1
    {
        setup.key_set = Some(Box::new(KeySet::new(remote_keys.iter())));
    }
    setup.source = sender.remote.map(Endpoint::from);
    setup.rtcp_source = rtcp_remote(sender).map(Endpoint::from);
    if let (Some(journal), Some(seal)) = (journal, keys.seal) {
        setup.rtp_journal = Some(journal.slot(seal.fingerprint(), JournalKind::Srtp)?);
        setup.rtcp_journal = Some(journal.slot(seal.fingerprint(), JournalKind::Srtcp)?);
    }
    Ok(setup)
}

fn set_egress(
    setup: &mut StreamSetup<'_>,
    receiver: &Leg,
    hosts: &mut [Host],
    ports: &[EgressPort],
) -> Result<(), RouteError> {
    if let Some(remote) = receiver.remote {
        setup.rtp_egress = Some(egress(receiver, receiver.local, remote, hosts, ports)?);
    }
    if let Some(remote) = rtcp_remote(receiver) {
        setup.rtcp_egress = Some(egress(receiver, rtcp_local(receiver), remote, hosts, ports)?);
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
        Protection::Srtp { remote_keys, local_keys } => Some(pick(remote_keys.active(), local_keys.active())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A spread that sends even legs (20000, 20004, …) to one queue and the others to another.
    fn spread(even: u16, odd: u16) -> Option<Rss> {
        // The lowest bit of the hash is bit 45 of the key for each set bit 14 of the input: bit 1 of the port.
        let key = vec![0, 0, 0, 0, 0, 4, 0, 0];
        let spread =
            Rss { udp_ipv4: true, udp_ipv6: false, destination_port_only: true, key, table: vec![0, 1] };
        let of = |port: u16| rss::queue(&spread, None, SocketAddr::new([10, 1, 0, 1].into(), port));
        assert_ne!(of(20_000), of(20_002), "the test's own key");
        let table = if of(20_000) == Some(0) { vec![even, odd] } else { vec![odd, even] };
        Some(Rss { table, ..spread })
    }

    fn sessions(count: u16) -> Vec<Session> {
        let leg = |net: u16, port: u16| {
            format!(
                "{{ local = \"10.{net}.0.1:{port}\", remote = \"10.{net}.0.2:{port}\", suite = \"none\" }}"
            )
        };
        let mut text =
            "[gateway]\nname = \"t\"\n[cores]\nworkers = [0, 1, 2]\nallow_shared = true\n".to_owned();
        for net in [1, 2] {
            text += &format!(
                "[[port]]\nname = \"p{net}\"\ndevice = \"net_null{net}\"\naddresses = [\"10.{net}.0.1/24\"]\n"
            );
        }
        for number in 0..count {
            let port = 20_000 + 2 * number;
            let (a, b) = (leg(1, port), leg(2, port));
            text += &format!("[[session]]\nid = \"{number}\"\na = {a}\nb = {b}\n");
        }
        Config::parse("t", &text, Path::new("")).unwrap_or_else(|errors| panic!("{errors}")).sessions
    }

    fn homes(count: u16, spreads: &[Option<Rss>]) -> Vec<Option<usize>> {
        let mut sessions_of = vec![0; 3];
        let choose = |session: &Session| {
            let chosen = home(session, spreads, &sessions_of);
            chosen.into_iter().for_each(|worker| sessions_of[worker] += 1);
            chosen
        };
        sessions(count).iter().map(choose).collect()
    }

    #[test]
    fn a_session_is_homed_where_its_packets_arrive() {
        assert_eq!(homes(4, &[spread(2, 1), None]), [Some(2), Some(1), Some(2), Some(1)]);
        assert_eq!(
            homes(2, &[None, spread(0, 2)]),
            [Some(0), Some(2)],
            "leg B's port says, leg A's does not"
        );
        assert_eq!(homes(2, &[None, None]), [None, None], "in turn");
        assert_eq!(homes(2, &[spread(7, 1), None]), [None, Some(1)], "there is no worker 7");
    }

    #[test]
    fn of_two_workers_the_one_with_fewer_sessions_is_home() {
        let both = [spread(0, 0), spread(1, 2)];
        assert_eq!(homes(4, &both), [Some(0), Some(2), Some(1), Some(0)]);
    }
}
