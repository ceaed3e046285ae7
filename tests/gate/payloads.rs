//! Payloads, each broken in one way, and those that real encoders make.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use voxlane::fastpath::DropReason;

use super::harness::{Machine, require, run};

/// What the legs of the test negotiate.
pub const FORMATS: [&str; 9] = [
    "111 opus/48000/2 ptime=10..60",
    "0 PCMU/8000 ptime=20",
    "9 G722/8000",
    "11 L16/44100/1",
    "10 L16/44100/2",
    "13 CN/8000",
    "101 telephone-event/8000 0-15",
    "97 aac-adts/48000/2",
    "98 mpeg4-generic/48000/2 mode=AAC-hbr; sizeLength=13; indexLength=3; indexDeltaLength=3",
];
pub const OPUS: u8 = 111;
pub const PCMU: u8 = 0;
const G722: u8 = 9;
const L16: u8 = 11;
const L16_STEREO: u8 = 10;
const NOISE: u8 = 13;
const EVENT: u8 = 101;
const ADTS: u8 = 97;
const AAC: u8 = 98;

/// A reason, what is wrong with the payload, its type, and the payload.
pub type Case = (DropReason, &'static str, u8, Vec<u8>);

/// Every way to break a payload that has a reason.
pub fn broken() -> Vec<Case> {
    use DropReason as R;
    // CELT, fullband, 20 ms (RFC 6716 §3.1).
    let toc = 31 << 3;
    let body = |head: &[u8], len: usize| [head, &vec![7; len]].concat();
    vec![
        (R::OpusFrameSize, "a frame of 1276 bytes (R2)", OPUS, body(&[toc], 1276)),
        (R::OpusFraming, "an even length of code 1 (R3)", OPUS, body(&[toc | 1], 81)),
        (R::OpusFraming, "a first frame behind the end of code 2 (R4)", OPUS, body(&[toc | 2, 200], 100)),
        (R::OpusFrameCount, "code 3 without a frame (R5)", OPUS, body(&[toc | 3, 0], 80)),
        (R::OpusDuration, "seven frames of 20 ms (R5)", OPUS, body(&[toc | 3, 7], 70)),
        (R::OpusFraming, "80 bytes for three equal frames (R6)", OPUS, body(&[toc | 3, 3], 80)),
        (R::OpusFraming, "more padding than packet (R6)", OPUS, body(&[toc | 3, 0x41, 90], 80)),
        (R::OpusFraming, "lengths of more than the packet (R7)", OPUS, body(&[toc | 3, 0x83, 50, 50], 80)),
        (R::PtimeOutOfRange, "80 ms of Opus where 60 were agreed", OPUS, body(&[toc | 3, 4], 80)),
        (R::PtimeOutOfRange, "5 ms of Opus where 10 were agreed", OPUS, body(&[29 << 3], 40)),
        (R::PtimeOutOfRange, "a sample too few", PCMU, vec![0xff; 159]),
        (R::PtimeOutOfRange, "twice the time", PCMU, vec![0xff; 320]),
        (R::PcmSampleFrame, "half a sample", L16, vec![0; 401]),
        (R::PcmSampleFrame, "a sample of one channel of two", L16_STEREO, vec![0; 402]),
        (R::AdtsSync, "no syncword", ADTS, body(&[0xff, 0xe1], 60)),
        (R::AdtsSync, "bytes behind the last frame", ADTS, body(&adts(0xf1, LC_48, 60), 3)),
        (R::AdtsHeader, "layer 1", ADTS, adts(0xf3, LC_48, 60)),
        (R::AdtsHeader, "a reserved sampling frequency", ADTS, adts(0xf1, 1 << 6 | 13 << 2, 60)),
        (R::AdtsHeader, "44.1 kHz where 48 were agreed", ADTS, adts(0xf1, 1 << 6 | 4 << 2, 60)),
        (R::AdtsHeader, "six channels where two were agreed", ADTS, adts(0xf1, LC_48 | 1, 60)),
        (R::AdtsFrameLength, "a frame behind the payload's end", ADTS, adts(0xf1, LC_48, 60)[..59].to_vec()),
        (R::AdtsFrameLength, "a header and nothing else", ADTS, adts(0xf1, LC_48, 7)),
        (R::AdtsFrameLength, "no room for the CRC that is announced", ADTS, adts(0xf0, LC_48, 9)),
        (R::AdtsCrc, "two raw data blocks under a wrong CRC", ADTS, {
            let mut frame = adts(0xf0, LC_48, 60);
            frame[6] |= 1;
            frame
        }),
        (R::AacAuHeader, "a header length of 17 bits", AAC, body(&[0, 17, 0, 80], 10)),
        (R::AacAuHeader, "headers and no data", AAC, vec![0, 16, 0, 80]),
        (R::AacInterleaved, "an AU-Index of 1", AAC, body(&[0, 16, 0, 81], 10)),
        (R::AacAuSize, "more data than the access unit", AAC, body(&[0, 16, 0, 80], 11)),
        (R::AacAuSize, "a fragment among whole units", AAC, body(&[0, 32, 0, 80, 0, 88], 20)),
        (R::PtimeOutOfRange, "eleven access units of 21 ms", AAC, {
            body(&[&[0, 176][..], &[0, 8].repeat(11)].concat(), 11)
        }),
        (R::TelephoneEventMalformed, "half an event", EVENT, vec![5, 0x0a, 0]),
        (R::TelephoneEventMalformed, "the reserved bit", EVENT, vec![5, 0x4a, 0, 160]),
        (R::TelephoneEventNotNegotiated, "a flash", EVENT, vec![16, 0x0a, 0, 160]),
        (R::ComfortNoiseMalformed, "a level of 128", NOISE, vec![128]),
        (R::ComfortNoiseMalformed, "a reserved coefficient", NOISE, vec![60, 127, 255]),
        (R::ComfortNoiseMalformed, "33 coefficients", NOISE, vec![60; 34]),
    ]
}

/// Payloads by hand that are as the standards want them.
pub fn sound() -> Vec<(u8, Vec<u8>)> {
    vec![
        // Discontinuous transmission: nothing but the TOC byte.
        (OPUS, vec![31 << 3]),
        (EVENT, vec![5, 0x0a, 0, 160]),
        (EVENT, vec![5, 0x8a, 3, 32, 6, 0x0a, 0, 160]),
        (NOISE, vec![78, 127, 100, 130]),
        (L16_STEREO, vec![0; 400]),
        (ADTS, adts(0xf0, LC_48, 60)),
        // A part of an access unit of 2,000 bytes.
        (AAC, [&[0, 16, 0x3e, 0x80][..], &[9; 700]].concat()),
    ]
}

/// AAC LC of 48 kHz in a header's third byte.
const LC_48: u8 = 1 << 6 | 3 << 2;

/// An ADTS frame of `len` bytes, stereo, from the second and third byte of its header on.
fn adts(second: u8, third: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![
        0xff,
        second,
        third,
        2 << 6 | (len >> 11) as u8,
        (len >> 3) as u8,
        (len << 5) as u8 | 0x1f,
        0xfc,
    ];
    frame.resize(len, 7);
    frame
}

/// Payloads by type of a second of sound, encoded and put into packets by FFmpeg, and of one encoded by GStreamer.
pub fn real(machine: &Machine) -> Vec<(&'static str, u8, Vec<Vec<u8>>)> {
    let rtp = |options: &str| ffmpeg_rtp(options);
    vec![
        ("Opus of 20 ms by FFmpeg", OPUS, rtp("-c:a libopus -ar 48000 -b:a 32k")),
        ("Opus of 60 ms by FFmpeg", OPUS, rtp("-c:a libopus -ar 48000 -b:a 32k -frame_duration 60")),
        ("Opus of 10 ms by FFmpeg", OPUS, rtp("-c:a libopus -ar 48000 -b:a 64k -ac 2 -frame_duration 10")),
        ("Opus with DTX by GStreamer", OPUS, gstreamer_opus(machine)),
        ("G.722 by FFmpeg", G722, rtp("-c:a g722 -ar 16000 -ac 1")),
        ("L16 by FFmpeg", L16, rtp("-c:a pcm_s16be -ar 44100 -ac 1")),
        ("AAC access units by FFmpeg", AAC, rtp("-c:a aac -ar 48000 -ac 2 -b:a 64k")),
        ("AAC in ADTS by FFmpeg", ADTS, ffmpeg_adts(machine)),
    ]
}

/// What FFmpeg sends: RTP to a socket of this test.
fn ffmpeg_rtp(options: &str) -> Vec<Vec<u8>> {
    require("ffmpeg", "ffmpeg");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback has ports");
    // Room for the tag of the gateway's other side.
    let to = format!("rtp://{}?pkt_size=1200", socket.local_addr().expect("it is bound"));
    run(Command::new("ffmpeg")
        .args("-v error -f lavfi -i sine=frequency=440:duration=1".split_whitespace())
        .args(options.split_whitespace())
        .args(["-f", "rtp", &to]));
    // FFmpeg has ended, so all of it is in the socket.
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
    let mut buffer = [0; 2048];
    let mut payloads = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        payloads.push(buffer[12..len].to_vec());
    }
    assert!(payloads.len() > 4, "{options}: {} packets", payloads.len());
    payloads
}

