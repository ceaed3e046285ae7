//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use voxlane::srtp::Suite;
use voxlane::wire::MacAddress;

use super::impair::Shares;
use super::plan::Directions;

/// Generates SRTP voice traffic for a voxlane gateway and verifies what the gateway makes of it.
#[derive(Debug, Parser)]
#[command(name = "voxload", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 everything that was sent came back exactly once and unharmed; 1 something was \
lost, doubled, damaged or could not be accounted for, or the run could not be started; 2 the command line or the \
configuration is wrong.";

/// What voxload can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Play all remote endpoints of a gateway's sessions through DPDK ports.
    Run(Box<RunArgs>),
    /// Write a sessions file with fresh keys to standard output.
    Sessions(Box<SessionsArgs>),
    /// Write sealed frames of a gateway's sessions to a pcap file, for testers that replay one.
    Pcap(Box<PcapArgs>),
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// A table row each second.
    Human,
    /// A JSON object on one line each second.
    Json,
    /// Not at all.
    None,
}

/// Which of a port's queues a packet goes out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hop {
    /// All packets to one local port of the gateway by one queue, as a NIC with RSS on that port would have it.
    Fixed,
    /// Each packet by a queue drawn at random: flows hop in mid-stream.
    Random,
}

/// `voxload run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The gateway's configuration: its sessions say what to play, with which keys.
    #[arg(long, value_name = "GATEWAY.toml")]
    pub config: PathBuf,

    /// The device of ours that is joined to the gateway's port NAME: a PCI address, or a virtual device
    /// such as net_memif0,role=client,id=0,socket=/run/voxlane/a.sock,socket-abstract=no. Once per port.
    #[arg(long = "port", value_name = "NAME=DEVICE", required = true, value_parser = port_device)]
    pub ports: Vec<(String, String)>,

    /// Queue pairs of each of our ports. By default as many as the gateway has workers on memif, where both ends
    /// must have the same number, and one on other devices.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub queues: Option<u16>,

    /// Which queue of its port a packet goes out by.
    #[arg(long, value_enum, default_value_t = Hop::Fixed)]
    pub hop: Hop,

    /// Name of this instance of DPDK; give each process on the machine its own.
    #[arg(long, default_value = "voxload", value_name = "NAME")]
    pub file_prefix: String,

    /// Hugepage memory to take, in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub memory_mib: u32,

    /// Core to send and receive on; the first allowed one by default. It is polled without pause.
    #[arg(long, value_name = "N")]
    pub core: Option<u16>,

    /// Play the first N sessions only.
    #[arg(long, value_name = "N")]
    pub sessions: Option<usize>,

    /// How long to send, in seconds (10 by default). With --flood, the time that the clock runs: sealing and
    /// checking come on top. On a schedule that cannot be kept, the rest stays unsent and is reported.
    #[arg(long, value_name = "S", conflicts_with = "packets", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// How many packets each stream sends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,

    /// Packets per second over all streams, evenly spread. With --flood, they are sealed beforehand, nothing waits,
    /// and a packet that the port does not take when it is due is lost.
    #[arg(long, value_name = "PPS", conflicts_with = "ptime", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,

    /// Milliseconds from packet to packet of each stream (20 by default), streams evenly spread.
    #[arg(long, value_name = "MS", conflicts_with = "flood", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub ptime: Option<u64>,

    /// Send pre-sealed packets as fast as the gateway goes.
    #[arg(long)]
    pub flood: bool,

    /// Most packets on the way at a time, 0 for no limit: 512 to each port with --flood, no limit otherwise.
    /// Below the ring size no ring overflows, whatever holds a process up; but a limited schedule waits for
    /// a slow gateway instead of showing what it loses.
    #[arg(long, value_name = "N")]
    pub in_flight: Option<u64>,

    /// With --flood: packets that are sealed beforehand at a time.
    #[arg(long, value_name = "N", default_value_t = 32_768, requires = "flood", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub chunk: u32,

    /// With --flood: packets to send before the clock counts. A gateway's first packet of a stream has more to do.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "flood")]
    pub settle: u64,

    /// With --flood: wait for lines of standard input. Each, such as "2" or "2 1500000", is a step of so many
    /// seconds, as fast as the gateway goes or at so many packets per second, and is answered with one line of
    /// JSON on standard output. The end of the input ends the run.
    #[arg(long, requires = "flood", conflicts_with_all = ["seconds", "packets", "rate"])]
    pub step: bool,

    /// With --flood: no gateway is at the other end but a forwarder that changes nothing, such as testpmd in io
    /// mode. Shows what the generator itself can do.
    #[arg(long, requires = "flood")]
    pub mirror: bool,

    /// With --flood: keep no expanded keys but derive them for each packet. Slower outside the clock, and a tenth
    /// of the memory: for a million sessions.
    #[arg(long, requires = "flood")]
    pub derive_keys: bool,

    /// Open and compare each N-th packet only. Of the others, addresses, lengths, checksums and the RTP header
    /// are compared.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "flood", value_parser = clap::value_parser!(u64).range(1..))]
    pub verify_every: u64,

    /// Bytes of RTP payload before sealing; 32 of them are the generator's own header, or 20 in a shorter one.
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    pub payload: usize,

    /// Which directions carry media.
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,

    /// Send and verify RTCP, too: a sender report of every stream each 5 s, or twice in a shorter run.
    #[arg(long, conflicts_with = "flood")]
    pub rtcp: bool,

    /// Impair shares of the packets on purpose, such as corrupt=1%,replay=1%,truncate=1%,reorder=1%. Copies
    /// that are bad go out beside the valid packet (corrupt, truncate, replay, badssrc, badpt); reorder swaps
    /// valid packets of a stream over a distance of up to 16; drop leaves gaps. Nothing valid may get lost.
    #[arg(long, value_name = "KIND=SHARE,…", default_value = "", hide_default_value = true)]
    pub impair: Shares,

    /// Seed of everything random but the keys; a new one by default. The report shows it.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// First RTP sequence number of every stream, such as 65530 to see a roll-over; random below 32768 by
    /// default.
    #[arg(long, value_name = "N")]
    pub start_seq: Option<u16>,

    /// Write the result as JSON to FILE, or to standard output for "-".
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,

    /// How to show progress each second.
    #[arg(long, value_enum, default_value_t = Progress::Human)]
    pub progress: Progress,

    /// How long to wait for the links, and then for the gateway to answer and to relay, in seconds each.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait_link: u64,

    /// Milliseconds without any arrival after which, at the end, what is still out counts as lost.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub drain: u64,

    /// Do not first send packets that open every path (they are not part of the result).
    #[arg(long)]
    pub no_warm_up: bool,

    /// Show DPDK's informational messages.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `voxload pcap`.
