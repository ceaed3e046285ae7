//! Captures, for net_pcap to read and from what it wrote: classic pcap, little-endian, microseconds, link type Ethernet.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::Path;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Writes a capture of `frames`, all of the same time.
pub fn write(path: &Path, frames: impl IntoIterator<Item = Vec<u8>>) {
    // Magic number, version 2.4, time zone, accuracy, snapshot length, link type.
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for frame in frames {
        let len = frame.len() as u32;
        file.extend([0, 0, len, len].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(frame);
    }
    std::fs::write(path, file).expect("a temporary file");
}

/// The frames of a capture that the same machine wrote, without their times.
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).expect("a capture");
    let mut rest = &file[FILE_HEADER..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four octets")) as usize;
        let (record, others) = rest.split_at(RECORD_HEADER + len);
        frames.push(record[RECORD_HEADER..].to_vec());
        rest = others;
    }
    frames
}
