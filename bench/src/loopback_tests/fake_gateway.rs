//! A gateway in memory: answers ARP and neighbour discovery, opens with the remote's key, refuses what must
//! be refused, seals with the other leg's local key. And it can be told to misbehave.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use voxlane::control::config::{Config, Leg, Protection, RtcpPolicy};
use voxlane::control::host::{Host, HostLimits, Interface};
use voxlane::srtp::{
    AesGcmProvider, OpenError, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound,
};
use voxlane::wire::{MacAddress, demux, rtp};

use crate::frame::{Datagram, NotDatagram, Template};

/// What the gateway does wrong. Media only, and only from each stream's tenth packet on, so that paths open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Answers nobody on the link.
    Deaf,
    /// Relays nothing.
    RelaysNothing,
    /// Loses one packet of each stream.
    Loses,
    /// Sends one packet of each stream twice, bit by bit the same.
    Repeats,
    /// Seals one packet of each stream twice, under two indices.
    SealsTwice,
    /// Sends one packet of each stream after the next one.
    Swaps,
    /// Flips a bit of one packet before it is sealed.
    DamagesPlain,
    /// Flips a bit of one packet after it was sealed.
    DamagesSealed,
    /// Sends one packet with a wrong UDP checksum.
    DamagesChecksum,
    /// Changes the timestamp of one packet.
    ChangesHeader,
    /// Relays payload types that were not negotiated.
    RelaysForbidden,
    /// Sends one packet from an address of its own that belongs to no leg.
    SendsFromNowhere,
    /// Sends one packet to another remote than the session's.
    Misdelivers,
    /// Sends one packet to another MAC address.
    SendsToAnotherStation,
    /// Loses one RTCP packet of each stream.
    LosesReports,
    /// Flips a bit in one RTCP packet of each stream before it is sealed.
    DamagesReports,
}

/// The gateway.
pub struct FakeGateway {
    hosts: Vec<Host>,
    legs: HashMap<SocketAddr, RelayedStream>,
    vlans: Vec<Option<u16>>,
    out: Vec<Vec<Vec<u8>>>,
    fault: Fault,
    /// Packets refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Media packets relayed.
    pub relayed: u64,
}

/// What arrives at one local address, and where it goes.
struct RelayedStream {
    leg: Leg,
    remotes: [SocketAddr; 2],
    open: Option<RtpInbound<AesGcmProvider>>,
    open_rtcp: Option<RtcpInbound<AesGcmProvider>>,
    seal: Option<RtpOutbound<AesGcmProvider>>,
    seal_rtcp: Option<RtcpOutbound<AesGcmProvider>>,
    templates: [Template; 2],
    out_port: usize,
    packets: u64,
    reports: u32,
    late: Option<Vec<u8>>,
}

impl FakeGateway {
    pub fn new(config: &Config, macs: &[MacAddress], fault: Fault) -> Self {
        let host = |(number, port): (usize, &voxlane::control::config::Port)| {
            let interface = Interface {
                mac: MacAddress([2, 0, 0, 0, 2, number as u8]),
                vlan: port.vlan,
                addresses: port.addresses.clone(),
                gateways: Vec::new(),
                mtu: 1500,
            };
            Host::new(interface, HostLimits { arp_per_second: 1_000, icmp_per_second: 1_000, next_hops: 16 })
        };
        let mut legs = HashMap::new();
        for session in &config.sessions {
            for (from, to) in [(&session.a, &session.b), (&session.b, &session.a)] {
                legs.insert(from.local, RelayedStream::new(config, from, to, macs));
            }
        }
        FakeGateway {
            hosts: config.ports.iter().enumerate().map(host).collect(),
            legs,
            vlans: config.ports.iter().map(|port| port.vlan).collect(),
            out: vec![Vec::new(); config.ports.len()],
            fault,
            refused: BTreeMap::new(),
            relayed: 0,
        }
    }

