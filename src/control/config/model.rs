//! The validated configuration: what the rest of the gateway is allowed to see.
//!
//! Values of these types come from [`Config::load`](super::Config::load) (or, for tests and the load
//! generator, from [`generate_sessions`](super::generate_sessions)). They are never changed after that.
//! Every rule of `docs/configuration.md` holds for them, so nobody downstream checks again: a leg's port
//! index is in range, local addresses are unique, key material has the length its suite asks for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::codec::telephone_event::{DTMF, Events};
use crate::dpdk::frame_pool::BUCKETS;
use crate::dpdk::{FrameBucket, lockdown};
use crate::reframe::AacConfig;
use crate::session::{Codec, Strictness};
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
    /// `[tap]`: where opened media is written; `None` where no session can be tapped.
    pub tap: Option<Tap>,
    /// `[host]`: limits of the host function (ARP, ND, ICMP) and of punting.
    pub host: HostLimits,
    /// `[[port]]`: never empty; a leg's [`Leg::port`] indexes this.
    pub ports: Vec<Port>,
    /// `[srtp]`: what holds for every stream.
    pub srtp: Srtp,
    /// `[sessions]`: limits and defaults.
    pub limits: Sessions,
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
    /// Frames that the gateway makes itself, for each thread that makes some; sizes rise.
    pub frame_buckets: [FrameBucket; BUCKETS],
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

/// `[tap]`: where opened media of tapped sessions is written, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Where files are made; for the gateway's user alone.
    pub directory: PathBuf,
    /// Whether captures are written.
    pub pcapng: bool,
    /// Whether audio files are written.
    pub audio: bool,
    /// Largest file, in MiB.
    pub max_file_mib: u32,
    /// All files in the directory together, in MiB.
    pub max_total_mib: u32,
    /// Files in the directory.
    pub max_files: u32,
    /// What stays free on the disk, in MiB.
    pub min_free_mib: u32,
    /// Blocks of 64 KiB between each worker and the recorder.
    pub blocks: u32,
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
    /// What becomes of packets that break the rules of framing and codec.
    pub strictness: Strictness,
    /// When it ends by itself.
    pub timeouts: Timeouts,
    /// Whether its opened packets are written to disk by the media tap; only with `[tap]`.
    pub tap: bool,
}

/// When a session ends by itself, in seconds; `None`: never for this reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Without an authentic packet from either leg.
    pub idle_s: Option<u32>,
    /// After it was added.
    pub max_lifetime_s: Option<u32>,
    /// After it was added, unless a packet has authenticated and both remotes are known.
    pub setup_s: Option<u32>,
}

/// `[sessions]`: how many there may be, and what holds for those that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Places for sessions, over all workers.
    pub capacity: u32,
    /// When a session ends by itself.
    pub timeouts: Timeouts,
    /// For how many seconds a local port rests after its session has ended.
    pub port_rest_s: u32,
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
    /// What is known of them beyond their numbers, and of header extensions; `None` if nothing is.
    pub negotiated: Option<Box<Negotiated>>,
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
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every leg is sealed, and a box more would cost each of them"
)]
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

/// What a leg negotiated beyond the numbers of its payload types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// Payload types with a codec, which packets are held against; others are not looked into. At most
    /// [`Profile::MAX_RULES`](crate::session::Profile::MAX_RULES).
    pub formats: Vec<PayloadFormat>,
    /// The events that telephone-event may carry.
    pub events: Events,
    /// Header extensions that are taken from this leg, each with its identifier on the other one, in ascending order;
    /// `None` lets all pass.
    pub extensions: Option<Vec<(u8, u8)>>,
}

/// What the packets of one payload type hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadFormat {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// 1 to 8.
    pub channels: u8,
    /// How long a packet plays, if that was agreed.
    pub ptime: Option<Ptime>,
    /// How long an access unit plays in ticks of the clock, of AAC; else 0.
    pub unit_ticks: u16,
    /// What `config` says of AAC that ADTS can say, too; [`AacConfig::NONE`] where it is not given, [`AacConfig::FOREIGN`]
    /// where ADTS cannot say it.
    pub aac: AacConfig,
}

/// The shortest and the longest time that a packet may play, in tenths of a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ptime {
    /// The shortest.
    pub min: u16,
    /// The longest, at most [`MAX_PTIME`].
    pub max: u16,
}

/// The longest time that a packet may play, in tenths of a millisecond.
pub const MAX_PTIME: u16 = 2_400;

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

impl Default for Negotiated {
    fn default() -> Self {
        Negotiated { formats: Vec::new(), events: DTMF, extensions: None }
    }
}

impl Negotiated {
    /// What `types` alone say: the static ones of RFC 3551 have their codec.
    pub fn of_types(types: PayloadTypes) -> Option<Box<Self>> {
        let formats: Vec<_> = types.iter().filter_map(PayloadFormat::of_static).collect();
        (!formats.is_empty()).then(|| Box::new(Negotiated { formats, ..Negotiated::default() }))
    }
}

impl PayloadFormat {
    /// The format of a static payload type (RFC 3551 §6, RFC 3389 §4); `None` if the type has none or one that the gate
    /// does not know.
    pub const fn of_static(payload_type: u8) -> Option<Self> {
        let (codec, clock_rate, channels) = match payload_type {
            0 => (Codec::Pcmu, 8_000, 1),
            8 => (Codec::Pcma, 8_000, 1),
            9 => (Codec::G722, 8_000, 1),
            10 => (Codec::L16, 44_100, 2),
            11 => (Codec::L16, 44_100, 1),
            13 => (Codec::ComfortNoise, 8_000, 1),
            _ => return None,
        };
        let (ptime, unit_ticks, aac) = (None, 0, AacConfig::NONE);
        Some(PayloadFormat { payload_type, codec, clock_rate, channels, ptime, unit_ticks, aac })
    }

    /// A type of which only the number is known.
    pub const fn unchecked(payload_type: u8) -> Self {
        PayloadFormat {
            payload_type,
            codec: Codec::Any,
            clock_rate: 0,
            channels: 1,
            ptime: None,
            unit_ticks: 0,
            aac: AacConfig::NONE,
        }
    }
}

impl Ptime {
    /// `20`, `2.5`, `10..60`: milliseconds, with at most one decimal.
    pub fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let [min, max] = [min, max].map(|part| {
            let (whole, tenth) = part.split_once('.').unwrap_or((part, "0"));
            let tenth = Some(tenth).filter(|tenth| tenth.len() == 1)?.parse::<u16>().ok()?;
            whole.parse::<u16>().ok()?.checked_mul(10)?.checked_add(tenth)
        });
        let ptime = Ptime { min: min?, max: max? };
        (0 < ptime.min && ptime.min <= ptime.max && ptime.max <= MAX_PTIME).then_some(ptime)
    }
}

/// As [`Ptime::parse`] takes it.
impl fmt::Display for Ptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |f: &mut fmt::Formatter<'_>, tenths: u16| match tenths % 10 {
            0 => write!(f, "{}", tenths / 10),
            tenth => write!(f, "{}.{tenth}", tenths / 10),
        };
        one(f, self.min)?;
        if self.min == self.max {
            return Ok(());
        }
        f.write_str("..")?;
        one(f, self.max)
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
