//! The neighbour table: which MAC address belongs to a next hop, and since when that is certain.
//!
//! States and timers follow RFC 4861 §7.3.2 and Appendix C, for ARP as well. One thing differs: every next hop
//! here carries calls, so none waits for traffic before it is verified. An entry that is no longer certain
//! stays in use while it is probed; only unanswered probes take its MAC address away.
//!
//! | state | MAC address | until | then |
//! |---|---|---|---|
//! | incomplete | none | an answer comes | asked again after 1, 2, 4 … 60 s |
//! | reachable | confirmed | 30 s have passed | probing |
//! | stale | heard, not confirmed | 5 s have passed | probing |
//! | probing | known, being verified | 3 unicast probes 1 s apart | incomplete |

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use crate::wire::MacAddress;

const SECOND_NS: u64 = 1_000_000_000;
/// REACHABLE_TIME (RFC 4861 §10).
pub(super) const REACHABLE_NS: u64 = 30 * SECOND_NS;
/// DELAY_FIRST_PROBE_TIME (RFC 4861 §10).
pub(super) const STALE_NS: u64 = 5 * SECOND_NS;
/// RETRANS_TIMER (RFC 4861 §10).
pub(super) const RETRANSMIT_NS: u64 = SECOND_NS;
/// MAX_UNICAST_SOLICIT (RFC 4861 §10).
pub(super) const MAX_PROBES: u8 = 3;
/// For how long an answer to a question is one.
const ANSWER_NS: u64 = 3 * RETRANSMIT_NS;
/// The longest pause between two attempts to resolve a next hop that does not answer.
pub(super) const MAX_BACKOFF_NS: u64 = 60 * SECOND_NS;

/// Position of a next hop in its port's table: small, dense, used again once nobody needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHopId(pub u32);

/// How certain the MAC address of a next hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Not known; being asked for.
    Incomplete,
    /// Known, and being verified.
    Probing,
    /// Confirmed within the last 30 s.
    Reachable,
    /// Heard from the neighbour without having asked.
    Stale,
}

/// A next hop as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id.
    pub next_hop: NextHopId,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, if known.
    pub mac: Option<MacAddress>,
    /// How certain that is.
    pub state: NeighbourState,
}

/// What a neighbour said about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its MAC address, if it named one.
    pub mac: Option<MacAddress>,
    /// It answered a question of ours, so it hears us.
    pub solicited: bool,
    /// A different known MAC address shall be replaced.
    pub overrides: bool,
}

/// A question that is due: by unicast to `mac` if that is known, to everybody otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Solicitation {
    pub target: IpAddr,
    pub mac: Option<MacAddress>,
}

/// All next hops of one interface, at most as many as stated at construction.
#[derive(Debug)]
pub(super) struct NeighbourTable {
    entries: Vec<Entry>,
    by_address: HashMap<IpAddr, NextHopId>,
    /// Every entry's deadline, so that the earliest is found without a scan.
    timers: BTreeSet<(u64, NextHopId)>,
    /// Entries whose MAC address changed since the last report; each at most once.
    changed: VecDeque<NextHopId>,
    /// Places that are free again.
    unused: Vec<NextHopId>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    mac: Option<MacAddress>,
    state: State,
    deadline_ns: u64,
    /// Until when an answer counts as one to our last question. Not a matter of the state: the neighbour's own
    /// question may cross ours and make the entry stale before the answer comes.
    awaited_until_ns: u64,
    /// What the last event said.
    reported: Option<MacAddress>,
    is_changed: bool,
    /// For how many streams it was asked for and not released.
    users: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody needs it: the place is free.
    Unused,
    Incomplete {
        asked: u32,
    },
    Probing {
        sent: u8,
    },
    Reachable,
    Stale,
}

