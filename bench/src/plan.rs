//! From the gateway's configuration to what the generator plays: its ports, their addresses, the streams.
//!
//! The generator is every remote endpoint of the chosen sessions at once. Of each leg it has the remote's
//! role: it sends from the leg's remote address to the local one and seals with `remote_key`; it receives
//! what the gateway sealed with `local_key`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use voxlane::control::config::{self, Config, Leg, PayloadTypes, RtcpPolicy};
use voxlane::wire::IpNet;
use voxlane::wire::rtp::PayloadType;

/// Which directions of the sessions carry media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Directions {
    /// From leg A to leg B.
    #[value(name = "a2b")]
    AToB,
    /// From leg B to leg A.
    #[value(name = "b2a")]
    BToA,
    /// Both.
    Both,
}

/// What the generator plays.
#[derive(Debug)]
pub struct Plan<'c> {
    /// Its ports, in the order of the gateway's ports; those without a chosen session are left out.
    pub ports: Vec<PortPlan<'c>>,
    /// One per session and direction, sessions in order.
    pub streams: Vec<StreamPlan<'c>>,
    /// How many sessions were chosen.
    pub sessions: usize,
}

/// One of the generator's ports, joined to one of the gateway's.
#[derive(Debug)]
pub struct PortPlan<'c> {
    /// The gateway's port at the other end.
    pub gateway: &'c config::Port,
    /// The generator's own device.
    pub device: String,
    /// The addresses that the generator answers for: the legs' remotes and the gateway's next-hop routers.
    pub addresses: Vec<IpNet>,
    /// The gateway's addresses to which streams are sent through this port.
    pub destinations: Vec<IpAddr>,
}

/// One direction of one session.
#[derive(Debug, Clone, Copy)]
pub struct StreamPlan<'c> {
    /// Number in payloads: `2 × session`, and 1 more from B to A.
    pub id: u32,
    /// The session's id.
    pub session: &'c str,
    /// The leg whose remote sends.
    pub sender: &'c Leg,
    /// The leg whose remote receives.
    pub receiver: &'c Leg,
    /// Index into [`Plan::ports`] of the port to send through.
    pub tx_port: usize,
    /// Index into [`Plan::ports`] of the port to receive on.
    pub rx_port: usize,
    /// Where it is sent from: the sender's remote address.
    pub source: SocketAddr,
    /// Where it must arrive: the receiver's remote address.
    pub sink: SocketAddr,
    /// A payload type that both legs accept.
    pub payload_type: PayloadType,
    /// A payload type that the sender's leg does not accept, if there is one.
    pub bad_payload_type: Option<PayloadType>,
}

/// Why the configuration cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The configuration has no sessions, or none were asked for.
    #[error(
        "there is no session to play; add [[session]] or [sessions] file to the configuration, or raise --sessions"
    )]
    NoSession,
    /// More sessions were asked for than there are.
    #[error(
        "--sessions {wanted} is more than the {available} sessions of the configuration; lower it or leave it out"
    )]
    TooManySessions {
        /// Sessions asked for.
        wanted: usize,
        /// Sessions there are.
        available: usize,
    },
    /// A port of the gateway is needed and no device of ours is joined to it.
    #[error("no device for the gateway's port \"{0}\"; add --port {0}=DEVICE")]
    NoDevice(String),
    /// A device is given for a port that the gateway does not have.
    #[error("--port {0}: the configuration has no port of that name; it has {1}")]
    UnknownPort(String, String),
    /// A leg has no remote address.
    #[error(
        "session \"{session}\" leg {leg} has no remote address to play; add remote = \"ADDRESS:PORT\" \
         (remote_policy = \"learn\" may stay)"
    )]
    NoRemote {
        /// The session's id.
        session: String,
        /// `a` or `b`.
        leg: char,
    },
    /// A remote is off-link and the gateway has no router to reach it by.
    #[error(
        "{remote} is in no subnet of port \"{port}\", which has no gateway for it; add gateways = [\"ADDRESS\"]"
    )]
    Unreachable {
        /// The remote address.
        remote: IpAddr,
        /// The gateway's port.
        port: String,
    },
    /// The legs of a session have no payload type in common.
    #[error("the legs of session \"{0}\" have no payload type in common; give them one in payload_types")]
    NoPayloadType(String),
}

