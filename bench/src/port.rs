//! DPDK ports as lines of the engine: opened at the start, polled by one lcore, closed after it has stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use voxlane::dpdk::{Attach, Eal, MAX_BURST, Mbuf, Mempool, Port, PortConfig, RxQueue, TxQueue};
use voxlane::wire::{MacAddress, ipv4, ipv6};

use super::cli::Hop;
use super::clock::Clock;
use super::line::Line;
use super::plan::Plan;
use super::rng::Rng;
use super::traffic::{FRAME_ROOM, Sink};

/// Descriptors per RX and TX ring: memif's own default.
const DESCRIPTORS: u16 = 1_024;

/// Buffers beside what the rings hold: lcore caches, bursts, frames that wait.
const SPARE_BUFFERS: u32 = 4_096;

/// Buffers that the lcore keeps in its cache of the pool.
const POOL_CACHE: u32 = 256;

/// How often a link that is not up yet is looked at.
const LINK_POLL: Duration = Duration::from_millis(10);

/// How long a memif handshake may take before the client asks again.
const HANDSHAKE: Duration = Duration::from_millis(250);

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// DPDK refused.
    #[error("port \"{name}\": {error}")]
    Dpdk {
        /// The gateway's name for the port.
        name: String,
        /// What it refused.
        error: voxlane::dpdk::Error,
    },
    /// The other end did not come up in time.
    #[error(
        "port \"{name}\": the link of {device} is not up after {seconds} s; start the gateway first, and check \
         that both ends name the same socket and id (raise --wait-link if it needs longer)"
    )]
    NoLink {
        /// The gateway's name for the port.
        name: String,
        /// The device with its arguments.
        device: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// Our ports, in the order of [`Plan::ports`]. Dropped after the lines, they close.
pub struct Ports {
    ports: Vec<Opened>,
}

/// A port of ours.
struct Opened {
    /// The gateway's name for it.
    name: String,
    /// The device with its arguments.
    device: String,
    port: Port,
}

/// How packets are spread over the queues of each port.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Queue pairs, where the user said so.
    pub queues: Option<u16>,
    /// Queue pairs of a memif port otherwise: as many as the gateway's end has. The driver (22.11) takes a queue
    /// that the other end lacks for the first one, and two queues on one ring lose and double packets.
    pub memif_queues: u16,
    /// Which queue a packet goes out by.
    pub hop: Hop,
    /// Seed of [`Hop::Random`].
    pub seed: u64,
}

/// One port's queues and the buffers for it.
pub struct PortLine {
    queues: Vec<Queue>,
    /// Queue to receive from next.
    next: usize,
    hop: Hop,
    rng: Rng,
    pool: Mempool,
    clock: Clock,
    /// Empty buffers, taken from the pool in bulk; the last one is the current slot.
    spare: ArrayVec<Mbuf, MAX_BURST>,
}

/// One queue pair with the frames that are to leave by it.
struct Queue {
    rx: RxQueue,
    tx: TxQueue,
    waiting: ArrayVec<Mbuf, MAX_BURST>,
}

impl Ports {
    /// Attaches and configures the ports of `plan`; [`Ports::start`] starts them.
    ///
    /// # Errors
    /// [`PortError::Dpdk`].
    pub fn open(
        eal: &Eal,
        plan: &Plan<'_>,
        clock: Clock,
        spread: Spread,
    ) -> Result<(Ports, Vec<PortLine>), PortError> {
        let mut ports = Vec::with_capacity(plan.ports.len());
        let mut lines = Vec::with_capacity(plan.ports.len());
        for (number, planned) in plan.ports.iter().enumerate() {
            let name = &planned.gateway.name;
            let refused = |error| PortError::Dpdk { name: name.clone(), error };
            let attached = Attach::new(eal, &planned.device).map_err(refused)?;
            let count = spread.queues_of(&planned.device);
            let buffers = 2 * u32::from(DESCRIPTORS) * u32::from(count) + SPARE_BUFFERS;
            let pool_name = format!("voxload{number}");
            let socket = attached.info().socket;
            let pool = Mempool::new(eal, &pool_name, buffers, POOL_CACHE, FRAME_ROOM as u16, socket);
            let pool = pool.map_err(refused)?;
            let config = PortConfig {
                queues: count,
                mtu: planned.gateway.mtu,
                rx_descriptors: DESCRIPTORS,
                tx_descriptors: DESCRIPTORS,
                mac: None,
                promiscuous: false,
            };
            let (port, queues) = attached.configure(&config, std::slice::from_ref(&pool)).map_err(refused)?;
            let queues = queues.into_iter().map(|(rx, tx)| Queue { rx, tx, waiting: ArrayVec::new() });
            lines.push(PortLine {
                queues: queues.collect(),
                next: 0,
                hop: spread.hop,
                rng: Rng::new(spread.seed ^ number as u64),
                pool,
                clock,
                spare: ArrayVec::new(),
            });
            ports.push(Opened { name: name.clone(), device: planned.device.clone(), port });
        }
        Ok((Ports { ports }, lines))
    }