impl NeighbourTable {
    pub(super) fn new(capacity: usize) -> Self {
        NeighbourTable {
            entries: Vec::with_capacity(capacity),
            by_address: HashMap::with_capacity(capacity),
            timers: BTreeSet::new(),
            changed: VecDeque::with_capacity(capacity),
            unused: Vec::new(),
            capacity,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<NextHopId> {
        self.by_address.get(&address).copied()
    }

    /// The entry of `address`, made if there is none; it is asked for at the next poll. None if full.
    pub(super) fn find_or_add(&mut self, address: IpAddr) -> Option<NextHopId> {
        if let Some(id) = self.find(address) {
            if let Some(entry) = self.entries.get_mut(id.0 as usize) {
                entry.users = entry.users.saturating_add(1);
            }
            return Some(id);
        }
        let mut entry = Entry {
            address,
            mac: None,
            state: State::Incomplete { asked: 0 },
            deadline_ns: 0,
            awaited_until_ns: 0,
            reported: None,
            is_changed: false,
            users: 1,
        };
        let id = match self.unused.pop() {
            Some(id) => {
                let place = self.entries.get_mut(id.0 as usize)?;
                // What is reported next is told from what was reported of the entry that stood here.
                (entry.reported, entry.is_changed) = (place.reported, place.is_changed);
                *place = entry;
                id
            }
            None if self.entries.len() < self.capacity => {
                self.entries.push(entry);
                NextHopId(u32::try_from(self.entries.len() - 1).ok()?)
            }
            None => return None,
        };
        self.by_address.insert(address, id);
        self.timers.insert((0, id));
        Some(id)
    }

    /// One user less. Without users the entry is forgotten, and its place is free: no packet may be on its way to it.
    pub(super) fn release(&mut self, id: NextHopId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize) else { return };
        if entry.state == State::Unused {
            return;
        }
        entry.users = entry.users.saturating_sub(1);
        if entry.users > 0 {
            return;
        }
        self.timers.remove(&(entry.deadline_ns, id));
        self.by_address.remove(&entry.address);
        entry.state = State::Unused;
        self.set_mac(id, None);
        self.unused.push(id);
    }

    pub(super) fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.entries.iter().zip(0..).filter_map(|(entry, position)| {
            Some(Neighbour {
                next_hop: NextHopId(position),
                address: entry.address,
                mac: entry.mac,
                state: match entry.state {
                    State::Unused => return None,
                    State::Incomplete { .. } => NeighbourState::Incomplete,
                    State::Probing { .. } => NeighbourState::Probing,
                    State::Reachable => NeighbourState::Reachable,
                    State::Stale => NeighbourState::Stale,
                },
            })
        })
    }

    pub(super) fn mac(&self, id: NextHopId) -> Option<MacAddress> {
        self.entries.get(id.0 as usize)?.mac
    }

    /// Whether an answer to a question of ours is still awaited from the entry.
    pub(super) fn is_asking(&self, id: NextHopId, now_ns: u64) -> bool {
        self.entries.get(id.0 as usize).is_some_and(|entry| now_ns < entry.awaited_until_ns)
    }

    /// What RFC 4861 §7.2.5 does with an advertisement, and App. C with a solicitation's source. True if the
    /// claim changed the entry or confirmed it.
    pub(super) fn claim(&mut self, id: NextHopId, claim: Claim, now_ns: u64) -> bool {
        let Some(entry) = self.entries.get(id.0 as usize) else {
            return false;
        };
        let is_new = claim.mac.is_some() && claim.mac != entry.mac;
        let next = match entry.state {
            State::Unused => return false,
            State::Incomplete { .. } if claim.mac.is_none() => return false,
            // Another address that may not replace ours only casts doubt on an entry held certain.
            State::Reachable if is_new && !claim.overrides => State::Stale,
            State::Stale | State::Probing { .. } if is_new && !claim.overrides => return false,
            _ if claim.solicited => State::Reachable,
            _ if is_new => State::Stale,
            _ => return false,
        };
        let takes_mac = entry.mac.is_none() || claim.overrides;
        if let Some(mac) = claim.mac.filter(|_| is_new && takes_mac) {
            self.set_mac(id, Some(mac));
        }
        let lasts = if next == State::Reachable { REACHABLE_NS } else { STALE_NS };
        self.enter(id, next, now_ns.saturating_add(lasts));
        if next == State::Reachable {
            self.expect_answer(id, 0);
        }
        true
    }

