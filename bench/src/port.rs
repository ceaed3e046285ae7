//! DPDK ports as lines of the engine: opened at the start, polled by one lcore, closed after it has stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use voxlane::dpdk::{Attach, Eal, MAX_BURST, Mbuf, Mempool, Port, PortConfig, RxQueue, TxQueue};
use voxlane::wire::MacAddress;

use super::clock::Clock;
use super::line::Line;
use super::plan::Plan;
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

/// One port's queues and the buffers for it.
pub struct PortLine {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    clock: Clock,
    /// Empty buffers, taken from the pool in bulk; the last one is the current slot.
    spare: ArrayVec<Mbuf, MAX_BURST>,
    waiting: ArrayVec<Mbuf, MAX_BURST>,
}

impl Ports {
    /// Attaches and configures the ports of `plan`; [`Ports::start`] starts them.
    ///
    /// # Errors
    /// [`PortError::Dpdk`].
    pub fn open(eal: &Eal, plan: &Plan<'_>, clock: Clock) -> Result<(Ports, Vec<PortLine>), PortError> {
        let mut ports = Vec::with_capacity(plan.ports.len());
        let mut lines = Vec::with_capacity(plan.ports.len());
        for (number, planned) in plan.ports.iter().enumerate() {
            let name = &planned.gateway.name;
            let refused = |error| PortError::Dpdk { name: name.clone(), error };
            let attached = Attach::new(eal, &planned.device).map_err(refused)?;
            let buffers = 2 * u32::from(DESCRIPTORS) + SPARE_BUFFERS;
            let pool_name = format!("voxload{number}");
            let socket = attached.info().socket;
            let pool = Mempool::new(eal, &pool_name, buffers, POOL_CACHE, FRAME_ROOM as u16, socket);
            let pool = pool.map_err(refused)?;
            let config = PortConfig {
                queues: 1,
                mtu: planned.gateway.mtu,
                rx_descriptors: DESCRIPTORS,
                tx_descriptors: DESCRIPTORS,
                mac: None,
                promiscuous: false,
            };
            let (port, queues) = attached.configure(&config, std::slice::from_ref(&pool)).map_err(refused)?;
            lines.extend(queues.into_iter().map(|(rx, tx)| PortLine {
                rx,
                tx,
                pool: pool.clone(),
                clock,
                spare: ArrayVec::new(),
                waiting: ArrayVec::new(),
            }));
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
        if self.waiting.is_full() {
            return;
        }
        if let Some(mut buffer) = self.spare.pop()
            && buffer.resize(len)
        {
            self.waiting.push(buffer);
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
        let free = MAX_BURST - self.waiting.len();
        if self.spare.len() < free && !self.pool.alloc_bulk(&mut self.spare) {
            return free.min(self.spare.len());
        }
        free
    }

    #[inline]
    fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.tx.tx_burst(&mut self.waiting);
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    fn receive(&mut self, each: &mut dyn FnMut(&mut [u8], u64)) -> usize {
        let mut frames = ArrayVec::<Mbuf, MAX_BURST>::new();
        let count = self.rx.rx_burst(&mut frames);
        if count > 0 {
            let now_ns = self.clock.now_ns();
            for frame in &mut frames {
                each(frame.data_mut(), now_ns);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
