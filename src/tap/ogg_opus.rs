//! Opus packets as an Ogg file (RFC 7845), packet by packet as they were sent.
//!
//! Granule positions count samples at 48 kHz and follow the RTP timestamps. A gap is filled with packets whose frames are
//! empty, which has a decoder conceal the loss (RFC 7845 §4.1.1 asks for that); what is left of it is shorter than the
//! shortest frame and not repaired. A page ends after each second, so that a file that was never completed lacks no more.

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

/// Samples after which a page ends.
const PAGE: u64 = 48_000;
/// The longest packet, in samples: 120 ms (RFC 6716 §3.1).
const LONGEST: u32 = 5_760;
/// CELT-only, full band, from 20 ms down to 2.5 ms: configuration and samples.
const CELT: [(u8, u32); 4] = [(31, 960), (30, 480), (29, 240), (28, 120)];
/// Octets of a page's header without its segment table, and segments of a page at most (RFC 3533 §6).
const PAGE_HEADER: u64 = 27;
const SEGMENTS: u64 = 255;

/// Encodes an Ogg/Opus file.
pub(super) struct OggOpus {
    writer: PacketWriter<'static, Vec<u8>>,
    serial: u32,
    /// The last packet, which may be the one that ends the stream, and the granule position at its end.
    held: Option<(Vec<u8>, u64)>,
    /// Samples so far.
    end: u64,
    /// Samples when the page was begun.
    page: u64,
    toc: u8,
    /// Octets of all packets so far, and the segments that they fill.
    octets: u64,
    segments: u64,
}

