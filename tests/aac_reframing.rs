//! Real AAC between its two forms: what ffmpeg encodes goes through the converter, through GStreamer as the other
//! implementation of RFC 3640, and is decoded to the very same samples.

mod harness;

use std::fs;
use std::path::Path;

use harness::aac;
use voxlane::codec::rfc3640;
use voxlane::fastpath::{Buffer, HeapBuffer};
use voxlane::reframe::{self, AacConfig};

/// An RTP header with two CSRCs; the payload type is 96.
const HEADER: [u8; 20] = *b"\x82\x60\x00\x07\x00\x00\x03\xe8\x00\x00\x00\x2aCSR1CSR2";

/// What ffmpeg makes: Hz and its index, channels, bits a second.
const ENCODINGS: [(u32, u8, u8, &str); 4] =
    [(48_000, 3, 2, "96k"), (44_100, 4, 1, "48k"), (16_000, 8, 1, "24k"), (8_000, 11, 2, "16k")];

/// Four seconds of tones and noise.
fn encode(file: &Path, hz: u32, channels: u8, rate: &str) {
    let source = "aevalsrc=0.3*sin(440*2*PI*t)+0.2*sin(1500*2*PI*t*t)+0.05*random(0):d=4";
    aac::encode(file, &aac::Sound { source, hz, channels, rate });
}

/// The frames of an ADTS file, so many to a packet.
fn packets(file: &[u8], frames: usize) -> Vec<Vec<u8>> {
    aac::frames(file).chunks(frames).map(|frames| [&HEADER[..], &frames.concat()].concat()).collect()
}

fn units(payload: &[u8]) -> Vec<Vec<u8>> {
    let checked = rfc3640::Payload::new_checked(payload).expect("a valid payload");
    checked.units().map(|unit| payload[unit.offset..unit.offset + unit.len].to_vec()).collect()
}

#[test]
fn what_ffmpeg_encodes_goes_there_and_back_and_sounds_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (hz, index, channels, rate) in ENCODINGS {
        let (file, back) = (directory.path().join("there.aac"), directory.path().join("back.aac"));
        encode(&file, hz, channels, rate);
        let original = fs::read(&file).expect("ffmpeg wrote it");
        let config = AacConfig::new(2, index, channels).expect("ADTS has it");
        let samples = aac::decode(&file);
        assert!(
            samples.len() > 3 * hz as usize * usize::from(channels) * 2,
            "{} octets of sound",
            samples.len()
        );
        for frames in 1..=4 {
            let mut returned = Vec::new();
            for packet in packets(&original, frames) {
                let mut buffer = HeapBuffer::new(&packet, 0xee);
                reframe::aac::adts_to_rfc3640(&mut buffer, HEADER.len(), &config).expect("valid");
                assert!(buffer.data().len() < packet.len());
                reframe::aac::rfc3640_to_adts(&mut buffer, HEADER.len(), &config, 66).expect("there is room");
                returned.extend(&buffer.data()[HEADER.len()..]);
            }
            fs::write(&back, &returned).expect("the directory is writable");
            assert_eq!(aac::decode(&back), samples, "{frames} frames in each packet, {hz} Hz");
        }
    }
}

/// GStreamer takes our packets apart, and we take GStreamer's.
#[test]
fn gstreamer_agrees_with_both_forms() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (hz, index, channels, rate) in ENCODINGS {
        let (file, stream, heard) = (
            directory.path().join("there.aac"),
            directory.path().join("stream.rtp"),
            directory.path().join("heard.aac"),
        );
        encode(&file, hz, channels, rate);
        let original = fs::read(&file).expect("ffmpeg wrote it");
        let config = AacConfig::new(2, index, channels).expect("ADTS has it");
        let samples = aac::decode(&file);
        let hexadecimal = format!("{:04x}", 2 << 11 | u16::from(index) << 7 | u16::from(channels) << 3);

        let sent = packets(&original, 3).into_iter().enumerate().map(|(number, packet)| {
            let mut buffer = HeapBuffer::new(&packet, 0xee);
            reframe::aac::adts_to_rfc3640(&mut buffer, HEADER.len(), &config).expect("valid");
            let bytes = buffer.data_mut();
            bytes[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&(number as u32 * 3 * 1024).to_be_bytes());
            bytes.to_vec()
        });
        aac::write_packets(&stream, &sent.collect::<Vec<_>>());
        aac::take_apart(&stream, hz, &hexadecimal, &heard);
        assert_eq!(aac::decode(&heard), samples, "GStreamer heard something else at {hz} Hz");

        let (mut returned, mut count) = (Vec::new(), 0);
        for packet in aac::put_together(&file, &stream) {
            count += units(&packet[12..]).len();
            let mut buffer = HeapBuffer::new(&packet, 0xee);
            reframe::aac::rfc3640_to_adts(&mut buffer, 12, &config, 66).expect("whole access units");
            returned.extend(&buffer.data()[12..]);
        }
        assert!(count > 30, "{count} access units");
        fs::write(&heard, returned).expect("the directory is writable");
        assert_eq!(aac::decode(&heard), samples, "what GStreamer spoke at {hz} Hz");
    }
}
