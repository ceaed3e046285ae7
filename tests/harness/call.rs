//! The two ends of a call inside the test process: sockets in namespaces, SRTP by the library's own contexts
//! (which the vectors of RFC 7714 and GStreamer vouch for).

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use voxlane::srtp::{
    AesGcmProvider, OpenError, PacketIndex, ReplayWindowSize, RtcpOutbound, RtpInbound, RtpOutbound,
};

use super::{LegText, Namespace, frame};

/// RTP payload type that the phones use.
pub const PAYLOAD_TYPE: u8 = 96;

/// One end of a call.
pub struct Phone {
    socket: UdpSocket,
    gateway: SocketAddr,
    seal: Sealer,
    /// By key: what it opens, and how often it did.
    open: Vec<(RtpInbound<AesGcmProvider>, usize)>,
    /// Indices of everything that arrived and authenticated, duplicates refused by [`Phone::receive`].
    pub heard: BTreeSet<u64>,
    /// Packets that did not open.
    pub refused: Vec<OpenError>,
}

/// Makes the packets of one end, good ones and bad ones.
pub struct Sealer {
    rtp: RtpOutbound<AesGcmProvider>,
    rtcp: RtcpOutbound<AesGcmProvider>,
    /// The stream's SSRC.
    pub ssrc: u32,
    next: u64,
    next_rtcp: u32,
}

impl Sealer {
    /// For what the remote of `leg` sends; the first packet has index `first`.
    pub fn new(leg: &LegText, ssrc: u32, first: u64) -> Self {
        let key = &leg.keys().remote;
        Sealer { rtp: RtpOutbound::new(key), rtcp: RtcpOutbound::new(key), ssrc, next: first, next_rtcp: 1 }
    }

    /// Seals with the new keys of `leg` from now on; the indices go on.
    pub fn rekey(&mut self, leg: &LegText) {
        let key = &leg.keys().remote;
        (self.rtp, self.rtcp) = (RtpOutbound::new(key), RtcpOutbound::new(key));
    }

    /// The index of the next packet.
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Jumps ahead.
    pub fn skip(&mut self, packets: u64) {
        self.next += packets;
    }

    /// A good packet.
    pub fn rtp(&mut self, payload: &[u8]) -> Vec<u8> {
        self.rtp_with(0x80, PAYLOAD_TYPE, &[], payload)
    }

    /// A sealed packet with a header of choice: `first` octet, payload type, and what follows the SSRC.
    pub fn rtp_with(&mut self, first: u8, payload_type: u8, extension: &[u8], payload: &[u8]) -> Vec<u8> {
        let index = PacketIndex::from_u64(self.next).expect("tests stay far below 2^48");
        self.next += 1;
        let mut packet = frame::rtp_header(first, payload_type, index.seq(), self.ssrc);
        packet.extend(extension);
        let header = packet.len();
        packet.extend(payload);
        packet.resize(packet.len() + self.rtp.trailer(), 0);
        self.rtp.seal(&mut packet, header, self.ssrc, index).expect("a fresh index");
        packet
    }

    /// A good packet of any payload type, with its timestamp.
    pub fn rtp_at(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let index = PacketIndex::from_u64(self.next).expect("tests stay far below 2^48");
        self.next += 1;
        let mut packet = frame::rtp_header(0x80, payload_type, index.seq(), self.ssrc);
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet.extend(payload);
        packet.resize(packet.len() + self.rtp.trailer(), 0);
        self.rtp.seal(&mut packet, 12, self.ssrc, index).expect("a fresh index");
        packet
    }

    /// The next SRTCP index.
    pub fn set_rtcp_index(&mut self, index: u32) {
        self.next_rtcp = index;
    }

    /// The SRTCP index of the next report.
    pub fn next_rtcp_index(&self) -> u32 {
        self.next_rtcp
    }

    /// A sealed compound RTCP packet.
    pub fn rtcp_compound(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packet = plain.to_vec();
        packet.resize(packet.len() + self.rtcp.trailer(), 0);
        self.rtcp.seal(&mut packet, self.next_rtcp).expect("a fresh index");
        self.next_rtcp = self.next_rtcp.saturating_add(1);
        packet
    }

    /// A sealed RTCP packet: `body` follows the 8 octets of the first header, whose type is given.
    pub fn rtcp(&mut self, packet_type: u8, words: u16, body: &[u8]) -> Vec<u8> {
        self.rtcp_compound(&[rtcp_header(packet_type, words, self.ssrc), body.to_vec()].concat())
    }
}

