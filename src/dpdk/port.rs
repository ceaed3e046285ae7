//! Ethernet devices: attach, configure, start, poll, close.
//!
//! `Attach` → `Port` (+ one `RxQueue` and `TxQueue` per queue pair). Offloads are what the configuration
//! wants, the port reports, and the packet path can do in software otherwise.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::eal::EalInner;
use super::{Eal, Error, Mbuf, Mempool, SharedFrame};

/// Most frames that one burst holds.
pub const MAX_BURST: usize = 64;

/// A device that is on its bus but has no queues yet.
pub struct Attach {
    inner: PortInner,
    info: PortInfo,
}

/// What a port reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// Driver, such as `net_memif`.
    pub driver: String,
    /// MAC address.
    pub mac: [u8; 6],
    /// Queue pairs that the driver offers.
    pub max_queues: u16,
    /// Largest MTU in bytes.
    pub max_mtu: u16,
    /// NUMA node, if the port is bound to one.
    pub socket: Option<u32>,
    /// Whether it spreads received packets over its queues by a hash (RSS).
    pub has_rss: bool,
    /// Checksums that the port can take over.
    pub offloads: Offloads,
}

/// Checksum work that the port does; what it does not, software does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checks the IPv4 header checksum of received packets.
    pub rx_ipv4: bool,
    /// Checks the UDP checksum of received packets.
    pub rx_udp: bool,
    /// Fills in the IPv4 header checksum of sent packets.
    pub tx_ipv4: bool,
    /// Fills in the UDP checksum of sent packets.
    pub tx_udp: bool,
}

/// How a port is set up.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// RX and TX queue pairs, one per worker.
    pub queues: u16,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Descriptors per RX queue; the driver may adjust it.
    pub rx_descriptors: u16,
    /// Descriptors per TX queue; the driver may adjust it.
    pub tx_descriptors: u16,
    /// MAC address to set instead of the port's own.
    pub mac: Option<[u8; 6]>,
    /// Receive frames for every MAC address.
    pub promiscuous: bool,
}

/// Counters that the port itself keeps, in packets since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct PortStats {
    /// Received.
    pub rx_packets: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Dropped by the port because the RX queue was full: the worker was too slow.
    pub rx_missed: u64,
    /// Received with an error.
    pub rx_errors: u64,
    /// Not sent for an error.
    pub tx_errors: u64,
    /// Not received because the buffer pool was empty.
    pub rx_no_buffer: u64,
}

/// State of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether the link is up.
    pub up: bool,
    /// Speed in Mbit/s.
    pub speed_mbps: u32,
}

/// A configured port. Clones share it; it stops and closes when the last clone and the last queue are gone.
#[derive(Clone)]
pub struct Port {
    inner: Arc<PortInner>,
    info: PortInfo,
}

struct PortInner {
    id: u16,
    name: String,
    _pools: Vec<Mempool>,
    _eal: Arc<EalInner>,
}

/// The receiving half of a queue pair; polled by one thread.
pub struct RxQueue {
    port: Arc<PortInner>,
    queue: u16,
    /// Whether frames arrive as the very mbufs that somebody sent in this process, and may be shared.
    by_pointer: bool,
}

/// The sending half of a queue pair; used by one thread.
pub struct TxQueue {
    port: Arc<PortInner>,
    queue: u16,
}

impl PortInfo {
    /// Whether the driver keeps the buffers of its receive ring when the port is closed, instead of giving them
    /// back to their pool: net_af_xdp up to DPDK 22.11 deletes its fill ring with the buffers in it.
    pub fn keeps_buffers(&self) -> bool {
        self.driver == "net_af_xdp"
    }

    /// Whether the driver hands received frames over as the mbufs that this process transmitted.
    fn passes_by_pointer(&self) -> bool {
        self.driver == "net_ring"
    }
}

