//! The validated configuration: what the rest of the gateway is allowed to see.
//!
//! Values of these types come from [`Config::load`](super::Config::load) (or, for tests and the load
//! generator, from [`generate_sessions`](super::generate_sessions)). They are never changed after that.
//! Every rule of `docs/configuration.md` holds for them, so nobody downstream checks again: a leg's port
//! index is in range, local addresses are unique, key material has the length its suite asks for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::dpdk::lockdown;
use crate::srtp::{MasterKeys, ReplayWindowSize, Suite};
use crate::wire::{IpNet, MacAddress};

/// The whole configuration of one gateway process.
///
/// `Debug` prints no key material: keys redact themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`: the process's identity.
    pub gateway: Gateway,
    /// `[memory]`: what is taken at start.
    pub memory: Memory,
    /// `[cores]`: where threads run.
    pub cores: Cores,
    /// `[worker]`: how workers run.
    pub worker: Worker,
    /// `[metrics]`: the Prometheus endpoint.
    pub metrics: Metrics,
    /// `[host]`: limits of the host function (ARP, ND, ICMP) and of punting.
    pub host: HostLimits,
    /// `[[port]]`: never empty; a leg's [`Leg::port`] indexes this.
    pub ports: Vec<Port>,
    /// `[srtp]`: what holds for every stream.
    pub srtp: Srtp,
    /// `[[session]]` in file order, then the sessions file in line order; may be empty.
    pub sessions: Vec<Session>,
}

/// `[gateway]`: who this process is on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// EAL file prefix and lock name: 1 to 32 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Where reserved packet-index ranges are kept over a restart; `None` if switched off by `"none"`.
    pub state_directory: Option<PathBuf>,
}

/// `[memory]`: memory taken at start; nothing grows afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Hugepage memory EAL takes, in MiB.
    pub hugepages_mib: u32,
    /// Number of mbufs in the buffer pool.
    pub buffers: u32,
}

/// `[cores]`: CPU numbers as the kernel counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// Cores of the control and metrics threads; never empty.
    pub control: Vec<u16>,
    /// One worker runs on each; never empty, distinct.
    pub workers: Vec<u16>,
    /// `true` if the operator allowed a core to be both a worker's and the control threads'.
    pub allow_shared: bool,
}

/// `[worker]`: how workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Whether workers lock themselves out of the kernel once they have warmed up; then all ports are kernel-free.
    pub lockdown: bool,
}

/// `[metrics]`: the Prometheus endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Address to serve `/metrics` on; `None` if switched off by `"none"`.
    pub listen: Option<SocketAddr>,
}

/// `[host]`: token-bucket rates, per second and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// ARP and neighbour-discovery packets answered per second.
    pub arp_per_second: u32,
    /// ICMP and ICMPv6 echo requests answered per second.
    pub icmp_per_second: u32,
    /// Packets handed to the control thread per second.
    pub punt_per_second: u32,
}

/// `[srtp]`: settings common to all streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Srtp {
    /// Replay window in packets (RFC 3711 §3.3.2).
    pub replay_window: ReplayWindowSize,
}

/// `[[port]]`: one DPDK ethdev port and the host addresses on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The operator's name for it, unique; a metric label.
    pub name: String,
    /// What EAL attaches.
    pub device: Device,
    /// Own addresses with their prefixes; at least one; unique, and subnets of two ports never overlap.
    pub addresses: Vec<IpNet>,
    /// At most one per family, each on-link in one of `addresses`.
    pub gateways: Vec<IpAddr>,
    /// 802.1Q tag of all traffic of the port, 1 to 4094; `None` for untagged.
    pub vlan: Option<u16>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// RX descriptors per queue, a power of two.
    pub rx_descriptors: u16,
    /// TX descriptors per queue, a power of two.
    pub tx_descriptors: u16,
    /// Unicast address to use in place of the device's own.
    pub mac: Option<MacAddress>,
    /// Whether the device takes in frames for other MAC addresses.
    pub promiscuous: bool,
    /// Whether UDP over IPv4 carries a checksum (it always does over IPv6, RFC 8200 §8.1).
    pub udp_checksum: bool,
}

