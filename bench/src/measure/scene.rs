//! A gateway to be measured: its directory, configuration, sessions, process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use voxlane::control::config::{
    EVEN_PORTS_PER_ADDRESS, EndpointPlan, PayloadTypes, SessionPlan, generate_sessions, system_random,
    write_sessions_file,
};
use voxlane::control::preflight::RUNTIME_DIRECTORY;
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, Provider as _, Suite};

use super::error::BenchError;
use super::metrics::Page;
use super::process::Process;

/// How long a gateway may take until it is ready, at least, and for each session.
const READY: Duration = Duration::from_secs(30);
const READY_PER_SESSION: Duration = Duration::from_micros(300);

/// How long it may take to end.
const STOP: Duration = Duration::from_secs(60);

/// Hugepages of a gateway without sessions, in MiB, and of each session, in bytes: what a million may take.
const BASE_MIB: u64 = 192;
const SESSION_BYTES: u64 = 6 * 1_024;

/// Mbufs: enough for full rings of 2^14 on both ports.
const BUFFERS: u64 = 81_920;
const BUFFER_BYTES: u64 = 2_560;

/// A crypto provider that the gateway can run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// Its name, for [`super::raw::measure`], too.
    pub name: &'static str,
    /// What the gateway is started with, beside its configuration.
    pub arguments: &'static [&'static str],
    /// What its figures' names start with.
    pub prefix: &'static str,
}

/// The providers to measure, the default one first.
pub const PROVIDERS: &[Provider] = &[
    Provider { name: IpsecMbProvider::NAME, arguments: &["--crypto", IpsecMbProvider::NAME], prefix: "" },
    Provider {
        name: AesGcmProvider::NAME,
        arguments: &["--crypto", AesGcmProvider::NAME],
        prefix: "aes_gcm.",
    },
];

/// The file of the sessions that a gateway starts with.
const SESSIONS: &str = "sessions.jsonl";

/// What a gateway is to be.
#[derive(Debug, Clone)]
pub struct SceneOptions {
    /// How many sessions.
    pub sessions: usize,
    /// Suite of leg A and of leg B.
    pub suites: [Suite; 2],
    /// Cores of the workers.
    pub workers: Vec<u16>,
    /// Core of the control threads.
    pub control: u16,
    /// Ring size as a power of two.
    pub ring: u8,
    /// Crypto provider.
    pub provider: Provider,
    /// Sessions that come and go beside those.
    pub coming: Option<Coming>,
}

/// Sessions that come and go: they have local ports and keys of their own, and no traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// How many there are to choose from.
    pub sessions: usize,
    /// How many are there at a time.
    pub live: usize,
    /// Places in the gateway for all.
    pub capacity: usize,
}

/// A directory with a configuration. Removed when dropped.
pub struct Scene {
    /// Where the configuration, the sessions and the sockets are.
    pub directory: PathBuf,
    options: SceneOptions,
}

/// A gateway that runs.
pub struct Gateway<'s> {
    process: Process,
    metrics: SocketAddr,
    scene: &'s Scene,
}

/// Hugepages that a gateway with that many sessions takes, in MiB.
pub fn gateway_mib(sessions: usize) -> u64 {
    BASE_MIB + (BUFFERS * BUFFER_BYTES + sessions as u64 * SESSION_BYTES).div_ceil(1 << 20)
}

impl Scene {
    /// Writes everything that a gateway needs to start.
    ///
    /// # Errors
    /// [`BenchError::Io`] when the directory cannot be written.
    pub fn set(options: SceneOptions) -> Result<Self, BenchError> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let directory = PathBuf::from(RUNTIME_DIRECTORY).join(&name);
        let failed = || BenchError::io(format!("writing to {}", directory.display()));
        std::fs::create_dir_all(&directory).map_err(failed())?;
        let scene = Scene { directory: directory.clone(), options };
        let mut sessions = generate_sessions(scene.plan(), system_random)
            .map_err(|error| BenchError::Usage(error.to_string()))?;
        let stay = sessions.by_ref().take(scene.options.sessions);
        write_sessions_file(&directory.join(SESSIONS), stay).map_err(failed())?;
        std::fs::write(scene.config(), scene.text(&name, SESSIONS)).map_err(failed())?;
        if scene.options.coming.is_some() {
            write_sessions_file(&directory.join("coming.jsonl"), sessions).map_err(failed())?;
            std::fs::write(scene.coming(), scene.text(&name, "coming.jsonl")).map_err(failed())?;
        }
        Ok(scene)
    }

    /// The gateway's configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("gateway.toml")
    }

    /// The same with the sessions that come and go.
    fn coming(&self) -> PathBuf {
        self.directory.join("coming.toml")
    }

    /// The generator's end of the ports, as `NAME=DEVICE`.
    pub fn generator_ports(&self) -> [String; 2] {
        ["a", "b"].map(|port| format!("{port}={}", self.device("client", port)))
    }

    fn device(&self, role: &str, port: &str) -> String {
        let socket = self.directory.join(format!("{port}.sock"));
        let (number, ring) = (u8::from(port == "b"), self.options.ring);
        format!(
            "net_memif{number},role={role},id=0,socket={},socket-abstract=no,rsize={ring}",
            socket.display()
        )
    }

    fn plan(&self) -> SessionPlan {
        let count = self.options.sessions + self.options.coming.map_or(0, |coming| coming.sessions);
        let addresses = count.div_ceil(EVEN_PORTS_PER_ADDRESS).max(1) as u8;
        let range = |net: u8, first: u8| -> Vec<IpAddr> {
            (0..addresses).map(|n| IpAddr::V4(Ipv4Addr::new(10, 78, net, first + n))).collect()
        };
        let side = |port: usize| EndpointPlan {
            port,
            local: range(port as u8 + 1, 1),
            remote: range(port as u8 + 1, 101),
            suite: Some(self.options.suites[port]),
        };
        let payload_types: PayloadTypes = [96].into_iter().collect();
        SessionPlan { count, id_prefix: "call-".to_owned(), a: side(0), b: side(1), payload_types }
    }

    fn text(&self, name: &str, file: &str) -> String {
        let SceneOptions { sessions, workers, control, ring, coming, .. } = &self.options;
        let places = coming.map_or(*sessions, |coming| coming.capacity);
        let (memory, shared) = (gateway_mib(places), workers.contains(control));
        // Keys that come back are for the journal to allow, as in a gateway that is in use.
        let (state, limits) = match coming {
            None => ("none".to_owned(), String::new()),
            Some(_) => (
                self.directory.join("state").display().to_string(),
                format!("capacity = {places}\nport_rest = 0\n"),
            ),
        };
        // The other file is only read for its sessions, which need not fit.
        let limits = if file == SESSIONS { limits } else { String::new() };
        let mut text = format!(
            "[gateway]\nname = \"{name}\"\nstate_directory = \"{state}\"\n\n\
             [memory]\nhugepages_mib = {memory}\nbuffers = {BUFFERS}\n\n\
             [cores]\ncontrol = [{control}]\nworkers = {workers:?}\nallow_shared = {shared}\n\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n\n\
             [sessions]\nfile = \"{file}\"\n{limits}",
        );
        let plan = self.plan();
        for (port, side) in [("a", &plan.a), ("b", &plan.b)] {
            let addresses: Vec<String> =
                side.local.iter().map(|address| format!("\"{address}/24\"")).collect();
            let (device, addresses, descriptors) =
                (self.device("server", port), addresses.join(", "), 1_u32 << ring);
            text.push_str(&format!(
                "\n[[port]]\nname = \"{port}\"\ndevice = \"{device}\"\naddresses = [{addresses}]\n\
                 rx_descriptors = {descriptors}\ntx_descriptors = {descriptors}\n"
            ));
        }
        text
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        // The name holds our process id, so nobody else can be waiting for this lock.
        let _ = std::fs::remove_file(self.directory.with_extension("lock"));
    }
}

