//! Opened packets as a packet capture: pcapng with Ethernet, IP and UDP headers made up from the leg's addresses, so that
//! what reads captures reads this one.
//!
//! Each leg is an interface, and each packet is an incoming one on the leg that sent it: from the leg's remote to its
//! local address. The MAC addresses are made up and say nothing.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::record::Leg;
use crate::session::{Egress, EgressPort, NextHop};
use crate::wire::MacAddress;

/// `if_tsresol`: nanoseconds, which is what the crate writes.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: an inbound packet.
const INBOUND: u32 = 1;
const SNAP_LEN: u32 = 65_535;
/// Octets of a packet's block besides the packet, at most: the block's fields, its options, Ethernet, IPv6 and UDP headers,
/// padding.
const BLOCK: u64 = 32 + 12 + 14 + 40 + 8 + 3;

/// A packet that `leg` sent from `remote` to `local`, at `unix_ns`.
pub(super) struct Captured<'p> {
    pub(super) leg: Leg,
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) unix_ns: u64,
    pub(super) packet: &'p [u8],
}

/// Encodes a capture; the octets are [taken](Capture::take) and written by somebody else.
pub(super) struct Capture {
    writer: PcapNgWriter<Vec<u8>>,
    /// Octets taken so far.
    taken: u64,
}

impl Capture {
    /// A capture of session `id`.
    pub(super) fn new(id: &str) -> Result<Self, PcapError> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::Comment(Cow::Owned(format!("opened media of session {id}"))),
                SectionHeaderOption::UserApplication(Cow::Borrowed(concat!(
                    "voxlane ",
                    env!("CARGO_PKG_VERSION")
                ))),
            ],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
        for leg in [Leg::A, Leg::B] {
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: SNAP_LEN,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(format!("leg {}", leg.label()))),
                    InterfaceDescriptionOption::IfDescription(Cow::Owned(format!("session {id}"))),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            writer.write_pcapng_block(interface)?;
        }
        Ok(Capture { writer, taken: 0 })
    }

    /// Octets that the capture has at most with another packet.
    pub(super) fn len_with(&self, captured: &Captured<'_>) -> u64 {
        self.taken + self.writer.get_ref().len() as u64 + BLOCK + captured.packet.len() as u64
    }

    /// Adds a packet.
    pub(super) fn packet(&mut self, captured: &Captured<'_>) -> Result<(), PcapError> {
        let &Captured { leg, local, remote, unix_ns, packet } = captured;
        let data = datagram(local, remote, leg, packet);
        let block = EnhancedPacketBlock {
            interface_id: leg.index() as u32,
            timestamp: Duration::from_nanos(unix_ns),
            original_len: data.len() as u32,
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Flags(INBOUND)],
        };
        self.writer.write_pcapng_block(block).map(|_| ())
    }

    /// What was encoded since the last call.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        let octets = self.writer.get_mut();
        self.taken += octets.len() as u64;
        out.append(octets);
    }
}

fn datagram(local: SocketAddr, remote: Option<SocketAddr>, leg: Leg, payload: &[u8]) -> Vec<u8> {
    // A remote that is not known yet, or of another family than it can be, is the unspecified address.
    let nobody = || match local {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    };
    let from = remote.filter(|remote| remote.is_ipv4() == local.is_ipv4()).unwrap_or_else(nobody);
    let port = EgressPort {
        index: 0,
        mac: MacAddress([2, 0, 0, 0, 1, leg.index() as u8]),
        vlan: None,
        mtu: u16::MAX,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    };
    let egress = Egress::new(port, from, local, NextHop(0));
    let mut frame = vec![0; egress.headers_len() + payload.len()];
    let headers = egress.headers_len();
    frame[headers..].copy_from_slice(payload);
    egress.write_headers(&mut frame, [2, 0, 0, 0, 0, leg.index() as u8]);
    frame
}
