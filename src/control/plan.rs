//! What a session becomes: which worker it is homed on, and what its streams are made of.
//!
//! Both streams of a session are homed on one worker, so that what is learned about a leg concerns one worker only.
//! Where a leg's port spreads by RSS, that is a worker whose queue the leg's packets arrive on ([`rss`]); of two such
//! workers the one with fewer streams. Where nothing is known of either leg, sessions are homed in turn.

use std::net::{IpAddr, SocketAddr};

use super::config::{Config, Leg, Protection, RemotePolicy, RtcpPolicy, Session};
use super::rss;
use crate::dpdk::Rss;
use crate::session::{
    EgressPort, Endpoint, KeySet, Learn, Lookup, LookupBuilder, LookupError, Profile, StreamId, StreamKeys,
    StreamSetup,
};
use crate::srtp::{MasterKey, ReplayWindowSize};

/// The lookup of all local addresses, in which no port is bound yet.
///
/// # Errors
/// None can occur for what a validated configuration holds.
pub fn lookup(config: &Config, ports: &[EgressPort]) -> Result<Lookup, LookupError> {
    let mut builder = LookupBuilder::default();
    for (index, (port, facts)) in config.ports.iter().zip(ports).enumerate() {
        for net in &port.addresses {
            builder.address(net.address(), index as u8);
        }
        if port.addresses.iter().any(|net| net.address().is_ipv6()) {
            builder.address(IpAddr::V6(facts.mac.link_local()), index as u8);
        }
    }
    builder.build()
}

/// How many of the configured sessions are homed on each worker.
pub fn sessions_of(config: &Config, spreads: &[Option<Rss>]) -> Vec<usize> {
    let mut sessions_of = vec![0; config.cores.workers.len().max(1)];
    for session in &config.sessions {
        let fewest = (0..sessions_of.len()).min_by_key(|&worker| sessions_of[worker]);
        let worker = home(session, spreads, &sessions_of).or(fewest).unwrap_or(0);
        sessions_of[worker] += 1;
    }
    sessions_of
}

/// Where legs on device port `port` receive, RTP and separate RTCP, with the worker that owns their stream.
pub fn locals<'a>(
    sessions: impl Iterator<Item = (&'a Session, u16)> + 'a,
    port: usize,
) -> impl Iterator<Item = (SocketAddr, u16)> + 'a {
    let legs = sessions.flat_map(|(session, worker)| [(&session.a, worker), (&session.b, worker)]);
    legs.filter(move |(leg, _)| leg.port == port).flat_map(|(leg, worker)| {
        let rtcp = Some(rtcp_local(leg)).filter(|rtcp| *rtcp != leg.local);
        [Some(leg.local), rtcp].into_iter().flatten().map(move |local| (local, worker))
    })
}

/// The worker on whose queue packets of a leg arrive, where a port says: of two the one with fewer sessions so far, of
/// two equal ones that of leg A.
pub fn home(session: &Session, spreads: &[Option<Rss>], sessions_of: &[usize]) -> Option<usize> {
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

/// Local endpoint of a leg's RTCP.
pub fn rtcp_local(leg: &Leg) -> SocketAddr {
    match leg.rtcp {
        RtcpPolicy::Mux => leg.local,
        RtcpPolicy::Separate { local, .. } => local,
    }
}

/// A stream from one leg to the other, without ways out and journal. What its packets are held against is the number
/// of a `profile`, given beside it.
pub fn setup<'c>(window: ReplayWindowSize, sender: &'c Leg, receiver: &'c Leg) -> StreamSetup<'c> {
    let keys = StreamKeys {
        open: key(&sender.protection, |remote, _| remote),
        seal: key(&receiver.protection, |_, local| local),
        replay_window: window,
    };
    let learn = match sender.remote_policy {
        RemotePolicy::Pinned => Learn::Never,
        RemotePolicy::Learn => Learn::Authenticated,
    };
    let mut setup = StreamSetup::new(keys, Profile::NOTHING, learn);
    if let Protection::Srtp { remote_keys, .. } = &sender.protection
        && remote_keys.len() > 1
    {
        setup.key_set = Some(Box::new(KeySet::new(remote_keys.iter())));
    }
    setup.source = sender.remote.map(Endpoint::from);
    setup.rtcp_source = rtcp_remote(sender).map(Endpoint::from);
    setup
}

/// Where a leg's RTCP is sent, once it is known.
pub fn rtcp_remote(leg: &Leg) -> Option<SocketAddr> {
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
