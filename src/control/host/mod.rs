//! The host on the network: a port answers ARP, neighbour discovery and pings for its own addresses, and finds
//! out the MAC addresses of its next hops.
//!
//! Sans-IO: frames and the time go in, frames and events come out. The gateway's control thread feeds it what
//! the workers punt and publishes [`Event`]s to them; the load generator has one of its own. Times are
//! nanoseconds on any clock that does not run backwards.
//!
//! | file | what |
//! |---|---|
//! | this | the interface, routes, timers |
//! | `responder.rs` | frames received |
//! | `neighbour.rs` | the neighbour table |
//! | `compose.rs` | frames written |
//! | `counters.rs` | what became of the frames |

#![forbid(unsafe_code)]

mod compose;
mod counters;
mod neighbour;
mod responder;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rate_limit::TokenBucket;
use crate::wire::{IpNet, MacAddress, ipv6};
use compose::Composer;
pub use counters::{Counters, FrameKind, Outcome};
pub use neighbour::{Neighbour, NeighbourState, NextHopId};
use neighbour::{NeighbourTable, Solicitation};

const SECOND_NS: u64 = 1_000_000_000;
/// MAX_NEIGHBOR_ADVERTISEMENT (RFC 4861 §10), for ARP as well.
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCEMENT_INTERVAL_NS: u64 = SECOND_NS;
/// Questions that one poll sends at most, so that a full table does not exhaust the buffers at once.
const SOLICITATIONS_PER_POLL: usize = 64;
/// An address conflict is reported once in this time (DEFEND_INTERVAL, RFC 5227 §1.1), and counted always.
const CONFLICT_INTERVAL_NS: u64 = 10 * SECOND_NS;
/// Length of the link-local prefix (RFC 4291 §2.5.6).
const LINK_LOCAL_PREFIX: u8 = 64;

/// What a port is on its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// MAC address of the port.
    pub mac: MacAddress,
    /// The 802.1Q tag of every frame, 1 to 4094; none for untagged frames.
    pub vlan: Option<u16>,
    /// Own addresses with their on-link prefixes. With an IPv6 address among them the link-local address of
    /// the MAC address is added.
    pub addresses: Vec<IpNet>,
    /// Where to send what is not on-link: the first gateway of the address family.
    pub gateways: Vec<IpAddr>,
    /// The longest IP packet in bytes.
    pub mtu: u16,
}

/// What a host may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// ARP requests, and as many neighbour solicitations, that are answered per second.
    pub arp_per_second: u32,
    /// ICMP echo requests, and as many ICMPv6 ones, that are answered per second.
    pub icmp_per_second: u32,
    /// Next hops that there can be.
    pub next_hops: usize,
}

/// Something that the packet path or the operator must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Another station claims one of our addresses. Reported at most every ten seconds per address.
    AddressConflict {
        /// The address.
        address: IpAddr,
        /// Who claims it.
        mac: MacAddress,
    },
    /// The next hop does not answer any more; what is sent to it has nowhere to go.
    Lost {
        /// Which one.
        next_hop: NextHopId,
    },
    /// The next hop has this MAC address, for the first time or a new one.
    Resolved {
        /// Which one.
        next_hop: NextHopId,
        /// Its MAC address.
        mac: MacAddress,
    },
}

/// Why there is no way to a remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Neither on-link nor is there a gateway.
    #[error("{remote} is in no prefix of the port and has no gateway: configure a gateway on the port")]
    NoRoute {
        /// The address asked for.
        remote: IpAddr,
    },
    /// Multicast, broadcast, loopback, unspecified, or the network address of an on-link prefix.
    #[error("{remote} is not the address of one host: use a unicast address")]
    NotUnicast {
        /// The address asked for.
        remote: IpAddr,
    },
    /// One of the port's own addresses.
    #[error("{remote} is the port's own address: use the address of the other end")]
    OwnAddress {
        /// The address asked for.
        remote: IpAddr,
    },
    /// Every entry of the neighbour table is taken.
    #[error("no room for {remote} among {capacity} next hops: use a gateway, or raise the capacity")]
    TableFull {
        /// The address asked for.
        remote: IpAddr,
        /// Entries of the table.
        capacity: usize,
    },
}

/// One port's host side. Owned by one thread; nothing in it blocks.
#[derive(Debug)]
pub struct Host {
    interface: Interface,
    own: Vec<OwnAddress>,
    neighbours: NeighbourTable,
    composer: Composer,
    counters: Counters,
    limits: Buckets,
    /// Announcements that are still to be made, and when the next is due.
    announcements: Option<(u8, u64)>,
}

