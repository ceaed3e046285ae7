//! The gateway once more, from the RFCs and the documentation, in the most obvious way: one frame at a time, copies
//! everywhere, sets that never forget. It shares no line with `src/` and none of its types; what it says is what the
//! real packet path is held against (`tests/differential.rs`).
//!
//! [`World`] describes ports and sessions, [`Gateway`] takes frames one by one and says what becomes of each.

#![allow(dead_code, reason = "each test binary uses a part of the reference")]
#![forbid(unsafe_code)]

pub mod crypto;
pub mod link;
pub mod receiver;
pub mod rules;
pub mod srtp;

use std::net::{IpAddr, SocketAddr};

use link::Seen;
use receiver::{LAST_RTCP_INDEX, RtcpHistory, RtpHistory};
use srtp::{MasterKey, SessionKeys};

/// Why a frame was dropped: the label in `docs/drop-reasons.md`.
pub type Reason = &'static str;

/// A packet names a key that the leg does not have.
pub const MKI_UNKNOWN: Reason = "srtp_mki_unknown";

/// Ports and sessions.
#[derive(Clone, Debug)]
pub struct World {
    pub ports: Vec<Port>,
    pub sessions: Vec<Session>,
    /// How far behind the newest packet a late one is accepted, in packets.
    pub window: u32,
    /// The same for RTCP.
    pub rtcp_window: u32,
}

/// A device port.
#[derive(Clone, Debug)]
pub struct Port {
    pub mac: [u8; 6],
    pub vlan: Option<u16>,
    pub addresses: Vec<IpAddr>,
    /// Largest IP packet in bytes.
    pub mtu: usize,
    /// Whether UDP over IPv4 has a checksum.
    pub udp_checksum: bool,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub legs: [Leg; 2],
}

#[derive(Clone, Debug)]
pub struct Leg {
    pub port: usize,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Local and remote address of RTCP; `None` if it is muxed.
    pub rtcp: Option<[SocketAddr; 2]>,
    /// `None` is a plain leg by policy.
    pub keys: Option<LegKeys>,
    pub payload_types: u128,
    pub reduced_size_rtcp: bool,
    /// MAC address of the way to the remote; `None` while it is not resolved.
    pub next_hop: Option<[u8; 6]>,
}

/// The keys of an encrypted leg.
#[derive(Clone, Debug)]
pub struct LegKeys {
    /// What the remote may seal with: one key, or several with MKIs of one length.
    pub remote: Vec<MasterKey>,
    /// What the gateway seals with.
    pub local: MasterKey,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent out of this port.
    Sent(usize, Vec<u8>),
    /// For the host side, as it arrived.
    Punted,
    Dropped(Reason),
}

/// The reference gateway.
pub struct Gateway {
    world: World,
    /// By session and sending leg.
    streams: Vec<[Stream; 2]>,
}

/// One direction of a session.
#[derive(Default)]
struct Stream {
    open: Vec<SessionKeys>,
    seal: Option<SessionKeys>,
    rtp_in: RtpHistory,
    rtcp_in: RtcpHistory,
    rtp_out: RtpHistory,
    rtcp_out: RtcpHistory,
}

/// An opened packet.
struct Opened {
    packet: Vec<u8>,
    ssrc: u32,
    /// `None` for RTCP of a plain leg.
    index: Option<u64>,
}

impl Gateway {
    pub fn new(world: World) -> Self {
        let streams = world.sessions.iter().map(|_| Default::default()).collect();
        let mut gateway = Gateway { world, streams };
        for session in 0..gateway.streams.len() {
            gateway.apply_keys(session);
        }
        gateway
    }

    /// The leg has other keys from the next frame on. Indices and windows go on: a master key is a part of the
    /// cryptographic context and not the whole (RFC 3711 §3.2.1).
    pub fn rekey(&mut self, session: usize, leg: usize, keys: LegKeys) {
        self.world.sessions[session].legs[leg].keys = Some(keys);
        self.apply_keys(session);
    }