impl Attach {
    /// Attaches `device`: a PCI address that the environment allows, or a virtual device with arguments such as
    /// `net_memif0,role=server,…`.
    ///
    /// # Errors
    /// [`Error::Call`] when there is no such device, its driver is missing, or it refuses its arguments.
    pub fn new(eal: &Eal, device: &str) -> Result<Self, Error> {
        let argument = CString::new(device).map_err(|_| Error::NulByte { value: device.to_owned() })?;
        let name = device.split(',').next().unwrap_or(device);
        let name_argument = CString::new(name).map_err(|_| Error::NulByte { value: device.to_owned() })?;
        // SAFETY: a NUL-terminated string that outlives the call; the environment is initialised (`eal`).
        let status = unsafe { dpdk_sys::rte_dev_probe(argument.as_ptr()) };
        // An allowed PCI device was probed by the environment already.
        if status < 0 && status != -libc::EEXIST {
            return Err(Error::from_status(format!("attaching the device {device}"), status));
        }
        let mut id = 0_u16;
        // SAFETY: a NUL-terminated string and a writable integer.
        let status = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name_argument.as_ptr(), &raw mut id) };
        if status < 0 {
            return Err(Error::from_status(format!("finding the port of the device {name}"), status));
        }
        let inner = PortInner { id, name: name.to_owned(), _pools: Vec::new(), _eal: eal.inner() };
        let info = port_info(&inner)?;
        Ok(Attach { inner, info })
    }

    /// What the device offers.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// Configures queues, offloads and MTU. Queue `i` receives into `pools[i % pools.len()]`.
    /// The port is not started yet.
    ///
    /// # Errors
    /// [`Error::TooFewQueues`]; [`Error::Call`] naming the step that the driver refused.
    pub fn configure(
        self,
        config: &PortConfig,
        pools: &[Mempool],
    ) -> Result<(Port, Vec<(RxQueue, TxQueue)>), Error> {
        let Attach { mut inner, mut info } = self;
        if config.queues > info.max_queues {
            return Err(Error::TooFewQueues {
                port: inner.name.clone(),
                driver: info.driver.clone(),
                available: info.max_queues,
                wanted: config.queues,
            });
        }
        inner._pools = pools.to_vec();
        let id = inner.id;
        let check = |step: &str, status: CStatus| -> Result<(), Error> {
            if status < 0 {
                Err(Error::from_status(format!("{step} of port {}", inner.name), status))
            } else {
                Ok(())
            }
        };
        let raw = dpdk_sys::vx_port_config {
            queues: config.queues,
            mtu: config.mtu.min(info.max_mtu),
            rx_ipv4_checksum: info.offloads.rx_ipv4.into(),
            rx_udp_checksum: info.offloads.rx_udp.into(),
            tx_ipv4_checksum: info.offloads.tx_ipv4.into(),
            tx_udp_checksum: info.offloads.tx_udp.into(),
        };
        // SAFETY: the port id is valid (we own the port) and the pointers describe live values, here and below.
        check("configuring the queues", unsafe { dpdk_sys::vx_port_configure(id, &raw const raw) })?;
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: as above.
        let status = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx) };
        check("sizing the rings", status)?;
        for queue in 0..config.queues {
            let pool = &pools[usize::from(queue) % pools.len()];
            // SAFETY: as above; the port keeps a clone of the pool until it is closed.
            let status = unsafe { dpdk_sys::vx_rx_queue_setup(id, queue, rx, pool.raw()) };
            check("setting up an RX queue", status)?;
            // SAFETY: as above.
            check("setting up a TX queue", unsafe { dpdk_sys::vx_tx_queue_setup(id, queue, tx) })?;
        }
        if let Some(mac) = config.mac {
            // SAFETY: as above.
            check("setting the MAC address", unsafe { dpdk_sys::vx_port_mac_set(id, mac.as_ptr()) })?;
            info.mac = mac;
        }
        let inner = Arc::new(inner);
        let by_pointer = info.passes_by_pointer();
        let queues = (0..config.queues)
            .map(|queue| {
                (
                    RxQueue { port: Arc::clone(&inner), queue, by_pointer },
                    TxQueue { port: Arc::clone(&inner), queue },
                )
            })
            .collect();
        let port = Port { inner, info };
        // Neighbour discovery needs multicast. Virtual devices without filters refuse either; they receive all.
        // SAFETY: as above.
        unsafe { dpdk_sys::rte_eth_allmulticast_enable(id) };
        if config.promiscuous {
            // SAFETY: as above.
            unsafe { dpdk_sys::rte_eth_promiscuous_enable(id) };
        }
        Ok((port, queues))
    }
}

