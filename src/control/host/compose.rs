//! Frames that the host sends, written into one buffer that is made once.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::{
    Error, EtherType, MacAddress, Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, vlan,
};

/// The shortest Ethernet frame without its check sequence (IEEE 802.3 §3.2.7); not every port pads to it.
const MIN_FRAME_LEN: usize = 60;
const DEFAULT_TTL: u8 = 64;

/// Writes frames with our MAC address and VLAN tag. Each method returns the frame, or none if it is longer
/// than the MTU allows.
#[derive(Debug)]
pub(super) struct Composer {
    mac: MacAddress,
    vlan: Option<u16>,
    buffer: Box<[u8]>,
}

impl Composer {
    pub(super) fn new(mac: MacAddress, vlan: Option<u16>, mtu: u16) -> Self {
        let longest = ethernet::HEADER_LEN + vlan.map_or(0, |_| vlan::HEADER_LEN) + usize::from(mtu);
        Composer { mac, vlan, buffer: vec![0; longest.max(MIN_FRAME_LEN)].into() }
    }

    /// "Who has `target`?", to everybody or, as a probe, to `mac` only (RFC 1122 §2.3.2.1).
    pub(super) fn arp_request(
        &mut self,
        source: Ipv4Addr,
        target: Ipv4Addr,
        mac: Option<MacAddress>,
    ) -> Option<&[u8]> {
        let repr = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: self.mac,
            sender_address: source,
            target_mac: MacAddress::UNSPECIFIED,
            target_address: target,
        };
        self.arp(mac.unwrap_or(MacAddress::BROADCAST), repr)
    }

    /// The answer to a request.
    pub(super) fn arp_reply(&mut self, request: &arp::Repr) -> Option<&[u8]> {
        let repr = arp::Repr {
            operation: arp::Operation::Reply,
            sender_mac: self.mac,
            sender_address: request.target_address,
            target_mac: request.sender_mac,
            target_address: request.sender_address,
        };
        self.arp(request.sender_mac, repr)
    }

    /// "`address` is mine", in the request form (RFC 5227 §3).
    pub(super) fn gratuitous_arp(&mut self, address: Ipv4Addr) -> Option<&[u8]> {
        self.arp_request(address, address, None)
    }

    /// "Who has `target`?", to its solicited-node group or, as a probe, to `mac` only.
    pub(super) fn neighbour_solicitation(
        &mut self,
        source: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddress>,
    ) -> Option<&[u8]> {
        let group = ipv6::solicited_node(target);
        let (destination, mac) = match mac {
            Some(mac) => (target, mac),
            None => (group, MacAddress::of_ipv6_group(group)),
        };
        let repr = ndp::Repr::Solicitation { target, source_mac: Some(self.mac) };
        self.ndp(mac, source, destination, repr)
    }

    /// The answer to a solicitation; to everybody if the asker had no address yet (RFC 4861 §7.2.4).
    pub(super) fn neighbour_advertisement(
        &mut self,
        target: Ipv6Addr,
        asker: Option<(Ipv6Addr, MacAddress)>,
    ) -> Option<&[u8]> {
        let all_nodes = (ipv6::ALL_NODES, MacAddress::of_ipv6_group(ipv6::ALL_NODES));
        let (destination, mac) = asker.unwrap_or(all_nodes);
        let repr = ndp::Repr::Advertisement {
            router: false,
            solicited: asker.is_some(),
            overrides: true,
            target,
            target_mac: Some(self.mac),
        };
        self.ndp(mac, target, destination, repr)
    }

    /// "`address` is mine", to everybody (RFC 4861 §7.2.6).
    pub(super) fn unsolicited_advertisement(&mut self, address: Ipv6Addr) -> Option<&[u8]> {
        self.neighbour_advertisement(address, None)
    }

    /// An ICMP message from our address `source`.
    pub(super) fn icmpv4(
        &mut self,
        mac: MacAddress,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        message: icmpv4::Repr<'_>,
    ) -> Option<&[u8]> {
        let header = ipv4::Repr {
            source,
            destination,
            protocol: Protocol::ICMP,
            ttl: DEFAULT_TTL,
            dscp: 0,
            payload_len: message.buffer_len(),
        };
        self.frame(mac, EtherType::IPV4, header.buffer_len(), |bytes| {
            let mut packet = header.emit(bytes)?;
            message.emit(packet.payload_mut()).map(|_| ())
        })
    }

    /// An ICMPv6 message from our address `source`.
    pub(super) fn icmpv6(
        &mut self,
        mac: MacAddress,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: icmpv6::Repr<'_>,
    ) -> Option<&[u8]> {
        let header = icmpv6_header(source, destination, DEFAULT_TTL, message.buffer_len());
        self.frame(mac, EtherType::IPV6, header.buffer_len(), |bytes| {
            let mut packet = header.emit(bytes)?;
            message.emit(packet.payload_mut(), icmpv6::pseudo_header(source, destination)).map(|_| ())
        })
    }

    fn ndp(
        &mut self,
        mac: MacAddress,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        message: ndp::Repr,
    ) -> Option<&[u8]> {
        let header = icmpv6_header(source, destination, ndp::HOP_LIMIT, message.buffer_len());
        self.frame(mac, EtherType::IPV6, header.buffer_len(), |bytes| {
            let mut packet = header.emit(bytes)?;
            message.emit(packet.payload_mut(), icmpv6::pseudo_header(source, destination)).map(|_| ())
        })
    }

    fn arp(&mut self, destination: MacAddress, repr: arp::Repr) -> Option<&[u8]> {
        self.frame(destination, EtherType::ARP, repr.buffer_len(), |bytes| repr.emit(bytes).map(|_| ()))
    }

    fn frame(
        &mut self,
        destination: MacAddress,
        ethertype: EtherType,
        payload_len: usize,
        write_payload: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Option<&[u8]> {
        let tag_len = self.vlan.map_or(0, |_| vlan::HEADER_LEN);
        let written = ethernet::HEADER_LEN + tag_len + payload_len;
        let frame = self.buffer.get_mut(..written.max(MIN_FRAME_LEN))?;
        // Padding must not carry what an earlier frame left behind.
        frame.get_mut(written..)?.fill(0);
        let outer = if self.vlan.is_some() { EtherType::VLAN } else { ethertype };
        let header = ethernet::Repr { destination, source: self.mac, ethertype: outer };
        let mut view = header.emit(frame).ok()?;
        let mut payload = view.payload_mut();
        if let Some(vlan_id) = self.vlan {
            let tag = vlan::Repr { priority: 0, drop_eligible: false, vlan_id, ethertype };
            tag.emit(payload).ok()?;
            payload = payload.get_mut(tag_len..)?;
        }
        write_payload(payload.get_mut(..payload_len)?).ok()?;
        Some(frame)
    }
}

fn icmpv6_header(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, payload_len: usize) -> ipv6::Repr {
    ipv6::Repr {
        source,
        destination,
        next_header: Protocol::ICMPV6,
        hop_limit,
        traffic_class: 0,
        payload_len,
    }
}