impl<'c> Plan<'c> {
    /// Plays the first `count` sessions of `config` (all if `None`) through `devices`, which maps the names
    /// of the gateway's ports to devices of ours.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(
        config: &'c Config,
        devices: &BTreeMap<String, String>,
        count: Option<usize>,
        directions: Directions,
    ) -> Result<Self, PlanError> {
        let available = config.sessions.len();
        let wanted = count.unwrap_or(available);
        if wanted > available {
            return Err(PlanError::TooManySessions { wanted, available });
        }
        let sessions = &config.sessions[..wanted];
        if sessions.is_empty() {
            return Err(PlanError::NoSession);
        }
        if let Some(unknown) = devices.keys().find(|name| config.ports.iter().all(|port| port.name != **name))
        {
            let names: Vec<_> = config.ports.iter().map(|port| port.name.as_str()).collect();
            return Err(PlanError::UnknownPort(unknown.clone(), names.join(", ")));
        }
        let used: BTreeSet<usize> =
            sessions.iter().flat_map(|session| [session.a.port, session.b.port]).collect();
        let mut ports = used
            .iter()
            .map(|&index| PortDraft::new(&config.ports[index], devices))
            .collect::<Result<Vec<_>, _>>()?;
        let position: BTreeMap<usize, usize> =
            used.iter().enumerate().map(|(at, &index)| (index, at)).collect();

        let mut streams = Vec::with_capacity(2 * wanted);
        for (number, session) in sessions.iter().enumerate() {
            let (a, b) = (&session.a, &session.b);
            let remote_a = remote(a, &session.id, 'a')?;
            let remote_b = remote(b, &session.id, 'b')?;
            for (leg, remote) in [(a, remote_a), (b, remote_b)] {
                let port = &mut ports[position[&leg.port]];
                port.play(remote.ip())?;
                if let RtcpPolicy::Separate { remote: Some(rtcp), .. } = leg.rtcp {
                    port.play(rtcp.ip())?;
                }
                port.destinations.insert(leg.local.ip());
            }
            let stream = |id: usize, sender: &'c Leg, receiver: &'c Leg, source, sink| {
                let payload_type = common_payload_type(sender.payload_types, receiver.payload_types)
                    .ok_or_else(|| PlanError::NoPayloadType(session.id.clone()))?;
                Ok(StreamPlan {
                    id: id as u32,
                    session: &session.id,
                    sender,
                    receiver,
                    tx_port: position[&sender.port],
                    rx_port: position[&receiver.port],
                    source,
                    sink,
                    payload_type,
                    bad_payload_type: refused_payload_type(sender.payload_types),
                })
            };
            if directions != Directions::BToA {
                streams.push(stream(2 * number, a, b, remote_a, remote_b)?);
            }
            if directions != Directions::AToB {
                streams.push(stream(2 * number + 1, b, a, remote_b, remote_a)?);
            }
        }
        Ok(Plan { ports: ports.into_iter().map(PortDraft::finish).collect(), streams, sessions: wanted })
    }
}

/// A port whose addresses are being collected.
struct PortDraft<'c> {
    gateway: &'c config::Port,
    device: String,
    seen: BTreeSet<IpAddr>,
    addresses: Vec<IpNet>,
    destinations: BTreeSet<IpAddr>,
}

impl<'c> PortDraft<'c> {
    fn new(gateway: &'c config::Port, devices: &BTreeMap<String, String>) -> Result<Self, PlanError> {
        let device = devices.get(&gateway.name).ok_or_else(|| PlanError::NoDevice(gateway.name.clone()))?;
        let mut draft = PortDraft {
            gateway,
            device: device.clone(),
            seen: BTreeSet::new(),
            addresses: Vec::new(),
            destinations: BTreeSet::new(),
        };
        for &router in &gateway.gateways {
            draft.play(router)?;
        }
        Ok(draft)
    }

    /// Answers for `address` from now on.
    fn play(&mut self, address: IpAddr) -> Result<(), PlanError> {
        if !self.seen.insert(address) {
            return Ok(());
        }
        let on_link = self.gateway.addresses.iter().find(|net| net.contains(address));
        let is_routed = || self.gateway.gateways.iter().any(|router| router.is_ipv4() == address.is_ipv4());
        let prefix_len = match on_link {
            Some(net) => net.prefix_len(),
            None if is_routed() => {
                if address.is_ipv4() {
                    32
                } else {
                    128
                }
            }
            None => {
                return Err(PlanError::Unreachable { remote: address, port: self.gateway.name.clone() });
            }
        };
        let net = IpNet::new(address, prefix_len).expect("a prefix length of the address's own family");
        self.addresses.push(net);
        Ok(())
    }

    fn finish(self) -> PortPlan<'c> {
        PortPlan {
            gateway: self.gateway,
            device: self.device,
            addresses: self.addresses,
            destinations: self.destinations.into_iter().collect(),
        }
    }
}

fn remote(leg: &Leg, session: &str, name: char) -> Result<SocketAddr, PlanError> {
    leg.remote.ok_or_else(|| PlanError::NoRemote { session: session.to_owned(), leg: name })
}

/// A payload type in both sets: the first dynamic one (RFC 3551 §6), else the first.
fn common_payload_type(a: PayloadTypes, b: PayloadTypes) -> Option<PayloadType> {
    let is_common = |number: &u8| a.contains(*number) && b.contains(*number);
    (96..128).chain(0..96).find(is_common).map(PayloadType)
}

/// A payload type that is not in the set.
fn refused_payload_type(set: PayloadTypes) -> Option<PayloadType> {
    (0..128).rev().find(|number| !set.contains(*number)).map(PayloadType)
}