    /// MAC addresses of the ports.
    pub fn macs(&self) -> Vec<MacAddress> {
        self.ports.iter().map(|opened| MacAddress(opened.port.info().mac)).collect()
    }

    /// Starts every port and waits until its link is up, or until `is_stopped` says so (`false` then).
    ///
    /// A memif client cannot even start before the server listens, so that is waited for, too.
    ///
    /// # Errors
    /// [`PortError::NoLink`] for the first port that is not up after `limit`; [`PortError::Dpdk`] when a port
    /// that waits for nobody does not start.
    pub fn start(&self, limit: Duration, is_stopped: impl Fn() -> bool) -> Result<bool, PortError> {
        let deadline = Instant::now() + limit;
        for opened in &self.ports {
            let mut started = None;
            while !opened.is_up(&mut started)? {
                if is_stopped() {
                    return Ok(false);
                }
                if Instant::now() >= deadline {
                    let (name, device) = (opened.name.clone(), opened.device.clone());
                    return Err(PortError::NoLink { name, device, seconds: limit.as_secs() });
                }
                std::thread::sleep(LINK_POLL);
            }
        }
        Ok(true)
    }

    /// The first port whose link is down, by the gateway's name for it.
    pub fn link_down(&self) -> Option<&str> {
        self.ports.iter().find(|opened| !opened.port.link().up).map(|opened| opened.name.as_str())
    }
}

impl Spread {
    fn queues_of(&self, device: &str) -> u16 {
        let default = if device.starts_with("net_memif") { self.memif_queues } else { 1 };
        self.queues.unwrap_or(default).max(1)
    }
}

impl PortLine {
    /// The queue for a frame.
    #[inline]
    fn queue_for(&mut self, frame: &[u8]) -> usize {
        let count = self.queues.len();
        match self.hop {
            _ if count == 1 => 0,
            Hop::Random => self.rng.below(count as u64) as usize,
            // Media ports are even (RFC 3550 §11), so the lowest bit says nothing.
            Hop::Fixed => usize::from(destination_port(frame) >> 1) % count,
        }
    }
}

/// The UDP destination port of a frame of ours, which has no IP options or extension headers; 0 without one.
fn destination_port(frame: &[u8]) -> u16 {
    let word =
        |at: usize| frame.get(at..at + 2).map_or(0, |octets| u16::from_be_bytes([octets[0], octets[1]]));
    let (ethertype, ip) = if word(12) == 0x8100 { (word(16), 18) } else { (word(12), 14) };
    match ethertype {
        0x0800 => word(ip + ipv4::HEADER_LEN + 2),
        0x86dd => word(ip + ipv6::HEADER_LEN + 2),
        _ => 0,
    }
}

impl Opened {
    /// Starts the port as soon as that can work, and says whether its link is up. `started` is when it was.
    fn is_up(&self, started: &mut Option<Instant>) -> Result<bool, PortError> {
        let socket = memif_server_socket(&self.device);
        if started.is_none() {
            if socket.is_some_and(|socket| !Path::new(socket).exists()) {
                return Ok(false);
            }
            match self.port.start() {
                Ok(()) => *started = Some(Instant::now()),
                // The socket of a gateway that is gone, or that does not listen yet.
                Err(_) if socket.is_some() => return Ok(false),
                Err(error) => {
                    return Err(PortError::Dpdk { name: self.name.clone(), error });
                }
            }
        }
        let is_up = self.port.link().up;
        // A server that listens but has not started its port refuses a client, which then never asks again.
        if !is_up && socket.is_some() && started.is_some_and(|at| at.elapsed() > HANDSHAKE) {
            self.port.stop();
            *started = None;
        }
        Ok(is_up)
    }
}

/// The socket at which a memif client's server listens; `None` for every other device, for an abstract
/// socket, and for the driver's default one.
fn memif_server_socket(device: &str) -> Option<&str> {
    let mut arguments = device.split(',');
    let is_memif = arguments.next().is_some_and(|name| name.starts_with("net_memif"));
    let value =
        |key: &str| arguments.clone().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='));
    let is_client = !matches!(value("role"), Some("server" | "master"));
    let is_abstract = value("socket-abstract") != Some("no");
    value("socket").filter(|_| is_memif && is_client && !is_abstract)
}

