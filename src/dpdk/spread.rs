//! How a started port spreads received packets over its queues: by a hash (RSS), and by flow rules for single local
//! ports. Asked for at start, so that streams can be homed on the worker whose queue their packets arrive on.

use std::net::{IpAddr, SocketAddr};

use super::{Error, Port};

/// What a port's hash covers, its key and its redirection table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// Whether UDP over IPv4 is spread by its addresses and ports.
    pub udp_ipv4: bool,
    /// The same over IPv6.
    pub udp_ipv6: bool,
    /// Whether the destination port alone is hashed.
    pub destination_port_only: bool,
    /// The Toeplitz key.
    pub key: Vec<u8>,
    /// Queue by hash value modulo the length, which is not 0.
    pub table: Vec<u16>,
}

impl Port {
    /// Fills the port's redirection table with its `queues` queues in turn, if it takes one, and returns how it
    /// spreads packets. `None` when the driver does not say, as those of virtual ports do not. The port is started.
    pub fn spread(&self, queues: u16) -> Option<Rss> {
        // A driver that refuses keeps its own table, which is what is read back.
        // SAFETY: the port id is valid.
        unsafe { dpdk_sys::vx_port_rss_spread(self.id(), queues) };
        // SAFETY: integers and arrays of them, for which all zeros is a valid value.
        let mut raw: dpdk_sys::vx_rss = unsafe { std::mem::zeroed() };
        // SAFETY: the port id is valid and `raw` is writable.
        if unsafe { dpdk_sys::vx_port_rss(self.id(), &raw mut raw) } != 0 {
            return None;
        }
        let key = raw.key.get(..usize::from(raw.key_len))?;
        let table = raw.reta.get(..usize::from(raw.reta_size))?;
        let is_known = key.iter().any(|&octet| octet != 0) && !table.is_empty();
        is_known.then(|| Rss {
            udp_ipv4: raw.udp_ipv4 != 0,
            udp_ipv6: raw.udp_ipv6 != 0,
            destination_port_only: raw.l4_dst_only != 0,
            key: key.to_vec(),
            table: table.to_vec(),
        })
    }

    /// Has the port deliver UDP to `local` on `queue`, by a flow rule. The port is started.
    ///
    /// # Errors
    /// [`Error::Call`] when the driver does not validate such a rule or has no room for another.
    pub fn steer(&self, local: SocketAddr, queue: u16) -> Result<(), Error> {
        let octets = match local.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // SAFETY: the port id is valid; the pointer and length describe `octets`, which the call copies.
        let status = unsafe {
            dpdk_sys::vx_port_steer_udp(self.id(), octets.as_ptr(), octets.len(), local.port(), queue)
        };
        if status < 0 {
            return Err(Error::from_status(
                format!("steering {local} to queue {queue} of {}", self.name()),
                status,
            ));
        }
        Ok(())
    }

    /// Removes all rules of [`Port::steer`].
    pub fn steer_nothing(&self) {
        // SAFETY: the port id is valid.
        unsafe { dpdk_sys::vx_port_steer_flush(self.id()) };
    }
}