/// What EAL attaches for a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Device {
    /// A PCI address with its domain, in lower case: `0000:01:00.0`.
    Pci(String),
    /// A virtual device with its arguments: `net_memif0,role=server,id=0`.
    Virtual(String),
}

impl Device {
    /// Whether polling the device never enters the kernel: PCI devices, and the virtual ones that are known for it.
    pub fn is_kernel_free(&self) -> bool {
        match self {
            Device::Pci(_) => true,
            Device::Virtual(devargs) => lockdown::is_kernel_free(devargs),
        }
    }
}

/// One call: two legs joined by the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The operator's name for it, unique; 1 to 64 printable characters.
    pub id: String,
    /// One side.
    pub a: Leg,
    /// The other side.
    pub b: Leg,
}

/// One side of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    /// Index into [`Config::ports`]: the port that owns the address of `local`.
    pub port: usize,
    /// Where the gateway receives RTP and sends it from (symmetric RTP, RFC 4961).
    pub local: SocketAddr,
    /// Where the other end is; `None` until it is learned. Same family as `local`.
    pub remote: Option<SocketAddr>,
    /// What decides the remote address.
    pub remote_policy: RemotePolicy,
    /// Where RTCP goes.
    pub rtcp: RtcpPolicy,
    /// Plain or sealed, with the keys.
    pub protection: Protection,
    /// RTP payload types accepted from this leg.
    pub payload_types: PayloadTypes,
    /// Whether RTCP packets need not start with SR or RR (RFC 5506).
    pub reduced_size_rtcp: bool,
}

/// What decides a leg's remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemotePolicy {
    /// The configured one, for ever: packets from elsewhere are dropped.
    Pinned,
    /// The source of the latest packet that authenticated; the configured one, if any, until then.
    Learn,
}

/// Where a leg's RTCP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RtcpPolicy {
    /// On the RTP ports (RFC 5761).
    Mux,
    /// On ports of its own (RFC 3550 §11).
    Separate {
        /// Where the gateway receives RTCP and sends it from; the address of [`Leg::local`].
        local: SocketAddr,
        /// Where the other end takes RTCP; `None` until it is learned.
        remote: Option<SocketAddr>,
    },
}

/// How a leg's packets are protected.
#[derive(Debug, Clone, PartialEq)]
pub enum Protection {
    /// Plain RTP and RTCP, by the operator's explicit `suite = "none"`.
    Plain,
    /// SRTP and SRTCP; all keys are of one suite.
    Srtp {
        /// The keys the remote seals with: the gateway opens with whichever a packet names.
        remote_keys: MasterKeys,
        /// The keys of the gateway, which seals with the active one; no other leg of the configuration has
        /// any of them.
        local_keys: MasterKeys,
    },
}

/// A set of RTP payload types (0 to 127), one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadTypes(u128);

/// First payload type that looks like an RTCP packet type when muxed (RFC 5761 §4).
const RTCP_CONFLICT_FIRST: u8 = 64;
/// Last payload type that looks like an RTCP packet type when muxed (RFC 5761 §4).
const RTCP_CONFLICT_LAST: u8 = 95;

impl Config {
    /// Number of legs' worth of sockets: what a flat stream index must hold, counting RTCP ports of their own.
    pub fn local_endpoints(&self) -> usize {
        self.sessions
            .iter()
            .flat_map(|session| [&session.a, &session.b])
            .map(|leg| match leg.rtcp {
                RtcpPolicy::Mux => 1,
                RtcpPolicy::Separate { .. } => 2,
            })
            .sum()
    }
}

impl Device {
    /// The name EAL knows the device by: the PCI address, or `net_memif0` without its arguments.
    pub fn name(&self) -> &str {
        match self {
            Self::Pci(address) => address,
            Self::Virtual(devargs) => devargs.split(',').next().unwrap_or(devargs),
        }
    }