    fn apply_keys(&mut self, session: usize) {
        let legs = &self.world.sessions[session].legs;
        for (sender, stream) in self.streams[session].iter_mut().enumerate() {
            let (from, to) = (&legs[sender].keys, &legs[1 - sender].keys);
            stream.open = from.iter().flat_map(|keys| keys.remote.iter().map(SessionKeys::new)).collect();
            stream.seal = to.as_ref().map(|keys| SessionKeys::new(&keys.local));
        }
    }

    /// Takes a frame that arrived on `port`.
    pub fn receive(&mut self, port: usize, frame: &[u8]) -> Outcome {
        match link::read(frame, &self.world.ports[port]) {
            Err(reason) => Outcome::Dropped(reason),
            Ok(Seen::Host) => Outcome::Punted,
            Ok(Seen::Signalling { destination }) => match self.find(destination) {
                Some(_) => Outcome::Punted,
                None => Outcome::Dropped("port_unknown"),
            },
            Ok(Seen::Media { source, destination, payload }) => {
                match self.relay(source, destination, payload) {
                    Ok((port, frame)) => Outcome::Sent(port, frame),
                    Err(reason) => Outcome::Dropped(reason),
                }
            }
        }
    }

    /// Session and leg of a local address, and which of the two it is for: RTP, RTCP.
    fn find(&self, local: SocketAddr) -> Option<(usize, usize, [bool; 2])> {
        for (number, session) in self.world.sessions.iter().enumerate() {
            for (side, leg) in session.legs.iter().enumerate() {
                match leg.rtcp {
                    None if leg.local == local => return Some((number, side, [true, true])),
                    Some(_) if leg.local == local => return Some((number, side, [true, false])),
                    Some([rtcp, _]) if rtcp == local => return Some((number, side, [false, true])),
                    _ => {}
                }
            }
        }
        None
    }

    fn relay(
        &mut self,
        source: SocketAddr,
        local: SocketAddr,
        payload: &[u8],
    ) -> Result<(usize, Vec<u8>), Reason> {
        // RFC 5761 §4: second octets of 192 to 223 are RTCP packet types.
        let is_rtcp = payload.get(1).is_some_and(|octet| (192..=223).contains(octet));
        let (session, side, takes) = self.find(local).ok_or("port_unknown")?;
        match (takes, is_rtcp) {
            ([false, _], false) => return Err("rtp_unexpected"),
            ([_, false], true) => return Err("rtcp_unexpected"),
            _ => {}
        }
        let legs = &self.world.sessions[session].legs;
        let (from, to) = (&legs[side], &legs[1 - side]);
        let remote = match from.rtcp {
            Some([_, remote]) if is_rtcp => remote,
            _ => from.remote,
        };
        if source != remote {
            return Err("source_not_pinned");
        }
        // A loop, or a collision (RFC 3550 §8.2): what the other leg sends comes from this one.
        if !is_rtcp && self.streams[session][side].rtp_in.ssrc.is_none() {
            rules::rtp_header_len(payload)?;
            if self.streams[session][1 - side].rtp_in.ssrc == Some(word(&payload[8..12])) {
                return Err("ssrc_collision");
            }
        }
        let stream = &mut self.streams[session][side];
        let (window, rtcp_window) = (self.world.window.into(), self.world.rtcp_window.into());
        let opened = if is_rtcp {
            stream.open_rtcp(payload, rtcp_window)?
        } else {
            stream.open_rtp(payload, window)?
        };
        match is_rtcp {
            true => rules::rtcp(&opened.packet, from.reduced_size_rtcp)?,
            false => rules::rtp(&opened.packet, from.payload_types)?,
        }

        let port = &self.world.ports[to.port];
        let trailer = match (&stream.seal, is_rtcp) {
            (None, _) => 0,
            (Some(keys), true) => keys.rtcp_trailer(),
            (Some(keys), false) => keys.rtp_trailer(),
        };
        let headers = if to.local.is_ipv4() { 20 + 8 } else { 40 + 8 };
        if headers + opened.packet.len() + trailer > port.mtu {
            return Err("mtu_exceeded");
        }
        let next_hop = to.next_hop.ok_or("next_hop_unresolved")?;
        let sealed = if is_rtcp { stream.seal_rtcp(&opened)? } else { stream.seal_rtp(&opened)? };
        let [source, destination] = match to.rtcp {
            Some(addresses) if is_rtcp => addresses,
            _ => [to.local, to.remote],
        };
        Ok((to.port, link::write(port, next_hop, source, destination, &sealed)))
    }
}

