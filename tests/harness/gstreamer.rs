//! GStreamer at both ends of a call: `opusenc ! srtpenc` in one namespace, `srtpdec ! opusdec` in the other.
//!
//! Both write the Opus packets that they sent or received to a file beside the sound, one after the other, so
//! that a test can ask for more than likeness: the same bits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use voxlane::srtp::MasterKey;

use super::{Namespace, Process, process, require, run};

/// What both the calls and the reference encode with.
const ENCODER: &str = "wavparse ! audioconvert ! audioresample ! \
     audio/x-raw,rate=48000,channels=1 ! opusenc bitrate=32000 frame-size=20";
const DECODER: &str = "opusdec ! audioconvert ! audio/x-raw,format=S16LE,rate=48000,channels=1 ! wavenc";
const PACKAGES: &str =
    "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad";

/// A pipeline that seals and sends a WAV file at the pace of speech, and ends with it.
pub struct Talker {
    process: Process,
    /// The Opus packets that were sent.
    pub opus: PathBuf,
}

/// A pipeline that receives, opens and decodes until it is told to stop.
pub struct Listener {
    process: Process,
    /// The Opus packets that were received.
    pub opus: PathBuf,
    /// The sound, complete after [`Listener::stop`].
    pub wav: PathBuf,
}

/// Encodes and decodes `wav` without a network: what a perfect call sounds like.
pub fn reference(wav: &Path, output: &Path) {
    require("gst-launch-1.0", PACKAGES);
    let pipeline = format!(
        "filesrc location={} ! {ENCODER} ! rtpopuspay pt=96 ! rtpopusdepay ! {DECODER} ! filesink location={}",
        wav.display(),
        output.display()
    );
    run(process::command("gst-launch-1.0").arg("-q").args(pipeline.split_whitespace()));
}

impl Talker {
    /// Sends `wav` from `local` in `namespace` to `remote`, sealed with `key`, as SSRC `ssrc`.
    pub fn start(
        namespace: &Namespace,
        wav: &Path,
        (local, remote): (SocketAddr, SocketAddr),
        key: &MasterKey,
        ssrc: u32,
    ) -> Self {
        let opus = wav.with_extension("sent.opus");
        // The listener of this end has the same port. Bound to the wildcard address, this socket sends from it
        // and never takes a packet from the listener, which is bound to the address itself.
        let wildcard = if local.is_ipv4() { "0.0.0.0" } else { "::" };
        let pipeline = format!(
            "filesrc location={} ! {ENCODER} ! tee name=t \
             t. ! queue ! rtpopuspay pt=96 ssrc={ssrc} \
             ! srtpenc key={} rtp-cipher=aes-128-gcm rtp-auth=null rtcp-cipher=aes-128-gcm rtcp-auth=null \
             ! udpsink host={} port={} bind-address={wildcard} bind-port={} sync=true \
             t. ! queue ! filesink location={} buffer-mode=unbuffered",
            wav.display(),
            hex(key),
            remote.ip(),
            remote.port(),
            local.port(),
            opus.display()
        );
        Talker { process: launch(namespace, "gst-talker", &pipeline), opus }
    }

    /// Waits for the end of the file.
    pub fn finish(&mut self, limit: Duration) {
        self.process.wait_success(limit);
    }
}

impl Listener {
    /// Receives on `local` in `namespace`, opens SSRC `ssrc` with `key`, and writes `name.wav`.
    pub fn start(namespace: &Namespace, name: &Path, local: SocketAddr, key: &MasterKey, ssrc: u32) -> Self {
        let (wav, opus) = (name.with_extension("wav"), name.with_extension("received.opus"));
        let caps = format!(
            "application/x-srtp,media=(string)audio,clock-rate=(int)48000,encoding-name=(string)OPUS,\
             payload=(int)96,ssrc=(uint){ssrc},roc=(uint)0,srtp-key=(buffer){},\
             srtp-cipher=(string)aes-128-gcm,srtp-auth=(string)null,\
             srtcp-cipher=(string)aes-128-gcm,srtcp-auth=(string)null",
            hex(key)
        );
        let pipeline = format!(
            "udpsrc address={} port={} caps={caps} ! srtpdec ! rtpjitterbuffer latency=1000 ! rtpopusdepay \
             ! tee name=t t. ! queue ! {DECODER} ! filesink location={} \
             t. ! queue ! filesink location={} buffer-mode=unbuffered",
            local.ip(),
            local.port(),
            wav.display(),
            opus.display()
        );
        let process = launch(namespace, "gst-listener", &pipeline);
        namespace.wait_for_udp_port(local.port(), Duration::from_secs(20));
        Listener { process, opus, wav }
    }

    /// How many bytes of Opus have come out so far.
    pub fn heard_bytes(&self) -> u64 {
        std::fs::metadata(&self.opus).map_or(0, |file| file.len())
    }

    /// Ends the stream, so that the WAV file is complete.
    pub fn stop(&mut self) {
        self.process.signal(Signal::SIGINT);
        self.process.wait(Duration::from_secs(20));
    }
}

fn launch(namespace: &Namespace, name: &str, pipeline: &str) -> Process {
    require("gst-launch-1.0", PACKAGES);
    let mut command: Command = namespace.command("gst-launch-1.0");
    command.arg("-e").args(pipeline.split_whitespace());
    Process::spawn(name, command)
}

/// Key and salt as GStreamer takes a buffer: hexadecimal.
fn hex(key: &MasterKey) -> String {
    let text = key.to_sdes_inline();
    let base64 = text.strip_prefix("inline:").expect("SDES text starts so");
    let octets = STANDARD.decode(base64).expect("the library wrote it");
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
