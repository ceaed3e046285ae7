//! A gateway configuration as values, written as the TOML that an operator would write.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use voxlane::control::config::system_random;
use voxlane::srtp::{MasterKey, Suite};

use super::{addr, unique};

/// A configuration; `Default` is a gateway with a name of its own, worker on core 1, control on core 0.
#[derive(Clone)]
pub struct ConfigText {
    pub name: String,
    pub state_directory: Option<PathBuf>,
    pub hugepages_mib: u32,
    pub buffers: u32,
    pub workers: Vec<u16>,
    /// Whether workers and control may share cores.
    pub allow_shared: bool,
    /// Whether workers lock themselves out of the kernel.
    pub lockdown: bool,
    /// Lines of the `[tap]` table, and the sessions that are tapped from the start.
    pub tap: Option<(String, Vec<usize>)>,
    /// Lines of the `[host]` table.
    pub host: Vec<(&'static str, u32)>,
    pub ports: Vec<PortText>,
    pub sessions_file: Option<PathBuf>,
    pub sessions: Vec<SessionText>,
}

/// A `[[port]]`.
#[derive(Clone)]
pub struct PortText {
    pub name: &'static str,
    pub device: String,
    pub addresses: Vec<String>,
    pub mtu: Option<u16>,
    pub descriptors: Option<u16>,
}

/// A `[[session]]`.
#[derive(Clone)]
pub struct SessionText {
    pub id: String,
    pub a: LegText,
    pub b: LegText,
    /// As the configuration has it.
    pub strictness: Option<&'static str>,
    /// Further lines, such as `idle_timeout = 2`.
    pub more: &'static str,
}

/// One leg of a session.
#[derive(Clone)]
pub struct LegText {
    pub local: SocketAddr,
    pub remote: Option<SocketAddr>,
    pub rtcp: Option<&'static str>,
    pub payload_types: Vec<u8>,
    /// Payload types with their codecs.
    pub formats: Vec<&'static str>,
    /// Header extension elements, such as `5=2`.
    pub extensions: Vec<&'static str>,
    /// `None` is a plain leg.
    pub keys: Option<LegKeys>,
}

/// Keys of an encrypted leg.
#[derive(Clone)]
pub struct LegKeys {
    pub suite: Suite,
    /// What the remote seals with.
    pub remote: MasterKey,
    /// What the gateway seals with.
    pub local: MasterKey,
    /// What the remote may have sealed with before; only of keys with MKIs.
    pub earlier_remote: Vec<MasterKey>,
}

impl Default for ConfigText {
    fn default() -> Self {
        ConfigText {
            name: unique(),
            state_directory: None,
            hugepages_mib: 256,
            buffers: 16_384,
            workers: vec![1],
            allow_shared: false,
            lockdown: false,
            tap: None,
            host: Vec::new(),
            ports: Vec::new(),
            sessions_file: None,
            sessions: Vec::new(),
        }
    }
}

impl PortText {
    /// A port with its addresses ("10.1.0.1/24").
    pub fn new(name: &'static str, device: impl Into<String>, addresses: &[&str]) -> Self {
        PortText {
            name,
            device: device.into(),
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            mtu: None,
            descriptors: None,
        }
    }
}

impl LegKeys {
    /// Fresh keys for AES-128.
    pub fn generate() -> Self {
        Self::generate_for(Suite::AeadAes128Gcm)
    }

    /// Fresh keys for any suite.
    pub fn generate_for(suite: Suite) -> Self {
        let mut random = system_random;
        LegKeys {
            suite,
            remote: MasterKey::generate(suite, &mut random),
            local: MasterKey::generate(suite, &mut random),
            earlier_remote: Vec::new(),
        }
    }
}

impl LegText {
    /// An encrypted leg with fresh keys, RTCP muxed, all payload types.
    pub fn new(local: &str, remote: &str) -> Self {
        LegText {
            local: addr(local),
            remote: Some(addr(remote)),
            rtcp: None,
            payload_types: Vec::new(),
            formats: Vec::new(),
            extensions: Vec::new(),
            keys: Some(LegKeys::generate()),
        }
    }