impl Stream {
    fn open_rtp(&mut self, packet: &[u8], window: u64) -> Result<Opened, Reason> {
        let header = rules::rtp_header_len(packet)?;
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = word(&packet[8..12]);
        let Some(any) = self.open.first() else {
            let index = self.rtp_in.admit(ssrc, seq, window)?;
            self.rtp_in.commit(ssrc, index);
            return Ok(Opened { packet: packet.to_vec(), ssrc, index: Some(index) });
        };
        if packet.len() < header + any.rtp_trailer() {
            return Err("srtp_truncated");
        }
        let index = self.rtp_in.admit(ssrc, seq, window)?;
        let mki = any.rtp_mki(packet);
        let keys = self.open.iter().find(|keys| keys.mki == mki).ok_or(MKI_UNKNOWN)?;
        let plain = keys.open_rtp(packet, header, index).map_err(|_| "srtp_auth_failed")?;
        self.rtp_in.commit(ssrc, index);
        Ok(Opened { packet: plain, ssrc, index: Some(index) })
    }

    fn open_rtcp(&mut self, packet: &[u8], window: u64) -> Result<Opened, Reason> {
        let ssrc = word(packet.get(4..8).ok_or("rtcp_malformed")?);
        let Some(any) = self.open.first() else {
            // Nothing authenticates it and nothing in it says which packet it is.
            return Ok(Opened { packet: packet.to_vec(), ssrc, index: None });
        };
        if packet.len() < 8 + any.rtcp_trailer() {
            return Err("srtp_truncated");
        }
        let trailer = any.rtcp_index(packet);
        if !trailer.encrypted {
            return Err("srtcp_not_encrypted");
        }
        self.rtcp_in.admit(ssrc, trailer.index, window)?;
        let mki = any.rtcp_mki(packet);
        let keys = self.open.iter().find(|keys| keys.mki == mki).ok_or(MKI_UNKNOWN)?;
        let plain = keys.open_rtcp(packet).map_err(|_| "srtp_auth_failed")?;
        self.rtcp_in.commit(ssrc, trailer.index);
        Ok(Opened { packet: plain, ssrc, index: Some(trailer.index.into()) })
    }

    /// A packet keeps the index that it came with. No index is sealed twice, under one SSRC alone.
    fn seal_rtp(&mut self, opened: &Opened) -> Result<Vec<u8>, Reason> {
        let Some(keys) = &self.seal else { return Ok(opened.packet.clone()) };
        let index = opened.index.expect("RTP always has an index");
        self.rtp_out.commit(opened.ssrc, index);
        let header = rules::rtp_header_len(&opened.packet).expect("it was checked");
        Ok(keys.seal_rtp(&opened.packet, header, index))
    }

    fn seal_rtcp(&mut self, opened: &Opened) -> Result<Vec<u8>, Reason> {
        let Some(keys) = &self.seal else { return Ok(opened.packet.clone()) };
        let out = &mut self.rtcp_out;
        let used_up = out.ssrc.is_some() && out.highest == LAST_RTCP_INDEX;
        // A packet of a plain leg gets the next index; the first is 1 (RFC 3711 §3.4).
        let index = match opened.index {
            Some(index) => index as u32,
            None => out.highest + 1,
        };
        if out.ssrc.is_some_and(|ssrc| ssrc != opened.ssrc) {
            return Err("ssrc_changed");
        }
        // A late packet that keeps an index from below the last one repeats nothing.
        if used_up && opened.index.is_none() {
            return Err("key_exhausted");
        }
        out.commit(opened.ssrc, index);
        Ok(keys.seal_rtcp(&opened.packet, index, true))
    }
}

fn word(octets: &[u8]) -> u32 {
    u32::from_be_bytes(octets.try_into().expect("four octets"))
}
