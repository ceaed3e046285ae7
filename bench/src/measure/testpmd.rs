//! DPDK's testpmd on the same ports: what a packet costs with nothing done to it but swapping MAC addresses, and
//! a forwarder that mirrors the generator.
//!
//! The cost is testpmd's own: with `--record-core-cycles` it adds up the cycles of the rounds that moved packets
//! and shows them per packet, whatever the speed of the other end. The other end is a second testpmd in io
//! mode, which does less per packet, so the bursts are as full as they get.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::error::BenchError;
use super::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// Packets per burst, as the gateway's.
const BURST: u16 = 64;

/// Seconds that a measurement lasts at least: on a busy machine, either end may have to wait for its core.
const LEAST: f64 = 0.1;

/// How often is tried until packets move.
const TRIES: usize = 5;

/// How long a stopped end's packets may take to be swept up.
const SWEEP: Duration = Duration::from_millis(100);

/// Which end of the memif ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// A testpmd at its prompt, with two memif ports.
pub struct Testpmd(Process);

/// A forwarder on the worker's core, and its feeder on the generator's.
pub struct MacSwap {
    forwarder: Testpmd,
    feeder: Testpmd,
    /// Frequency of the time-stamp counter in MHz, once it was shown.
    pub mhz: Option<f64>,
}

/// Where a pair of memif ports meets: two sockets in `directory`, rings of 2^`ring` slots.
#[derive(Debug, Clone, Copy)]
pub struct Sockets<'p> {
    /// Its directory.
    pub directory: &'p Path,
    /// What the sockets' names start with.
    pub prefix: &'p str,
    /// Ring size as a power of two.
    pub ring: u8,
}

impl Sockets<'_> {
    /// The device of port `number` at one end.
    fn device(&self, number: usize, role: Role) -> String {
        let Sockets { directory, prefix, ring } = self;
        let role = if role == Role::Server { "server" } else { "client" };
        let socket = directory.join(format!("{prefix}{number}.sock"));
        format!(
            "net_memif{number},role={role},id=0,socket={},socket-abstract=no,rsize={ring}",
            socket.display()
        )
    }
}

impl Testpmd {
    fn start(sockets: &Sockets<'_>, role: Role, core: u16, main_core: u16) -> Result<Self, BenchError> {
        // Into a pipe it would print by the block.
        let mut command = Command::new("stdbuf");
        command
            .args(["-oL", "dpdk-testpmd", "--lcores", &format!("0@{main_core},1@{core}")])
            .args(["-m", "256", "--no-pci", "--in-memory", "--no-telemetry"])
            .arg(format!("--file-prefix=voxbench-{}-{}", std::process::id(), sockets.prefix));
        for number in 0..2 {
            command.arg("--vdev").arg(sockets.device(number, role));
        }
        command
            .args(["--", "-i", "--nb-cores=1", "--total-num-mbufs=24576", "--disable-link-check"])
            .args(["--record-core-cycles", &format!("--burst={BURST}")])
            .args([format!("--rxd={}", 1 << sockets.ring), format!("--txd={}", 1 << sockets.ring)]);
        let name = if role == Role::Server { "testpmd (forwarder)" } else { "testpmd (feeder)" };
        let mut process = Process::spawn(name, command)?;
        process.tell("show port info 1")?;
        process.ask("its ports", LIMIT, |line| line.contains("Link status:").then_some(()))?;
        Ok(Testpmd(process))
    }

    /// Forwards what comes from each of its two ports through the other, unchanged.
    ///
    /// # Errors
    /// [`BenchError`] when it does not start.
    pub fn mirror(sockets: &Sockets<'_>, core: u16, main_core: u16) -> Result<Self, BenchError> {
        let mut testpmd = Testpmd::start(sockets, Role::Server, core, main_core)?;
        testpmd.forward("io", "start")?;
        Ok(testpmd)
    }

    fn forward(&mut self, mode: &str, start: &str) -> Result<(), BenchError> {
        self.0.tell(&format!("set fwd {mode}"))?;
        self.0.tell(start)?;
        self.0.ask("that it forwards", LIMIT, |line| line.contains("packet forwarding - ports").then_some(()))
    }

