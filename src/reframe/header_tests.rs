//! The header changed in place against the packet put together again from what was parsed.

use super::*;
use crate::fastpath::HeapBuffer;
use crate::wire::rtp::Packet;
use crate::wire::testing::Random;

/// One packet: CSRCs, extension (profile and data), payload.
#[derive(Debug, Clone)]
struct Parts {
    csrcs: Vec<u8>,
    extension: Option<(u16, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Parts {
    fn build(&self, payload_type: u8) -> Vec<u8> {
        let extension = if self.extension.is_some() { 0x10 } else { 0 };
        let mut packet = vec![0x80 | extension | (self.csrcs.len() / 4) as u8, payload_type];
        packet.extend([0x11, 0x22, 1, 2, 3, 4, 5, 6, 7, 8]);
        packet.extend(&self.csrcs);
        if let Some((profile, data)) = &self.extension {
            packet.extend(profile.to_be_bytes());
            packet.extend((data.len() as u16 / 4).to_be_bytes());
            packet.extend(data);
        }
        packet.extend(&self.payload);
        packet
    }

    /// What the packet is with other identifiers, by the parser that the inspect stage uses.
    fn mapped(&self, ids: &impl Fn(u8) -> u8) -> Parts {
        let packet = self.build(0);
        let packet = Packet::new_checked(&packet[..]).expect("built well");
        let mut data = Vec::new();
        let one_byte = self.extension.as_ref().is_some_and(|(profile, _)| *profile == 0xbede);
        for element in packet.extension().iter().flat_map(|extension| extension.elements()) {
            let element = element.expect("built well");
            match ids(element.id) {
                0 => continue,
                15.. if one_byte => continue,
                id if one_byte => data.push(id << 4 | (element.data.len() - 1) as u8),
                id => data.extend([id, element.data.len() as u8]),
            }
            data.extend(element.data);
        }
        data.resize(data.len().next_multiple_of(4), 0);
        let profile = self.extension.as_ref().map_or(0, |(profile, _)| *profile);
        Parts { extension: (!data.is_empty()).then_some((profile, data)), ..self.clone() }
    }
}

fn random_parts(random: &mut Random) -> Parts {
    let csrcs = random.below(16) * 4;
    let mut data = Vec::new();
    let profile = [0xbede, 0xbede, 0x1000, 0x1007, 0x4711][random.below(5)];
    for _ in 0..random.below(6) {
        let id = 1 + random.below(14) as u8;
        if random.below(3) == 0 {
            data.resize(data.len() + random.below(4), 0);
        }
        if profile == 0xbede {
            let len = 1 + random.below(16);
            data.push(id << 4 | (len - 1) as u8);
            data.extend(random.bytes(len));
        } else {
            let (len, id) = (random.below(20), if random.below(4) == 0 { 200 } else { id });
            data.extend([id, len as u8]);
            data.extend(random.bytes(len));
        }
    }
    if profile == 0xbede && random.below(8) == 0 {
        // Ends the processing; what follows is nobody's.
        data.push([0xf3, 0x02][random.below(2)]);
        data.extend(random.bytes(5));
    }
    data.resize(data.len().next_multiple_of(4), 0);
    let extension = (random.below(8) > 0).then_some((profile, data));
    let payload = random.below(40);
    Parts { csrcs: random.bytes(csrcs), extension, payload: random.bytes(payload) }
}

#[test]
fn as_the_packet_put_together_again() {
    let mut random = Random::new(8285);
    let (mut gone, mut smaller, mut same) = (0, 0, 0);
    for _ in 0..50_000 {
        let parts = random_parts(&mut random);
        let mut table = [0_u8; 256];
        for place in &mut table[1..] {
            *place = [0, 1, 5, 14, 15, 255][random.below(6)];
        }
        let ids = |id: u8| table[usize::from(id)];
        let (before, expected) = (parts.build(96), parts.mapped(&ids).build(96));
        let mut packet = HeapBuffer::new(&before, 0xee);
        let header_len = Packet::new_checked(&before[..]).expect("built well").header_len();
        let header_len = map_extension(&mut packet, header_len, ids).expect("built well");
        assert_eq!(packet.data(), expected, "{parts:?} under {table:?}");
        assert_eq!(header_len, expected.len() - parts.payload.len());
        Packet::new_checked(packet.data()).expect("valid").check_extension_elements().expect("valid");
        match (parts.extension, expected[0] & 0x10) {
            (Some(_), 0) => gone += 1,
            (Some(_), _) if expected.len() < before.len() => smaller += 1,
            _ => same += 1,
        }
    }
    assert!(gone > 1_000 && smaller > 1_000 && same > 1_000, "{gone} {smaller} {same}");
}

#[test]
fn by_hand() {
    // Two CSRCs; elements 1 (audio level), 3 (three octets), 5; padding. 1 becomes 2, 3 goes, 5 stays.
    let before = b"\x92\xe0\x00\x07\x00\x00\x00\x00\x00\x00\x00\x2aCSR1CSR2\xbe\xde\x00\x03\x10\x55\x32abc\x51xy\x00\x00\x00voice";
    let after = b"\x92\xe0\x00\x07\x00\x00\x00\x00\x00\x00\x00\x2aCSR1CSR2\xbe\xde\x00\x02\x20\x55\x51xy\x00\x00\x00voice";
    let mut packet = HeapBuffer::new(before, 0xee);
    let ids = |id| [0, 2, 0, 0, 0, 5][usize::from(id)];
    assert_eq!(map_extension(&mut packet, 36, ids), Ok(32));
    assert_eq!(packet.data(), after);
    set_payload_type(packet.data_mut(), 111);
    assert_eq!(packet.data()[1], 0x80 | 111, "the marker stays");
    let none = b"\x82\xef\x00\x07\x00\x00\x00\x00\x00\x00\x00\x2aCSR1CSR2voice";
    assert_eq!(map_extension(&mut packet, 32, |_| 0), Ok(20));
    assert_eq!(packet.data(), none);
    assert_eq!(map_extension(&mut packet, 20, |_| 0), Ok(20));
    assert_eq!(packet.data(), none);
}

#[test]
fn padding_goes_with_its_bit() {
    let mut packet =
        HeapBuffer::new(b"\xa0\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2avoice\x00\x00\x03", 0xee);
    remove_padding(&mut packet, 12).expect("three octets");
    assert_eq!(packet.data(), b"\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2avoice");
    remove_padding(&mut packet, 12).expect("none any more");
    assert_eq!(packet.data().len(), 17);
    let mut packet =
        HeapBuffer::new(b"\xa0\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2avoice\x00\x00\x09", 0xee);
    assert_eq!(remove_padding(&mut packet, 12), Err(Error::Malformed));
    assert_eq!((packet.data().len(), packet.data()[0]), (20, 0xa0));
}

#[test]
fn no_input_panics() {
    let valid = Parts {
        csrcs: vec![7; 8],
        extension: Some((0xbede, vec![0x10, 1, 0x31, 2, 3, 0, 0, 0])),
        payload: vec![9; 20],
    };
    crate::wire::testing::sweep(&valid.build(96), |bytes| {
        for header_len in [0, 12, 24, 32, bytes.len() + 1] {
            let _ = map_extension(&mut HeapBuffer::new(bytes, 0), header_len, |id| id & 7);
            let _ = remove_padding(&mut HeapBuffer::new(bytes, 0), header_len);
        }
    });
}
