//! `voxload pcap`: sealed frames into a capture file, for the testers that operators use.
//!
//! The frames are those that `voxload run` would send into one of the gateway's ports, valid SRTP from the
//! Ethernet header up. testpmd (with `net_pcap`) and Pktgen-DPDK replay them; `bench/pktgen` says how. A gateway
//! relays a file once: the second time, every packet is a replay.
//!
//! The format is the classic one with microseconds (draft-ietf-opsawg-pcap), which every tester reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use voxlane::control::config::{Config, Device};
use voxlane::wire::MacAddress;

use super::cli::PcapArgs;
use super::crypto::KeyUse;
use super::impair::Shares;
use super::pace::Pacer;
use super::plan::{Directions, Plan};
use super::rng::Rng;
use super::run::{RunError, check_payload};
use super::stats::Stats;
use super::traffic::{FRAME_ROOM, Sink, Traffic, TrafficOptions};

/// Microseconds, in the byte order of the writer.
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
/// Longest packet in the file: more than any frame here.
const SNAP_LEN: u32 = 65_535;
const LINKTYPE_ETHERNET: u32 = 1;
/// Time of the first packet: replaying needs differences only, and equal arguments give equal files.
const START_S: u64 = 1_700_000_000;

/// Writes the file that `args` ask for.
///
/// # Errors
/// [`RunError::Usage`] and [`RunError::Config`] for what is asked wrongly, [`RunError::Output`] for the disk.
pub fn write(args: &PcapArgs) -> Result<(), RunError> {
    let usage = |error: &dyn std::fmt::Display| RunError::Usage(error.to_string());
    let config = Config::load(&args.config).map_err(RunError::Config)?;
    // No device is opened; the plan wants one for each port.
    let names = config.ports.iter().map(|port| (port.name.clone(), String::new()));
    let devices: BTreeMap<_, _> = names.collect();
    let plan = Plan::new(&config, &devices, args.sessions, Directions::Both);
    let plan = plan.map_err(|error| usage(&error))?;
    check_payload(args.payload, &plan)?;
    let Some(port) = plan.ports.iter().position(|port| port.gateway.name == args.port) else {
        let names: Vec<_> = plan.ports.iter().map(|port| port.gateway.name.as_str()).collect();
        let (name, names) = (&args.port, names.join(", "));
        return Err(RunError::Usage(format!(
            "--port {name}: no session has a leg on such a port; there is {names}"
        )));
    };
    let device = match &plan.ports[port].gateway.device {
        Device::Pci(text) | Device::Virtual(text) => text,
    };
    let known = args.to_mac.or(plan.ports[port].gateway.mac).or_else(|| mac_of(device));
    let to_mac = known.ok_or_else(|| {
        let name = &args.port;
        RunError::Usage(format!(
            "the MAC address of port \"{name}\" is nowhere in the configuration; give it with --to-mac, or set mac there"
        ))
    })?;

    let options = TrafficOptions {
        payload_len: args.payload,
        start_sequence: args.start_seq,
        impair: Shares::default(),
        seed: args.seed.unwrap_or_else(Rng::fresh_seed),
        keys: KeyUse::Kept,
    };
    let macs = vec![args.from_mac; plan.ports.len()];
    let stats = Arc::new(Stats::new());
    let mut traffic =
        Traffic::new(&plan, &macs, options, Arc::clone(&stats)).map_err(|error| usage(&error))?;
    for &destination in &plan.ports[port].destinations {
        traffic.set_next_hop(port, destination, to_mac);
    }
    let streams: Vec<usize> =
        (0..traffic.streams()).filter(|&stream| traffic.tx_port(stream) == port).collect();
    let pacer = Pacer::per_second(args.rate, args.count).map_err(|error| usage(&error))?;

    let output = |error| RunError::Output { name: args.output.display().to_string(), error };
    let mut file = BufWriter::new(File::create(&args.output).map_err(output)?);
    file.write_all(&header()).map_err(output)?;
    let mut sink = FileSink { file, room: [0; FRAME_ROOM], at_ns: 0, written: 0, result: Ok(()) };
    for (number, &stream) in (0..args.count).zip(streams.iter().cycle()) {
        sink.at_ns = pacer.due_at(number);
        traffic.send_next(stream, &mut sink);
    }
    sink.result.map_err(output)?;
    sink.file.flush().map_err(output)?;
    if sink.written != args.count {
        return Err(RunError::Usage(format!(
            "only {} of {} packets could be sealed: a stream ran out of packet indices",
            sink.written, args.count
        )));
    }
    Ok(())
}

/// The `mac=` of a device's arguments.
fn mac_of(device: &str) -> Option<MacAddress> {
    device.split(',').find_map(|argument| argument.strip_prefix("mac=")?.parse().ok())
}

/// Frames go into the file.
struct FileSink<W> {
    file: W,
    room: [u8; FRAME_ROOM],
    /// When the next frame is due, in nanoseconds after the first.
    at_ns: u64,
    written: u64,
    /// The first error, if any.
    result: std::io::Result<()>,
}

impl<W: Write> Sink for FileSink<W> {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn commit(&mut self, len: usize, _is_valid: bool) {
        if self.result.is_err() {
            return;
        }
        let frame = &self.room[..len.min(FRAME_ROOM)];
        let record = record(self.at_ns, frame.len());
        self.result = self.file.write_all(&record).and_then(|()| self.file.write_all(frame));
        self.written += u64::from(self.result.is_ok());
    }

    fn stamp(&self) -> u64 {
        self.at_ns
    }
}

/// The file header.
fn header() -> [u8; 24] {
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&MAGIC.to_ne_bytes());
    header[4..6].copy_from_slice(&VERSION[0].to_ne_bytes());
    header[6..8].copy_from_slice(&VERSION[1].to_ne_bytes());
    // Eight bytes of time zone and accuracy, always zero.
    header[16..20].copy_from_slice(&SNAP_LEN.to_ne_bytes());
    header[20..24].copy_from_slice(&LINKTYPE_ETHERNET.to_ne_bytes());
    header
}

/// The header of a packet of `len` bytes, `at_ns` nanoseconds after the first.
fn record(at_ns: u64, len: usize) -> [u8; 16] {
    let seconds = (START_S + at_ns / 1_000_000_000) as u32;
    let micros = (at_ns % 1_000_000_000 / 1_000) as u32;
    let mut record = [0; 16];
    for (field, value) in
        record.as_chunks_mut::<4>().0.iter_mut().zip([seconds, micros, len as u32, len as u32])
    {
        *field = value.to_ne_bytes();
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_format() {
        // As tcpdump 4.99 writes them on a little-endian machine.
        let expected =
            [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
        assert_eq!(header(), expected);
        assert_eq!(record(2_000_003_999, 230), [2, 0xf1, 0x53, 0x65, 3, 0, 0, 0, 230, 0, 0, 0, 230, 0, 0, 0]);
    }

    #[test]
    fn the_mac_address_is_that_of_the_device() {
        assert_eq!(
            mac_of("net_memif0,role=server,mac=02:00:00:00:00:0a"),
            Some(MacAddress([2, 0, 0, 0, 0, 10]))
        );
        assert_eq!(mac_of("net_memif0,role=server,mac=x"), None);
        assert_eq!(mac_of("0000:01:00.0"), None);
    }
}
