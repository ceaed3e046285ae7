//! The sections that are one table each: `[gateway]`, `[memory]`, `[worker]`, `[metrics]`, `[tap]`, `[host]`, `[srtp]`,
//! `[gate]`, `[sessions]`. Defaults and ranges are those of `docs/configuration.md`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::error::shown;
use super::load::resolve;
use super::model::{Gateway, HostLimits, Memory, Metrics, Port, Sessions, Srtp, Tap, Timeouts, Worker};
use super::reader::Reader;
use super::session::strictness_of;
use crate::dpdk::FrameBucket;
use crate::dpdk::frame_pool::{BUCKETS, MAX_SIZE, SIZE_STEP};
use crate::session::Strictness;
use crate::srtp::ReplayWindowSize;

/// Where index reservations are kept if the configuration does not say.
pub const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/voxlane";

/// Buffers a worker holds outside the descriptor rings: its mempool cache, the burst it works on and what
/// waits for transmission.
pub const BUFFERS_PER_WORKER: u32 = 1024;

/// Upper bound of the hugepage memory one buffer takes, in bytes: mbuf 128, headroom 128, data room 2048,
/// mempool header, and padding.
pub const BUFFER_BYTES: u64 = 2560;

/// Longest time-out in seconds: a year.
const MAX_SECONDS: u32 = 366 * 24 * 3600;
/// Most sessions that a gateway can have: eight million on each of 64 workers.
const MAX_SESSIONS: u32 = 64 << 23;
/// Seconds for which a local port rests if the configuration does not say: twice what a packet lives in a network.
const PORT_REST_S: u32 = 4;
/// Places for sessions that are added while the gateway runs, if the configuration does not say how many there are.
pub(super) const SPARE_SESSIONS: u32 = 1024;

/// Bytes of a block of the media tap.
const TAP_BLOCK_BYTES: u64 = 64 * 1024;

const DEFAULT_BUFFERS: u32 = 16_384;
const DEFAULT_HUGEPAGES_MIB: u32 = 512;
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
const MIB: u64 = 1024 * 1024;

/// The word that switches an optional part off.
const NONE: &str = "none";

/// Longest gateway name: EAL makes file names of it.
const MAX_NAME: usize = 32;

pub(super) fn gateway(root: &Reader<'_, '_>, base_dir: &Path) -> Gateway {
    let mut gateway =
        Gateway { name: String::new(), state_directory: Some(PathBuf::from(DEFAULT_STATE_DIRECTORY)) };
    let Some(section) = root.section("gateway") else {
        return gateway;
    };
    if let Some(given) = section.required("name", "add name = \"demo\" under [gateway]")
        && let Some(name) = given.string("demo")
    {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(is_allowed) {
            given.error_showing(name, "is not a gateway name", "use 1 to 32 of a-z, 0-9 and -");
        }
        gateway.name = name.to_owned();
    }
    if let Some(given) = section.optional("state_directory")
        && let Some(path) = given.string(DEFAULT_STATE_DIRECTORY)
    {
        if path.is_empty() {
            given.error("is empty", "give a directory, or \"none\" to keep nothing over a restart");
        }
        gateway.state_directory = (path != NONE).then(|| resolve(base_dir, path));
    }
    section.finish();
    gateway
}

pub(super) fn metrics(root: &Reader<'_, '_>) -> Metrics {
    let mut metrics = Metrics { listen: Some(DEFAULT_METRICS) };
    let Some(section) = root.section("metrics") else {
        return metrics;
    };
    if let Some(given) = section.optional("listen")
        && let Some(text) = given.string("127.0.0.1:9464")
    {
        match text.parse() {
            _ if text == NONE => metrics.listen = None,
            Ok(address) => metrics.listen = Some(address),
            Err(_) => given.error_showing(
                text,
                "is not an address with a port",
                "write it like \"127.0.0.1:9464\" or \"[::1]:9464\", or \"none\" to serve no metrics",
            ),
        }
    }
    section.finish();
    metrics
}

/// Reads `[worker]` and checks that `ports` allow it.
pub(super) fn worker(root: &Reader<'_, '_>, ports: &[Port]) -> Worker {
    let mut worker = Worker { lockdown: false };
    let Some(section) = root.section("worker") else {
        return worker;
    };
    worker.lockdown = section.boolean("lockdown", worker.lockdown);
    // A device that is missing or wrong was reported already and has no name.
    for port in ports.iter().filter(|port| worker.lockdown && !port.device.name().is_empty()) {
        if !port.device.is_kernel_free() {
            let device = shown(port.device.name());
            section.at("lockdown").error(
                format_args!("= true, but polling {device} of port {} enters the kernel", shown(&port.name)),
                "use a PCI device, net_memif, net_null or net_ring, or set lockdown = false",
            );
        }
    }
    section.finish();
    worker
}

