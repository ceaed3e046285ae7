//! Frames that the host receives: what to answer, and what to learn.
//!
//! Everything comes from strangers. A frame changes at most the entry of a next hop that we chose ourselves,
//! and is answered at most once, to the station that sent it.

use std::net::{IpAddr, Ipv6Addr};

use super::neighbour::Claim;
use super::{FrameKind, Host, Outcome, is_group_of};
use crate::wire::{
    Error, EtherType, MacAddress, Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, vlan,
};

type Out<'a> = &'a mut dyn FnMut(&[u8]);

/// An IPv6 packet that carries ICMPv6, and the station that sent it.
struct Icmpv6<'a> {
    ip: ipv6::Packet<&'a [u8]>,
    message: icmpv6::Packet<&'a [u8]>,
    sender: MacAddress,
}

impl Host {
    /// Takes a received frame, Ethernet header first, and calls `out` with the answer if there is one.
    ///
    /// Answers ARP requests, neighbour solicitations and echo requests for our own addresses within the rate
    /// limits; learns from ARP and neighbour discovery about next hops that it was asked for. Whatever else
    /// comes is counted as ignored. No input makes it panic.
    pub fn receive(&mut self, now_ns: u64, frame: &[u8], out: &mut dyn FnMut(&[u8])) {
        let (kind, result) = self.dispatch(now_ns, frame, out);
        self.counters.count(kind, result.unwrap_or(Outcome::Malformed));
    }

    fn dispatch(&mut self, now_ns: u64, frame: &[u8], out: Out<'_>) -> (FrameKind, Result<Outcome, Error>) {
        let ignored = (FrameKind::Other, Ok(Outcome::Ignored));
        let ethernet = match ethernet::Frame::new_checked(frame) {
            Ok(ethernet) => ethernet,
            Err(error) => return (FrameKind::Other, Err(error)),
        };
        let (sender, destination) = (ethernet.source(), ethernet.destination());
        let is_for_us = destination == self.interface.mac || destination.is_multicast();
        // Our own frames come back from a loop or a mirror; they are no neighbour's.
        if !is_for_us || !sender.is_unicast() || sender == self.interface.mac {
            return ignored;
        }
        let Some((ethertype, packet)) = self.untag(ethernet) else {
            return ignored;
        };
        match ethertype {
            EtherType::ARP => (FrameKind::Arp, self.receive_arp(now_ns, packet, out)),
            EtherType::IPV4 => match ipv4::Packet::new_checked(packet) {
                Ok(ip) if ip.protocol() == Protocol::ICMP => {
                    (FrameKind::Icmp, self.receive_icmp(now_ns, ip, sender, out))
                }
                Ok(_) => ignored,
                Err(error) => (FrameKind::Other, Err(error)),
            },
            EtherType::IPV6 => self.receive_ipv6(now_ns, packet, sender, out),
            _ => ignored,
        }
    }

