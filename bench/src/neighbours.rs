//! The generator's side of ARP, neighbour discovery and ping: one host per port, which answers for every
//! address that the generator plays and finds the gateway's MAC addresses.

use std::net::IpAddr;

use voxlane::control::host::{Event, Host, HostLimits, Interface, NextHopId, RouteError};
use voxlane::wire::MacAddress;

use super::plan::Plan;

/// Answers per second and kind: the gateway may ask for thousands of remotes at once.
const ANSWERS_PER_SECOND: u32 = 100_000;

/// The hosts of all our ports.
pub struct Neighbours {
    sides: Vec<Side>,
    /// Frames to send, with their port.
    outbox: Vec<(usize, Vec<u8>)>,
    /// When a host has something to do next, in nanoseconds of the run.
    deadline_ns: u64,
}

struct Side {
    port: String,
    host: Host,
    /// The gateway's addresses that streams are sent to.
    destinations: Vec<(IpAddr, NextHopId)>,
}

impl Neighbours {
    /// Hosts for the ports of `plan`, whose MAC addresses are `macs`.
    ///
    /// # Errors
    /// [`RouteError`] when an address of the gateway's is in no subnet that the generator has an address in.
    pub fn new(plan: &Plan<'_>, macs: &[MacAddress]) -> Result<Self, RouteError> {
        let sides = plan.ports.iter().zip(macs).map(|(port, &mac)| {
            let interface = Interface {
                mac,
                vlan: port.gateway.vlan,
                addresses: port.addresses.clone(),
                gateways: Vec::new(),
                mtu: port.gateway.mtu,
            };
            let limits = HostLimits {
                arp_per_second: ANSWERS_PER_SECOND,
                icmp_per_second: ANSWERS_PER_SECOND,
                next_hops: port.destinations.len(),
            };
            let mut host = Host::new(interface, limits);
            let destinations =
                port.destinations.iter().map(|&address| Ok((address, host.next_hop(address)?)));
            let destinations = destinations.collect::<Result<_, RouteError>>()?;
            Ok(Side { port: port.gateway.name.clone(), host, destinations })
        });
        let sides = sides.collect::<Result<_, RouteError>>()?;
        Ok(Neighbours { sides, outbox: Vec::new(), deadline_ns: 0 })
    }

    /// The links are up: announces our addresses and asks for the gateway's.
    pub fn start(&mut self, now_ns: u64) {
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.host.announce(now_ns, &mut |frame| self.outbox.push((port, frame.to_vec())));
        }
        self.deadline_ns = now_ns;
    }

    /// Takes in a frame that is no media.
    pub fn receive(&mut self, port: usize, now_ns: u64, frame: &[u8]) {
        if let Some(side) = self.sides.get_mut(port) {
            side.host.receive(now_ns, frame, &mut |reply| self.outbox.push((port, reply.to_vec())));
            self.deadline_ns = now_ns;
        }
    }

    /// Whether there is something to send, to learn, or to do.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns || !self.outbox.is_empty()
    }

    /// Does what is due.
    pub fn poll(&mut self, now_ns: u64) {
        let mut deadline_ns = u64::MAX;
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.host.poll(now_ns, &mut |frame| self.outbox.push((port, frame.to_vec())));
            deadline_ns = deadline_ns.min(side.host.next_deadline_ns().unwrap_or(u64::MAX));
        }
        self.deadline_ns = deadline_ns;
    }

    /// Tells `apply` every MAC address that was found or changed: port, the gateway's address, its MAC address.
    pub fn resolved(&mut self, mut apply: impl FnMut(usize, IpAddr, MacAddress)) {
        for (port, side) in self.sides.iter_mut().enumerate() {
            for event in side.host.events() {
                match event {
                    Event::Resolved { next_hop, mac } => {
                        let of_it = side.destinations.iter().filter(|(_, id)| *id == next_hop);
                        of_it.for_each(|(address, _)| apply(port, *address, mac));
                    }
                    Event::AddressConflict { address, mac } => {
                        tracing::warn!(port = side.port, %address, %mac, "another station claims an address that the generator plays");
                    }
                    // Frames go on to the last known address: what is lost then shows in the result.
                    Event::Lost { .. } => {}
                }
            }
        }
    }

    /// Hands frames to `take` in order until it refuses one, which is offered again next time.
    pub fn send(&mut self, mut take: impl FnMut(usize, &[u8]) -> bool) {
        let refused = self.outbox.iter().position(|(port, frame)| !take(*port, frame));
        self.outbox.drain(..refused.unwrap_or(self.outbox.len()));
    }

    /// A gateway's address whose MAC address is not known yet, with the name of its port.
    pub fn unresolved(&self) -> Option<(&str, IpAddr)> {
        self.sides.iter().find_map(|side| {
            let missing = side.destinations.iter().find(|(_, id)| side.host.mac(*id).is_none());
            missing.map(|(address, _)| (side.port.as_str(), *address))
        })
    }
}