impl OggOpus {
    /// A file whose packets are like `first`; `comment` goes into its tags.
    pub(super) fn new(serial: u32, first: &[u8], comment: &str) -> std::io::Result<Self> {
        let toc = first.first().copied().unwrap_or(0);
        let channels = if toc & 4 == 0 { 1 } else { 2 };
        // Version 1, no pre-skip: the encoder's is not known, and what is there is to be heard. Input at 48 kHz, no gain,
        // mapping family 0 (§5.1).
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(0_u16.to_le_bytes());
        head.extend(48_000_u32.to_le_bytes());
        head.extend([0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        for text in [concat!("voxlane ", env!("CARGO_PKG_VERSION")), comment] {
            // One comment, between the vendor and itself (§5.2).
            if text == comment {
                tags.extend(1_u32.to_le_bytes());
            }
            tags.extend((text.len() as u32).to_le_bytes());
            tags.extend(text.as_bytes());
        }
        let (octets, segments) = ((head.len() + tags.len()) as u64, segments(&head) + segments(&tags));
        let mut writer = PacketWriter::new(Vec::new());
        writer.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        writer.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(OggOpus { writer, serial, held: None, end: 0, page: 0, toc, octets, segments })
    }

    /// Samples so far, at 48 kHz.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Packets that wait for the next one, or for the end: one or none.
    pub(super) fn held(&self) -> u64 {
        u64::from(self.held.is_some())
    }

    /// Octets that the file has at most if it ends with this packet.
    pub(super) fn len_with(&self, position: u64, payload: &[u8]) -> u64 {
        let gap = position.saturating_sub(self.end);
        // All lengths of frames divide the longest packet; what is left takes one more and some of CELT's.
        let fillers = if gap == 0 { 0 } else { gap / u64::from(LONGEST) + 2 + 2 * CELT.len() as u64 };
        let segments = self.segments + fillers + segments(payload);
        // One after each second, one when its segments are used up, one for each header and for the end.
        let pages = (self.end + gap) / PAGE + segments / SEGMENTS + 4;
        self.octets + 2 * fillers + payload.len() as u64 + segments + pages * PAGE_HEADER
    }

    /// Adds a packet that belongs at `position` in samples at 48 kHz. What is no Opus packet is left out.
    pub(super) fn packet(&mut self, position: u64, payload: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let Some(samples) = samples(payload) else { return Ok(()) };
        for filler in fill(position.saturating_sub(self.end), self.toc) {
            self.add(filler.0, filler.1)?;
        }
        self.add(payload.to_vec(), samples)?;
        self.toc = payload.first().copied().unwrap_or(self.toc);
        out.append(self.writer.inner_mut());
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if let Some((packet, end)) = self.held.take() {
            self.writer.write_packet(packet, self.serial, PacketWriteEndInfo::EndStream, end)?;
        }
        out.append(self.writer.inner_mut());
        Ok(())
    }

    fn add(&mut self, packet: Vec<u8>, samples: u32) -> std::io::Result<()> {
        if let Some((held, end)) = self.held.take() {
            let is_page_full = end - self.page >= PAGE;
            let info =
                if is_page_full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            if is_page_full {
                self.page = end;
            }
            self.writer.write_packet(held, self.serial, info, end)?;
        }
        self.end += u64::from(samples);
        self.octets += packet.len() as u64;
        self.segments += segments(&packet);
        self.held = Some((packet, self.end));
        Ok(())
    }
}

/// Segments that a packet fills: each of 255 octets but for the last.
fn segments(packet: &[u8]) -> u64 {
    packet.len() as u64 / SEGMENTS + 1
}

/// How long a packet lasts, in samples at 48 kHz (RFC 6716 §3.1, §3.2); `None` if it is none.
pub(super) fn samples(packet: &[u8]) -> Option<u32> {
    let &toc = packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = frames * frame_samples(toc);
    (1..=LONGEST).contains(&samples).then_some(samples)
}

fn frame_samples(toc: u8) -> u32 {
    let (config, size) = (toc >> 3, usize::from(toc >> 3 & 3));
    match config {
        0..12 => [480, 960, 1_920, 2_880][size],
        12..16 => [480, 960][size & 1],
        _ => [120, 240, 480, 960][size],
    }
}

/// Packets of empty frames that last `gap` samples, but for less than the shortest frame: as many as there can be in the
/// mode of `toc`, then CELT's shorter ones.
fn fill(gap: u64, toc: u8) -> impl Iterator<Item = (Vec<u8>, u32)> {
    let frame = frame_samples(toc);
    let most = LONGEST / frame;
    let mut left = gap;
    std::iter::from_fn(move || {
        let frames = (left / u64::from(frame)).min(u64::from(most)) as u32;
        let (packet, samples) = if frames > 0 {
            // Code 3, constant bit rate, no padding: the frames share the no octets that follow.
            (vec![toc | 3, frames as u8], frames * frame)
        } else {
            let &(config, samples) = CELT.iter().find(|(_, samples)| u64::from(*samples) <= left)?;
            (vec![config << 3 | toc & 4], samples)
        };
        left -= u64::from(samples);
        Some((packet, samples))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogg::reading::PacketReader;

    /// SILK wide band, 20 ms, mono, code 0.
    const TOC: u8 = 9 << 3;

    #[test]
    fn durations_are_those_of_rfc_6716() {
        for (packet, expected) in [
            (&[TOC, 1][..], Some(960)),
            (&[TOC | 1, 1], Some(1_920)),
            (&[28 << 3], Some(120)),
            (&[3 << 3 | 3, 2], Some(5_760)),
            (&[3 << 3 | 3, 3], None),
            (&[TOC | 3], None),
            (&[TOC | 3, 0], None),
            (&[], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn gaps_are_filled_to_the_last_frame() {
        for toc in (0..=255_u8).filter(|toc| toc & 3 == 0) {
            for gap in [0, 119, 120, 960, 1_079, 48_000, 1_000_001] {
                let packets: Vec<_> = fill(gap, toc).collect();
                for (packet, lasts) in &packets {
                    assert_eq!(samples(packet), Some(*lasts), "{toc:#x} {packet:?}");
                    assert_eq!(packet[0] & 4, toc & 4, "channels stay");
                }
                let filled: u64 = packets.iter().map(|(_, samples)| u64::from(*samples)).sum();
                assert!(gap - filled < 120, "{toc:#x}: {filled} of {gap}");
            }
        }
    }

    #[test]
    fn packets_come_back_as_they_went_in_with_their_positions() {
        let packet = |number: u8| vec![TOC, number, number];
        let mut out = Vec::new();
        let mut file = OggOpus::new(77, &packet(0), "TITLE=call-1 a").expect("memory");
        let mut position = 0;
        for number in 0..120 {
            // One packet is missing.
            position += if number == 60 { 1_920 } else { 960 } * u64::from(number > 0);
            file.packet(position, &packet(number), &mut out).expect("memory");
        }
        file.finish(&mut out).expect("memory");
        let mut reader = PacketReader::new(std::io::Cursor::new(out));
        let (mut packets, mut last) = (Vec::new(), 0);
        while let Some(packet) = reader.read_packet().expect("a valid file") {
            last = packet.absgp_page();
            assert_eq!(packet.stream_serial(), 77);
            packets.push((packet.last_in_stream(), packet.data));
        }
        assert_eq!(packets[0].1[..10], *b"OpusHead\x01\x01");
        assert_eq!(packets[1].1[..8], *b"OpusTags");
        let audio: Vec<_> = packets[2..].iter().map(|(_, data)| data.clone()).collect();
        let expected = (0..60).map(packet).chain([vec![TOC | 3, 1]]).chain((60..120).map(packet));
        assert_eq!(audio, expected.collect::<Vec<_>>());
        assert_eq!(last, 121 * 960);
        assert_eq!(packets.iter().position(|(last, _)| *last), Some(packets.len() - 1));
    }
}