    /// Stops, and returns cycles per packet and MHz, if packets were moved.
    fn stop(&mut self) -> Result<Option<(f64, f64)>, BenchError> {
        self.0.tell("stop")?;
        let mut cost = None;
        self.0.ask("that it stopped", LIMIT, |line| {
            cost = cycles_per_packet(line).or(cost);
            line.contains("Done.").then_some(())
        })?;
        Ok(cost)
    }

    fn wait_for_links(&mut self) -> Result<(), BenchError> {
        for port in 0..2 {
            for _ in 0..600 {
                self.0.tell(&format!("show port info {port}"))?;
                let is_up = self.0.ask("the link", LIMIT, |line| {
                    line.split_once("Link status:").map(|(_, status)| status.trim() == "up")
                })?;
                if is_up {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for Testpmd {
    /// In this order: a memif peer that vanishes in mid-traffic takes the other end with it.
    fn drop(&mut self) {
        let _ = self.0.tell("stop");
        let _ = self.0.tell("quit");
        let _ = self.0.wait(Duration::from_secs(10));
    }
}

/// Cycles per packet and MHz from such a line.
fn cycles_per_packet(line: &str) -> Option<(f64, f64)> {
    // "  CPU cycles/packet=51.62 (total cycles=… / total RX packets=…) at 2600 MHz Clock"
    let (_, rest) = line.split_once("CPU cycles/packet=")?;
    let cycles = rest.split_whitespace().next()?.parse().ok()?;
    let (_, rest) = rest.split_once(" at ")?;
    let mhz = rest.split_whitespace().next()?.parse().ok()?;
    Some((cycles, mhz))
}

impl MacSwap {
    /// Starts both ends, forwarding nothing yet.
    ///
    /// # Errors
    /// [`BenchError`] when one does not start.
    pub fn start(sockets: &Sockets<'_>, worker_core: u16, generator_core: u16) -> Result<Self, BenchError> {
        let forwarder = Testpmd::start(sockets, Role::Server, worker_core, generator_core)?;
        let mut feeder = Testpmd::start(sockets, Role::Client, generator_core, generator_core)?;
        feeder.wait_for_links()?;
        Ok(MacSwap { forwarder, feeder, mhz: None })
    }

    /// Nanoseconds per packet of frames of `frame_len` bytes (without FCS), over `seconds`.
    ///
    /// # Errors
    /// [`BenchError`] when testpmd fails or moves nothing.
    pub fn measure(&mut self, frame_len: usize, seconds: f64) -> Result<f64, BenchError> {
        for _ in 0..TRIES {
            if let Some((cycles, mhz)) = self.once(frame_len, seconds.max(LEAST))? {
                self.mhz = Some(mhz);
                return Ok(cycles * 1_000.0 / mhz);
            }
        }
        Err(self.forwarder.0.failed("moved no packet in macswap mode"))
    }

    /// Cycles per packet and MHz; `None` if nothing moved, because one end did not get its core in that time.
    fn once(&mut self, frame_len: usize, seconds: f64) -> Result<Option<(f64, f64)>, BenchError> {
        self.feeder.0.tell(&format!("set txpkts {frame_len}"))?;
        self.forwarder.forward("macswap", "start")?;
        // So many bursts circulate through each port; one would be too few to keep both ends busy.
        self.feeder.forward("io", "start tx_first 16")?;
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let cost = self.forwarder.stop()?;
        // What circulates is swept up, so that the next measurement has its own.
        self.forwarder.forward("rxonly", "start")?;
        std::thread::sleep(SWEEP);
        self.feeder.stop()?;
        std::thread::sleep(SWEEP);
        self.forwarder.stop()?;
        Ok(cost.filter(|(cycles, mhz)| *cycles > 0.0 && *mhz > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_read_from_testpmds_own_line() {
        let line = "  CPU cycles/packet=51.62 (total cycles=81 / total RX packets=2) at 2600 MHz Clock";
        assert_eq!(cycles_per_packet(line), Some((51.62, 2_600.0)));
        assert_eq!(cycles_per_packet("  TX-packets: 5"), None);
    }

    #[test]
    fn both_ends_meet_at_one_socket() {
        let sockets = Sockets { directory: Path::new("/run/x"), prefix: "m", ring: 11 };
        assert_eq!(
            sockets.device(1, Role::Client),
            "net_memif1,role=client,id=0,socket=/run/x/m1.sock,socket-abstract=no,rsize=11"
        );
    }
}
