//! The demo's scene: a directory with the gateway's configuration, fresh sessions and the sockets between the
//! two processes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use voxlane::control::config::{
    EVEN_PORTS_PER_ADDRESS, EndpointPlan, PayloadTypes, SessionPlan, generate_sessions, system_random,
    write_sessions_file,
};
use voxlane::control::preflight::RUNTIME_DIRECTORY;
use voxlane::srtp::Suite;

use super::{DemoArgs, DemoError};

/// Memory of the gateway in MiB besides what the buffers take.
const GATEWAY_MEMORY_MIB: u32 = 128;
/// Octets of hugepages that a session takes at most.
const SESSION_BYTES: u64 = 6144;
/// Mbufs of the gateway: enough for full rings on both ports.
const BUFFERS: u32 = 16_384;

/// What both processes are started with. The directory is removed when the scene is dropped.
pub(super) struct Scene {
    pub(super) directory: PathBuf,
    pub(super) worker_core: u16,
    pub(super) generator_core: u16,
}

impl Scene {
    pub(super) fn set(args: &DemoArgs) -> Result<Self, DemoError> {
        let (worker_core, generator_core) = choose_cores(args)?;
        let name = format!("demo-{}", std::process::id());
        let directory = PathBuf::from(RUNTIME_DIRECTORY).join(&name);
        let failed = |what: &str| {
            let what = format!("{what} {}", directory.display());
            move |reason| DemoError::Io { what, reason }
        };
        std::fs::create_dir_all(&directory).map_err(failed("creating"))?;
        let scene = Scene { directory: directory.clone(), worker_core, generator_core };
        let sessions = generate_sessions(session_plan(args), system_random)
            .map_err(|error| DemoError::Usage(error.to_string()))?;
        write_sessions_file(&scene.file("sessions.jsonl"), sessions)
            .map_err(failed("writing sessions to"))?;
        std::fs::write(scene.file("gateway.toml"), gateway_config(&scene, &name, args))
            .map_err(failed("writing the configuration to"))?;
        Ok(scene)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The generator's devices, as `PORT=DEVICE`.
    pub(super) fn generator_ports(&self) -> [String; 2] {
        ["a", "b"].map(|port| {
            let id = u8::from(port == "b");
            format!("{port}=net_memif{id},{}", self.memif("client", port))
        })
    }

    fn memif(&self, role: &str, port: &str) -> String {
        let socket = self.file(&format!("{port}.sock"));
        format!("role={role},id=0,socket={},socket-abstract=no,rsize=11", socket.display())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
        // The name holds our process id, so nobody else can be waiting for this lock.
        let _ = std::fs::remove_file(self.directory.with_extension("lock"));
    }
}

fn choose_cores(args: &DemoArgs) -> Result<(u16, u16), DemoError> {
    let allowed = voxlane::dpdk::allowed_cores();
    let worker = args.worker_core.or(allowed.last().copied()).unwrap_or(0);
    let generator = args.generator_core.or(allowed.first().copied()).unwrap_or(0);
    if let Some(core) = [worker, generator].into_iter().find(|core| !allowed.contains(core)) {
        return Err(DemoError::Usage(format!(
            "core {core} is not one that this process may use: {allowed:?}"
        )));
    }
    if worker == generator {
        return Err(DemoError::Usage(format!(
            "gateway and generator would share core {worker}; the demo needs two cores: \
             give --worker-core and --generator-core"
        )));
    }
    Ok((worker, generator))
}

fn session_plan(args: &DemoArgs) -> SessionPlan {
    let count = args.sessions as usize;
    let addresses = count.div_ceil(EVEN_PORTS_PER_ADDRESS).max(1) as u8;
    let range = |net: u8, first: u8| -> Vec<IpAddr> {
        (0..addresses).map(|n| IpAddr::V4(Ipv4Addr::new(10, 77, net, first + n))).collect()
    };
    let side = |port, net| EndpointPlan {
        port,
        local: range(net, 1),
        remote: range(net, 101),
        suite: Some(Suite::AeadAes128Gcm),
    };
    let payload_types: PayloadTypes = [96].into_iter().collect();
    SessionPlan { count, id_prefix: "demo-".to_owned(), a: side(0, 1), b: side(1, 2), payload_types }
}

fn gateway_config(scene: &Scene, name: &str, args: &DemoArgs) -> String {
    let plan = session_plan(args);
    let sessions = (u64::from(args.sessions) * SESSION_BYTES).div_ceil(1 << 20) as u32;
    let memory = GATEWAY_MEMORY_MIB + BUFFERS * 2560 / (1 << 20) + sessions;
    // The well-known port if it is free, so that the printed address is the documented one.
    let metrics = std::net::TcpListener::bind("127.0.0.1:9464").map_or("127.0.0.1:0", |_| "127.0.0.1:9464");
    let mut text = format!(
        "[gateway]\nname = \"{name}\"\nstate_directory = \"none\"\n\n\
         [memory]\nhugepages_mib = {memory}\nbuffers = {BUFFERS}\n\n\
         [cores]\ncontrol = [{}]\nworkers = [{}]\n\n\
         [worker]\nlockdown = true\n\n\
         [metrics]\nlisten = \"{metrics}\"\n\n\
         [sessions]\nfile = \"sessions.jsonl\"\n",
        scene.generator_core, scene.worker_core,
    );
    for (index, (port, side)) in [("a", &plan.a), ("b", &plan.b)].into_iter().enumerate() {
        let addresses: Vec<String> = side.local.iter().map(|address| format!("\"{address}/24\"")).collect();
        text.push_str(&format!(
            "\n[[port]]\nname = \"{port}\"\ndevice = \"net_memif{index},{}\"\naddresses = [{}]\n\
             rx_descriptors = 2048\ntx_descriptors = 2048\n",
            scene.memif("server", port),
            addresses.join(", ")
        ));
    }
    text
}