    /// Takes in a frame of the generator's.
    pub fn receive(&mut self, port: usize, mut frame: Vec<u8>, now_ns: u64) {
        let datagram = match Datagram::parse(&frame, self.vlans[port], true) {
            Ok(datagram) => datagram,
            Err(NotDatagram::Host) => {
                if self.fault != Fault::Deaf {
                    let out = &mut self.out[port];
                    self.hosts[port].receive(now_ns, &frame, &mut |reply| out.push(reply.to_vec()));
                }
                return;
            }
            Err(_) => return self.refuse("malformed"),
        };
        assert_eq!(frame[..6], [2, 0, 0, 0, 2, port as u8], "sent to the MAC address that was resolved");
        // With RTCP on the next port, RTP has the even one.
        let even = SocketAddr::new(datagram.destination.ip(), datagram.destination.port() & !1);
        let Some(stream) = self.legs.get_mut(&even) else {
            return self.refuse("port_unknown");
        };
        let packet = &mut frame[datagram.payload];
        if demux::is_rtcp(packet) {
            assert_eq!(datagram.source, stream.remotes[1], "RTCP comes from its own address");
            if let Some((out_port, frame)) = stream.relay_rtcp(packet, self.fault) {
                self.out[out_port].push(frame);
            }
            return;
        }
        assert_eq!(datagram.source, stream.remotes[0], "media comes from the leg's remote");
        match stream.relay(packet, self.fault) {
            Err(reason) => self.refuse(reason),
            Ok(frames) => {
                self.relayed += 1;
                let out_port = stream.out_port;
                self.out[out_port].extend(frames);
            }
        }
    }

    /// What the generator receives now.
    pub fn transmit(&mut self, port: usize) -> Vec<Vec<u8>> {
        let most = self.out[port].len().min(64);
        self.out[port].drain(..most).collect()
    }

    fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

impl RelayedStream {
    fn new(config: &Config, from: &Leg, to: &Leg, macs: &[MacAddress]) -> Self {
        let remote = |leg: &Leg| leg.remote.expect("test legs have remotes");
        let rtcp = |leg: &Leg| match leg.rtcp {
            RtcpPolicy::Mux => (leg.local, remote(leg)),
            RtcpPolicy::Separate { local, remote } => (local, remote.expect("test legs have remotes")),
        };
        let template = |(local, remote)| {
            let mac = MacAddress([2, 0, 0, 0, 2, to.port as u8]);
            let mut template =
                Template::new(local, remote, mac, config.ports[to.port].vlan).expect("one family");
            template.set_destination_mac(macs[to.port]);
            template
        };
        let (remote_key, local_key) = match (&from.protection, &to.protection) {
            (Protection::Plain, Protection::Plain) => (None, None),
            (Protection::Srtp { remote_keys, .. }, Protection::Plain) => (Some(remote_keys.active()), None),
            (Protection::Plain, Protection::Srtp { local_keys, .. }) => (None, Some(local_keys.active())),
            (Protection::Srtp { remote_keys, .. }, Protection::Srtp { local_keys, .. }) => {
                (Some(remote_keys.active()), Some(local_keys.active()))
            }
        };
        let window = ReplayWindowSize::default();
        RelayedStream {
            leg: from.clone(),
            remotes: [remote(from), rtcp(from).1],
            open: remote_key.map(|key| RtpInbound::new(key, window)),
            open_rtcp: remote_key.map(|key| RtcpInbound::new(key, window)),
            seal: local_key.map(RtpOutbound::new),
            seal_rtcp: local_key.map(RtcpOutbound::new),
            templates: [template((to.local, remote(to))), template(rtcp(to))],
            out_port: to.port,
            packets: 0,
            reports: 0,
            late: None,
        }
    }