    /// The link came up: whoever did not answer may now, and whoever did may have moved.
    pub(super) fn restart(&mut self, now_ns: u64) {
        for position in 0..self.entries.len() {
            let id = NextHopId(position as u32);
            if self.entries.get(position).is_some_and(|entry| entry.state == State::Unused) {
                continue;
            }
            let state = match self.mac(id) {
                Some(_) => State::Stale,
                None => State::Incomplete { asked: 0 },
            };
            self.enter(id, state, now_ns);
        }
    }

    /// Takes the next question that is due at `now_ns`, and sets the entry's next deadline.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Solicitation> {
        while let Some((deadline, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now_ns) {
            let Some(entry) = self.entries.get(id.0 as usize) else {
                // There is always an entry; without this a stray timer would be found again for ever.
                self.timers.remove(&(deadline, id));
                continue;
            };
            let target = entry.address;
            match entry.state {
                State::Unused => {
                    self.timers.remove(&(deadline, id));
                }
                State::Incomplete { asked } => {
                    let state = State::Incomplete { asked: asked.saturating_add(1) };
                    self.enter(id, state, now_ns.saturating_add(backoff_ns(asked)));
                    self.expect_answer(id, now_ns.saturating_add(ANSWER_NS));
                    return Some(Solicitation { target, mac: None });
                }
                State::Probing { sent: MAX_PROBES.. } => {
                    self.set_mac(id, None);
                    self.enter(id, State::Incomplete { asked: 0 }, now_ns);
                }
                State::Probing { sent } => {
                    let mac = entry.mac;
                    let state = State::Probing { sent: sent + 1 };
                    self.enter(id, state, now_ns.saturating_add(RETRANSMIT_NS));
                    self.expect_answer(id, now_ns.saturating_add(ANSWER_NS));
                    return Some(Solicitation { target, mac });
                }
                State::Reachable | State::Stale => self.enter(id, State::Probing { sent: 0 }, now_ns),
            }
        }
        None
    }

    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Drains the next hops whose MAC address is another than was reported last, with the address they have
    /// now. What changed and changed back is not reported, so a flood of claims cannot pile up.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = (NextHopId, Option<MacAddress>)> + '_ {
        std::iter::from_fn(|| {
            while let Some(id) = self.changed.pop_front() {
                let Some(entry) = self.entries.get_mut(id.0 as usize) else {
                    continue;
                };
                entry.is_changed = false;
                if entry.reported != entry.mac {
                    entry.reported = entry.mac;
                    return Some((id, entry.mac));
                }
            }
            None
        })
    }

    fn enter(&mut self, id: NextHopId, state: State, deadline_ns: u64) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            self.timers.remove(&(entry.deadline_ns, id));
            entry.state = state;
            entry.deadline_ns = deadline_ns;
            self.timers.insert((deadline_ns, id));
        }
    }

    fn expect_answer(&mut self, id: NextHopId, until_ns: u64) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.awaited_until_ns = until_ns;
        }
    }

    fn set_mac(&mut self, id: NextHopId, mac: Option<MacAddress>) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.mac = mac;
            if !entry.is_changed {
                entry.is_changed = true;
                self.changed.push_back(id);
            }
        }
    }
}

/// The pause after the question number `asked`, counted from zero: 1, 2, 4 … 60 s.
fn backoff_ns(asked: u32) -> u64 {
    RETRANSMIT_NS.saturating_mul(1 << asked.min(16)).min(MAX_BACKOFF_NS)
}

#[cfg(test)]
mod tests;
