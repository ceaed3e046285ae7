//! AAC by other implementations: ffmpeg encodes and decodes, GStreamer puts RFC 3640 packets together and takes them apart.
//!
//! Packets go to GStreamer and come from it in files, each with its length in front (RFC 4571).

use std::fs;
use std::path::Path;
use std::process::Command;

use voxlane::codec::adts;

use super::{require, run};

const PACKAGES: &str = "gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad";

/// What is encoded.
pub struct Sound<'a> {
    /// ffmpeg's expression for it.
    pub source: &'a str,
    /// Samples per second.
    pub hz: u32,
    pub channels: u8,
    /// Bits per second, as ffmpeg has it.
    pub rate: &'a str,
}

/// Has ffmpeg write a sound as AAC in ADTS.
pub fn encode(file: &Path, sound: &Sound<'_>) {
    require("ffmpeg", "ffmpeg");
    let Sound { source, hz, channels, rate } = sound;
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", source, "-ar", &hz.to_string(), "-ac"])
        .args([&channels.to_string(), "-c:a", "aac", "-b:a", rate, "-f", "adts"])
        .arg(file));
}

/// The samples that ffmpeg decodes, which must not complain.
pub fn decode(file: &Path) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-f", "aac", "-i"])
        .arg(file)
        .args(["-f", "s16le", "-"])
        .output()
        .expect("ffmpeg starts");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The frames of an ADTS file.
pub fn frames(file: &[u8]) -> Vec<&[u8]> {
    adts::Payload::new_checked(file)
        .expect("ffmpeg writes whole frames")
        .frames()
        .map(|frame| &file[frame.offset..frame.offset + frame.header.frame_len()])
        .collect()
}

/// Has GStreamer take the RFC 3640 packets of `stream` apart, payload type 96, and write ADTS to `heard`. `config` is
/// their AudioSpecificConfig in hexadecimal.
pub fn take_apart(stream: &Path, hz: u32, config: &str, heard: &Path) {
    gstreamer(&format!(
        "filesrc location={} ! application/x-rtp-stream,media=audio,clock-rate={hz},encoding-name=MPEG4-GENERIC,\
         mode=(string)AAC-hbr,streamtype=(string)5,config=(string){config},sizelength=(string)13,\
         indexlength=(string)3,indexdeltalength=(string)3,payload=96 \
         ! rtpstreamdepay ! rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=adts ! filesink location={}",
        stream.display(),
        heard.display()
    ));
}

/// Has GStreamer make RFC 3640 packets of an ADTS file, payload type 96; returns them.
pub fn put_together(file: &Path, stream: &Path) -> Vec<Vec<u8>> {
    gstreamer(&format!(
        "filesrc location={} ! aacparse ! rtpmp4gpay pt=96 ! rtpstreampay ! filesink location={}",
        file.display(),
        stream.display()
    ));
    let spoken = fs::read(stream).expect("GStreamer wrote it");
    let (mut rest, mut packets) = (&spoken[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (packet, behind) = behind.split_at(u16::from_be_bytes(*length).into());
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets
}

/// Writes packets for [`take_apart`].
pub fn write_packets(stream: &Path, packets: &[Vec<u8>]) {
    let framed = packets.iter().flat_map(|packet| {
        let length = (packet.len() as u16).to_be_bytes();
        length.into_iter().chain(packet.iter().copied())
    });
    fs::write(stream, framed.collect::<Vec<u8>>()).expect("the test's directory is writable");
}

fn gstreamer(pipeline: &str) {
    require("gst-launch-1.0", PACKAGES);
    run(Command::new("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()));
}