/// Reads `[tap]`; `None` if the file has none.
pub(super) fn tap(root: &Reader<'_, '_>, base_dir: &Path) -> Option<Tap> {
    if root.at("tap").is_absent() {
        // Known all the same.
        root.optional("tap");
        return None;
    }
    let section = root.section("tap")?;
    let mut tap = Tap {
        directory: PathBuf::new(),
        pcapng: true,
        audio: true,
        max_file_mib: 256,
        max_total_mib: 4096,
        max_files: 10_000,
        min_free_mib: 1024,
        blocks: 64,
    };
    if let Some(given) = section.required("directory", "add directory = \"/var/lib/voxlane/tap\" under [tap]")
        && let Some(path) = given.string("/var/lib/voxlane/tap")
    {
        if path.is_empty() {
            given.error("is empty", "give a directory for the gateway's user alone");
        }
        tap.directory = resolve(base_dir, path);
    }
    if let Some(given) = section.optional("formats") {
        (tap.pcapng, tap.audio) = (false, false);
        let formats = given.strings("[\"pcapng\", \"audio\"]");
        for &(format, line) in &formats {
            match format {
                "pcapng" => tap.pcapng = true,
                "audio" => tap.audio = true,
                other => {
                    given.error_showing_at(line, other, "is not a format", "use \"pcapng\" or \"audio\"")
                }
            }
        }
        if formats.is_empty() {
            given.error("names no format", "use [\"pcapng\", \"audio\"] or one of them");
        }
    }
    // A WAV file's lengths have 32 bits.
    tap.max_file_mib = section.integer("max_file_mib", 1..=4095, tap.max_file_mib);
    tap.max_total_mib = section.integer("max_total_mib", 1..=1_073_741_824, tap.max_total_mib);
    tap.max_files = section.integer("max_files", 1..=10_000_000, tap.max_files);
    tap.min_free_mib = section.integer("min_free_mib", 0..=1_073_741_824, tap.min_free_mib);
    tap.blocks = section.integer("blocks", 2..=16_384, tap.blocks);
    section.finish();
    Some(tap)
}

pub(super) fn host(root: &Reader<'_, '_>) -> HostLimits {
    let mut limits = HostLimits { arp_per_second: 1000, icmp_per_second: 100, punt_per_second: 10_000 };
    let Some(section) = root.section("host") else {
        return limits;
    };
    for (key, limit) in [
        ("arp_per_second", &mut limits.arp_per_second),
        ("icmp_per_second", &mut limits.icmp_per_second),
        ("punt_per_second", &mut limits.punt_per_second),
    ] {
        *limit = section.integer(key, 1..=1_000_000, *limit);
    }
    section.finish();
    limits
}

/// Reads `[gate]`: what sessions do that do not say it themselves.
pub(super) fn gate(root: &Reader<'_, '_>) -> Strictness {
    let Some(section) = root.section("gate") else {
        return Strictness::default();
    };
    let strictness = section.optional("strictness").and_then(|given| strictness_of(&given));
    section.finish();
    strictness.unwrap_or_default()
}

pub(super) fn srtp(root: &Reader<'_, '_>) -> Srtp {
    let default = ReplayWindowSize::default();
    let Some(section) = root.section("srtp") else {
        return Srtp { replay_window: default };
    };
    let window = section.optional("replay_window").and_then(|given| {
        let packets = given.integer(ReplayWindowSize::MIN.packets()..=ReplayWindowSize::MAX.packets())?;
        let size = ReplayWindowSize::new(packets);
        if size.is_err() {
            given.error(format_args!("= {packets} is not a multiple of 64"), "use 64, 128, 192 ... 1024");
        }
        size.ok()
    });
    section.finish();
    Srtp { replay_window: window.unwrap_or(default) }
}