/// Version 2, no padding, no report block.
pub fn rtcp_header(packet_type: u8, words: u16, ssrc: u32) -> Vec<u8> {
    let mut header = vec![0x80, packet_type];
    header.extend(words.to_be_bytes());
    header.extend(ssrc.to_be_bytes());
    header
}

impl Phone {
    /// The remote of `leg`, at the leg's remote address in `namespace`.
    pub fn new(namespace: &Namespace, leg: &LegText, ssrc: u32, first: u64) -> Self {
        let socket = namespace.udp(leg.remote.expect("a phone has an address"));
        Phone {
            socket,
            gateway: leg.local,
            seal: Sealer::new(leg, ssrc, first),
            open: vec![(RtpInbound::new(&leg.keys().local, ReplayWindowSize::default()), 0)],
            heard: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// The same phone at the remote address of `leg`.
    pub fn moved_to(self, namespace: &Namespace, leg: &LegText) -> Self {
        Phone { socket: namespace.udp(leg.remote.expect("a phone has an address")), ..self }
    }

    /// The gateway may seal with the new keys of `leg`, too: the roll-over counter goes on over the change.
    pub fn also_opens(&mut self, leg: &LegText) {
        let mut open = RtpInbound::new(&leg.keys().local, ReplayWindowSize::default());
        let (last, _) = self.open.last().expect("a phone has a key");
        if let (Some(ssrc), Some(highest)) = (last.ssrc(), last.highest_index()) {
            open.resume(ssrc, highest);
        }
        self.open.push((open, 0));
    }

    /// How many packets were opened with each key.
    pub fn heard_by_key(&self) -> Vec<usize> {
        self.open.iter().map(|(_, count)| *count).collect()
    }

    /// What makes the packets.
    pub fn sealer(&mut self) -> &mut Sealer {
        &mut self.seal
    }

    /// Seals and sends the next packet and returns it as sent.
    pub fn talk(&mut self) -> Vec<u8> {
        let payload = self.seal.next_index().to_be_bytes().repeat(20);
        let packet = self.seal.rtp(&payload);
        self.send(&packet);
        packet
    }

    /// Sends a packet as it is. A full socket buffer or an unreachable network is a lost packet, as it is for
    /// a telephone.
    pub fn send(&self, packet: &[u8]) {
        let _ = self.socket.send_to(packet, self.gateway);
    }

    /// The next packet within `limit`, as it comes.
    pub fn receive_raw(&self, limit: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(limit)).expect("not zero");
        let mut buffer = vec![0; 2048];
        let len = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    /// Whether a packet comes within `limit`, whatever is in it.
    pub fn hears_packet(&self, limit: Duration) -> bool {
        self.receive_raw(limit).is_some()
    }

    /// Waits up to `limit` for the next packet that opens; its index is new and its payload is what the other
    /// phone said.
    pub fn receive(&mut self, limit: Duration) -> Option<u64> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("not zero");
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                assert_eq!(from, self.gateway, "somebody else sends to the phone");
                if let Some(index) = self.open(&mut buffer[..len]) {
                    return Some(index);
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    fn open(&mut self, packet: &mut [u8]) -> Option<u64> {
        let seq = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
        let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().expect("four octets"));
        let sealed = packet.to_vec();
        let mut outcome = Err(OpenError::AuthFailed);
        for (open, count) in &mut self.open {
            packet.copy_from_slice(&sealed);
            outcome = open.open(packet, 12, ssrc, seq);
            *count += usize::from(outcome.is_ok());
            if outcome.is_ok() {
                break;
            }
        }
        match outcome {
            Ok(opened) => {
                let index = opened.index.as_u64();
                assert!(self.heard.insert(index), "index {index} was sent twice under one key");
                assert_eq!(
                    packet[12..opened.len],
                    index.to_be_bytes().repeat(20),
                    "payload of index {index}"
                );
                Some(index)
            }
            Err(error) => {
                self.refused.push(error);
                None
            }
        }
    }
}

/// Lets `from` talk until `to` hears it, which waits out address resolution; panics after `limit`.
pub fn connect(from: &mut Phone, to: &mut Phone, limit: Duration) {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        from.talk();
        if to.receive(Duration::from_millis(100)).is_some() {
            return;
        }
    }
    panic!("no packet came through within {limit:?}; refused: {:?}", to.refused);
}
