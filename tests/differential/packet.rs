//! RTP and RTCP packets in the clear: most as a telephone sends them, some odd, some damaged.

use crate::random::Random;
use crate::world::PAYLOAD_TYPES;

/// An RTP packet and the length of its header; most are what a telephone sends.
pub fn rtp(random: &mut Random, ssrc: u32, seq: u16) -> (Vec<u8>, usize) {
    let mut flags = 0x80;
    let payload_type =
        if random.chance(20) { random.number() as u8 & 0x7f } else { *random.pick(&PAYLOAD_TYPES) };
    // Types 64 to 95 with the marker would be RTCP (RFC 5761 §4).
    let marker = if random.chance(50) && !(64..96).contains(&payload_type) { 0x80 } else { 0 };
    let mut packet = vec![0, marker | payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend(random.octets(4));
    packet.extend(ssrc.to_be_bytes());
    if random.chance(50) {
        let count = random.between(1, 15) as u8;
        flags |= count;
        packet.extend(random.octets(4 * usize::from(count)));
    }
    if random.chance(150) {
        flags |= 0x10;
        packet.extend(extension(random));
    }
    let header = packet.len();
    let len = match random.below(100) {
        0 => 0,
        1..15 => random.between(1, 20),
        15..85 => random.between(20, 200),
        85..99 => random.between(200, 1_300),
        _ => random.between(1_300, 1_500),
    };
    packet.extend(random.octets(len as usize));
    if random.chance(80) {
        flags |= 0x20;
        let padding = match random.below(10) {
            0 => 0,
            1 => 255,
            _ => random.between(1, 16) as u8,
        };
        packet.extend(random.octets(usize::from(padding.min(16)).saturating_sub(1)));
        packet.push(padding);
    }
    packet[0] = flags;
    (packet, header)
}

/// A header extension with elements that fit, most of the time (RFC 8285 §4).
fn extension(random: &mut Random) -> Vec<u8> {
    let one_byte = random.chance(500);
    let mut data = Vec::new();
    // A picture loss indication, whole or nearly so (RFC 4585 §6.3.1).
    if random.chance(30) {
        data.extend(if one_byte { vec![0x1b] } else { vec![1, 12] });
        data.extend([0x81, 206, 0, 2 + u8::from(random.chance(300))]);
        data.extend(random.octets(8));
    }
    for _ in 0..random.below(4) {
        let len = random.below(17);
        if one_byte {
            let len = len.clamp(1, 16);
            data.push((random.between(1, 15) as u8) << 4 | (len - 1) as u8);
            data.extend(random.octets(len));
        } else {
            data.extend([random.between(1, 255) as u8, len as u8]);
            data.extend(random.octets(len));
        }
        data.extend(vec![0; random.below(3)]);
    }
    data.resize(data.len().next_multiple_of(4), 0);
    if random.chance(100) && !data.is_empty() {
        let at = random.below(data.len());
        data[at] = random.number() as u8;
    }
    let profile: u16 = match random.below(10) {
        0 if random.chance(500) => 0x80c0 | random.number() as u16,
        0 => random.number() as u16,
        _ if one_byte => 0xbede,
        _ => 0x1000 | random.below(16) as u16,
    };
    let mut words = (data.len() / 4) as u16;
    if random.chance(10) {
        words = words.wrapping_add(random.between(1, 400) as u16);
    }
    [&profile.to_be_bytes()[..], &words.to_be_bytes(), &data].concat()
}

/// A compound RTCP packet: a report, and up to three other packets; one in eight is damaged before it is sealed.
pub fn compound(random: &mut Random, ssrc: u32) -> Vec<u8> {
    let mut compound = Vec::new();
    let first = if random.chance(850) {
        *random.pick(&[200, 201])
    } else {
        *random.pick(&[202, 203, 204, 205, 206, 207])
    };
    let count = random.below(4);
    for number in 0..=count {
        let packet_type = if number == 0 { first } else { random.between(200, 208) as u8 };
        let is_last = number == count;
        compound.extend(rtcp(random, packet_type, ssrc, is_last));
    }
    if random.chance(125) {
        let at = match random.chance(700) {
            // Where flags, counts, types and lengths are; but not what SRTCP leaves in the clear.
            true => {
                compound.len() - 4 * random.between(1, (compound.len() / 4) as u64) as usize + random.below(4)
            }
            false => random.below(compound.len()),
        };
        if at > 1 {
            compound[at] = random.number() as u8;
        }
    }
    compound
}

fn rtcp(random: &mut Random, packet_type: u8, ssrc: u32, is_last: bool) -> Vec<u8> {
    let mut count = random.below(4);
    let mut body = ssrc.to_be_bytes().to_vec();
    match packet_type {
        200 => body.extend(random.octets(20 + 24 * count)),
        201 => body.extend(random.octets(24 * count)),
        202 => {
            count = count.max(1);
            for chunk in 0..count {
                if chunk > 0 {
                    body.extend(random.octets(4));
                }
                for _ in 0..random.below(3) {
                    let len = random.below(12);
                    body.extend([random.between(1, 8) as u8, len as u8]);
                    body.extend(random.octets(len));
                }
                body.push(0);
                body.resize(body.len().next_multiple_of(4), 0);
            }
        }
        203 => {
            count = count.max(1);
            body.extend(random.octets(4 * (count - 1)));
            if random.chance(500) {
                let len = random.below(20);
                body.push(len as u8);
                body.extend(random.octets(len));
                body.resize(body.len().next_multiple_of(4), 0);
            }
        }
        204..=206 => {
            let words = random.between(1, 5) as usize;
            body.extend(random.octets(4 * words));
        }
        207 => {
            for _ in 0..random.below(3) {
                let words = random.below(5);
                body.extend([random.number() as u8, 0, 0, words as u8]);
                body.extend(random.octets(4 * words));
            }
        }
        _ => {}
    }
    let mut flags = 0x80 | count as u8;
    if random.chance(if is_last { 100 } else { 10 }) {
        flags |= 0x20;
        let len = if random.chance(900) { 4 * random.between(1, 4) as usize } else { random.below(9) };
        body.extend(vec![0; len.next_multiple_of(4)]);
        if let Some(last) = body.last_mut() {
            *last = len as u8;
        }
    }
    let words = (body.len() / 4) as u16;
    [&[flags, packet_type][..], &words.to_be_bytes(), &body].concat()
}
