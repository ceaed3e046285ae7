//! RTCP of the streams: each remote endpoint sends sender reports (RFC 3550 §6.4.1), each receiver checks them.
//!
//! A compound packet is a sender report and a source description with a CNAME. Its NTP time stamp carries
//! the report's number (seconds) and its stream (fraction) in place of a time, so that the other side can
//! tell exactly what was lost, doubled or changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use voxlane::control::config::{Leg, Protection, RtcpPolicy};
use voxlane::srtp::{AesGcmProvider, OpenError, ReplayWindowSize, RtcpInbound, RtcpOutbound};
use voxlane::wire::MacAddress;
use voxlane::wire::rtcp::{Compound, Repr, SenderInfo, emit_compound};
use voxlane::wire::rtp::{RtpTime, Ssrc};

use super::frame::{MixedFamilies, Template};
use super::plan::{Plan, StreamPlan};
use super::stats::Stats;
use super::track::{Arrival, Tracker};
use super::traffic::{Sink, Traffic};

/// The CNAME of every stream; one endpoint plays them all (RFC 7022 would have one per endpoint).
const CNAME: &[u8] = b"voxload";

/// The sending side of all streams' RTCP.
pub struct Reports {
    senders: Vec<ReportSender>,
    stats: Arc<Stats>,
}

struct ReportSender {
    template: Template,
    seal: Option<RtcpOutbound<AesGcmProvider>>,
    ssrc: Ssrc,
    id: u32,
    tx_port: usize,
    destination: IpAddr,
    /// Number of the next report, and its SRTCP index.
    next: u32,
}

impl Reports {
    /// Senders for all streams of `plan`, whose media `traffic` sends.
    ///
    /// # Errors
    /// [`MixedFamilies`], which the configuration excludes.
    pub fn new(
        plan: &Plan<'_>,
        macs: &[MacAddress],
        traffic: &Traffic,
        stats: Arc<Stats>,
    ) -> Result<Self, MixedFamilies> {
        let senders = plan.streams.iter().zip(traffic.identities());
        let senders = senders
            .map(|(stream, identity)| {
                let (source, destination) = rtcp_ends(stream.sender, stream.source);
                let vlan = plan.ports[stream.tx_port].gateway.vlan;
                Ok(ReportSender {
                    template: Template::new(source, destination, macs[stream.tx_port], vlan)?,
                    seal: match &stream.sender.protection {
                        Protection::Plain => None,
                        Protection::Srtp { remote_keys, .. } => Some(RtcpOutbound::new(remote_keys.active())),
                    },
                    ssrc: identity.ssrc,
                    id: stream.id,
                    tx_port: stream.tx_port,
                    destination: destination.ip(),
                    next: 0,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Reports { senders, stats })
    }

    /// Sends all that goes through `tx_port` to `destination` to the MAC address `mac` from now on.
    pub fn set_next_hop(&mut self, tx_port: usize, destination: IpAddr, mac: MacAddress) {
        for sender in &mut self.senders {
            if sender.tx_port == tx_port && sender.destination == destination {
                sender.template.set_destination_mac(mac);
            }
        }
    }

    /// Sends a stream's next report: `packets` and `octets` are what it has sent so far.
    pub fn send_next(&mut self, stream: usize, (packets, octets): (u64, u64), sink: &mut impl Sink) {
        let sender = &mut self.senders[stream];
        match sender.emit(packets as u32, octets as u32, sink.slot()) {
            Some(len) => {
                sink.commit(len, true);
                self.stats.rtcp_sent.add(1);
            }
            None => self.stats.not_built.add(1),
        }
    }
}

impl ReportSender {
    fn emit(&mut self, packets: u32, octets: u32, frame: &mut [u8]) -> Option<usize> {
        let number = self.next;
        self.next += 1;
        let info = SenderInfo {
            ntp: u64::from(number) << 32 | u64::from(self.id),
            rtp: RtpTime(number),
            packets,
            octets,
        };
        let packets = [
            Repr::SenderReport { ssrc: self.ssrc, info, reports: &[] },
            Repr::SourceDescription { ssrc: self.ssrc, cname: CNAME },
        ];
        let start = self.template.len();
        let mut len = emit_compound(&packets, frame.get_mut(start..)?).ok()?;
        if let Some(seal) = &mut self.seal {
            len += seal.trailer();
            seal.seal(frame.get_mut(start..start + len)?, number).ok()?;
        }
        Some(self.template.finish(frame, len))
    }
}

/// The receiving side of one stream's RTCP.
pub struct ReportReceiver {
    open: Option<RtcpInbound<AesGcmProvider>>,
    ssrc: Ssrc,
    id: u32,
    tracker: Tracker,
}

impl ReportReceiver {
    /// The receiver of what `stream`, whose media has `ssrc`, reports.
    pub fn new(stream: &StreamPlan<'_>, ssrc: Ssrc) -> Self {
        ReportReceiver {
            open: match &stream.receiver.protection {
                Protection::Plain => None,
                Protection::Srtp { local_keys, .. } => {
                    Some(RtcpInbound::new(local_keys.active(), ReplayWindowSize::default()))
                }
            },
            ssrc,
            id: stream.id,
            tracker: Tracker::new(),
        }
    }

    /// Opens and checks a UDP payload that is RTCP, and counts what it is.
    pub fn receive(&mut self, packet: &mut [u8], stats: &Stats) {
        let len = match &mut self.open {
            None => packet.len(),
            Some(open) => match open.open(packet) {
                Ok(opened) => opened.len,
                Err(OpenError::Replayed) => return stats.rtcp_duplicated.add(1),
                Err(_) => return stats.rtcp_failed.add(1),
            },
        };
        match packet.get(..len).and_then(|compound| self.number_of(compound)) {
            None => stats.rtcp_failed.add(1),
            Some(number) => match self.tracker.arrive(number) {
                Arrival::New | Arrival::Reordered => stats.rtcp_received.add(1),
                Arrival::Duplicate | Arrival::TooOld => stats.rtcp_duplicated.add(1),
            },
        }
    }

    /// The number of a report that is just as it was sent.
    fn number_of(&self, compound: &[u8]) -> Option<u64> {
        let compound = Compound::new_checked(compound, false).ok()?;
        let mut packets = compound.packets().map(|packet| Repr::parse(&packet));
        let report = packets.next().flatten();
        let description = packets.next().flatten();
        let is_whole = packets.next().is_none();
        match (report, description) {
            (
                Some(Repr::SenderReport { ssrc, info, reports: &[] }),
                Some(Repr::SourceDescription { ssrc: described, cname: CNAME }),
            ) if is_whole && ssrc == self.ssrc && described == self.ssrc && info.ntp as u32 == self.id => {
                let number = info.ntp >> 32;
                (u64::from(info.rtp.0) == number).then_some(number)
            }
            _ => None,
        }
    }
}

/// Where a leg's remote, whose RTP address is `remote`, sends RTCP from and to.
pub fn rtcp_ends(leg: &Leg, remote: SocketAddr) -> (SocketAddr, SocketAddr) {
    match leg.rtcp {
        RtcpPolicy::Mux => (remote, leg.local),
        RtcpPolicy::Separate { local, remote: rtcp } => {
            // RFC 3550 §11: the next higher port, unless something else was agreed.
            let next = SocketAddr::new(remote.ip(), remote.port().saturating_add(1));
            (rtcp.unwrap_or(next), local)
        }
    }
}