impl<'s> Gateway<'s> {
    /// Starts the gateway and waits until it is ready.
    ///
    /// # Errors
    /// [`BenchError`] when it does not start.
    pub fn start(scene: &'s Scene) -> Result<Self, BenchError> {
        let mut command = match scene.options.coming {
            None => Command::new(beside("voxlane")?),
            Some(_) => Command::new(beside("voxbench")?),
        };
        match scene.options.coming {
            None => command.arg("run"),
            Some(coming) => command
                .arg("churn-gateway")
                .arg("--coming")
                .arg(scene.coming())
                .args(["--live", &coming.live.to_string()]),
        };
        command.arg("--config").arg(scene.config());
        command.arg("--report").arg(scene.directory.join("report.json"));
        command.args(scene.options.provider.arguments);
        let mut process = Process::spawn("voxlane", command)?;
        let limit = READY + READY_PER_SESSION * scene.options.sessions as u32;
        let metrics = process.ask("its metrics address", limit, |line| {
            let (_, rest) = line.split_once("metrics at http://")?;
            rest.split('/').next()?.parse().ok()
        })?;
        let mut gateway = Gateway { process, metrics, scene };
        let deadline = Instant::now() + limit;
        while gateway.page().sum("voxlane_ready") != Some(1.0) {
            if Instant::now() > deadline {
                return Err(gateway.process.failed("is not ready in time"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(gateway)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its metrics now.
    pub fn page(&self) -> Page {
        Page::fetch(self.metrics)
    }

    /// Tells one whose sessions come and go to do something, and waits until it says that it does.
    ///
    /// # Errors
    /// [`BenchError`] when it does not.
    pub fn tell(&mut self, line: &str, done: &str) -> Result<(), BenchError> {
        self.process.tell(line)?;
        self.process.ask(done, STOP, |line| (line == done).then_some(()))
    }

    /// Asks one whose sessions come and go, and waits for its answer.
    ///
    /// # Errors
    /// [`BenchError`] when it does not answer.
    pub fn ask<T: serde::de::DeserializeOwned>(&mut self, line: &str) -> Result<T, BenchError> {
        self.process.tell(line)?;
        self.process.ask("what it was asked", STOP, |line| serde_json::from_str(line).ok())
    }

    /// Leaves its core to others.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Takes its core back.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Stops it, and returns its final report.
    ///
    /// # Errors
    /// [`BenchError`] when it does not end, or is not satisfied with itself.
    pub fn stop(mut self) -> Result<Value, BenchError> {
        self.process.terminate();
        let status = self.process.wait(STOP)?;
        let text = std::fs::read_to_string(self.scene.directory.join("report.json")).unwrap_or_default();
        match serde_json::from_str::<Value>(&text) {
            Ok(report) if status.success() && report["clean"] == true => Ok(report),
            _ => Err(self.process.failed(format!("ended with {status}, not clean"))),
        }
    }
}

/// A program beside this one.
///
/// # Errors
/// [`BenchError::Usage`] when it is not built.
pub fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let this = std::env::current_exe().map_err(BenchError::io("finding the benchmark's own binary"))?;
    let path = this.with_file_name(name);
    if Path::exists(&path) {
        return Ok(path);
    }
    let path = path.display();
    Err(BenchError::Usage(format!("{path} does not exist; build it with: cargo build --release --workspace")))
}