    /// The keys of an encrypted leg.
    pub fn keys(&self) -> &LegKeys {
        self.keys.as_ref().expect("the test made the leg encrypted")
    }

    fn render(&self) -> String {
        let mut text = format!("{{ local = \"{}\"", self.local);
        if let Some(remote) = self.remote {
            let _ = write!(text, ", remote = \"{remote}\"");
        }
        if let Some(rtcp) = self.rtcp {
            let _ = write!(text, ", rtcp = \"{rtcp}\"");
        }
        let numbers = self.payload_types.iter().map(u8::to_string);
        let types: Vec<String> = numbers.chain(self.formats.iter().map(|text| format!("{text:?}"))).collect();
        if !types.is_empty() {
            let _ = write!(text, ", payload_types = [{}]", types.join(", "));
        }
        if !self.extensions.is_empty() {
            let _ = write!(text, ", extensions = {:?}", self.extensions);
        }
        match &self.keys {
            None => text.push_str(", suite = \"none\""),
            Some(keys) => {
                let remote = std::iter::once(&keys.remote).chain(&keys.earlier_remote);
                let remote: Vec<String> = remote.map(|key| key.to_sdes_inline().to_string()).collect();
                let remote = match &remote[..] {
                    [one] => format!("{one:?}"),
                    several => format!("{several:?}"),
                };
                let local = keys.local.to_sdes_inline();
                let _ = write!(
                    text,
                    ", suite = \"{}\", remote_key = {remote}, local_key = \"{}\"",
                    keys.suite, *local
                );
            }
        }
        text.push_str(" }");
        text
    }
}

impl SessionText {
    /// A session.
    pub fn new(id: &str, a: LegText, b: LegText) -> Self {
        SessionText { id: id.to_owned(), a, b, strictness: None, more: "" }
    }

    /// The same with further lines.
    pub fn with(self, more: &'static str) -> Self {
        SessionText { more, ..self }
    }
}

impl ConfigText {
    /// The file's text.
    pub fn render(&self) -> String {
        let state = self.state_directory.as_ref().map_or("none".into(), |path| path.display().to_string());
        let (name, hugepages, buffers) = (&self.name, self.hugepages_mib, self.buffers);
        let (workers, shared) = (&self.workers, self.allow_shared);
        let mut text = format!(
            "[gateway]\nname = \"{name}\"\nstate_directory = \"{state}\"\n\n\
             [memory]\nhugepages_mib = {hugepages}\nbuffers = {buffers}\n\n\
             [cores]\ncontrol = [0]\nworkers = {workers:?}\nallow_shared = {shared}\n\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n"
        );
        if self.lockdown {
            text.push_str("\n[worker]\nlockdown = true\n");
        }
        if let Some((lines, _)) = &self.tap {
            let _ = write!(text, "\n[tap]\n{lines}\n");
        }
        if !self.host.is_empty() {
            text.push_str("\n[host]\n");
            for (key, value) in &self.host {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        for port in &self.ports {
            let (name, device, addresses) = (port.name, &port.device, &port.addresses);
            let _ = write!(
                text,
                "\n[[port]]\nname = \"{name}\"\ndevice = \"{device}\"\naddresses = {addresses:?}\n"
            );
            if let Some(mtu) = port.mtu {
                let _ = writeln!(text, "mtu = {mtu}");
            }
            if let Some(descriptors) = port.descriptors {
                let _ = writeln!(text, "rx_descriptors = {descriptors}\ntx_descriptors = {descriptors}");
            }
        }
        if let Some(file) = &self.sessions_file {
            let _ = write!(text, "\n[sessions]\nfile = \"{}\"\n", file.display());
        }
        for (number, session) in self.sessions.iter().enumerate() {
            let (id, a, b) = (&session.id, session.a.render(), session.b.render());
            let _ = write!(text, "\n[[session]]\nid = \"{id}\"\na = {a}\nb = {b}\n");
            if let Some(strictness) = session.strictness {
                let _ = writeln!(text, "strictness = \"{strictness}\"");
            }
            let _ = writeln!(text, "{}", session.more);
            if self.tap.as_ref().is_some_and(|(_, tapped)| tapped.contains(&number)) {
                text.push_str("tap = true\n");
            }
        }
        text
    }
}