#[derive(Debug)]
struct OwnAddress {
    net: IpNet,
    /// When the last conflict was reported.
    reported_ns: Option<u64>,
    /// Who claims the address, until the event is drained.
    conflict: Option<MacAddress>,
}

#[derive(Debug)]
struct Buckets {
    arp: TokenBucket,
    icmp: TokenBucket,
    icmpv6: TokenBucket,
    ndp: TokenBucket,
}

impl Host {
    /// A host that has not sent anything yet: call [`Host::announce`] when the link comes up.
    pub fn new(interface: Interface, limits: HostLimits) -> Self {
        let mut nets = interface.addresses.clone();
        let link_local = IpAddr::V6(interface.mac.link_local());
        let has_ipv6 = nets.iter().any(|net| net.address().is_ipv6());
        if has_ipv6 && nets.iter().all(|net| net.address() != link_local) {
            nets.extend(IpNet::new(link_local, LINK_LOCAL_PREFIX));
        }
        let own = |net| OwnAddress { net, reported_ns: None, conflict: None };
        Host {
            own: nets.into_iter().map(own).collect(),
            neighbours: NeighbourTable::new(limits.next_hops),
            composer: Composer::new(interface.mac, interface.vlan, interface.mtu),
            counters: Counters::default(),
            limits: Buckets {
                arp: TokenBucket::new(limits.arp_per_second, SECOND_NS),
                icmp: TokenBucket::new(limits.icmp_per_second, SECOND_NS),
                icmpv6: TokenBucket::new(limits.icmp_per_second, SECOND_NS),
                ndp: TokenBucket::new(limits.arp_per_second, SECOND_NS),
            },
            announcements: None,
            interface,
        }
    }

    /// The next hop towards `remote`: the remote itself if it is on-link, else the gateway of its family. The
    /// same remote gets the same id; a new next hop is asked for at the next [`Host::poll`].
    ///
    /// # Errors
    /// [`RouteError`], naming the address and what to do.
    pub fn next_hop(&mut self, remote: IpAddr) -> Result<NextHopId, RouteError> {
        let target = self.route(remote)?;
        let capacity = self.neighbours.capacity();
        self.neighbours.find_or_add(target).ok_or(RouteError::TableFull { remote, capacity })
    }

    /// One user of a next hop less, for each [`Host::next_hop`] that answered it. The last one must be sure that no packet
    /// is sent to it any more: its place may be another next hop's from now on.
    pub fn release(&mut self, next_hop: NextHopId) {
        self.neighbours.release(next_hop);
    }

    /// The MAC address of a next hop, if it is known.
    pub fn mac(&self, next_hop: NextHopId) -> Option<MacAddress> {
        self.neighbours.mac(next_hop)
    }