    /// The EtherType and payload behind our VLAN's tag, or of an untagged frame if we have no VLAN.
    fn untag<'a>(&self, ethernet: ethernet::Frame<&'a [u8]>) -> Option<(EtherType, &'a [u8])> {
        let Some(vlan_id) = self.interface.vlan else {
            return Some((ethernet.ethertype(), ethernet.into_payload()));
        };
        if ethernet.ethertype() != EtherType::VLAN {
            return None;
        }
        let tag = vlan::Tag::new_checked(ethernet.into_payload()).ok()?;
        (tag.vlan_id() == vlan_id).then(|| (tag.ethertype(), tag.into_payload()))
    }

    fn receive_arp(&mut self, now_ns: u64, packet: &[u8], out: Out<'_>) -> Result<Outcome, Error> {
        let arp = arp::Repr::parse(&arp::Packet::new_checked(packet)?)?;
        if arp.sender_mac == self.interface.mac {
            return Ok(Outcome::Ignored);
        }
        let sender = IpAddr::V4(arp.sender_address);
        if self.is_own(sender) {
            self.conflict(sender, arp.sender_mac, now_ns);
            return Ok(Outcome::Ignored);
        }
        let is_to_us = self.is_own(IpAddr::V4(arp.target_address));
        // RFC 826's merge: a sender in the table is brought up to date whatever the packet is, and nobody is
        // added. A reply confirms only while we ask.
        let learned = self.neighbours.find(sender).is_some_and(|id| {
            let is_answer =
                arp.operation == arp::Operation::Reply && is_to_us && self.neighbours.is_asking(id, now_ns);
            let claim = Claim { mac: Some(arp.sender_mac), solicited: is_answer, overrides: true };
            self.neighbours.claim(id, claim, now_ns)
        });
        if arp.operation != arp::Operation::Request || !is_to_us {
            return Ok(if learned { Outcome::Learned } else { Outcome::Ignored });
        }
        // A probe has no sender address yet and is answered like any request (RFC 5227 §2.1.1).
        if !arp.sender_address.is_unspecified() && !self.is_plausible_source(sender) {
            return Ok(Outcome::Ignored);
        }
        if !self.limits.arp.take(now_ns) {
            return Ok(Outcome::Limited);
        }
        Ok(send(self.composer.arp_reply(&arp), out))
    }

    fn receive_icmp(
        &mut self,
        now_ns: u64,
        ip: ipv4::Packet<&[u8]>,
        sender: MacAddress,
        out: Out<'_>,
    ) -> Result<Outcome, Error> {
        let header = ipv4::Repr::parse(&ip)?;
        // No answer to broadcast or multicast, neither to such a source (RFC 1122 §3.2.2.6).
        if !self.is_own(header.destination.into()) || !self.is_plausible_source(header.source.into()) {
            return Ok(Outcome::Ignored);
        }
        let message = icmpv4::Packet::new_checked(ip.into_payload())?;
        let reply = match icmpv4::Repr::parse(&message) {
            Ok(icmpv4::Repr::EchoRequest { identifier, sequence_number, data }) => {
                icmpv4::Repr::EchoReply { identifier, sequence_number, data }
            }
            Ok(icmpv4::Repr::EchoReply { .. }) | Err(Error::Unsupported { .. }) => {
                return Ok(Outcome::Ignored);
            }
            Err(error) => return Err(error),
        };
        if !self.limits.icmp.take(now_ns) {
            return Ok(Outcome::Limited);
        }
        Ok(send(self.composer.icmpv4(sender, header.destination, header.source, reply), out))
    }

    fn receive_ipv6(
        &mut self,
        now_ns: u64,
        packet: &[u8],
        sender: MacAddress,
        out: Out<'_>,
    ) -> (FrameKind, Result<Outcome, Error>) {
        let ip = match ipv6::Packet::new_checked(packet) {
            Ok(ip) if ip.next_header() == Protocol::ICMPV6 => ip,
            Ok(_) => return (FrameKind::Other, Ok(Outcome::Ignored)),
            Err(error) => return (FrameKind::Other, Err(error)),
        };
        let message = match icmpv6::Packet::new_checked(ip.into_payload()) {
            Ok(message) => message,
            Err(error) => return (FrameKind::Icmpv6, Err(error)),
        };
        let packet = Icmpv6 { ip, message, sender };
        if ndp::is_ndp(&message) {
            (FrameKind::Ndp, self.receive_ndp(now_ns, packet, out))
        } else {
            (FrameKind::Icmpv6, self.receive_icmpv6(now_ns, packet, out))
        }
    }

    fn receive_icmpv6(&mut self, now_ns: u64, packet: Icmpv6<'_>, out: Out<'_>) -> Result<Outcome, Error> {
        let (source, destination) = (packet.ip.source(), packet.ip.destination());
        if !self.is_own(destination.into()) || !self.is_plausible_source(source.into()) {
            return Ok(Outcome::Ignored);
        }
        let pseudo = icmpv6::pseudo_header(source, destination);
        let reply = match icmpv6::Repr::parse(&packet.message, pseudo) {
            Ok(icmpv6::Repr::EchoRequest { identifier, sequence_number, data }) => {
                icmpv6::Repr::EchoReply { identifier, sequence_number, data }
            }
            Ok(icmpv6::Repr::EchoReply { .. }) | Err(Error::Unsupported { .. }) => {
                return Ok(Outcome::Ignored);
            }
            Err(error) => return Err(error),
        };
        if !self.limits.icmpv6.take(now_ns) {
            return Ok(Outcome::Limited);
        }
        Ok(send(self.composer.icmpv6(packet.sender, destination, source, reply), out))
    }

    fn receive_ndp(&mut self, now_ns: u64, packet: Icmpv6<'_>, out: Out<'_>) -> Result<Outcome, Error> {
        let (source, destination) = (packet.ip.source(), packet.ip.destination());
        if !self.is_member(destination) {
            return Ok(Outcome::Ignored);
        }
        let hop_limit = packet.ip.hop_limit();
        let Ok(message) = ndp::parse(&packet.message, source, destination, hop_limit) else {
            return Ok(Outcome::Malformed);
        };
        match message {
            ndp::Repr::Solicitation { target, source_mac } => {
                Ok(self.receive_solicitation(now_ns, &packet, target, source_mac, out))
            }
            ndp::Repr::Advertisement { target, target_mac, solicited, overrides, .. } => {
                let claim = Claim { mac: target_mac, solicited, overrides };
                Ok(self.receive_advertisement(now_ns, packet.sender, target.into(), claim))
            }
        }
    }

    fn receive_solicitation(
        &mut self,
        now_ns: u64,
        packet: &Icmpv6<'_>,
        target: Ipv6Addr,
        source_mac: Option<MacAddress>,
        out: Out<'_>,
    ) -> Outcome {
        let source = packet.ip.source();
        let source_mac = source_mac.filter(|mac| mac.is_unicast() && *mac != self.interface.mac);
        if self.is_own(source.into()) {
            self.conflict(source.into(), source_mac.unwrap_or(packet.sender), now_ns);
            return Outcome::Ignored;
        }
        // The source's own address is news about it, though no confirmation (RFC 4861 §7.2.3).
        let learned = source_mac.is_some()
            && self.neighbours.find(source.into()).is_some_and(|id| {
                self.neighbours.claim(
                    id,
                    Claim { mac: source_mac, solicited: false, overrides: true },
                    now_ns,
                )
            });
        let is_probe = source.is_unspecified();
        if !self.is_own(target.into()) || !is_probe && !self.is_plausible_source(source.into()) {
            return if learned { Outcome::Learned } else { Outcome::Ignored };
        }
        if !self.limits.ndp.take(now_ns) {
            return Outcome::Limited;
        }
        let asker = (!is_probe).then(|| (source, source_mac.unwrap_or(packet.sender)));
        send(self.composer.neighbour_advertisement(target, asker), out)
    }

    fn receive_advertisement(
        &mut self,
        now_ns: u64,
        sender: MacAddress,
        target: IpAddr,
        claim: Claim,
    ) -> Outcome {
        // A group address, or our own, is no neighbour's: sending there would loop or flood.
        if claim.mac.is_some_and(|mac| !mac.is_unicast() || mac == self.interface.mac) {
            return Outcome::Ignored;
        }
        if self.is_own(target) {
            self.conflict(target, claim.mac.unwrap_or(sender), now_ns);
            return Outcome::Ignored;
        }
        let learned = self.neighbours.find(target).is_some_and(|id| {
            // "Solicited" is the sender's word; it confirms only while we ask, or a flood of it would keep a
            // false entry from ever being probed.
            let solicited = claim.solicited && self.neighbours.is_asking(id, now_ns);
            self.neighbours.claim(id, Claim { solicited, ..claim }, now_ns)
        });
        if learned { Outcome::Learned } else { Outcome::Ignored }
    }

    /// Whether an IPv6 destination is ours: an own address or a group that it makes us a member of.
    fn is_member(&self, destination: Ipv6Addr) -> bool {
        self.own.iter().any(|own| match own.net.address() {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address == destination || is_group_of(destination, address),
        })
    }
}

/// Sends an answer; one that does not fit the MTU is not given.
fn send(frame: Option<&[u8]>, out: Out<'_>) -> Outcome {
    match frame {
        Some(frame) => {
            out(frame);
            Outcome::Answered
        }
        None => Outcome::Ignored,
    }
}