fn ffmpeg_adts(machine: &Machine) -> Vec<Vec<u8>> {
    let file = machine.path("tone.aac");
    run(Command::new("ffmpeg")
        .args(
            "-v error -f lavfi -i sine=frequency=440:duration=1 -c:a aac -ar 48000 -ac 2 -b:a 64k -f adts"
                .split_whitespace(),
        )
        .arg(&file));
    let bytes = std::fs::read(&file).expect("FFmpeg wrote it");
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let len = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let (frame, behind) = rest.split_at(len);
        frames.push(frame.to_vec());
        rest = behind;
    }
    assert!(frames.len() > 40, "{} frames", frames.len());
    // Alone, and two in a packet.
    frames.chunks(2).map(<[Vec<u8>]>::concat).chain(frames.clone()).collect()
}

/// Speech, then silence, which the encoder does not transmit. The packets are told apart by a length in front.
fn gstreamer_opus(machine: &Machine) -> Vec<Vec<u8>> {
    require("gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good");
    let file = machine.path("dtx.opus");
    let pipeline = format!(
        "audiotestsrc wave=ticks num-buffers=150 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 \
         ! opusenc dtx=true bitrate-type=vbr audio-type=voice frame-size=20 ! rtpopuspay pt=111 ! rtpstreampay \
         ! filesink location={}",
        file.display()
    );
    run(Command::new("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()));
    // RFC 4571: a length of two bytes before each packet.
    let bytes = std::fs::read(&file).expect("GStreamer wrote it");
    let (mut payloads, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
        let (packet, behind) = behind.split_at(usize::from(u16::from_be_bytes([high, low])));
        payloads.push(packet[12..].to_vec());
        rest = behind;
    }
    assert!(payloads.len() > 50, "{} packets", payloads.len());
    payloads
}