impl Sink for PortLine {
    #[inline]
    fn slot(&mut self) -> &mut [u8] {
        let Some(buffer) = self.spare.last_mut() else {
            return &mut [];
        };
        if buffer.resize(FRAME_ROOM) { buffer.data_mut() } else { &mut [] }
    }

    #[inline]
    fn commit(&mut self, len: usize, _is_valid: bool) {
        if let Some(mut buffer) = self.spare.pop()
            && buffer.resize(len)
        {
            let queue = self.queue_for(buffer.data());
            // `room` saw to it that there is space whichever queue it is.
            let _ = self.queues[queue].waiting.try_push(buffer);
        }
    }

    #[inline]
    fn stamp(&self) -> u64 {
        self.clock.now_ns()
    }
}

impl Line for PortLine {
    #[inline]
    fn room(&mut self) -> usize {
        let fullest = self.queues.iter().map(|queue| queue.waiting.len()).max().unwrap_or(0);
        let free = MAX_BURST - fullest;
        if self.spare.len() < free && !self.pool.alloc_bulk(&mut self.spare) {
            return free.min(self.spare.len());
        }
        free
    }

    #[inline]
    fn flush(&mut self) {
        for queue in self.queues.iter_mut().filter(|queue| !queue.waiting.is_empty()) {
            queue.tx.tx_burst(&mut queue.waiting);
        }
    }

    #[inline]
    fn offer(&mut self, frame: &[u8]) {
        if let Some(mut buffer) = self.spare.pop()
            && buffer.resize(frame.len())
        {
            buffer.data_mut().copy_from_slice(frame);
            let queue = self.queue_for(frame);
            // `room` saw to it that there is space whichever queue it is.
            let _ = self.queues[queue].waiting.try_push(buffer);
        }
    }

    #[inline]
    fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting.len()).sum()
    }

    fn discard(&mut self) -> usize {
        let count = self.waiting();
        for queue in &mut self.queues {
            Mbuf::free_all(&mut queue.waiting);
        }
        count
    }

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&mut [u8], u64)) -> usize {
        let mut frames = ArrayVec::<Mbuf, MAX_BURST>::new();
        // One burst at most, from the queues in turn.
        for _ in 0..self.queues.len() {
            self.next = (self.next + 1) % self.queues.len();
            if self.queues[self.next].rx.rx_burst(&mut frames) > 0 {
                break;
            }
        }
        let count = frames.len();
        if count > 0 {
            let now_ns = self.clock.now_ns();
            for frame in &mut frames {
                each(frame.data_mut(), now_ns);
            }
            Mbuf::free_all(&mut frames);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destination_port_is_found_behind_every_header() {
        let frame = |ethertype: &[u8], ip: usize| {
            let mut frame = vec![0; 12];
            frame.extend(ethertype);
            frame.resize(frame.len() + ip + 2, 0);
            frame.extend(20_002_u16.to_be_bytes());
            frame
        };
        assert_eq!(destination_port(&frame(&[0x08, 0x00], 20)), 20_002);
        assert_eq!(destination_port(&frame(&[0x86, 0xdd], 40)), 20_002);
        assert_eq!(destination_port(&frame(&[0x81, 0x00, 0, 7, 0x08, 0x00], 20)), 20_002);
        assert_eq!(destination_port(&frame(&[0x08, 0x06], 20)), 0, "ARP has none");
        assert_eq!(destination_port(&[0x08; 13]), 0, "a fragment of a frame");
    }

    #[test]
    fn memif_ports_have_a_queue_for_each_worker_and_others_one() {
        let spread = Spread { queues: None, memif_queues: 4, hop: Hop::Fixed, seed: 0 };
        assert_eq!(spread.queues_of("net_memif0,role=client"), 4);
        assert_eq!(spread.queues_of("net_af_packet0,iface=x"), 1);
        assert_eq!(Spread { queues: Some(2), ..spread }.queues_of("net_memif0"), 2);
    }

    #[test]
    fn the_socket_to_wait_for_is_that_of_a_memif_client() {
        let client = "net_memif0,role=client,id=0,socket=/run/x/a.sock,socket-abstract=no";
        assert_eq!(memif_server_socket(client), Some("/run/x/a.sock"));
        for other in [
            "net_memif0,role=server,id=0,socket=/run/x/a.sock,socket-abstract=no",
            "net_memif0,role=client,id=0,socket=/run/x/a.sock",
            "net_memif0,role=client,id=0",
            "net_af_packet0,iface=veth0",
            "0000:01:00.0",
        ] {
            assert_eq!(memif_server_socket(other), None, "{other}");
        }
    }
}