    fn relay(&mut self, packet: &mut [u8], fault: Fault) -> Result<Vec<Vec<u8>>, &'static str> {
        let header = rtp::Packet::new_checked(&*packet).map_err(|_| "rtp_malformed")?;
        let (header_len, ssrc, seq) = (header.header_len(), header.ssrc().0, header.sequence_number().0);
        let payload_type = header.payload_type().0;
        let (len, index) = match &mut self.open {
            // A plain leg's roll-over counter is of no interest to a test of a few packets.
            None => (packet.len(), PacketIndex::new(0, seq)),
            Some(open) => match open.open(packet, header_len, ssrc, seq) {
                Ok(opened) => (opened.len, opened.index),
                Err(OpenError::Truncated) => return Err("srtp_truncated"),
                Err(OpenError::SsrcChanged) => return Err("ssrc_changed"),
                Err(OpenError::Replayed) => return Err("srtp_replayed"),
                Err(OpenError::AuthFailed) => return Err("srtp_auth_failed"),
                Err(_) => return Err("other"),
            },
        };
        if !self.leg.payload_types.contains(payload_type) && fault != Fault::RelaysForbidden {
            return Err("payload_type_not_negotiated");
        }
        self.packets += 1;
        let is_faulty = self.packets == 10;
        if fault == Fault::RelaysNothing {
            return Ok(Vec::new());
        }
        let mut plain = packet[..len].to_vec();
        if is_faulty && fault == Fault::ChangesHeader {
            plain[7] ^= 1;
        }
        if is_faulty && fault == Fault::DamagesPlain {
            plain[header_len + 40] ^= 1;
        }
        let mut frames = vec![self.send(&plain, header_len, ssrc, index)];
        if !is_faulty {
            frames.extend(self.late.take());
            return Ok(frames);
        }
        let udp = self.templates[0].len() - 8;
        match fault {
            Fault::Loses => frames.clear(),
            Fault::Repeats => frames.push(frames[0].clone()),
            Fault::SealsTwice => {
                // Under an index that the stream will not come to.
                plain[2..4].copy_from_slice(&(index.seq() + 500).to_be_bytes());
                let index = PacketIndex::new(index.roc(), index.seq() + 500);
                frames.push(self.send(&plain, header_len, ssrc, index));
            }
            Fault::Swaps => self.late = frames.pop(),
            Fault::DamagesSealed => {
                let payload_len = frames[0].len() - self.templates[0].len();
                *frames[0].last_mut().expect("a frame") ^= 1;
                self.templates[0].finish(&mut frames[0], payload_len);
            }
            Fault::DamagesChecksum => frames[0][udp + 6] ^= 1,
            Fault::SendsFromNowhere => {
                // The two ports change places, which the checksum does not notice.
                let (source, destination) = frames[0][udp..udp + 4].split_at_mut(2);
                source.swap_with_slice(destination);
            }
            Fault::Misdelivers => {
                // Another destination port, and the checksum made right for it.
                frames[0][udp + 3] ^= 1;
                let frame = &frames[0];
                let old = u16::from_be_bytes([frame[udp + 2], frame[udp + 3] ^ 1]);
                let new = u16::from_be_bytes([frame[udp + 2], frame[udp + 3]]);
                let sum = u16::from_be_bytes([frame[udp + 6], frame[udp + 7]]);
                let sum = voxlane::wire::checksum::update_u16(sum, old, new);
                frames[0][udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
            }
            Fault::SendsToAnotherStation => frames[0][5] ^= 0x40,
            _ => {}
        }
        Ok(frames)
    }

    fn send(&mut self, plain: &[u8], header_len: usize, ssrc: u32, index: PacketIndex) -> Vec<u8> {
        let template = &self.templates[0];
        let mut frame = vec![0; template.len()];
        frame.extend_from_slice(plain);
        if let Some(seal) = &mut self.seal {
            frame.resize(frame.len() + seal.trailer(), 0);
            let sealed = seal.seal(&mut frame[template.len()..], header_len, ssrc, index);
            sealed.expect("a gateway never seals an index twice");
        }
        let len = frame.len() - template.len();
        template.finish(&mut frame, len);
        frame
    }

    fn relay_rtcp(&mut self, packet: &mut [u8], fault: Fault) -> Option<(usize, Vec<u8>)> {
        let len = match &mut self.open_rtcp {
            None => packet.len(),
            Some(open) => open.open(packet).expect("the generator's RTCP authenticates").len,
        };
        let number = self.reports;
        self.reports += 1;
        if fault == Fault::LosesReports && number == 1 {
            return None;
        }
        let template = &self.templates[1];
        let mut frame = vec![0; template.len()];
        frame.extend_from_slice(&packet[..len]);
        if fault == Fault::DamagesReports && number == 1 {
            // The RTP time of the sender report.
            frame[template.len() + 19] ^= 4;
        }
        if let Some(seal) = &mut self.seal_rtcp {
            frame.resize(frame.len() + seal.trailer(), 0);
            seal.seal(&mut frame[template.len()..], number).expect("a fresh index");
        }
        let len = frame.len() - template.len();
        template.finish(&mut frame, len);
        Some((self.out_port, frame))
    }
}
