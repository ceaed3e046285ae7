//! One remote: the sender of a stream, with what it sent and what the network holds back.

use crate::packet::{compound, rtp};
use crate::random::Random;
use crate::reference::Leg;
use crate::reference::srtp::SessionKeys;

/// What stays of a stream for replays.
const HISTORY: usize = 400;

/// The sender of a stream.
pub struct Sender {
    /// Number of its session in the world, and of its side there.
    pub leg: (usize, usize),
    pub ssrc: u32,
    /// None on a plain leg. A sender with several changes over in the middle of the stream.
    keys: Vec<SessionKeys>,
    in_use: usize,
    next: u64,
    next_rtcp: u32,
    /// UDP payloads that overtook each other, and those that went out.
    held: Vec<Datagram>,
    sent: Vec<Datagram>,
}

/// A UDP payload and whether it goes to the RTCP address.
#[derive(Clone)]
pub struct Datagram {
    pub payload: Vec<u8>,
    pub is_rtcp: bool,
}

impl Sender {
    /// The sender behind `leg`, whose stream begins with sequence number `first`.
    pub fn new(session: usize, side: usize, leg: &Leg, ssrc: u32, first: u64) -> Self {
        Sender {
            leg: (session, side),
            ssrc,
            keys: leg.keys.iter().flat_map(|keys| keys.remote.iter().map(SessionKeys::new)).collect(),
            in_use: 0,
            next: first,
            next_rtcp: 1,
            held: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// The network holds a datagram back, and the next one goes out instead, or lets it through.
    pub fn goes_out(&mut self, random: &mut Random, datagram: Datagram) -> Datagram {
        if random.chance(120) && self.held.len() < 50 {
            self.held.push(datagram);
            let next = self.voice(random);
            self.remember(random, &next);
            return next;
        }
        self.remember(random, &datagram);
        datagram
    }

    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// A datagram that was held back, in any order.
    pub fn late(&mut self, random: &mut Random) -> Datagram {
        let late = self.held.swap_remove(random.below(self.held.len()));
        self.remember(random, &late);
        late
    }

    pub fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// A datagram that went out before.
    pub fn again(&self, random: &mut Random) -> &Datagram {
        random.pick(&self.sent)
    }

    fn remember(&mut self, random: &mut Random, datagram: &Datagram) {
        if self.sent.len() < HISTORY {
            self.sent.push(datagram.clone());
        } else {
            *random_slot(random, &mut self.sent) = datagram.clone();
        }
    }

    /// The next RTP packet; some before it may be lost.
    pub fn voice(&mut self, random: &mut Random) -> Datagram {
        self.next += match random.below(1000) {
            0..950 => 0,
            950..993 => random.between(1, 20),
            993..998 => random.between(21, 2_000),
            _ => random.between(2_000, 33_000),
        };
        let index = self.next;
        self.next += 1;
        let (packet, header) = rtp(random, self.ssrc, index as u16);
        Datagram { payload: self.seal_rtp(&packet, header, index), is_rtcp: false }
    }

    /// The next packet of either kind.
    pub fn datagram(&mut self, random: &mut Random) -> Datagram {
        if self.keys.len() > 1 && random.chance(100) {
            self.in_use = random.below(self.keys.len());
        }
        if random.chance(700) { self.voice(random) } else { self.report(random) }
    }

    pub fn report(&mut self, random: &mut Random) -> Datagram {
        self.next_rtcp += match random.below(1000) {
            0..900 => 0,
            900..990 => random.between(1, 30) as u32,
            _ => random.between(60, 1_200) as u32,
        };
        let index = self.next_rtcp;
        self.next_rtcp += 1;
        let compound = compound(random, self.ssrc);
        Datagram { payload: self.seal_rtcp(&compound, index, true), is_rtcp: true }
    }

    /// A packet that is wrong in itself, whatever frame it comes in.
    pub fn damaged(&mut self, random: &mut Random) -> Datagram {
        let next = self.next;
        let mut datagram = self.datagram(random);
        match random.below(10) {
            0..3 => {
                for _ in 0..random.between(1, 3) {
                    let bit = random.below(datagram.payload.len() * 8);
                    // The first two bits lead to other protocols, which have their own turn.
                    if bit > 1 {
                        datagram.payload[bit / 8] ^= 0x80 >> (bit % 8);
                    }
                }
            }
            3..5 => datagram.payload.truncate(random.below(datagram.payload.len() + 1)),
            5 => {
                let more = random.between(1, 40) as usize;
                datagram.payload.extend(random.octets(more));
            }
            6 => {
                // Another SSRC under the right key.
                let ssrc = self.ssrc ^ 1 << random.below(32);
                let (packet, header) = rtp(random, ssrc, next as u16);
                datagram = Datagram { payload: self.seal_rtp(&packet, header, next), is_rtcp: false };
            }
            7 => {
                // Another roll-over counter than the receiver's.
                let (packet, header) = rtp(random, self.ssrc, next as u16);
                datagram =
                    Datagram { payload: self.seal_rtp(&packet, header, next + 65_536), is_rtcp: false };
            }
            8 => {
                let (packet, _) = rtp(random, self.ssrc, next as u16);
                let compound = compound(random, self.ssrc);
                datagram = match random.chance(500) {
                    // Not sealed at all.
                    true => Datagram { payload: packet, is_rtcp: false },
                    false => Datagram { payload: compound, is_rtcp: true },
                };
            }
            _ => {
                let ssrc = if random.chance(300) { self.ssrc ^ 0x100 } else { self.ssrc };
                let compound = compound(random, ssrc);
                let (index, encrypted) = match random.below(100) {
                    0..30 => (self.next_rtcp, false),
                    30..90 => (self.next_rtcp.saturating_sub(random.between(0, 1_300) as u32), true),
                    // The end of the key, and what comes behind it.
                    90..93 => ((1 << 31) - 1, true),
                    _ => ((1 << 31) - 1 - random.between(1, 200) as u32, true),
                };
                datagram = Datagram { payload: self.seal_rtcp(&compound, index, encrypted), is_rtcp: true };
            }
        }
        datagram
    }

    fn seal_rtp(&self, packet: &[u8], header: usize, index: u64) -> Vec<u8> {
        let keys = self.keys.get(self.in_use);
        keys.map_or_else(|| packet.to_vec(), |keys| keys.seal_rtp(packet, header, index))
    }

    fn seal_rtcp(&self, compound: &[u8], index: u32, encrypt: bool) -> Vec<u8> {
        let keys = self.keys.get(self.in_use);
        keys.map_or_else(|| compound.to_vec(), |keys| keys.seal_rtcp(compound, index, encrypt))
    }
}

fn random_slot<'t, T>(random: &mut Random, slots: &'t mut [T]) -> &'t mut T {
    let at = random.below(slots.len());
    &mut slots[at]
}
