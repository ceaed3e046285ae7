//! Which local endpoints are in use, and which rest: a port that one session has left is not given to the next at once,
//! because packets of the old call may still be under way to it.
//!
//! One word for each place of the lookup, so taking and giving back cost one access each.

use crate::session::Place;

/// State of one place: free, taken, or at rest until a time (in ticks).
const FREE: u32 = 0;
const TAKEN: u32 = u32::MAX;

/// Why a local endpoint cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortRefused {
    /// A session has it.
    Taken,
    /// A session had it; for so many ticks it rests.
    Resting(u32),
}

#[derive(Debug)]
pub(super) struct PortBook {
    states: Box<[u32]>,
    rest: u32,
    taken: usize,
}

impl PortBook {
    /// All of `places` free; each rests for `rest` ticks after use.
    pub(super) fn new(places: usize, rest: u32) -> Self {
        PortBook { states: vec![FREE; places].into(), rest, taken: 0 }
    }

    /// Takes a place at time `now`, in ticks from 1 on.
    pub(super) fn take(&mut self, place: Place, now: u32) -> Result<(), PortRefused> {
        match self.states.get_mut(place.index()) {
            None | Some(&mut TAKEN) => Err(PortRefused::Taken),
            Some(&mut until) if until > now => Err(PortRefused::Resting(until - now)),
            Some(state) => {
                *state = TAKEN;
                self.taken += 1;
                Ok(())
            }
        }
    }

    /// Gives a place back that a session used.
    pub(super) fn release(&mut self, place: Place, now: u32) {
        self.set(place, now.saturating_add(self.rest).clamp(1, TAKEN - 1));
    }

    /// Gives a place back that was taken for a session that came to nothing.
    pub(super) fn put_back(&mut self, place: Place) {
        self.set(place, FREE);
    }

    /// Places in use.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    fn set(&mut self, place: Place, to: u32) {
        if let Some(state) = self.states.get_mut(place.index())
            && *state == TAKEN
        {
            *state = to;
            self.taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::session::{Endpoint, LookupBuilder};

    #[test]
    fn a_port_rests_before_the_next_session_gets_it() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let mut builder = LookupBuilder::default();
        builder.address(IpAddr::V4(address), 0);
        let lookup = builder.build().expect("one address");
        let place = lookup.place(&Endpoint::v4(address, 20_000)).expect("local");
        let mut book = PortBook::new(lookup.places(), 80);
        assert_eq!(book.take(place, 100), Ok(()));
        assert_eq!(book.take(place, 100), Err(PortRefused::Taken));
        book.release(place, 200);
        book.release(place, 900);
        assert_eq!(book.take(place, 250), Err(PortRefused::Resting(30)), "a second release changes nothing");
        assert_eq!(book.take(place, 280), Ok(()));
        book.put_back(place);
        assert_eq!((book.take(place, 280), book.taken()), (Ok(()), 1), "nothing was ever received on it");
    }
}