    /// Every next hop and its state, in the order of the ids.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.neighbours.neighbours()
    }

    /// What the host received, answered and sent so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the port is on its link, as given at construction.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Own addresses, the link-local one included.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.own.iter().map(|own| own.net)
    }

    /// Call when the link came up. Tells everybody our addresses, three times with a second between
    /// (gratuitous ARP, RFC 5227 §3; unsolicited advertisements, RFC 4861 §7.2.6), and verifies the next hops.
    pub fn announce(&mut self, now_ns: u64, out: &mut dyn FnMut(&[u8])) {
        self.neighbours.restart(now_ns);
        self.announcements = Some((ANNOUNCEMENTS, now_ns));
        self.announce_due(now_ns, out);
    }

    /// Sends what is due: announcements, and questions for next hops. Call at [`Host::next_deadline_ns`] or
    /// more often. One call sends a bounded number of frames; the deadline then stays in the past.
    pub fn poll(&mut self, now_ns: u64, out: &mut dyn FnMut(&[u8])) {
        self.announce_due(now_ns, out);
        for _ in 0..SOLICITATIONS_PER_POLL {
            let Some(solicitation) = self.neighbours.due(now_ns) else {
                break;
            };
            self.solicit(solicitation, out);
        }
    }

    /// When [`Host::poll`] has something to do next; none as long as there is no next hop.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let announcement = self.announcements.map(|(_, due)| due);
        self.neighbours.next_deadline_ns().into_iter().chain(announcement).min()
    }

    /// Drains what happened since the last call.
    pub fn events(&mut self) -> impl Iterator<Item = Event> + '_ {
        let conflicts = self.own.iter_mut().filter_map(|own| {
            let address = own.net.address();
            own.conflict.take().map(|mac| Event::AddressConflict { address, mac })
        });
        let changes = self.neighbours.changes().map(|(next_hop, mac)| match mac {
            Some(mac) => Event::Resolved { next_hop, mac },
            None => Event::Lost { next_hop },
        });
        conflicts.chain(changes)
    }

    fn route(&self, remote: IpAddr) -> Result<IpAddr, RouteError> {
        if !is_host_address(remote) {
            return Err(RouteError::NotUnicast { remote });
        }
        if self.is_own(remote) {
            return Err(RouteError::OwnAddress { remote });
        }
        if let Some(own) = self.own.iter().find(|own| own.net.contains(remote)) {
            // The prefix is the interface's, the address the remote's: its network or broadcast address?
            let is_host = IpNet::new(remote, own.net.prefix_len()).is_ok_and(IpNet::is_host_address);
            return if is_host { Ok(remote) } else { Err(RouteError::NotUnicast { remote }) };
        }
        let mut gateways = self.interface.gateways.iter().copied();
        gateways
            .find(|gateway| gateway.is_ipv4() == remote.is_ipv4() && self.source_for(*gateway).is_some())
            .ok_or(RouteError::NoRoute { remote })
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.net.address() == address)
    }

    /// Whether a station may have this address as seen from our link.
    fn is_plausible_source(&self, address: IpAddr) -> bool {
        is_host_address(address)
            && !self.own.iter().any(|own| own.net.broadcast().map(IpAddr::V4) == Some(address))
    }

    /// The own address to ask for `target` from: one with which it shares a link, else any of the family.
    fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let of_family = || self.addresses().filter(|net| net.address().is_ipv4() == target.is_ipv4());
        of_family().find(|net| net.contains(target)).or_else(|| of_family().next()).map(IpNet::address)
    }

    fn solicit(&mut self, solicitation: Solicitation, out: &mut dyn FnMut(&[u8])) {
        let Solicitation { target, mac } = solicitation;
        let frame = match (self.source_for(target), target) {
            (Some(IpAddr::V4(source)), IpAddr::V4(target)) => self.composer.arp_request(source, target, mac),
            (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
                self.composer.neighbour_solicitation(source, target, mac)
            }
            _ => None,
        };
        if let Some(frame) = frame {
            self.counters.solicitations += 1;
            out(frame);
        }
    }

    fn announce_due(&mut self, now_ns: u64, out: &mut dyn FnMut(&[u8])) {
        let Some((left, due_ns)) = self.announcements.filter(|(_, due_ns)| *due_ns <= now_ns) else {
            return;
        };
        self.announcements = match left.saturating_sub(1) {
            0 => None,
            left => Some((left, due_ns.saturating_add(ANNOUNCEMENT_INTERVAL_NS))),
        };
        for own in &self.own {
            let frame = match own.net.address() {
                IpAddr::V4(address) => self.composer.gratuitous_arp(address),
                IpAddr::V6(address) => self.composer.unsolicited_advertisement(address),
            };
            if let Some(frame) = frame {
                self.counters.announcements += 1;
                out(frame);
            }
        }
    }

    /// Somebody with another MAC address claims one of our addresses (RFC 5227 §2.4, RFC 4862 §5.4.4).
    fn conflict(&mut self, address: IpAddr, mac: MacAddress, now_ns: u64) {
        let Some(own) = self.own.iter_mut().find(|own| own.net.address() == address) else {
            return;
        };
        self.counters.conflicts += 1;
        let is_due = own.reported_ns.is_none_or(|at| now_ns.saturating_sub(at) >= CONFLICT_INTERVAL_NS);
        if is_due {
            own.reported_ns = Some(now_ns);
            own.conflict = Some(mac);
        }
    }
}

/// Unicast, and not loopback or unspecified.
fn is_host_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_host_ipv4(address),
        IpAddr::V6(address) => is_host_ipv6(address),
    }
}

fn is_host_ipv4(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network", 240.0.0.0/4 is reserved and ends in the broadcast address (RFC 6890).
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn is_host_ipv6(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_loopback() && !address.is_unspecified()
}

/// Whether a group is one of those that a host with `address` is a member of (RFC 4291 §2.8).
fn is_group_of(group: Ipv6Addr, address: Ipv6Addr) -> bool {
    group == ipv6::ALL_NODES || group == ipv6::solicited_node(address)
}

#[cfg(test)]
mod tests;