impl Port {
    /// Starts the port: from here on its queues receive.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn start(&self) -> Result<(), Error> {
        // SAFETY: the port id is valid and the port is configured.
        let status = unsafe { dpdk_sys::rte_eth_dev_start(self.inner.id) };
        if status < 0 {
            return Err(Error::from_status(format!("starting port {}", self.inner.name), status));
        }
        Ok(())
    }

    /// Stops the port. Its queues must not be polled by another thread any more.
    pub fn stop(&self) {
        // SAFETY: the port id is valid.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.inner.id) };
    }

    /// What the port reports about itself.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// Device name, such as `net_memif0`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// DPDK's number for the port.
    pub fn id(&self) -> u16 {
        self.inner.id
    }

    /// Link state, without waiting for it to settle.
    pub fn link(&self) -> Link {
        let mut link = dpdk_sys::vx_link { up: 0, speed_mbps: 0 };
        // SAFETY: the port id is valid and `link` is writable.
        unsafe { dpdk_sys::vx_port_link(self.inner.id, &raw mut link) };
        Link { up: link.up != 0, speed_mbps: link.speed_mbps }
    }

    /// The port's own counters; zeros where the driver keeps none.
    pub fn stats(&self) -> PortStats {
        let mut raw = dpdk_sys::vx_port_stats {
            rx_packets: 0,
            tx_packets: 0,
            rx_missed: 0,
            rx_errors: 0,
            tx_errors: 0,
            rx_no_buffer: 0,
        };
        // SAFETY: the port id is valid and `raw` is writable.
        unsafe { dpdk_sys::vx_port_stats(self.inner.id, &raw mut raw) };
        PortStats {
            rx_packets: raw.rx_packets,
            tx_packets: raw.tx_packets,
            rx_missed: raw.rx_missed,
            rx_errors: raw.rx_errors,
            tx_errors: raw.tx_errors,
            rx_no_buffer: raw.rx_no_buffer,
        }
    }
}

impl RxQueue {
    /// Takes up to [`MAX_BURST`] received frames into the spare room of `frames`; returns how many.
    #[inline(always)]
    pub fn rx_burst<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        let start = frames.len();
        let room = (N - start).min(MAX_BURST) as u16;
        // SAFETY: the array has `room` free slots behind `start`; the driver writes owned mbufs into the first
        // `count` of them; `Mbuf` is a transparent pointer. One thread uses the queue (`&mut self`). On a
        // stopped port DPDK's dummy burst function returns 0.
        unsafe {
            let slots = frames.as_mut_ptr().add(start).cast();
            let count = usize::from(dpdk_sys::vx_rx_burst(self.port.id, self.queue, slots, room));
            frames.set_len(start + count);
            if self.by_pointer {
                return make_private(frames, start);
            }
            #[cfg(any(test, feature = "fault-injection"))]
            frames[start..].iter().for_each(Mbuf::poison_room);
            count
        }
    }
}

impl TxQueue {
    /// Has the driver give back the buffers of frames that have left; some do so only when they are asked to send.
    pub fn reap(&mut self) {
        // SAFETY: no frame is read from or written to an array of none; one thread uses the queue (`&mut self`).
        unsafe { dpdk_sys::vx_tx_burst(self.port.id, self.queue, std::ptr::dangling_mut(), 0) };
    }

