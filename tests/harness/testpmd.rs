//! DPDK's own `testpmd` as a hostile neighbour: joined to a gateway port by memif, driven through its prompt.
//!
//! A memif peer that quits in mid-traffic can take the other side with it, so traffic is stopped first, always:
//! by [`Testpmd::quit`], and by `Drop` on the way out of a failed test.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Process, process, require};

const LIMIT: Duration = Duration::from_secs(30);

/// A testpmd at its prompt.
pub struct Testpmd {
    process: Process,
    running: bool,
}

/// The memif socket of a gateway port as the gateway's device string.
pub fn memif_server(number: usize, socket: &Path) -> String {
    format!("net_memif{number},role=server,id=0,socket={},socket-abstract=no", socket.display())
}

/// The other end of it. Long rings ride out the scheduler of a machine with two cores.
pub fn memif_client(number: usize, socket: &Path) -> String {
    format!("net_memif{number},role=client,id=0,socket={},socket-abstract=no,rsize=13", socket.display())
}

impl Testpmd {
    /// Starts with one memif port and waits for its link.
    pub fn start(socket: &Path, arguments: &[&str]) -> Self {
        require("dpdk-testpmd", "dpdk-dev");
        // Into a pipe it would print by the block.
        let mut command = process::command("stdbuf");
        // Two lcores on core 0: the gateway's worker has core 1 to itself.
        command
            .args(["-oL", "dpdk-testpmd", "--lcores", "0@0,1@0", "-m", "512", "--no-pci", "--in-memory"])
            .arg("--vdev")
            .arg(memif_client(0, socket))
            .args(["--", "-i", "--nb-cores=1", "--total-num-mbufs=32768", "--disable-link-check"])
            .args(arguments);
        let process = Process::spawn("testpmd", command);
        let mut testpmd = Testpmd { process, running: false };
        testpmd.wait_for_link(0);
        testpmd
    }

    /// Starts replaying a capture file into the socket: port 0 reads it once, port 1 is the memif port. What the
    /// ring does not take is tried again, so that every packet is sent.
    pub fn replay(socket: &Path, file: &Path) -> Self {
        require("dpdk-testpmd", "dpdk-dev");
        let mut command = process::command("stdbuf");
        command
            .args(["-oL", "dpdk-testpmd", "--lcores", "0@0,1@0", "-m", "512", "--no-pci", "--in-memory"])
            .arg("--vdev")
            .arg(format!("net_pcap0,rx_pcap={}", file.display()))
            .arg("--vdev")
            .arg(memif_client(0, socket))
            // Without it, testpmd would empty the file before it starts.
            .args(["--", "-i", "--no-flush-rx"])
            .args(["--nb-cores=1", "--total-num-mbufs=32768", "--disable-link-check"]);
        let process = Process::spawn("testpmd", command);
        let mut testpmd = Testpmd { process, running: false };
        testpmd.wait_for_link(1);
        testpmd.command("set burst tx delay 10 retry 100000");
        testpmd.flood("io retry");
        testpmd
    }

    /// Gives a command at the prompt.
    pub fn command(&mut self, line: &str) {
        self.process.write_line(line);
    }

    /// Chooses a forwarding mode and starts it.
    pub fn flood(&mut self, mode: &str) {
        self.command(&format!("set fwd {mode}"));
        self.command("start");
        self.running = true;
    }

    /// Stops the traffic and returns how many frames the port took since the start.
    pub fn stop(&mut self) -> u64 {
        self.stop_port(0).1
    }

    /// Stops the traffic and returns how many frames came from port `port` and went to it since the start.
    pub fn stop_port(&mut self, port: u16) -> (u64, u64) {
        let seen = self.process.lines_so_far();
        self.command("stop");
        // "---- Forward statistics for port 0 ----", "  RX-packets: 0   RX-dropped: 0 ...", then
        // "  TX-packets: 12345 ...", for each port.
        let heading = format!("Forward statistics for port {port} ");
        let count = |line: &str, name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let (mut is_here, mut received) = (false, 0);
        let counts = self.process.line_after(seen, "the port's statistics", LIMIT, |line| {
            is_here |= line.contains(&heading);
            received = count(line, "RX-packets:").filter(|_| is_here).unwrap_or(received);
            count(line, "TX-packets:").filter(|_| is_here).map(|sent| (received, sent))
        });
        self.process
            .line_after(seen, "the traffic to stop", LIMIT, |line| line.contains("Done.").then_some(()));
        self.running = false;
        counts
    }

    /// Stops what runs, leaves, and panics unless it left in good order.
    pub fn quit(mut self) {
        if self.running {
            self.stop();
        }
        self.command("quit");
        self.process.wait_success(LIMIT);
    }

    /// Kills it, as a crash would: no word to the gateway, in the middle of whatever it does.
    pub fn kill(mut self) {
        self.running = false;
        self.process.signal(Signal::SIGKILL);
        self.process.wait(LIMIT);
    }

    fn wait_for_link(&mut self, port: u16) {
        let start = std::time::Instant::now();
        loop {
            let seen = self.process.lines_so_far();
            self.command(&format!("show port info {port}"));
            let up = self.process.line_after(seen, "the port's link status", LIMIT, |line| {
                line.split_once("Link status:").map(|(_, status)| status.trim() == "up")
            });
            if up {
                return;
            }
            assert!(start.elapsed() < LIMIT, "testpmd's memif link stays down:\n{}", self.process.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if self.running && self.process.is_running() {
            self.process.write_line("stop");
            self.process.write_line("quit");
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while self.process.is_running() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