#[derive(Debug, Args)]
pub struct PcapArgs {
    /// The gateway's configuration: its sessions say what to write, sealed with which keys.
    #[arg(long, value_name = "GATEWAY.toml")]
    pub config: PathBuf,

    /// The gateway's port into which the file is to be replayed: only streams that arrive there are written.
    #[arg(long, value_name = "NAME")]
    pub port: String,

    /// The MAC address of that port. Left out, that of the configuration: mac, or mac=… in the device.
    #[arg(long, value_name = "MAC")]
    pub to_mac: Option<MacAddress>,

    /// The MAC address that the frames come from.
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:02")]
    pub from_mac: MacAddress,

    /// How many packets, the streams in turn.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub count: u64,

    /// Use the first N sessions only.
    #[arg(long, value_name = "N")]
    pub sessions: Option<usize>,

    /// Bytes of RTP payload before sealing.
    #[arg(long, value_name = "BYTES", default_value_t = 160)]
    pub payload: usize,

    /// Packets per second that the time stamps in the file show.
    #[arg(long, value_name = "PPS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: u64,

    /// First RTP sequence number of every stream; random below 32768 by default.
    #[arg(long, value_name = "N")]
    pub start_seq: Option<u16>,

    /// Seed of everything random but the keys; the same seed gives the same SSRCs.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `voxload sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// How many sessions.
    #[arg(long, value_name = "N")]
    pub count: usize,