    /// Sends from the front of `frames`; returns how many the port took. The rest stays in `frames`, in order.
    #[inline(always)]
    pub fn tx_burst<const N: usize>(&mut self, frames: &mut ArrayVec<Mbuf, N>) -> usize {
        // SAFETY: `Mbuf` is a transparent pointer to an mbuf that it owns.
        unsafe { self.tx(frames) }
    }

    /// The same for frames to which others may refer, such as the queues of other ports: the port gives up the one
    /// reference that it was given.
    #[inline(always)]
    pub fn tx_burst_shared<const N: usize>(&mut self, frames: &mut ArrayVec<SharedFrame, N>) -> usize {
        // SAFETY: `SharedFrame` is a transparent pointer to an mbuf of which it owns one reference. Drivers read what
        // they send, and no offload that needs an mbuf for itself alone is ever configured.
        unsafe { self.tx(frames) }
    }

    /// # Safety
    /// `T` is a transparent pointer to an mbuf and owns one reference to it.
    #[inline(always)]
    unsafe fn tx<T, const N: usize>(&mut self, frames: &mut ArrayVec<T, N>) -> usize {
        let len = frames.len();
        // SAFETY: the array holds `len` owned references; the driver takes over the first `count`, which are
        // removed here without being dropped; one thread uses the queue (`&mut self`).
        unsafe {
            let base = frames.as_mut_ptr();
            let count = usize::from(dpdk_sys::vx_tx_burst(self.port.id, self.queue, base.cast(), len as u16));
            std::ptr::copy(base.add(count), base, len - count);
            frames.set_len(len - count);
            count
        }
    }
}

/// Replaces those of the frames from `start` on that somebody else refers to by copies; what there is no buffer for is
/// lost. Returns how many there are.
#[cold]
fn make_private<const N: usize>(frames: &mut ArrayVec<Mbuf, N>, start: usize) -> usize {
    let received: ArrayVec<Mbuf, N> = frames.drain(start..).collect();
    for frame in received {
        // SAFETY: we own one reference to a live mbuf and give it up for one to an mbuf that is ours alone.
        let private = unsafe {
            NonNull::new(dpdk_sys::vx_mbuf_private(frame.into_raw().as_ptr())).map(|raw| Mbuf::from_raw(raw))
        };
        if let Some(frame) = private {
            #[cfg(any(test, feature = "fault-injection"))]
            frame.poison_room();
            frames.push(frame);
        }
    }
    frames.len() - start
}

impl Drop for PortInner {
    fn drop(&mut self) {
        // SAFETY: the port id is valid, no queue handle is left, so nobody polls; the pools outlive this call.
        unsafe {
            dpdk_sys::rte_eth_dev_stop(self.id);
            dpdk_sys::vx_port_remove(self.id);
        }
    }
}

type CStatus = std::os::raw::c_int;

fn port_info(port: &PortInner) -> Result<PortInfo, Error> {
    // SAFETY: integers and byte arrays, for which all zeros is a valid value.
    let mut raw: dpdk_sys::vx_port_info = unsafe { std::mem::zeroed() };
    // SAFETY: the port id is valid and `raw` is writable.
    let status = unsafe { dpdk_sys::vx_port_info(port.id, &raw mut raw) };
    if status < 0 {
        return Err(Error::from_status(format!("reading what port {} offers", port.name), status));
    }
    let driver: Vec<u8> = raw.driver.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    Ok(PortInfo {
        driver: String::from_utf8_lossy(&driver).into_owned(),
        mac: raw.mac,
        max_queues: raw.max_rx_queues.min(raw.max_tx_queues),
        max_mtu: raw.max_mtu,
        socket: u32::try_from(raw.socket_id).ok(),
        has_rss: raw.rss_types != 0,
        offloads: Offloads {
            rx_ipv4: raw.rx_ipv4_checksum != 0,
            rx_udp: raw.rx_udp_checksum != 0,
            tx_ipv4: raw.tx_ipv4_checksum != 0,
            tx_udp: raw.tx_udp_checksum != 0,
        },
    })
}