/// Reads `[memory]` and checks that it suffices for `ports`, each with one queue pair per worker.
pub(super) fn memory(root: &Reader<'_, '_>, ports: &[Port], workers: usize, tap: Option<&Tap>) -> Memory {
    let mut memory = Memory {
        hugepages_mib: DEFAULT_HUGEPAGES_MIB,
        buffers: DEFAULT_BUFFERS,
        frame_buckets: FrameBucket::DEFAULT,
    };
    let Some(section) = root.section("memory") else {
        return memory;
    };
    let before = section.scope().problems.count();
    memory.hugepages_mib = section.integer("hugepages_mib", 64..=1_048_576, memory.hugepages_mib);
    memory.buffers = section.integer("buffers", 1024..=16_777_216, memory.buffers);

    frame_buckets(&section, &mut memory.frame_buckets);

    // Values that are wrong by themselves were reported and replaced: sums over them would mislead.
    if section.scope().problems.count() == before {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        let rings = ports.iter().map(|port| u32::from(port.rx_descriptors) + u32::from(port.tx_descriptors));
        let needed = rings
            .map(|descriptors| descriptors.saturating_mul(workers))
            .fold(BUFFERS_PER_WORKER.saturating_mul(workers), u32::saturating_add);
        if memory.buffers < needed {
            let spot = section.at("buffers");
            let default = if spot.is_absent() { " (the default)" } else { "" };
            let buffers = memory.buffers;
            spot.error(
                format_args!(
                    "= {buffers}{default} is too few: {needed} are needed for all RX and TX descriptors of \
                     each worker on each port, and {BUFFERS_PER_WORKER} per worker"
                ),
                format!("set buffers = {needed} or more, or use fewer descriptors"),
            );
        }
        let tap_blocks = tap.map_or(0, |tap| u64::from(tap.blocks) * u64::from(workers));
        let needed_mib =
            (u64::from(memory.buffers) * BUFFER_BYTES + tap_blocks * TAP_BLOCK_BYTES).div_ceil(MIB);
        if u64::from(memory.hugepages_mib) < needed_mib {
            let Memory { hugepages_mib, buffers, .. } = memory;
            section.at("hugepages_mib").error(
                format_args!("= {hugepages_mib} cannot hold {buffers} buffers of {BUFFER_BYTES} bytes"),
                format!("set hugepages_mib = {needed_mib} or more, or use fewer buffers"),
            );
        }
    }
    section.finish();
    memory
}

/// Reads `frame_buckets`: three tables of a size and a number, in the order of sizes.
fn frame_buckets(section: &Reader<'_, '_>, buckets: &mut [FrameBucket; BUCKETS]) {
    const EXAMPLE: &str = "write it like frame_buckets = [{ bytes = 960, frames = 128 }, { bytes = 1920, frames = 64 }, \
                           { bytes = 3840, frames = 32 }]";
    let tables = section.tables("frame_buckets");
    let spot = section.at("frame_buckets");
    if tables.is_empty() {
        return;
    }
    if tables.len() != BUCKETS {
        return spot.error(format_args!("has {} buckets, not {BUCKETS}", tables.len()), EXAMPLE);
    }
    let mut smallest = 0;
    for (bucket, (table, line)) in buckets.iter_mut().zip(tables) {
        let reader = Reader::new(section.scope(), table, line);
        bucket.bytes = reader.integer("bytes", SIZE_STEP as u16..=MAX_SIZE, bucket.bytes);
        bucket.frames = reader.integer("frames", 4..=1_048_576, bucket.frames);
        reader.finish();
        if !usize::from(bucket.bytes).is_multiple_of(SIZE_STEP) {
            let bytes = bucket.bytes;
            let message = format_args!("has a bucket of {bytes} bytes, which is no multiple of {SIZE_STEP}");
            spot.error(message, format!("use {}", bytes.next_multiple_of(SIZE_STEP as u16)));
        }
        if bucket.bytes <= smallest {
            let message = format_args!("has a bucket of {} bytes behind one of {smallest}", bucket.bytes);
            spot.error(message, "put them in the order of their sizes, each larger than the one before");
        }
        smallest = bucket.bytes;
    }
}

/// `[sessions]`: limits, and the sessions file with the line that names it, if there is one. The capacity is what the
/// file says, or 0.
pub(super) fn sessions(root: &Reader<'_, '_>, base_dir: &Path) -> (Sessions, Option<(PathBuf, u32)>) {
    let mut limits = Sessions { capacity: 0, timeouts: Timeouts::default(), port_rest_s: PORT_REST_S };
    let Some(section) = root.section("sessions") else { return (limits, None) };
    limits.capacity = section.integer("capacity", 1..=MAX_SESSIONS, 0);
    limits.timeouts = timeouts(&section, Timeouts::default());
    limits.port_rest_s = section.integer("port_rest", 0..=MAX_SECONDS, PORT_REST_S);
    let file = section.optional("file").and_then(|given| {
        let path = given.string("sessions.jsonl")?;
        if path.is_empty() {
            given.error("is empty", "give the path of a sessions file, or leave [sessions] out");
            return None;
        }
        Some((resolve(base_dir, path), given.line))
    });
    section.finish();
    (limits, file)
}

/// Time-outs in seconds, of which 0 stands for never; `default` where they are left out.
pub(super) fn timeouts(reader: &Reader<'_, '_>, default: Timeouts) -> Timeouts {
    let seconds = |key, default: Option<u32>| {
        Some(reader.integer(key, 0..=MAX_SECONDS, default.unwrap_or(0))).filter(|seconds| *seconds > 0)
    };
    Timeouts {
        idle_s: seconds("idle_timeout", default.idle_s),
        max_lifetime_s: seconds("max_lifetime", default.max_lifetime_s),
        setup_s: seconds("setup_timeout", default.setup_s),
    }
}
