//! The far ends of calls over libsrtp: `tests/libsrtp/peer.c`, built for the test and run in a namespace. One
//! process holds the ends of many calls; its first comment says how it is spoken to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Machine, Namespace, Process, require, run};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libsrtp/peer.c");
/// Longest wait for an answer that needs no packet.
const ANSWER: Duration = Duration::from_secs(10);

/// The built program.
pub struct Program(PathBuf);

/// One end of a call.
#[derive(Clone)]
pub struct Call {
    pub id: String,
    /// SDES name.
    pub suite: &'static str,
    /// What this end seals with: SDES `inline:` text, several separated by `;`.
    pub send: String,
    /// What the packets that it receives were sealed with.
    pub receive: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub ssrc: u32,
    /// SSRC of what it receives.
    pub heard_ssrc: u32,
}

/// A running peer.
pub struct Peer(Process);

/// What one end of a call counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// RTP packets that it sent, without copies.
    pub sent: u64,
    /// Duplicates and damaged copies that it sent on top.
    pub extra_sent: u64,
    pub rtcp_sent: u64,
    /// RTP packets that libsrtp opened, that held what the other end put into them, and that came once.
    pub heard: u64,
    pub rtcp_heard: u64,
    /// Refused by libsrtp: RTP and RTCP.
    pub auth_failed: u64,
    pub replayed: u64,
    pub mki_unknown: u64,
    pub refused: u64,
    /// Opened, but not what the other end sent.
    pub mismatched: u64,
    /// Opened twice.
    pub duplicated: u64,
    /// Heard behind a later one.
    pub reordered: u64,
    /// Too short for anything.
    pub stray: u64,
    /// Roll-over counter of the receiving stream at the end.
    pub roc: u64,
}

impl Program {
    /// Builds the peer into the test's directory.
    pub fn build(machine: &Machine) -> Self {
        require("cc", "gcc");
        require("pkg-config", "pkg-config");
        let found = Command::new("pkg-config").args(["--exists", "libsrtp2"]).status();
        assert!(
            found.is_ok_and(|status| status.success()),
            "libsrtp is missing: apt-get install -y libsrtp2-dev"
        );
        let program = machine.path("libsrtp-peer");
        let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", "libsrtp2"]));
        run(Command::new("cc")
            .args(["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", SOURCE, "-o"])
            .arg(&program)
            .args(flags.split_whitespace()));
        Program(program)
    }

    /// Starts a peer inside `namespace` and waits until all its sockets are bound.
    pub fn start(&self, namespace: &Namespace, options: &[(&str, u64)], calls: &[Call]) -> Peer {
        let program: &Path = &self.0;
        let mut command = namespace.command(program.to_str().expect("a UTF-8 temporary directory"));
        for (name, value) in options {
            command.arg(format!("--{name}")).arg(value.to_string());
        }
        let mut peer = Peer(Process::spawn("libsrtp-peer", command));
        for call in calls {
            let Call { id, suite, send, receive, local, remote, ssrc, heard_ssrc } = call;
            peer.0.write_line(&format!("{id} {suite} {send} {receive} {local} {remote} {ssrc} {heard_ssrc}"));
        }
        peer.ask("bind", "ready", ANSWER);
        peer
    }
}

impl Peer {
    /// Lets the calls begin.
    pub fn begin(&mut self) {
        self.0.write_line("start");
    }

    /// Waits until every call has sent and heard all, or the peer's own limit has passed.
    pub fn wait_until_done(&mut self, limit: Duration) {
        self.0.line("done", limit, |line| (line == "done").then_some(()));
    }

    /// Ends the calls and returns what each of them counted.
    pub fn stop(mut self) -> BTreeMap<String, Counts> {
        let before = self.0.lines_so_far();
        self.ask("stop", "end", ANSWER);
        self.0.wait_success(ANSWER);
        let lines = self.0.text();
        lines.lines().skip(before).filter(|line| line.starts_with('{')).map(Counts::parse).collect()
    }

    fn ask(&mut self, question: &str, answer: &str, limit: Duration) {
        self.0.write_line(question);
        self.0.line(answer, limit, |line| (line == answer).then_some(()));
    }
}

impl Counts {
    /// What an end counts when it sends `rtp` and `rtcp` packets, hears as many, refuses nothing, and the
    /// sequence number rolls over once.
    pub fn clean(rtp: u64, rtcp: u64) -> Self {
        Counts { sent: rtp, heard: rtp, rtcp_sent: rtcp, rtcp_heard: rtcp, roc: 1, ..Counts::default() }
    }

    fn parse(line: &str) -> (String, Self) {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let of = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no figure {key:?} in {line}"));
        let counts = Counts {
            sent: of("sent"),
            extra_sent: of("extra_sent"),
            rtcp_sent: of("rtcp_sent"),
            heard: of("heard"),
            rtcp_heard: of("rtcp_heard"),
            auth_failed: of("auth_failed"),
            replayed: of("replayed"),
            mki_unknown: of("mki_unknown"),
            refused: of("refused"),
            mismatched: of("mismatched"),
            duplicated: of("duplicated"),
            reordered: of("reordered"),
            stray: of("stray"),
            roc: of("roc"),
        };
        (value["id"].as_str().expect("a call has an id").to_owned(), counts)
    }
}