    /// The gateway's addresses towards A; one carries 27,768 sessions.
    #[arg(long, value_name = "IP,…", value_delimiter = ',', default_value = "10.1.0.1")]
    pub a_local: Vec<IpAddr>,

    /// Addresses of the remotes on side A, as many as the gateway's.
    #[arg(long, value_name = "IP,…", value_delimiter = ',', default_value = "10.1.0.2")]
    pub a_remote: Vec<IpAddr>,

    /// The gateway's addresses towards B.
    #[arg(long, value_name = "IP,…", value_delimiter = ',', default_value = "10.2.0.1")]
    pub b_local: Vec<IpAddr>,

    /// Addresses of the remotes on side B.
    #[arg(long, value_name = "IP,…", value_delimiter = ',', default_value = "10.2.0.2")]
    pub b_remote: Vec<IpAddr>,

    /// SRTP suite of both legs, or "none" for plain RTP.
    #[arg(long, value_name = "SUITE", default_value = "AEAD_AES_128_GCM", value_parser = suite)]
    pub suite: SuiteChoice,

    /// Ids are this and a number from 0.
    #[arg(long, value_name = "TEXT", default_value = "call-")]
    pub id_prefix: String,

    /// Write to FILE, which only its owner can read, in place of standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A suite, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuiteChoice(pub Option<Suite>);

fn suite(text: &str) -> Result<SuiteChoice, String> {
    if text == "none" {
        return Ok(SuiteChoice(None));
    }
    text.parse().map(|suite| SuiteChoice(Some(suite))).map_err(|error| format!("{error}, or none"))
}

fn port_device(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, device)) if !name.is_empty() && !device.is_empty() => {
            Ok((name.to_owned(), device.to_owned()))
        }
        _ => Err("write it as NAME=DEVICE, such as a=net_memif0,role=client,id=0".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("use a number of seconds from 0.001 to 31536000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> Result<RunArgs, String> {
        let all = ["voxload", "run", "--config", "g.toml", "--port", "a=net_memif0,role=client,id=0"];
        match Cli::try_parse_from(all.iter().chain(arguments)) {
            Ok(Cli { command: Command::Run(args) }) => Ok(*args),
            Ok(_) => Err("not run".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_device_keeps_its_own_equal_signs() {
        let args = run(&[]).expect("valid");
        assert_eq!(args.ports, [("a".to_owned(), "net_memif0,role=client,id=0".to_owned())]);
        assert_eq!((args.payload, args.seconds, args.direction), (160, None, Directions::Both));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for pair in [
            ["--seconds=1", "--packets=1"],
            ["--rate=1", "--ptime=20"],
            ["--rate=1", "--step"],
            ["--ptime=20", "--flood"],
            ["--rtcp", "--flood"],
        ] {
            assert!(run(&pair).expect_err("a conflict").contains("cannot be used with"), "{pair:?}");
        }
    }

    #[test]
    fn errors_name_the_value_and_the_remedy() {
        for (argument, value, remedy) in [
            ("--port=x", "'x'", "NAME=DEVICE"),
            ("--seconds=0", "'0'", "0.001 to 31536000"),
            ("--impair=lose=1%", "\"lose\"", "use badpt, badssrc, corrupt"),
            ("--direction=up", "'up'", "a2b, b2a, both"),
            ("--start-seq=65536", "'65536'", "0..=65535"),
            ("--rate=0", "'0'", "1.."),
        ] {
            let error = run(&[argument]).expect_err("a mistake");
            assert!(error.contains(value) && error.contains(remedy), "{error}");
        }
    }
}