    /// The whole text for EAL's `--allow` or `--vdev`.
    pub fn devargs(&self) -> &str {
        match self {
            Self::Pci(text) | Self::Virtual(text) => text,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.devargs())
    }
}

impl Protection {
    /// The suite, or `None` for a plain leg.
    pub fn suite(&self) -> Option<Suite> {
        match self {
            Self::Plain => None,
            Self::Srtp { local_keys, .. } => Some(local_keys.suite()),
        }
    }

    /// Most octets that protection adds to an RTP packet in either direction: tag and MKI.
    pub fn rtp_trailer(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Srtp { remote_keys, local_keys } => {
                let trailer = |keys: &MasterKeys| keys.suite().rtp_tag_len() + keys.mki_len();
                trailer(remote_keys).max(trailer(local_keys))
            }
        }
    }

    /// Whether packets of the leg are sealed.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Srtp { .. })
    }
}

impl PayloadTypes {
    /// No payload type at all.
    pub const NONE: Self = Self(0);

    /// Every type that cannot be taken for RTCP on a muxed port: 0 to 63 and 96 to 127 (RFC 5761 §4).
    pub const ALL_BUT_RTCP: Self = Self(!(0xffff_ffff << RTCP_CONFLICT_FIRST));

    /// Whether `payload_type` (7 bits; others are never contained) is in the set.
    #[inline]
    pub const fn contains(self, payload_type: u8) -> bool {
        payload_type < 128 && self.0 >> payload_type & 1 == 1
    }

    /// The set with `payload_type` (7 bits; others are ignored) added.
    #[must_use]
    pub const fn with(self, payload_type: u8) -> Self {
        if payload_type < 128 { Self(self.0 | 1 << payload_type) } else { self }
    }

    /// The bitmap: bit `n` stands for payload type `n`.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |&payload_type| self.contains(payload_type))
    }

    /// Whether a muxed leg would take RTP of this type for RTCP (RFC 5761 §4).
    pub const fn conflicts_with_rtcp(payload_type: u8) -> bool {
        matches!(payload_type, RTCP_CONFLICT_FIRST..=RTCP_CONFLICT_LAST)
    }
}

impl FromIterator<u8> for PayloadTypes {
    fn from_iter<I: IntoIterator<Item = u8>>(types: I) -> Self {
        types.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for PayloadTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL_BUT_RTCP {
            return f.write_str("PayloadTypes(all but 64..=95)");
        }
        f.write_str("PayloadTypes")?;
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_hold_what_was_put_in() {
        let types: PayloadTypes = [0, 96, 127].into_iter().collect();
        assert_eq!(types.iter().collect::<Vec<_>>(), [0, 96, 127]);
        assert!(types.contains(96) && !types.contains(95) && !types.contains(128) && !types.contains(255));
        assert_eq!(types.with(200), types);
        assert_eq!(format!("{types:?}"), "PayloadTypes{0, 96, 127}");
    }

    #[test]
    fn default_payload_types_are_all_that_rtcp_cannot_be_taken_for() {
        for payload_type in 0..=255_u8 {
            let expected = payload_type < 128 && !PayloadTypes::conflicts_with_rtcp(payload_type);
            assert_eq!(PayloadTypes::ALL_BUT_RTCP.contains(payload_type), expected, "{payload_type}");
        }
        // RTCP packet types 192 to 223 lose their top bit to the marker: 64 to 95.
        assert!((192..=223_u8).all(|packet_type| PayloadTypes::conflicts_with_rtcp(packet_type & 0x7f)));
    }

    #[test]
    fn device_name_is_the_part_before_the_arguments() {
        let memif = Device::Virtual("net_memif0,role=server,id=0".into());
        assert_eq!((memif.name(), memif.devargs()), ("net_memif0", "net_memif0,role=server,id=0"));
        assert_eq!(Device::Pci("0000:01:00.0".into()).name(), "0000:01:00.0");
    }
}
