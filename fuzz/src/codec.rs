//! Payload formats: what is accepted is whole, and its parts are all of it.

use voxlane::codec::telephone_event::{DTMF, Events};
use voxlane::codec::{adts, comfort_noise, opus, pcm, rfc3640, telephone_event};

/// Opus packets (RFC 6716 §3.4).
pub fn opus(data: &[u8]) {
    let Ok(packet) = opus::Packet::new_checked(data) else { return };
    let frames: Vec<_> = packet.frames().collect();
    assert_eq!(frames.len(), packet.frame_count());
    assert!((1..=48).contains(&frames.len()) && packet.config() < 32);
    // R5: at most 120 ms, at 48 kHz.
    assert!((120..=5_760).contains(&packet.samples()));
    let mut end = frames[0].offset;
    for frame in &frames {
        // R2, and no gap between frames.
        assert!(frame.len <= 1_275 && frame.offset == end);
        end += frame.len;
    }
    assert!(end <= data.len());
}

/// AAC in ADTS frames.
pub fn adts(data: &[u8]) {
    let Ok(payload) = adts::Payload::new_checked(data) else { return };
    let (mut end, mut blocks) = (0, 0);
    for frame in payload.frames() {
        assert_eq!(frame.offset, end);
        end += frame.header.frame_len();
        blocks += frame.header.blocks();
        assert!(frame.raw_offset() >= frame.offset + 7 && frame.raw_offset() + frame.raw_len() <= end);
        assert!(frame.raw_len() > 0);
        assert_eq!(frame.header.sampling_frequency(), payload.header().sampling_frequency());
    }
    assert_eq!((end, blocks), (data.len(), payload.blocks()));
    assert_eq!(payload.samples() as usize, blocks * 1_024);
}

/// AAC in access units (RFC 3640, AAC-hbr).
pub fn rfc3640(data: &[u8]) {
    let Ok(payload) = rfc3640::Payload::new_checked(data) else { return };
    let units: Vec<_> = payload.units().collect();
    assert_eq!(units.len(), payload.len());
    let mut end = 2 + 2 * units.len();
    for unit in &units {
        assert!(unit.len > 0 && unit.offset == end);
        end += unit.len;
    }
    assert_eq!(end, data.len());
    if let Some(whole) = payload.fragment_of() {
        assert!(units.len() == 1 && whole > units[0].len);
    }
}

/// PCM: the first byte is the length of a sample frame.
pub fn pcm(data: &[u8]) {
    let Some((&frame, data)) = data.split_first() else { return };
    if let Ok(ticks) = pcm::ticks(data.len(), frame) {
        assert_eq!(ticks as usize * usize::from(frame), data.len());
        assert!(ticks > 0);
    }
}

/// Telephone events (RFC 4733).
pub fn telephone_event(data: &[u8]) {
    assert!(telephone_event::Payload::new_checked(data, &Events::NONE).is_err(), "nothing was negotiated");
    let Ok(payload) = telephone_event::Payload::new_checked(data, &DTMF) else { return };
    let mut events = payload.events();
    assert_eq!(events.len() * 4, data.len());
    assert!(events.all(|event| DTMF.contains(event.code) && event.volume < 64));
}

/// Comfort noise (RFC 3389).
pub fn comfort_noise(data: &[u8]) {
    let Ok(payload) = comfort_noise::Payload::new_checked(data) else { return };
    assert!(payload.level() < 128 && !payload.coefficients().contains(&255));
    assert_eq!(payload.coefficients().len() + 1, data.len());
}
