//! Where floods happen: a gateway's memif ports `a` and `b`, and sessions between the two, all of whose remotes a
//! [`Voxload`](super::voxload::Voxload) plays.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use voxlane::control::config::{
    EndpointPlan, PayloadTypes, SessionPlan, generate_sessions, system_random, write_sessions_file,
};
use voxlane::srtp::Suite;

use super::testpmd::memif_server;
use super::{LegText, Machine, PortText, SessionText, unique};

/// The names of the ports.
pub const PORTS: [&str; 2] = ["a", "b"];

/// Two sockets, and the networks behind them: `10.NET.1.0/24` and `10.NET.2.0/24`.
pub struct MemifSite {
    net: u8,
    /// Of ports `a` and `b`.
    pub sockets: [PathBuf; 2],
}

impl MemifSite {
    pub fn new(machine: &Machine, net: u8) -> Self {
        let name = unique();
        MemifSite { net, sockets: PORTS.map(|port| machine.path(&format!("{name}-{port}.sock"))) }
    }

    /// The gateway's ports.
    pub fn ports(&self) -> Vec<PortText> {
        let port = |number: usize| {
            let address = format!("10.{}.{}.1/24", self.net, number + 1);
            PortText::new(PORTS[number], memif_server(number, &self.sockets[number]), &[&address])
        };
        vec![port(0), port(1)]
    }

    /// The other ends, for a voxload.
    pub fn clients(&self) -> [(&'static str, &Path); 2] {
        [0, 1].map(|number| (PORTS[number], self.sockets[number].as_path()))
    }

    /// Session `call-NUMBER`, from port `a` to port `b`.
    pub fn session(&self, number: u16) -> SessionText {
        let leg = |side: u8| {
            let (local, remote) = (20_000 + 2 * number, 30_000 + 2 * number);
            LegText::new(
                &format!("10.{}.{side}.1:{local}", self.net),
                &format!("10.{}.{side}.2:{remote}", self.net),
            )
        };
        SessionText::new(&format!("call-{number}"), leg(1), leg(2))
    }

    /// A sessions file of `count` such sessions.
    pub fn sessions_file(&self, machine: &Machine, count: usize) -> PathBuf {
        let side = |port: usize| {
            let address = |host: u8| vec![IpAddr::from([10, self.net, port as u8 + 1, host])];
            EndpointPlan { port, local: address(1), remote: address(2), suite: Some(Suite::AeadAes128Gcm) }
        };
        let plan = SessionPlan {
            count,
            id_prefix: "call-".to_owned(),
            a: side(0),
            b: side(1),
            payload_types: PayloadTypes::ALL_BUT_RTCP,
        };
        let plan = generate_sessions(plan, system_random).expect("one address carries 27,768 sessions");
        let path = machine.path("sessions.jsonl");
        write_sessions_file(&path, plan).expect("the test's directory is writable");
        path
    }
}
