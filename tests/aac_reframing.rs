//! Real AAC between its two forms: what ffmpeg encodes goes through the converter, through GStreamer as the other
//! implementation of RFC 3640, and is decoded to the very same samples.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{require, run, unique};
use voxlane::codec::{adts, rfc3640};
use voxlane::fastpath::{Buffer, HeapBuffer};
use voxlane::reframe::{AacConfig, aac};

const PACKAGES: &str = "gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad";
/// An RTP header with two CSRCs; the payload type is 96.
const HEADER: [u8; 20] = *b"\x82\x60\x00\x07\x00\x00\x03\xe8\x00\x00\x00\x2aCSR1CSR2";

/// A directory of this test, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("voxlane-aac-{}", unique()));
        fs::create_dir_all(&path).expect("the system has a directory for temporary files");
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What ffmpeg makes: Hz and its index, channels, bits a second.
const ENCODINGS: [(u32, u8, u8, &str); 4] =
    [(48_000, 3, 2, "96k"), (44_100, 4, 1, "48k"), (16_000, 8, 1, "24k"), (8_000, 11, 2, "16k")];

/// Four seconds of tones and noise as ADTS.
fn encode(file: &Path, hz: u32, channels: u8, rate: &str) {
    require("ffmpeg", "ffmpeg");
    let sound = "aevalsrc=0.3*sin(440*2*PI*t)+0.2*sin(1500*2*PI*t*t)+0.05*random(0):d=4";
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", sound, "-ar", &hz.to_string(), "-ac"])
        .args([&channels.to_string(), "-c:a", "aac", "-b:a", rate, "-f", "adts"])
        .arg(file));
}

/// The samples that ffmpeg decodes, which must not complain.
fn decode(file: &Path) -> Vec<u8> {
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

/// The frames of an ADTS file, so many to a packet.
fn packets(file: &[u8], frames: usize) -> Vec<Vec<u8>> {
    let frames_of_file: Vec<&[u8]> = adts::Payload::new_checked(file)
        .expect("ffmpeg writes whole frames")
        .frames()
        .map(|frame| &file[frame.offset..frame.offset + frame.header.frame_len()])
        .collect();
    frames_of_file.chunks(frames).map(|frames| [&HEADER[..], &frames.concat()].concat()).collect()
}

fn units(payload: &[u8]) -> Vec<Vec<u8>> {
    let checked = rfc3640::Payload::new_checked(payload).expect("a valid payload");
    checked.units().map(|unit| payload[unit.offset..unit.offset + unit.len].to_vec()).collect()
}

#[test]
fn what_ffmpeg_encodes_goes_there_and_back_and_sounds_the_same() {
    let directory = Directory::new();
    for (hz, index, channels, rate) in ENCODINGS {
        let (file, back) = (directory.file("there.aac"), directory.file("back.aac"));
        encode(&file, hz, channels, rate);
        let original = fs::read(&file).expect("ffmpeg wrote it");
        let config = AacConfig::new(2, index, channels).expect("ADTS has it");
        let samples = decode(&file);
        assert!(
            samples.len() > 3 * hz as usize * usize::from(channels) * 2,
            "{} octets of sound",
            samples.len()
        );
        for frames in 1..=4 {
            let mut returned = Vec::new();
            for packet in packets(&original, frames) {
                let mut buffer = HeapBuffer::new(&packet, 0xee);
                aac::adts_to_rfc3640(&mut buffer, HEADER.len(), &config).expect("valid");
                assert!(buffer.data().len() < packet.len());
                aac::rfc3640_to_adts(&mut buffer, HEADER.len(), &config, 66).expect("there is room");
                returned.extend(&buffer.data()[HEADER.len()..]);
            }
            fs::write(&back, &returned).expect("the directory is writable");
            assert_eq!(decode(&back), samples, "{frames} frames in each packet, {hz} Hz");
        }
    }
}

/// GStreamer takes our packets apart, and we take GStreamer's.
#[test]
fn gstreamer_agrees_with_both_forms() {
    require("gst-launch-1.0", PACKAGES);
    let directory = Directory::new();
    for (hz, index, channels, rate) in ENCODINGS {
        let (file, stream, heard) =
            (directory.file("there.aac"), directory.file("stream.rtp"), directory.file("heard.aac"));
        encode(&file, hz, channels, rate);
        let original = fs::read(&file).expect("ffmpeg wrote it");
        let config = AacConfig::new(2, index, channels).expect("ADTS has it");
        let samples = decode(&file);
        let hexadecimal = format!("{:04x}", 2 << 11 | u16::from(index) << 7 | u16::from(channels) << 3);

        // RFC 4571: each packet with its length in front.
        let mut written = Vec::new();
        for (number, packet) in packets(&original, 3).into_iter().enumerate() {
            let mut buffer = HeapBuffer::new(&packet, 0xee);
            aac::adts_to_rfc3640(&mut buffer, HEADER.len(), &config).expect("valid");
            let bytes = buffer.data_mut();
            bytes[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&(number as u32 * 3 * 1024).to_be_bytes());
            written.extend((bytes.len() as u16).to_be_bytes());
            written.extend(bytes.iter());
        }
        fs::write(&stream, written).expect("the directory is writable");
        let caps = format!(
            "application/x-rtp-stream,media=audio,clock-rate={hz},encoding-name=MPEG4-GENERIC,\
             mode=(string)AAC-hbr,streamtype=(string)5,config=(string){hexadecimal},sizelength=(string)13,\
             indexlength=(string)3,indexdeltalength=(string)3,payload=96"
        );
        gstreamer(&format!(
            "filesrc location={} ! {caps} ! rtpstreamdepay ! rtpmp4gdepay ! aacparse \
             ! audio/mpeg,stream-format=adts ! filesink location={}",
            stream.display(),
            heard.display()
        ));
        assert_eq!(decode(&heard), samples, "GStreamer heard something else at {hz} Hz");

        gstreamer(&format!(
            "filesrc location={} ! aacparse ! rtpmp4gpay pt=96 ! rtpstreampay ! filesink location={}",
            file.display(),
            stream.display()
        ));
        let spoken = fs::read(&stream).expect("GStreamer wrote it");
        let (mut rest, mut returned, mut count) = (&spoken[..], Vec::new(), 0);
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (packet, behind) = behind.split_at(u16::from_be_bytes(*length).into());
            rest = behind;
            count += units(&packet[12..]).len();
            let mut buffer = HeapBuffer::new(packet, 0xee);
            aac::rfc3640_to_adts(&mut buffer, 12, &config, 66).expect("whole access units");
            returned.extend(&buffer.data()[12..]);
        }
        assert!(count > 30, "{count} access units");
        fs::write(&heard, returned).expect("the directory is writable");
        assert_eq!(decode(&heard), samples, "what GStreamer spoke at {hz} Hz");
    }
}

fn gstreamer(pipeline: &str) {
    run(Command::new("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()));
}
