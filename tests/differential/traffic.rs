//! Random traffic for a world: calls as they should be, calls over a bad network, and what attackers and broken peers
//! send, in bursts as a port delivers them. Everything is built by the reference's own code.

use crate::random::Random;
use crate::reference::{Leg, World};
use crate::sender::Sender;
use crate::wire::Wire;

/// All remotes of a world.
pub struct Traffic {
    world: World,
    senders: Vec<Sender>,
}

impl Traffic {
    pub fn new(random: &mut Random, world: &World) -> Self {
        let mut senders = Vec::new();
        for (session, legs) in world.sessions.iter().enumerate() {
            for (side, leg) in legs.legs.iter().enumerate() {
                let first = match random.below(4) {
                    0 => random.between(0, 2),
                    1 => random.between(0, 65_535),
                    _ => random.between(65_440, 65_535),
                };
                // Some ends choose the SSRC of the other one.
                let other: Option<&Sender> = senders.last().filter(|_| side == 1 && random.chance(60));
                let ssrc = other.map_or(random.number() as u32, |other| other.ssrc);
                senders.push(Sender::new(session, side, leg, ssrc, first));
            }
        }
        Traffic { world: world.clone(), senders }
    }

    /// A burst of 1 to 64 frames that arrive on one port, which is returned with them.
    pub fn burst(&mut self, random: &mut Random) -> (usize, Vec<Vec<u8>>) {
        let size = match random.below(3) {
            0 => 1,
            1 => random.between(2, 8),
            _ => random.between(9, 64),
        };
        let chosen = random.below(self.senders.len());
        let port = self.leg(chosen).port;
        let here: Vec<usize> = (0..self.senders.len()).filter(|&at| self.leg(at).port == port).collect();
        // Many bursts hold packets of one stream alone.
        let one_stream = random.chance(400);
        let frames = (0..size).map(|_| {
            let sender = if one_stream { chosen } else { *random.pick(&here) };
            self.frame(random, sender)
        });
        (port, frames.collect())
    }

    fn leg(&self, sender: usize) -> &Leg {
        let (session, side) = self.senders[sender].leg;
        &self.world.sessions[session].legs[side]
    }

    fn frame(&mut self, random: &mut Random, at: usize) -> Vec<u8> {
        let leg = self.leg(at).clone();
        let port = self.world.ports[leg.port].clone();
        let wire = Wire { leg: &leg, port: &port, other_port: &self.world.ports[1 - leg.port] };
        let sender = &mut self.senders[at];
        match random.below(1000) {
            0..560 => {
                let datagram = sender.voice(random);
                let datagram = sender.goes_out(random, datagram);
                wire.frame(random, &datagram)
            }
            560..640 => {
                let datagram = sender.report(random);
                let datagram = sender.goes_out(random, datagram);
                wire.frame(random, &datagram)
            }
            // What was held back arrives late, in any order; what was sent arrives again.
            640..740 if sender.has_held() => {
                let late = sender.late(random);
                wire.frame(random, &late)
            }
            740..790 if sender.has_sent() => {
                let again = sender.again(random).clone();
                wire.frame(random, &again)
            }
            790..860 => {
                let damaged = sender.damaged(random);
                wire.frame(random, &damaged)
            }
            860..900 => {
                let datagram = sender.datagram(random);
                wire.misaddressed(random, &datagram)
            }
            900..950 => {
                let datagram = sender.datagram(random);
                wire.malformed(random, &datagram)
            }
            950..980 => wire.for_the_host(random),
            980..990 => {
                let count = random.between(0, 120) as usize;
                random.octets(count)
            }
            // Nobody remembers these, so nothing repeats them.
            _ => {
                let datagram = sender.voice(random);
                wire.frame(random, &datagram)
            }
        }
    }
}
